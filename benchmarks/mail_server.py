"""A mail server that takes everything and keeps nothing, in a process of its own.

`python -m benchmarks.mail_server [SECONDS]` prints its port; each reply comes so many seconds after what it answers, and what was sent
together is answered together, as over a line that is long but not slow. A line of input is answered with how many mails it took since
the last one.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
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


class _Server:
    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.taken = 0


class _Session(asyncio.Protocol):
    def __init__(self, server: _Server) -> None:
        self._server = server
        self._buffer = bytearray()
        self._in_body = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._say(b"220 bench.test\r\n")

    def data_received(self, data: bytes) -> None:
        searched = max(len(self._buffer) - len(_END), 0)
        self._buffer += data
        replies = b""
        while (end := self._buffer.find(_END if self._in_body else b"\r\n", searched)) >= 0:
            searched = 0
            if self._in_body:
                self._server.taken += 1
                replies += b"250 2.0.0 Taken\r\n"
                self._in_body = False
                del self._buffer[: end + len(_END)]
                continue
            verb = bytes(self._buffer[:4]).upper()
            replies += _REPLIES.get(verb, b"250 2.0.0 Ok\r\n")
            self._in_body = verb == b"DATA"
            # A body may be empty: what ends its command is the first part of its end.
            del self._buffer[: end if self._in_body else end + 2]
        if replies:
            self._say(replies)

    def _say(self, replies: bytes) -> None:
        if self._server.delay:
            asyncio.get_running_loop().call_later(self._server.delay, self._write, replies)
        else:
            self._write(replies)

    def _write(self, replies: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(replies)
            if replies.endswith(_REPLIES[b"QUIT"]):
                self._transport.close()


async def _serve(delay: float) -> None:
    state = _Server(delay)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Session(state), _HOST, 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        while await loop.run_in_executor(None, sys.stdin.readline):
            print(state.taken, flush=True)
            state.taken = 0


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1])))
