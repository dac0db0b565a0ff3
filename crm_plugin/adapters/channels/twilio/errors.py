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
from crm_plugin.phrases import phrase

# Numbers that will never take a text; the first two are no numbers at all or no mobile phones.
DEAD_NUMBER = {
    21211: phrase("This is no valid phone number."),
    21614: phrase("This number cannot receive text messages."),
    30005: phrase("The phone's operator does not know this number."),
    30006: phrase("This number is a landline or cannot be reached by text."),
}
# The number lives, but not for this message or not now.
BLOCKED_NUMBER = {
    21612: phrase("Twilio has no route from this sender to this number."),
    30004: phrase("The phone or its operator blocks the message."),
}
OPTED_OUT = 21610
TRANSIENT = frozenset({14107, 20429, 20500, 20503, 30001, 30003, 30008})
MERCHANT = {
    20003: phrase("Check account SID and auth token."),
    20404: phrase("Check the account SID."),
    21408: phrase("Switch this country on in Twilio's geographic permissions."),
    21603: phrase("Set a sender number or a messaging service."),
    21606: phrase("Use a sender number of this account that can send text messages."),
    21608: phrase("A trial account writes to verified numbers only: upgrade it."),
    21659: phrase("Use a sender number of this account."),
    21703: phrase("Add a sender to the messaging service."),
    30002: phrase("The account is suspended: see Twilio's console."),
    30034: phrase("Register the sender number for US traffic (A2P 10DLC)."),
}


class ErrorBody(msgspec.Struct):
    """What Twilio says of a refused request."""

    code: int | None = None
    message: str = ""


def error_for(status: int, body: ErrorBody, *, operation: str, excerpt: str, retry_after: float | None) -> AdapterError:
    """The error of an HTTP answer that is no success, or of a success with an error inside."""
    context: dict[str, Any] = {"adapter": "twilio", "operation": operation, "status": status, "excerpt": excerpt}
    number = body.code or 0
    said = f"{number}: {excerpt_of(body, excerpt)}" if number else f"HTTP {status}: {excerpt_of(body, excerpt)}"
    if number == OPTED_OUT:
        return OptedOut(phrase("This person has opted out of texts from this sender."), suppress=True, **context)
    if number in DEAD_NUMBER:
        return RecipientRefused(DEAD_NUMBER[number], suppress=True, **context)
    if number in BLOCKED_NUMBER:
        return RecipientRefused(BLOCKED_NUMBER[number], suppress=False, **context)
    if status in (408, 425, 429) or status >= 500 or number in TRANSIENT:
        return TransientError(
            phrase("Twilio asks to try again later (%(said)s).", said=said), retry_after=retry_after, **context
        )
    if number in MERCHANT:
        return ActionRequired(phrase("Twilio refuses (%(said)s).", said=said), hint=MERCHANT[number], **context)
    if status in (401, 403, 404) or 300 <= status < 400:
        return ActionRequired(
            phrase("Twilio does not let us in (%(said)s).", said=said),
            hint=phrase("Check account SID, auth token and API address."),
            **context,
        )
    return PermanentError(phrase("Twilio refuses the message (%(said)s).", said=said), **context)


def excerpt_of(body: ErrorBody, otherwise: str) -> str:
    """Twilio's own sentence without its full stop, or the beginning of whatever came."""
    return (body.message or otherwise or "no reason given")[:200].rstrip(". ")
