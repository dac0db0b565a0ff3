"""What may be told of requests and answers: everything but keys, secrets, signatures and tokens; and in a log nobody's address."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime

_EXCERPT = 300
# One of these stands before every secret: a text without them, as nearly every answer is, need not be searched for more.
_WORDS = ("secret", "token", "passw", "signature", "nonce", "consumer_key", "api", "authorization", "basic", "bearer")
_SIGNS = (*_WORDS, "://", "ck_", "cs_")
# What stands before a secret is kept, as group 1.
_SECRETS = re.compile(
    r"""(?ix)
    ( \b [\w-]* (?: secret | token | password | passwd | signature | nonce | consumer_key | api[_-]?key | authorization )
      ["']? \s* [=:] \s* )
      (?: " (?: [^"\\] | \\. )* (?: " | \Z ) | ' (?: [^'\\] | \\. )* (?: ' | \Z ) | (?: (?: basic | bearer ) \s+ )? [^\s&"',]+ )
    | ( \b (?: basic | bearer ) \s+ ) (?= \S* [\d.=_+/-] ) [\w+/=.~-]{4,}
    | ( :// [^\s/:@]* : ) [^\s/@]+ (?= @ )
    | ( \b (?: ck | cs )_ ) [0-9a-z]{8,}
    """
)


def redact(text: str) -> str:
    """The text without keys, secrets, signatures and tokens."""
    # Outside ASCII, more letters than these are taken for them.
    if text.isascii() and not any(map(text.lower().__contains__, _SIGNS)):
        return text
    return _SECRETS.sub(lambda found: f"{found[found.lastindex or 0]}***", text)


def excerpt(body: bytes | str) -> str:
    """The first words of an answer, redacted and on one line without control characters, for messages and logs."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    words = " ".join(text[: _EXCERPT * 4].split())
    if not words.isprintable():
        words = "".join(letter for letter in words if letter.isprintable())
    return redact(words)[:_EXCERPT]


_ADDRESSES = re.compile(r"[^\s<>\"'(),;:=]+@[^\s<>\"'(),;:]+\.\w+|\+\d[\d ()-]{6,}\d")


def unaddressed(text: str) -> str:
    """The text without e-mail addresses and telephone numbers."""
    return _ADDRESSES.sub("***", text)


class RedactingFormatter(logging.Formatter):
    """A log's line and what follows it, redacted: the trace of a failed request tells the address that was asked."""

    def format(self, record: logging.LogRecord) -> str:
        return unaddressed(redact(super().format(record)))


class JsonFormatter(logging.Formatter):
    """One JSON object a line for whoever gathers logs: when, how grave, from where, what, and which shop, job or touchpoint it is about."""

    ABOUT = ("shop", "job", "touchpoint", "state", "reason", "adapter")

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": unaddressed(redact(record.getMessage())),
        }
        told |= {name: getattr(record, name) for name in self.ABOUT if hasattr(record, name)}
        if record.exc_info:
            told["error"] = unaddressed(redact(self.formatException(record.exc_info)))
        return json.dumps(told, ensure_ascii=False, default=str)
