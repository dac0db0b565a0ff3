"""The replies in what comes from a mail server, however it is cut into pieces."""

from __future__ import annotations

from collections.abc import Iterator

LONGEST_LINE = 8192


class OutOfStep(OSError):
    """What came is no answer to what the server was told."""


class Replies:
    """What has come and is no whole reply yet."""

    def __init__(self) -> None:
        self._rest = b""
        self._texts: list[bytes] = []

    def add(self, more: bytes) -> Iterator[tuple[int, str]]:
        """The replies that end in `more`, of one line or several: code and text. Raises: OutOfStep for what is none, once it comes up."""
        *lines, self._rest = (self._rest + more).split(b"\n")
        for line in lines:
            if len(line) > LONGEST_LINE or not line[:3].isdigit():
                raise OutOfStep("that is no reply")
            self._texts.append(line[4:].strip(b" \t\r"))
            if line[3:4] != b"-":
                text, self._texts = b"\n".join(self._texts), []
                yield int(line[:3]), text.decode("utf-8", "replace")
        if len(self._rest) > LONGEST_LINE:
            raise OutOfStep("that is no reply")
