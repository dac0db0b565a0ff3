"""A mail server that keeps what it is given and delivers nothing: for the demo, and for tests that want some recipients refused."""

from __future__ import annotations

import re
import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from crm_plugin.demo.loopback import HOST, LoopbackServer, running

_LARGEST = 32 * 2**20
_LONGEST_LINE = 4096
_PATH = re.compile(r"(?:FROM|TO):\s*<([^<>\r\n]*)>", re.IGNORECASE)
_EXTENSIONS = ("PIPELINING", f"SIZE {_LARGEST}", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")
NO_SUCH_USER = "550 5.1.1 No such user here"


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail with its envelope; `data` is as it was before SMTP doubled its leading dots, lines ending in CRLF."""

    sender: str
    recipients: tuple[str, ...]
    data: bytes


@dataclass(slots=True)
class MailSink:
    """A running sink. `refusals` maps a recipient (lower case; "*" is everybody) to the reply it gets; it may change while it runs."""

    host: str
    port: int
    messages: list[Mail] = field(default_factory=list)
    refusals: dict[str, str] = field(default_factory=dict)
    connections: int = 0

    def refuse(self, address: str, reply: str = NO_SUCH_USER) -> None:
        """From now on refuse this recipient, or all with "*"."""
        self.refusals[address.lower()] = reply


@contextmanager
def serve(port: int = 0, *, refusals: Mapping[str, str] | None = None) -> Iterator[MailSink]:
    """Take mail until the end of the block; plain SMTP without login, on the loopback address only."""
    server = _Server(port)
    for address, reply in (refusals or {}).items():
        server.sink.refuse(address, reply)
    with running(server):
        yield server.sink


class _Server(LoopbackServer):
    def __init__(self, port: int) -> None:
        super().__init__(port, _Session)
        self.sink = MailSink(HOST, self.port)
        self.lock = threading.Lock()


class _Session(socketserver.StreamRequestHandler):
    """One connection: commands in, replies out, one mail at a time."""

    server: _Server
    disable_nagle_algorithm = True
    _sender: str | None
    _recipients: list[str]

    def setup(self) -> None:
        super().setup()
        self._forget()
        with self.server.lock:
            self.server.sink.connections += 1

    def handle(self) -> None:
        """Answer line by line until the other side leaves."""
        self._say("220 demo.test takes mail and keeps it")
        while line := self.rfile.readline(_LONGEST_LINE):
            if not line.endswith(b"\n"):
                self._say("500 5.5.2 Line too long")
                return
            verb, _, rest = line.decode("utf-8", "replace").strip().partition(" ")
            if not self._obey(verb.upper(), rest):
                return

    def _obey(self, verb: str, rest: str) -> bool:
        """Carry out one command; False when the connection ends."""
        match verb:
            case "EHLO":
                self._forget()
                self._say("250-demo.test", *(f"250-{name}" for name in _EXTENSIONS[:-1]), f"250 {_EXTENSIONS[-1]}")
            case "HELO" | "RSET":
                self._forget()
                self._say("250 2.0.0 Ok")
            case "MAIL":
                self._mail(rest)
            case "RCPT":
                self._recipient(rest)
            case "DATA":
                return self._data()
            case "NOOP":
                self._say("250 2.0.0 Ok")
            case "QUIT":
                self._say("221 2.0.0 Bye")
                return False
            case _:
                self._say("502 5.5.1 Not known here")
        return True

    def _mail(self, rest: str) -> None:
        found = _PATH.match(rest)
        if found is None:
            self._say("501 5.5.4 Like MAIL FROM:<address>")
            return
        self._sender = found[1]
        self._recipients = []
        self._say("250 2.1.0 Ok")

    def _recipient(self, rest: str) -> None:
        found = _PATH.match(rest)
        refusals = self.server.sink.refusals
        if self._sender is None:
            self._say("503 5.5.1 MAIL first")
        elif found is None or not found[1]:
            self._say("501 5.5.4 Like RCPT TO:<address>")
        elif refusal := refusals.get(found[1].lower()) or refusals.get("*"):
            self._say(refusal)
        else:
            self._recipients.append(found[1])
            self._say("250 2.1.5 Ok")

    def _data(self) -> bool:
        """Take the body; False when it broke off or was too large to go on."""
        if self._sender is None or not self._recipients:
            self._say("554 5.5.1 No valid recipients")
            return True
        self._say("354 End with a dot on a line of its own")
        lines, size = [], 0
        while (line := self.rfile.readline(_LARGEST + 1)) != b".\r\n":
            size += len(line)
            if not line:
                return False
            if size > _LARGEST:
                self._say("552 5.3.4 Too large")
                return False
            lines.append(line[1:] if line.startswith(b".") else line)
        mail = Mail(self._sender, tuple(self._recipients), b"".join(lines))
        with self.server.lock:
            self.server.sink.messages.append(mail)
            number = len(self.server.sink.messages)
        self._forget()
        self._say(f"250 2.0.0 Kept as {number}")
        return True

    def _forget(self) -> None:
        self._sender = None
        self._recipients = []

    def _say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())
