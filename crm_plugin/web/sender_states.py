"""How a sender is, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask_babel import lazy_gettext as _

from crm_plugin.touchpoints.health import Rest
from crm_plugin.touchpoints.senders import PAUSED, Sender


@dataclass(frozen=True, slots=True)
class SenderState:
    """A badge with its tone, and what it means."""

    tone: str
    text: Any
    help: Any


_NOT_SET_UP = SenderState("", _("Not set up"), _("Nothing is sent this way."))
_OFF = SenderState("", _("Switched off"), _("It is set up, and nothing new is planned for it."))
_WELL = SenderState("good", _("Works"), _("It answered the last check."))
_READY = SenderState("good", _("Ready"), _("There is nothing to set up."))
_UNCHECKED = SenderState("info", _("Not checked yet"), _("Check it, or send a test message."))
_NEEDS_YOU = SenderState(
    "bad", _("Paused"), _("Messages wait until it is fixed, as long as they are still worth sending.")
)
_RESTS = SenderState(
    "warn", _("Left alone"), _("It failed several times, or asked for a pause. Its messages wait and go by themselves.")
)


def state_of(sender: Sender | None, rest: Rest | None = None) -> SenderState:
    """The state of a sender; None is one that was never set up. A `rest` is one that lasts now."""
    if sender is None:
        return _NOT_SET_UP
    if not sender.enabled:
        return _OFF
    if sender.status == PAUSED:
        return _NEEDS_YOU
    if rest is not None:
        return _RESTS
    if sender.built_in and sender.updated_at is None:
        return _READY
    return _WELL if sender.status == "ok" else _UNCHECKED
