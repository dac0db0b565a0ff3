"""Mail as bytes, from a skeleton prepared once per sender; the standard library's message classes cost 30 times as much.

Everything is 7-bit ASCII with CRLF line ends: bodies go as they are where they are plain, else as quoted-printable, or as
base64 where that is shorter, headers as RFC 2047 encoded words where they are not plain. A line break in anything that becomes a header is
refused, never dropped.
"""

from __future__ import annotations

import re
from binascii import b2a_base64, b2a_qp
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from hashlib import sha256

from crm_plugin.clock import require_aware
from crm_plugin.errors import PermanentError, RecipientRefused
from crm_plugin.phrases import phrase
from crm_plugin.records import Message

# "=_" occurs neither in quoted-printable nor in base64, so what is encoded cannot hold this boundary.
_BOUNDARY = "=_crm-plugin-alternative"
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
# What a body may hold that goes as it is.
_PLAIN = bytes((9, 10, *range(32, 127)))
_BLANKS = (b" ", b"\t")
_LINE = 76
_LINE_LIMIT = 998


@dataclass(frozen=True, slots=True)
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
            f"Date: {_date(date.replace(microsecond=0))}",
            f"Message-ID: {own_id}",
        ]
        if message.unsubscribe_url:
            lines.append(f"List-Unsubscribe: <{_url(message.unsubscribe_url)}>")
            lines.append("List-Unsubscribe-Post: List-Unsubscribe=One-Click")
        if not message.marketing:
            lines.append("Auto-Submitted: auto-generated")
        lines.extend(_extra_header(name, value) for name, value in message.headers.items())
        head = "\r\n".join(lines).encode("ascii")
        return Mail(self.sender, recipient, own_id, b"".join((self.head, head, b"\r\n", *_body(message))))


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
    if not _URL.fullmatch(value) or len(value) > _LINE_LIMIT - 24:
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
def _date(second: datetime) -> str:
    return format_datetime(require_aware(second))


def _body(message: Message) -> tuple[bytes, ...]:
    if not message.html:
        return _part(b"plain", message.text)
    if not message.text:
        return _part(b"html", message.html)
    return (*_OPEN, *_part(b"plain", message.text), _NEXT, *_part(b"html", message.html), _END)


_OPEN = (
    f'Content-Type: multipart/alternative; boundary="{_BOUNDARY}"\r\n\r\n'.encode(),
    f"--{_BOUNDARY}\r\n".encode(),
)
# The line break before a boundary belongs to it, not to the part (RFC 2046, 5.1.1): without one of its own the text would lose its last.
_NEXT = f"\r\n--{_BOUNDARY}\r\n".encode()
_END = f"\r\n--{_BOUNDARY}--\r\n".encode()
_AS_IT_IS = b"Content-Transfer-Encoding: 7bit\r\n\r\n"
_QUOTED_PRINTABLE = b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
_BASE64 = b"Content-Transfer-Encoding: base64\r\n\r\n"


def _part(subtype: bytes, text: str) -> tuple[bytes, ...]:
    """Header and encoded body of one part, ending with a line break."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.endswith("\n"):
        text += "\n"
    data = text.encode("utf-8", "replace")
    lines = data.splitlines(keepends=True)
    fits = max(map(len, lines)) <= _LINE_LIMIT + 1
    kind = b"Content-Type: text/" + subtype + b"; charset=utf-8\r\n"
    # Where the bytes are more than the letters, some are outside ASCII.
    if fits and len(data) == len(text) and all(map(_goes_as_it_is, lines)):
        return kind, _AS_IT_IS, data.replace(b"\n", b"\r\n")
    # Quoted-printable triples each byte outside ASCII, base64 adds a third to all. The bytes that UTF-8 adds to the characters
    # are one half to two thirds of those outside ASCII, and cost no second look at the text.
    if (len(data) - len(text)) * 10 > len(data):
        return kind, _BASE64, _base64_lines(data.replace(b"\n", b"\r\n"))
    return kind, _QUOTED_PRINTABLE, b"".join(map(_quoted_line, lines)) if fits else _quoted(data)


# The mails of one template have nearly all lines in common: what is found out about one is kept. A line ends with its line feed here.
@lru_cache(maxsize=2048)
def _goes_as_it_is(line: bytes) -> bool:
    """Whether no mail server has anything to change in it: plain letters, no blanks at its end, no boundary, no mbox' From."""
    return (
        not line.translate(None, _PLAIN) and line[-2:-1] not in _BLANKS and b"=_" not in line and line[:5] != b"From "
    )


@lru_cache(maxsize=2048)
def _quoted_line(line: bytes) -> bytes:
    return _quoted(line)


def forget() -> None:
    """Keep nothing of the mails that were made: some of their lines are about one reader, who may be erased."""
    _goes_as_it_is.cache_clear()
    _quoted_line.cache_clear()


def _quoted(lines: bytes) -> bytes:
    return b2a_qp(lines, istext=True).replace(b"\n", b"\r\n")


def _base64_lines(data: bytes) -> bytes:
    encoded = b2a_base64(data, newline=False)
    lines = [encoded[start : start + _LINE] for start in range(0, len(encoded), _LINE)]
    lines.append(b"")
    return b"\r\n".join(lines)
