"""Twilio's error numbers in our words (read from its error dictionary, autumn 2026)."""

from __future__ import annotations

from typing import Any

import msgspec

from crm_plugin.errors import (
    ActionRequired,
    AdapterError,
    OptedOut,
    PermanentError,
    RecipientRefused,
    TransientError,
)

# Numbers that will never take a text; the first two are no numbers at all or no mobile phones.
DEAD_NUMBER = {
    21211: "This is no valid phone number.",
    21614: "This number cannot receive text messages.",
    30005: "The phone's operator does not know this number.",
    30006: "This number is a landline or cannot be reached by text.",
}
# The number lives, but not for this message or not now.
BLOCKED_NUMBER = {
    21612: "Twilio has no route from this sender to this number.",
    30004: "The phone or its operator blocks the message.",
}
OPTED_OUT = 21610
TRANSIENT = frozenset({14107, 20429, 20500, 20503, 30001, 30003, 30008})
MERCHANT = {
    20003: "Check account SID and auth token.",
    20404: "Check the account SID.",
    21408: "Switch this country on in Twilio's geographic permissions.",
    21603: "Set a sender number or a messaging service.",
    21606: "Use a sender number of this account that can send text messages.",
    21608: "A trial account writes to verified numbers only: upgrade it.",
    21659: "Use a sender number of this account.",
    21703: "Add a sender to the messaging service.",
    30002: "The account is suspended: see Twilio's console.",
    30034: "Register the sender number for US traffic (A2P 10DLC).",
}


class ErrorBody(msgspec.Struct):
    """What Twilio says of a refused request."""

    code: int | None = None
    message: str = ""


def error_for(status: int, body: ErrorBody, *, excerpt: str, retry_after: float | None) -> AdapterError:
    """The error of an HTTP answer that is no success."""
    context: dict[str, Any] = {"adapter": "twilio", "operation": "send", "status": status, "excerpt": excerpt}
    number = body.code or 0
    said = f"{number}: {excerpt_of(body, excerpt)}" if number else f"HTTP {status}: {excerpt_of(body, excerpt)}"
    if number == OPTED_OUT:
        return OptedOut("This person has opted out of texts from this sender.", suppress=True, **context)
    if number in DEAD_NUMBER:
        return RecipientRefused(DEAD_NUMBER[number], suppress=True, **context)
    if number in BLOCKED_NUMBER:
        return RecipientRefused(BLOCKED_NUMBER[number], suppress=False, **context)
    if status == 429 or status >= 500 or number in TRANSIENT:
        return TransientError(f"Twilio asks to try again later ({said}).", retry_after=retry_after, **context)
    if number in MERCHANT:
        return ActionRequired(f"Twilio refuses ({said}).", hint=MERCHANT[number], **context)
    if status in (401, 403, 404) or 300 <= status < 400:
        return ActionRequired(
            f"Twilio does not let us in ({said}).", hint="Check account SID, auth token and API address.", **context
        )
    return PermanentError(f"Twilio refuses the message ({said}).", **context)


def excerpt_of(body: ErrorBody, otherwise: str) -> str:
    """Twilio's own sentence without its full stop, or the beginning of whatever came."""
    return (body.message or otherwise or "no reason given")[:200].rstrip(". ")
