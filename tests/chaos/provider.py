"""A provider that counts what it takes, and is slow, busy or gone by a script that its seed writes. It speaks SMTP and HTTP.

Over SMTP it takes whatever is handed over, as often as it is; over HTTP a message of the same key once.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from urllib.parse import unquote

HOST = "127.0.0.1"
# What is answered later than this comes too late for a client whose patience is shorter.
STALL_SECONDS = 6.0
PATIENCE_SECONDS = 3


class Fate(StrEnum):
    """What becomes of one message that is handed over."""

    TAKE = "taken"
    BUSY = "told to come again"
    LATER = "told to come again in a second"
    REFUSE = "refused for good"
    HANG_UP = "hung up on, not taken"
    VANISH = "taken, and hung up on without an answer"
    STALL = "taken, and answered too late"


USUAL: Mapping[Fate, float] = {
    Fate.TAKE: 0.965,
    Fate.BUSY: 0.012,
    Fate.LATER: 0.001,
    Fate.REFUSE: 0.01,
    Fate.HANG_UP: 0.005,
    Fate.VANISH: 0.005,
    Fate.STALL: 0.002,
}
_SMTP = {Fate.BUSY: b"451 4.3.0 Busy", Fate.LATER: b"451 4.7.1 Slower", Fate.REFUSE: b"550 5.1.1 No such user"}
_HTTP = {
    Fate.BUSY: b"503 Busy\r\nContent-Length: 0",
    Fate.LATER: b"429 Slower\r\nRetry-After: 1\r\nContent-Length: 0",
    Fate.REFUSE: b"400 No such user\r\nContent-Length: 0",
}
_GREETING = b"250-provider.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n"


class Provider:
    """Runs in a thread of its own between `start` and `stop`.

    `taken` counts what was delivered by recipient, `repeats` what was known by its key and not delivered again, `handled` every message
    that was handed over, whatever became of it.
    """

    def __init__(self, seed: int, *, seconds: float = 0.0, shares: Mapping[Fate, float] = USUAL) -> None:
        """`seconds` is what an answer takes on the average, and may change later; `shares` how often each fate comes."""
        self.taken: Counter[str] = Counter()
        self.repeats = 0
        self.handled = 0
        self.smtp_port = self.http_port = 0
        self._seed = seed
        self.seconds = seconds
        self._shares = shares
        self._known: set[str] = set()
        self._seen: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="provider", daemon=True)

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._leave(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> None:
        self._servers = [await asyncio.start_server(talk, HOST, 0, limit=2**20) for talk in (self._smtp, self._http)]
        self.smtp_port, self.http_port = (server.sockets[0].getsockname()[1] for server in self._servers)

    async def _leave(self) -> None:
        for server in self._servers:
            server.close()
        own = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not own]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _draw(self, address: str) -> tuple[Fate, float]:
        """The fate of this recipient's next message, and how many seconds it takes: the same for each seed, in whatever order they come."""
        self.handled += 1
        self._seen[address] += 1
        drawn = random.Random(f"{self._seed} {address} {self._seen[address]}")
        fate = drawn.choices(list(self._shares), list(self._shares.values()))[0]
        return fate, drawn.expovariate(1 / self.seconds) if self.seconds else 0.0

    async def _smtp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._mails(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # The client was killed, or the provider ends.
        finally:
            writer.close()

    async def _mails(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 provider.test\r\n")
        address = ""
        while line := await reader.readline():
            match line[:4].upper():
                case b"EHLO":
                    writer.write(_GREETING)
                case b"RCPT":
                    address = line.partition(b"<")[2].partition(b">")[0].decode()
                    writer.write(b"250 2.1.5 Ok\r\n")
                case b"DATA":
                    writer.write(b"354 Go on\r\n")
                    await reader.readuntil(b"\r\n.\r\n")
                    told = await self._deliver(address)
                    if told is None:
                        return
                    writer.write(_SMTP.get(told, b"250 2.0.0 Taken") + b"\r\n")
                case b"QUIT":
                    writer.write(b"221 Bye\r\n")
                    return
                case _:
                    writer.write(b"250 2.0.0 Ok\r\n")

    async def _http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            await reader.readexactly(int(headers["content-length"]))
            told = await self._deliver(unquote(head[0].split()[1][1:]), headers["idempotency-key"])
            if told is not None:
                answer = _HTTP.get(told, b"200 Taken\r\nContent-Length: 0")
                writer.write(b"HTTP/1.1 " + answer + b"\r\nConnection: close\r\n\r\n")
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _deliver(self, address: str, key: str = "") -> Fate | None:
        """What is answered; None for a connection that ends without a word. A message of a known `key` is not delivered again."""
        fate, seconds = self._draw(address)
        await asyncio.sleep(seconds)
        if key in self._known and fate is Fate.REFUSE:
            fate = Fate.TAKE
        if fate in (Fate.TAKE, Fate.VANISH, Fate.STALL):
            if key in self._known:
                self.repeats += 1
            else:
                self.taken[address] += 1
                self._known |= {key} - {""}
        if fate is Fate.STALL:
            await asyncio.sleep(STALL_SECONDS)
        return None if fate in (Fate.HANG_UP, Fate.VANISH) else fate
