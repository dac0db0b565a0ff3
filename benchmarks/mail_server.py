"""A mail server that takes everything and keeps nothing, in a process of its own.

`python -m benchmarks.mail_server [SECONDS]` prints its port; each reply comes so many seconds after what it answers, and what was sent
together is answered together, as over a line that is long but not slow. A line of input is answered with how many mails it took since
the last one.
"""

from __future__ import annotations

import selectors
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_HOST = "127.0.0.1"
_EHLO = b"250-bench.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 33554432\r\n250 ENHANCEDSTATUSCODES\r\n"
_REPLIES = {b"EHLO": _EHLO, b"HELO": b"250 Ok\r\n", b"DATA": b"354 Go on\r\n", b"QUIT": b"221 Bye\r\n"}
_END = b"\r\n.\r\n"


@dataclass(frozen=True, slots=True)
class Sink:
    """A running mail server."""

    host: str
    port: int
    process: subprocess.Popen[str]

    def taken(self) -> int:
        """How many mails it took since this was asked last."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@contextmanager
def mail_server(delay: float = 0.0) -> Iterator[Sink]:
    """Start the server, and end it with the block; `delay` is in seconds a reply."""
    command = [sys.executable, "-m", "benchmarks.mail_server", str(delay)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Sink(_HOST, int(process.stdout.readline()), process)
    finally:
        process.communicate()


class _Session:
    """One connection: what was heard of it and not answered yet."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._buffer = bytearray()
        self._in_body = False

    def answers(self, data: bytes) -> tuple[bytes, int]:
        """The replies to what came together, and how many mails were in it."""
        searched = max(len(self._buffer) - len(_END), 0)
        self._buffer += data
        replies, taken = b"", 0
        while (end := self._buffer.find(_END if self._in_body else b"\r\n", searched)) >= 0:
            searched = 0
            if self._in_body:
                taken += 1
                replies += b"250 2.0.0 Taken\r\n"
                self._in_body = False
                del self._buffer[: end + len(_END)]
                continue
            verb = bytes(self._buffer[:4]).upper()
            replies += _REPLIES.get(verb, b"250 2.0.0 Ok\r\n")
            self._in_body = verb == b"DATA"
            # A body may be empty: what ends its command is the first part of its end.
            del self._buffer[: end if self._in_body else end + 2]
        return replies, taken


class _Server:
    """Hears all connections in one loop of its own: asyncio's takes a sixth more of the cores that those who are measured need too."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._taken = 0
        self._selector = selectors.DefaultSelector()
        # When to say what, in order: all wait for as long.
        self._later: deque[tuple[float, _Session, bytes]] = deque()
        self._listening = socket.create_server((_HOST, 0), backlog=256)
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._selector.register(sys.stdin, selectors.EVENT_READ)

    def serve(self) -> None:
        """Until standard input ends."""
        print(self._listening.getsockname()[1], flush=True)
        while True:
            wait = max(self._later[0][0] - time.monotonic(), 0) if self._later else None
            for key, _ in self._selector.select(wait):
                if key.fileobj is self._listening:
                    self._greet(self._listening.accept()[0])
                elif key.data is not None:
                    self._hear(key.data)
                elif not sys.stdin.readline():
                    return
                else:
                    print(self._taken, flush=True)
                    self._taken = 0
            while self._later and self._later[0][0] <= time.monotonic():
                self._write(*self._later.popleft()[1:])

    def _greet(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session = _Session(connection)
        self._selector.register(connection, selectors.EVENT_READ, session)
        self._say(session, b"220 bench.test\r\n")

    def _hear(self, session: _Session) -> None:
        try:
            data = session.connection.recv(1 << 18)
        except OSError:
            data = b""
        if not data:
            self._end(session)
            return
        replies, taken = session.answers(data)
        self._taken += taken
        if replies:
            self._say(session, replies)

    def _say(self, session: _Session, replies: bytes) -> None:
        if self._delay:
            self._later.append((time.monotonic() + self._delay, session, replies))
        else:
            self._write(session, replies)

    def _write(self, session: _Session, replies: bytes) -> None:
        try:
            session.connection.sendall(replies)
        except OSError:
            # Nobody hears it any more, which the next reading tells.
            return
        if replies.endswith(_REPLIES[b"QUIT"]):
            self._end(session)

    def _end(self, session: _Session) -> None:
        if session.connection.fileno() >= 0:
            self._selector.unregister(session.connection)
            session.connection.close()


if __name__ == "__main__":
    _Server(float(sys.argv[1])).serve()
