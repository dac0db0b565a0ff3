"""Mail as bytes, from a skeleton prepared once per sender; the standard library's message classes cost 30 times as much.

Everything is 7-bit ASCII with CRLF line ends: bodies as `bodies.py` says, headers as RFC 2047 encoded words where they are not plain. A
line break in anything that becomes a header is refused, never dropped.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from dataclasses import dataclass
from datetime import datetime, tzinfo
from email.utils import format_datetime
from functools import lru_cache
from hashlib import sha256

from crm_plugin.adapters.channels.bodies import encoded
from crm_plugin.clock import require_aware
from crm_plugin.errors import PermanentError, RecipientRefused
from crm_plugin.phrases import phrase
from crm_plugin.records import Message

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PLAIN_WORDS = re.compile(r"[ -~]*")
_ATOM_WORDS = re.compile(r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~ ]+")
_ADDRESS = re.compile(r"[^\s<>()\[\]\\,;:\"@\x00-\x1f\x7f]+@[^\s<>()\[\]\\,;:\"@\x00-\x1f\x7f]+")
_HEADER_NAME = re.compile(r"[!-9;-~]+")
_URL = re.compile(r"https?://[!-;=?-~]+")
# What the skeleton itself writes, and what would change who gets the mail or how its body is read.
_OWN_HEADERS = frozenset(
    ("from", "to", "cc", "bcc", "sender", "reply-to", "subject", "date", "message-id", "mime-version")
) | frozenset(("return-path", "received", "list-unsubscribe", "list-unsubscribe-post"))
_LINE = 76
# With the header's name it stands in one line (RFC 5322, 2.1.1).
_LONGEST_URL = 974


@dataclass(slots=True)
class Mail:
    """A mail ready for the wire: envelope addresses, our Message-ID with its angle brackets, the bytes."""

    sender: str
    recipient: str
    message_id: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Skeleton:
    """What all mails of one sender have in common, already encoded."""

    sender: str
    domain: str
    head: bytes

    def build(self, message: Message, *, date: datetime) -> Mail:
        """The mail of one message.

        Args: date: aware; becomes the Date header. A retry of the same touchpoint has the same Message-ID whatever the date.
        Raises: PermanentError for a header that holds a line break or is ours; RecipientRefused for an address that is none.
        """
        recipient = _recipient(message.to)
        own_id = message_id(message.touchpoint_key, self.domain)
        lines = [
            _address_header("To", recipient, message.to_name),
            _text_header("Subject", message.subject),
            f"Date: {_date(int(date.timestamp()), date.tzinfo)}",
            f"Message-ID: {own_id}",
        ]
        if message.unsubscribe_url:
            lines.append(f"List-Unsubscribe: <{_url(message.unsubscribe_url)}>")
            lines.append("List-Unsubscribe-Post: List-Unsubscribe=One-Click")
        if not message.marketing:
            lines.append("Auto-Submitted: auto-generated")
        lines.extend(_extra_header(name, value) for name, value in message.headers.items())
        head = "\r\n".join(lines).encode("ascii")
        return Mail(self.sender, recipient, own_id, b"".join((self.head, head, b"\r\n", *encoded(message))))


@lru_cache(maxsize=256)
def skeleton(sender: str, sender_name: str = "", reply_to: str = "") -> Skeleton:
    """The skeleton of that sender. Raises: PermanentError when an address or the name cannot stand in a header."""
    sender = _own_address("sender", sender)
    lines = [_address_header("From", sender, sender_name)]
    if reply_to:
        lines.append(_address_header("Reply-To", _own_address("reply-to", reply_to), ""))
    lines.append("MIME-Version: 1.0")
    head = "".join(f"{line}\r\n" for line in lines).encode("ascii")
    return Skeleton(sender, sender.rpartition("@")[2], head)


def message_id(touchpoint_key: str, domain: str) -> str:
    """The Message-ID of a touchpoint, the same at every try: it tells a repeat apart from a second message."""
    digest = sha256(f"{touchpoint_key}\n{domain.lower()}".encode()).hexdigest()[:32]
    return f"<{digest}@{domain}>"


def ascii_address(address: str) -> str:
    """The address with its domain in ASCII form (IDNA). Raises: ValueError when it is no address a mail server can be told."""
    if not _ADDRESS.fullmatch(address) or len(address) > 254:
        raise ValueError(phrase("not an e-mail address"))
    if address.isascii():
        return address
    local, _, domain = address.rpartition("@")
    if not local.isascii():
        raise ValueError(phrase("letters outside ASCII before the @"))
    return f"{local}@{domain.encode('idna').decode('ascii')}"


def _recipient(address: str) -> str:
    try:
        return ascii_address(address)
    except ValueError as error:
        raise RecipientRefused(
            phrase("The address cannot be written to: %(why)s.", why=error),
            operation="build",
            hint=phrase("Correct it in the store."),
        ) from error


def _own_address(what: str, address: str) -> str:
    try:
        return ascii_address(address)
    except ValueError as error:
        raise PermanentError(
            phrase("The %(what)s address cannot be used: %(why)s.", what=what, why=error),
            operation="build",
            hint=phrase("Correct it in the connection."),
        ) from error


def _refuse_breaks(what: str, value: str) -> None:
    if _CONTROL.search(value):
        raise PermanentError(
            phrase("The %(what)s holds a line break or control character.", what=what),
            code="header_injection",
            operation="build",
            hint=phrase("Take it out of the template or of the member's data."),
        )


def _url(value: str) -> str:
    if not _URL.fullmatch(value) or len(value) > _LONGEST_URL:
        raise PermanentError(phrase("The unsubscribe link is no address a header can hold."), operation="build")
    return value


def _extra_header(name: str, value: str) -> str:
    _refuse_breaks("header's name", name)
    lowered = name.lower()
    if not _HEADER_NAME.fullmatch(name) or lowered in _OWN_HEADERS or lowered.startswith("content-"):
        raise PermanentError(phrase("The header %(name)r cannot be set from outside.", name=name), operation="build")
    return _text_header(name, value)


def _text_header(name: str, value: str) -> str:
    """An unstructured header, folded."""
    _refuse_breaks(name.lower(), value)
    if len(name) + 2 + len(value) <= _LINE and _PLAIN_WORDS.fullmatch(value) and "=?" not in value:
        return f"{name}: {value}"
    words = _PLAIN_WORDS.fullmatch(value) and "=?" not in value and _fold(name, value)
    return words or f"{name}: {_encoded_words(value, len(name) + 2)}"


def _fold(name: str, value: str) -> str:
    """A plain value broken before its spaces; empty when a word is too long, or blanks stand where folding would lose them."""
    words = value.split(" ")
    if "" in words or max(map(len, words)) >= _LINE - len(name) - 2:
        return ""
    line = f"{name}: {words[0]}"
    lines = []
    for word in words[1:]:
        if len(line) + 1 + len(word) > _LINE:
            lines.append(line)
            line = ""
        line = f"{line} {word}"
    return "\r\n".join((*lines, line))


def _address_header(name: str, address: str, display: str) -> str:
    """One address with its display name: as atoms, a quoted string, or encoded words."""
    display = display.strip()
    if not display:
        return f"{name}: {address}"
    _refuse_breaks(f"name in {name}", display)
    if "=?" in display or not display.isascii() or len(display) > _LINE - len(name) - 4:
        shown = _encoded_words(display, len(name) + 2)
    elif _ATOM_WORDS.fullmatch(display):
        shown = display
    else:
        escaped = display.replace("\\", "\\\\").replace('"', '\\"')
        shown = f'"{escaped}"'
    last_line = len(shown) - shown.rfind("\n") - 1 if "\n" in shown else len(name) + 2 + len(shown)
    gap = " " if last_line + 3 + len(address) <= _LINE else "\r\n "
    return f"{name}: {shown}{gap}<{address}>"


def _encoded_words(value: str, used: int) -> str:
    """The value as base64 encoded words of whole characters, one a line; `used` columns of the first line are taken."""
    words: list[str] = []
    room = (_LINE - used - 12) // 4 * 3
    chunk = bytearray()
    for character in value:
        encoded = character.encode("utf-8", "replace")
        if len(chunk) + len(encoded) > room:
            words.append(_encoded_word(bytes(chunk)))
            chunk.clear()
            room = 45
        chunk += encoded
    words.append(_encoded_word(bytes(chunk)))
    return "\r\n ".join(words)


def _encoded_word(data: bytes) -> str:
    return f"=?utf-8?b?{b2a_base64(data, newline=False).decode('ascii')}?="


@lru_cache(maxsize=64)
def _date(second: int, zone: tzinfo | None) -> str:
    return format_datetime(require_aware(datetime.fromtimestamp(second, zone)))
