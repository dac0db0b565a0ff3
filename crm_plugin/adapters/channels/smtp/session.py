"""SMTP as the standard library speaks it, with an end.

A time-out of a socket is one for each wait, and a reply may have lines without end.
"""

from __future__ import annotations

import io
import smtplib
import socket
import ssl
import time
from typing import Any

from crm_plugin.bounded import Bounded

# Of all that a server says to one mail, or until it is ready for the first.
LARGEST_TALK = 256 * 1024


class _Lines(io.RawIOBase):
    """What comes out of a socket, never beyond the end of a line."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        super().__init__()
        self._raw, self._sock = raw, sock

    def readinto(self, buffer: Any) -> int | None:
        there = self._sock.recv(len(buffer), socket.MSG_PEEK)
        return self._raw.readinto(memoryview(buffer)[: there.find(b"\n") + 1 or len(there)])

    def close(self) -> None:
        self._raw.close()
        super().close()


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
            is_encrypted = isinstance(self.sock, ssl.SSLSocket)
            whole = self.sock.makefile("rb").detach()
            raw = whole if is_encrypted else _Lines(whole, self.sock)
            self._in = Bounded(raw, self.sock, self._until, LARGEST_TALK)
            # What comes after the opening is for who reads then: a line at a time, or where nothing can be looked at before, a byte.
            self.file = io.BufferedReader(self._in, 1 if is_encrypted else io.DEFAULT_BUFFER_SIZE)
        return super().getreply()


class Tls(Plain, smtplib.SMTP_SSL):
    """The same, encrypted from the first byte."""
