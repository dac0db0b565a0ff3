"""What stands in a mail: text and HTML as they are where mail servers change nothing in them, else as quoted-printable or base64.

Of what the mails of a template have in common, that is found out once.
"""

from __future__ import annotations

from binascii import b2a_base64, b2a_qp
from functools import lru_cache

from crm_plugin.records import Message
from crm_plugin.woven import Woven

# "=_" occurs neither in quoted-printable nor in base64, and no line that goes as it is begins as a boundary does.
_BOUNDARY = "=_crm-plugin-alternative"
# What a body may hold that goes as it is.
_PLAIN = bytes((9, 10, *range(32, 127)))
_BLANKS = (b" ", b"\t")
# What a line does not begin with that is only a line: it would be taken for the end of a part, or for that of a mail among many (mbox).
_TAKEN_OTHERWISE = (b"--=_", b"From ")
_LINE = 76
_LINE_LIMIT = 998


def encoded(message: Message) -> tuple[bytes, ...]:
    """The headers that tell of the body, and the body: text, HTML, or both."""
    if not message.html:
        return _part(_PLAIN_TEXT, message.text)
    if not message.text:
        return _part(_HTML, message.html)
    return (*_OPEN, *_part(_PLAIN_TEXT, message.text), _NEXT, *_part(_HTML, message.html), _END)


_OPEN = (
    f'Content-Type: multipart/alternative; boundary="{_BOUNDARY}"\r\n\r\n'.encode(),
    f"--{_BOUNDARY}\r\n".encode(),
)
# The line break before a boundary belongs to it, not to the part (RFC 2046, 5.1.1): without one of its own the text would lose its last.
_NEXT = f"\r\n--{_BOUNDARY}\r\n".encode()
_END = f"\r\n--{_BOUNDARY}--\r\n".encode()
_PLAIN_TEXT, _HTML = (f"Content-Type: text/{kind}; charset=utf-8\r\n".encode() for kind in ("plain", "html"))
_AS_IT_IS = b"Content-Transfer-Encoding: 7bit\r\n\r\n"
_QUOTED_PRINTABLE = b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
_BASE64 = b"Content-Transfer-Encoding: base64\r\n\r\n"


def _part(kind: bytes, text: str) -> tuple[bytes, ...]:
    """Header and encoded body of one part, ending with a line break."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if (plain := _plain(text)) is not None:
        return kind, _AS_IT_IS, *plain
    text = _ended(text)
    data = text.encode("utf-8", "replace")
    # Quoted-printable triples each byte outside ASCII, base64 adds a third to all. The bytes that UTF-8 adds to the characters
    # are one half to two thirds of those outside ASCII, and cost no second look at the text.
    if (len(data) - len(text)) * 10 > len(data):
        return kind, _BASE64, _base64_lines(data.replace(b"\n", b"\r\n"))
    return kind, _QUOTED_PRINTABLE, *map(_quoted_line, data.splitlines(keepends=True))


def _ended(lines: str) -> str:
    return lines if lines[-1:] in ("", "\n") else f"{lines}\n"


def _plain(text: str) -> list[bytes] | None:
    """The text as it is, block by block; None where it cannot go like that."""
    if not text.isascii():
        return None
    blocks = text.blocks if isinstance(text, Woven) else (text,)
    found = [_kept_as_it_is(one) if place % 2 else _as_it_is(one) for place, one in enumerate(blocks)]
    plain = [one for one in found if one is not None]
    return plain if len(plain) == len(found) else None


def _as_it_is(lines: str) -> bytes | None:
    """Their bytes, if no mail server has anything to change in them: plain letters, no blanks at an end, no boundary, no mbox' From."""
    if not lines:
        return b""
    data = _ended(lines).encode("ascii")
    if data.translate(None, _PLAIN):
        return None
    told = data.split(b"\n")
    for line in told:
        if len(line) > _LINE_LIMIT or line[-1:] in _BLANKS or line.startswith(_TAKEN_OTHERWISE):
            return None
    return b"\r\n".join(told)


# What mails have in common is the same text in each of them.
_kept_as_it_is = lru_cache(maxsize=512)(_as_it_is)


def _quoted_line(line: bytes) -> bytes:
    return _kept_quoted(line) if len(line) <= _LINE_LIMIT else _quoted(line)


def _quoted(line: bytes) -> bytes:
    return b2a_qp(line, istext=True).replace(b"\n", b"\r\n")


# The mails of one template have nearly all lines in common: how one is quoted is kept.
_kept_quoted = lru_cache(maxsize=2048)(_quoted)


def forget() -> None:
    """Keep nothing of the mails that were made: some of their lines are about one reader, who may be erased."""
    _kept_as_it_is.cache_clear()
    _kept_quoted.cache_clear()


def _base64_lines(data: bytes) -> bytes:
    whole = b2a_base64(data, newline=False)
    lines = [whole[start : start + _LINE] for start in range(0, len(whole), _LINE)]
    lines.append(b"")
    return b"\r\n".join(lines)
