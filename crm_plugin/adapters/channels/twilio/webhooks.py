"""Twilio's status callbacks and replies: is it Twilio, and what does it say."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from crm_plugin.adapters.channels.twilio.errors import DEAD_NUMBER, OPTED_OUT
from crm_plugin.errors import WebhookMalformed
from crm_plugin.events import DeliveryEvent, DeliveryEventKind
from crm_plugin.records import RawRequest

SIGNATURE_HEADER = "x-twilio-signature"
_KINDS = {
    "queued": DeliveryEventKind.QUEUED,
    "accepted": DeliveryEventKind.QUEUED,
    "scheduled": DeliveryEventKind.QUEUED,
    "sending": DeliveryEventKind.QUEUED,
    "sent": DeliveryEventKind.SENT,
    "delivered": DeliveryEventKind.DELIVERED,
    "read": DeliveryEventKind.OPENED,
    "undelivered": DeliveryEventKind.BOUNCED,
    "failed": DeliveryEventKind.FAILED,
    "canceled": DeliveryEventKind.REJECTED,
}
# Words that end all texts when they are the whole reply, in the form `_folded` gives them; the second set is what Chinese
# operators tell people to answer.
_STOP_WORDS = frozenset(
    ("stop", "stopall", "unsubscribe", "end", "quit", "cancel", "revoke", "optout", "opt out", "remove", "arret")
) | frozenset(("退订", "t", "td", "r", "n"))
# Under this name our own key stands in the callback address.
_KEY = "touchpoint"
_ERROR_CODE = re.compile(r"[0-9]{1,6}")
_MOST_FIELDS = 200
_DEFAULT_PORTS = {"https": 443, "http": 80}


def signature(token: str, url: str, form: Iterable[tuple[str, str]]) -> str:
    """What Twilio signs: the full address, then each form field's name and value, sorted, repeats once."""
    fields = "".join(name + value for name, value in sorted(set(form)))
    # SHA-1 is Twilio's choice; as an HMAC it is not broken.
    digest = hmac.new(token.encode(), (url + fields).encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode("ascii")


def is_signed(token: str, given: str, urls: Iterable[str], form: list[tuple[str, str]]) -> bool:
    """Whether the signature fits one of the addresses, with or without the scheme's own port."""
    spellings = {spelling for url in urls if url for spelling in _with_and_without_port(url)}
    return any(hmac.compare_digest(signature(token, url, form).encode(), given.encode()) for url in spellings)


def form_of(request: RawRequest) -> list[tuple[str, str]]:
    """The form fields as they came, empty ones included. Bytes that are no UTF-8 are replaced, so their signature fails.

    Raises: WebhookMalformed for more fields than Twilio has.
    """
    try:
        return parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise WebhookMalformed("This is no form of Twilio's.") from error


def events_of(form: Mapping[str, str], at: datetime, touchpoint_key: str = "") -> list[DeliveryEvent]:
    """One callback as events: what became of the message, and that its number has opted out where Twilio says so.

    Nothing comes of a reply that is no opt-out, and of what speaks of no message. Twilio tells no time, so `at` is that of receipt.
    """
    sid = form.get("MessageSid") or form.get("SmsSid", "")
    if not sid:
        return []
    status = form.get("MessageStatus") or form.get("SmsStatus", "")
    if "Body" in form and status in ("", "received"):
        return _reply(sid, form, at)
    code = int(form["ErrorCode"]) if _ERROR_CODE.fullmatch(form.get("ErrorCode", "")) else 0
    told = DeliveryEvent(
        provider_event_id=f"{sid}:{status}",
        provider_message_id=sid,
        kind=_KINDS.get(status, DeliveryEventKind.UNKNOWN),
        at=at,
        address=form.get("To", ""),
        reason=str(code) if code else "",
        permanent=code in DEAD_NUMBER,
        touchpoint_key=touchpoint_key,
        raw=dict(form),
    )
    if code != OPTED_OUT:
        return [told]
    return [told, replace(told, provider_event_id=f"{sid}:opted_out", kind=DeliveryEventKind.UNSUBSCRIBED)]


def with_key(callback: str, key: str) -> str:
    """The callback address with our own key, by which an answer is matched whose message id never reached us."""
    parts = urlsplit(callback)
    asked = f"{_KEY}={quote(key, safe=':')}"
    return urlunsplit(parts._replace(query=f"{parts.query}&{asked}" if parts.query else asked))


def key_in(url: str) -> str:
    """Our own key in the address that was called; empty without one."""
    return dict(parse_qsl(urlsplit(url).query)).get(_KEY, "")


def as_called(callback: str, called: str) -> str:
    """The callback address as Twilio called and signed it, with the query that came with the call."""
    return urlunsplit(urlsplit(callback)._replace(query=urlsplit(called).query)) if callback else ""


def _reply(sid: str, form: Mapping[str, str], at: datetime) -> list[DeliveryEvent]:
    """A text from a member: only an opt-out concerns us. It speaks of the number, not of one message."""
    if form.get("OptOutType") != "STOP" and _folded(form["Body"]) not in _STOP_WORDS:
        return []
    return [
        DeliveryEvent(
            provider_event_id=f"{sid}:stop",
            provider_message_id="",
            kind=DeliveryEventKind.UNSUBSCRIBED,
            at=at,
            address=form.get("From", ""),
            reason="reply",
            raw=dict(form),
        )
    ]


def _folded(text: str) -> str:
    words = "".join(character if character.isalnum() else " " for character in text.casefold())
    return " ".join(words.split())


def _with_and_without_port(url: str) -> list[str]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    if parts.port not in (None, _DEFAULT_PORTS.get(parts.scheme)):
        return [url]
    with_port = f"{host}:{_DEFAULT_PORTS.get(parts.scheme, 443)}"
    return [url, *(urlunsplit(parts._replace(netloc=netloc)) for netloc in (host, with_port))]
