"""What an SMTP reply means for us: which error, and whether the address is dead (RFC 5321, RFC 3463)."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any

from crm_plugin.errors import ActionRequired, AdapterError, PermanentError, RecipientRefused, TransientError
from crm_plugin.phrases import phrase
from crm_plugin.redaction import excerpt


class Stage(StrEnum):
    """Which command a reply answers."""

    CONNECT = "connect"
    LOGIN = "login"
    SENDER = "sender"
    RECIPIENT = "recipient"
    DATA = "data"


_ENHANCED = re.compile(r"\b([245]\.\d{1,3}\.\d{1,3})\b")
_LOGIN_CODES = frozenset({530, 534, 535, 538})
# Only these speak of an address that does not exist; a full mailbox (5.2.2) or a policy (5.7.x) may be another tomorrow.
_DEAD_ADDRESS = frozenset({"5.1.0", "5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1", "5.4.4"})
_DEAD_ADDRESS_CODES = frozenset({550, 551, 553})
# Policy codes about us and not about the recipient: login wanted, SPF, DKIM, DMARC, reputation of the sender.
_OUR_FAULT = frozenset(
    f"5.7.{detail}" for detail in (0, 3, 8, 9, 11, 14, *range(20, 31), 57, 60, 64, 501, 502, 503, 509, 515)
)
_RELAY = re.compile(r"\brelay|not (?:authenticated|authorized to send)|authentication required", re.IGNORECASE)


def error_for(stage: Stage, code: int, text: str) -> AdapterError:
    """The error of a reply that is no success; to a command that may be refused it is one of 400 to 599."""
    shown = excerpt(text)
    found = _ENHANCED.search(text)
    enhanced = found[1] if found else ""
    context: dict[str, Any] = {"adapter": "smtp", "operation": stage.value, "status": code, "excerpt": shown}
    said = f"{code} {shown}".strip() if code > 0 else shown or phrase("no SMTP reply")
    if not 400 <= code < 600:
        return ActionRequired(
            phrase("What answers there is no mail server: %(said)s.", said=said),
            hint=phrase("Check host and port with your provider."),
            **context,
        )
    if 400 <= code < 500:
        return TransientError(phrase("The mail server asks to try again later: %(said)s.", said=said), **context)
    if code in _LOGIN_CODES or stage is Stage.LOGIN:
        return ActionRequired(
            phrase("The mail server refuses the login: %(said)s.", said=said),
            hint=phrase("Check user name and password; many providers want an app password."),
            **context,
        )
    if stage is Stage.CONNECT:
        return ActionRequired(
            phrase("The mail server takes no mail from here: %(said)s.", said=said),
            hint=phrase("Check host and port with your provider."),
            **context,
        )
    if stage is Stage.SENDER and code != 552:
        return ActionRequired(
            phrase("The mail server refuses the sender address: %(said)s.", said=said),
            hint=phrase("Use a sender address that this server may send for."),
            **context,
        )
    if enhanced in _OUR_FAULT or (stage is Stage.RECIPIENT and _RELAY.search(text)):
        return ActionRequired(
            phrase("The mail server does not accept this sender: %(said)s.", said=said),
            hint=phrase("Sign in to the server, and check SPF, DKIM and DMARC of the sender's domain."),
            **context,
        )
    dead = enhanced in _DEAD_ADDRESS or (not enhanced and stage is Stage.RECIPIENT and code in _DEAD_ADDRESS_CODES)
    if dead or stage is Stage.RECIPIENT:
        return RecipientRefused(
            phrase("The mail server refuses the recipient: %(said)s.", said=said), suppress=dead, **context
        )
    return PermanentError(phrase("The mail server refuses the message: %(said)s.", said=said), **context)
