"""A mail server that takes everything and keeps nothing, in a process of its own: `python -m benchmarks.mail_server` prints its port."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_HOST = "127.0.0.1"
_EHLO = b"250-bench.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 33554432\r\n250 ENHANCEDSTATUSCODES\r\n"
_REPLIES = {b"EHLO": _EHLO, b"HELO": b"250 Ok\r\n", b"DATA": b"354 Go on\r\n", b"QUIT": b"221 Bye\r\n"}


@contextmanager
def mail_server() -> Iterator[tuple[str, int]]:
    """Start the server, and end it with the block."""
    command = [sys.executable, "-m", "benchmarks.mail_server"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield _HOST, int(process.stdout.readline())
    finally:
        process.communicate()


async def _session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 bench.test\r\n")
    while line := await reader.readline():
        verb = line[:4].upper()
        writer.write(_REPLIES.get(verb, b"250 2.0.0 Ok\r\n"))
        if verb == b"QUIT":
            break
        if verb == b"DATA":
            await reader.readuntil(b"\r\n.\r\n")
            writer.write(b"250 2.0.0 Taken\r\n")
    writer.close()


async def _serve() -> None:
    server = await asyncio.start_server(_session, _HOST, 0, limit=2**20)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    async with server:
        await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())
