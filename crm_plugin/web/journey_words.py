"""A journey as one sentence in the reader's language, and what its numbers mean."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import time
from typing import Any

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_babel import ngettext

from crm_plugin.rules.called import Called
from crm_plugin.rules.spec import Text
from crm_plugin.rules.trigger_kinds import is_at_once, minutes_of
from crm_plugin.rules.trigger_members import FIXED_DATE
from crm_plugin.rules.triggers import BIRTHDAY, LAPSE, POST_PURCHASE, Trigger, kind_of
from crm_plugin.rules.windows import PROGRAM
from crm_plugin.rules.words import words
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.policy import Policy
from crm_plugin.touchpoints.states import State
from crm_plugin.web.titles import chinese

# How channels are called inside a sentence.
_BY: dict[str, Any] = {
    "email": _l("e-mail"),
    "sms": _l("text message"),
    "inapp": _l("in-app message"),
    "note": _l("a note on the order"),
}
# What a merchant counts together, out of the states of touchpoints.
_SENT = (State.ACCEPTED, State.DELIVERED, State.BOUNCED, State.COMPLAINED)
_WAITING = (State.PLANNED, State.RETRY_WAIT, State.IN_FLIGHT)
_HELD_BACK = (State.SKIPPED, State.MISSED)
_WRONG = (State.FAILED, State.UNCONFIRMED)


def sentence(journey: Journey, called: Called) -> str:
    """When, to whom, through what, and until when; `called` is what the shop calls its own."""
    told = {
        "when": when(journey.trigger, called),
        "whom": whom(journey, called),
        "channels": by(journey.channels),
        "validity": validity(journey.validity_days),
    }
    kind = kind_of(journey.trigger)
    if is_at_once(kind, journey.trigger):
        # What comes of something that happened leaves then, whatever the time of day.
        return str(_("%(when)s, to %(whom)s, by %(channels)s; %(validity)s.", **told))
    time = clock(kind.time_of(journey.trigger) or journey.send_at)
    return str(
        _("%(when)s, at %(time)s in their own time, to %(whom)s, by %(channels)s; %(validity)s.", time=time, **told)
    )


def about(trigger: Trigger) -> str:
    """What its days count from, behind a number of days."""
    return str(_("after %(event)s", event=_in_words(kind_of(trigger).event)))


def _in_words(text: Text) -> str:
    return text.in_language("zh" if chinese() else "en")


def when(trigger: Trigger, called: Called) -> str:
    """What starts it, as the beginning of a sentence; `called` is what the shop calls its own."""
    days = abs(trigger.days)
    if trigger.type not in (BIRTHDAY, LAPSE, POST_PURCHASE):
        return _when(trigger, called)
    if trigger.type == BIRTHDAY and days == 0:
        return str(_("On a member's birthday"))
    if trigger.type == BIRTHDAY and trigger.days < 0:
        return str(ngettext("%(num)s day before a member's birthday", "%(num)s days before a member's birthday", days))
    if trigger.type == BIRTHDAY:
        return str(ngettext("%(num)s day after a member's birthday", "%(num)s days after a member's birthday", days))
    if trigger.type == LAPSE:
        return str(
            ngettext("%(num)s day after a member's last order", "%(num)s days after a member's last order", days)
        )
    if days == 0:
        return str(_("On the day of an order"))
    return str(ngettext("%(num)s day after an order", "%(num)s days after an order", days))


def _when(trigger: Trigger, called: Called) -> str:
    """The same in the words of the registry."""
    kind = kind_of(trigger)
    event, days = _in_words(kind.event), abs(trigger.days)
    minutes = minutes_of(kind, trigger) if is_at_once(kind, trigger) else 0
    told = [_told(trigger, name, called) for name in trigger.more if name != "minutes"]
    if any(told):
        params = _(", ").join(one for one in told if one)
        # Of a day that is the same for all its name says everything.
        event = params if trigger.type == FIXED_DATE else str(_("%(event)s (%(params)s)", event=event, params=params))
    if trigger.days < 0:
        return str(ngettext("%(num)s day before %(event)s", "%(num)s days before %(event)s", days, event=event))
    if trigger.days:
        return str(ngettext("%(num)s day after %(event)s", "%(num)s days after %(event)s", days, event=event))
    if minutes:
        return str(ngettext("%(num)s minute after %(event)s", "%(num)s minutes after %(event)s", minutes, event=event))
    return str(_("Upon %(event)s", event=event))


def _told(trigger: Trigger, name: str, called: Called) -> str:
    """What a parameter asks for, as people say it; empty for the main tier programme."""
    value, program = trigger.more[name], str(trigger.more.get("program", PROGRAM))
    if name == "program":
        return "" if value == PROGRAM else called.program(program, chinese())
    if name == "level":
        return called.level(program, str(value), chinese())
    if name == "segment":
        return called.segment(str(value))
    if name == "within":
        return called.amount(f"{value:,}")
    return _in_words(dict(kind_of(trigger).param(name).choices).get(value, Text(str(value), str(value))))


def whom(journey: Journey, called: Called) -> str:
    """Who gets it: the audience, and that marketing needs a yes."""
    if journey.audience is None:
        return str(_("all members who agreed") if journey.kind == "marketing" else _("all members"))
    audience = words(journey.audience, "zh" if chinese() else "en", called)
    if journey.kind == "marketing":
        return str(_("%(audience)s, if they agreed", audience=audience))
    return audience


def by(channels: Iterable[str]) -> str:
    """The channels in the order they are tried."""
    return str(_(", else ")).join(str(_BY[channel]) for channel in channels)


def validity(days: int) -> str:
    """Until when it is still sent."""
    return str(
        ngettext(
            "left out if it cannot go out within %(num)s day", "left out if it cannot go out within %(num)s days", days
        )
    )


def clock(at: time) -> str:
    """A time of day."""
    return f"{at:%H:%M}"


def night(journey: Journey, policy: Policy) -> str:
    """What the shop's quiet hours do to the time of sending; empty when nothing."""
    if not policy.quiet.covers(journey.send_at):
        return ""
    return str(
        _(
            "%(time)s lies in your quiet hours, so it goes out at %(end)s, when they end.",
            time=clock(journey.send_at),
            end=clock(policy.quiet.end),
        )
    )


def became(states: dict[str, int]) -> dict[str, int]:
    """Counts by state as the few that a merchant asks about: sent, waiting, held_back, wrong."""
    groups = {"sent": _SENT, "waiting": _WAITING, "held_back": _HELD_BACK, "wrong": _WRONG}
    return {name: sum(states.get(state.value, 0) for state in wanted) for name, wanted in groups.items()}
