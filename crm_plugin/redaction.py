"""What may be told of requests and answers: everything but keys, secrets, signatures and tokens."""

from __future__ import annotations

import logging
import re

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
    return _SECRETS.sub(lambda found: f"{found[found.lastindex or 0]}***", text)


class RedactingFormatter(logging.Formatter):
    """A log's line and what follows it, redacted: the trace of a failed request tells the address that was asked."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))
