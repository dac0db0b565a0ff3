"""SMTP as the standard library speaks it, with an end.

A time-out of a socket is one for each wait, and a reply may have lines without end.
"""

from __future__ import annotations

import io
import smtplib
import time
from typing import Any

from crm_plugin.bounded import Bounded

# Of all that a server says to one mail, or until it is ready for the first.
LARGEST_TALK = 256 * 1024


class Plain(smtplib.SMTP):
    """A session whose steps end within `whole` seconds from `begin`, each with so many bytes at most; opening it is the first."""

    def __init__(self, *args: Any, whole: float, **options: Any) -> None:
        self._whole = whole
        self._in: Bounded | None = None
        self.begin()
        super().__init__(*args, **options)

    def begin(self) -> None:
        """A step begins here."""
        self._until = time.monotonic() + self._whole
        if self._in is not None:
            self._in.until, self._in.most = self._until, LARGEST_TALK

    def send(self, s: Any) -> None:
        """Write. Raises: OSError, also when the step has taken too long."""
        if self.sock is not None:
            left = self._until - time.monotonic()
            if left <= 0:
                raise TimeoutError("the server took too long")
            self.sock.settimeout(min(left, self.timeout))
        super().send(s)

    def getreply(self) -> tuple[int, bytes]:
        """Read one reply. Raises: smtplib.SMTPException, which is an OSError."""
        if self.file is None and self.sock is not None:
            # A fresh connection, or one that has just been encrypted.
            self.sock.settimeout(self.timeout)
            self._in = Bounded(self.sock.makefile("rb").detach(), self.sock, self._until, LARGEST_TALK)
            # A byte at a time: what comes after the opening is for who reads then.
            self.file = io.BufferedReader(self._in, 1)
        return super().getreply()


class Tls(Plain, smtplib.SMTP_SSL):
    """The same, encrypted from the first byte."""
