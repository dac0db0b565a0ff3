"""Reading from a socket that is given an end: an instant, and a number of bytes."""

from __future__ import annotations

import io
import time
from typing import Any


class Bounded(io.RawIOBase):
    """What comes out of a socket until `until`, an instant of the monotonic clock, and in no more than `most` bytes from now on.

    Both may be set anew. Raises: TimeoutError after that instant, OSError past so many bytes.
    """

    def __init__(self, raw: io.RawIOBase, sock: Any, until: float, most: float = float("inf")) -> None:
        super().__init__()
        self.until, self.most = until, most
        self._raw, self._sock = raw, sock
        self._pause = sock.gettimeout()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer took too long")
        if self.most <= 0:
            raise OSError("the answer is too large")
        self._sock.settimeout(left if self._pause is None else min(left, self._pause))
        count = self._raw.readinto(buffer)
        self.most -= count or 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
