"""A small SMTP server in threads whose every reply can be set: what refuses, hangs up or stays silent is one dict entry."""

from __future__ import annotations

import base64
import socketserver
import ssl
import threading
from dataclasses import dataclass, field
from typing import Any

HANG_UP = "hang up"
SILENCE = "silence"
# A reply that goes on, line by line or letter by letter.
ENDLESS = "endless"
DRIPS = "drips"


@dataclass
class Received:
    """One mail as it came over the wire, dots unstuffed."""

    sender: str
    recipient: str
    data: bytes


@dataclass
class Script:
    """How the server behaves and what it has seen.

    `replies` maps a place (GREETING, a verb, BODY for the end of the data) to a reply, HANG_UP, SILENCE, ENDLESS or DRIPS; `once` does
    the same for the next time only. `written` counts the bytes of replies that go on. Recipients named in `refused` get that reply.
    """

    extensions: tuple[str, ...] = ("PIPELINING", "SIZE 1000000", "8BITMIME")
    replies: dict[str, str] = field(default_factory=dict)
    once: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    login: tuple[str, str] | None = None
    tls: ssl.SSLContext | None = None
    tls_at_once: bool = False
    mails: list[Received] = field(default_factory=list)
    verbs: list[str] = field(default_factory=list)
    connections: int = 0
    written: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class _HangUp(Exception):
    pass


class _Handler(socketserver.StreamRequestHandler):
    server: SmtpServer
    disable_nagle_algorithm = True

    def setup(self) -> None:
        self.script = self.server.script
        with self.script.lock:
            self.script.connections += 1
        if self.script.tls_at_once:
            self._encrypt()
        super().setup()

    def _encrypt(self) -> None:
        assert self.script.tls is not None
        self.request = self.script.tls.wrap_socket(self.request, server_side=True)

    def handle(self) -> None:
        try:
            self._say("GREETING", "220 mail.test ESMTP")
            while line := self.rfile.readline():
                self._command(line.decode("ascii").rstrip("\r\n"))
        except (_HangUp, OSError):
            return

    def finish(self) -> None:
        super().finish()
        if isinstance(self.request, ssl.SSLSocket):
            self.request.close()

    def _say(self, place: str, usual: str) -> bool:
        """Answer; whether it was the usual answer."""
        reply = self._chosen(place, usual)
        self._write(reply)
        return reply == usual

    def _chosen(self, place: str, usual: str) -> str:
        with self.script.lock:
            return self.script.once.pop(place, None) or self.script.replies.get(place, usual)

    def _write(self, reply: str) -> None:
        if reply == HANG_UP:
            raise _HangUp
        if reply == SILENCE:
            self.server.over.wait(10)
            raise _HangUp
        if reply == ENDLESS:
            self._go_on(b"250-and more\r\n" * 1000, 0)
        if reply == DRIPS:
            self._go_on(b"2", 0.02)
        self.wfile.write(f"{reply}\r\n".encode())

    def _go_on(self, piece: bytes, pause: float) -> None:
        # Without an end to what is read, a caller would take all of this.
        while self.script.written < 64 * 2**20 and not self.server.over.wait(pause):
            self.wfile.write(piece)
            self.script.written += len(piece)
        raise _HangUp

    def _command(self, line: str) -> None:
        verb = line.split(" ")[0].upper()
        with self.script.lock:
            self.script.verbs.append(verb)
        if verb == "EHLO":
            offers = [*self.script.extensions]
            if self.script.tls and not isinstance(self.request, ssl.SSLSocket):
                offers.append("STARTTLS")
            if self.script.login:
                offers.append("AUTH PLAIN")
            self._say(verb, "".join(f"250-{offer}\r\n" for offer in ("mail.test", *offers)) + "250 HELP")
        elif verb == "STARTTLS":
            if self._say(verb, "220 go on"):
                self._encrypt()
                super().setup()
        elif verb == "AUTH":
            given = tuple(base64.b64decode(line.split(" ")[2]).decode().split("\0")[1:])
            self._say(verb, "235 welcome" if given == self.script.login else "535 5.7.8 bad credentials")
        elif verb == "MAIL":
            self.sender = line.partition("<")[2].partition(">")[0]
            self.recipient = ""
            self._say(verb, "250 ok")
        elif verb == "RCPT":
            recipient = line.partition("<")[2].partition(">")[0]
            if refusal := self.script.refused.get(recipient):
                self._say("", refusal)
            elif self._say(verb, "250 ok"):
                # Also without a sender: a server may be as careless as that.
                self.recipient = recipient
        elif verb == "DATA":
            self._data()
        elif verb == "QUIT":
            self._say(verb, "221 bye")
            raise _HangUp
        else:
            self._say(verb, "250 ok")

    def _data(self) -> None:
        if not self.recipient:
            self._say("DATA without recipient", "503 5.5.1 no valid recipients")
            if self.script.replies.get("DATA without recipient", "").startswith("354"):
                self._read_body()
            return
        if not self._say("DATA", "354 go on"):
            return
        data = self._read_body()
        reply = self._chosen("BODY", "250 2.0.0 queued as 7")
        if reply.startswith("250"):
            # Before the answer, so that whoever got it finds the mail here.
            with self.script.lock:
                self.script.mails.append(Received(self.sender, self.recipient, data))
        self._write(reply)

    def _read_body(self) -> bytes:
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            if not line:
                raise _HangUp
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)


class SmtpServer(socketserver.ThreadingTCPServer):
    """Listens on a free port of 127.0.0.1 while it is used as a context."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, script: Script | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script or Script()
        self.over = threading.Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def __enter__(self) -> SmtpServer:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gives up on the TLS handshake is part of the tests, not worth a line on stderr."""
