"""A provider on this machine that answers as badly as it is told to, byte for byte, and notes what it was asked."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "hook.test"
# Without an end to what is read, a caller would take all of this.
_ENDLESS = 64 * 2**20
_PAUSE = 0.02
Play = Callable[["Provider", socket.socket], None]


@dataclass
class Provider:
    """It plays `play` to whoever has told a whole request; `chosen` picks another by what was told. `written` counts endless bytes."""

    play: Play
    chosen: Callable[[bytes], Play | None] = lambda _request: None
    tls: ssl.SSLContext | None = None
    requests: list[bytes] = field(default_factory=list)
    written: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    def answer(self, caller: socket.socket) -> None:
        with suppress(OSError), self.tls.wrap_socket(caller, server_side=True) if self.tls else caller as taken:
            request = _read(taken)
            if request:
                self.requests.append(request)
                (self.chosen(request) or self.play)(self, taken)


@contextmanager
def serving(provider: Provider) -> Iterator[Provider]:
    """Answer until the end of the block, each caller in a thread of its own and each connection once."""
    listening = socket.create_server(("127.0.0.1", 0))
    provider.port = listening.getsockname()[1]
    threads: list[threading.Thread] = []

    def take() -> None:
        with suppress(OSError):
            while True:
                caller, _ = listening.accept()
                threads.append(threading.Thread(target=provider.answer, args=(caller,)))
                threads[-1].start()

    taking = threading.Thread(target=take)
    taking.start()
    try:
        yield provider
    finally:
        provider.over.set()
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for thread in (taking, *threads):
            thread.join()


def says(status: int, body: bytes | str = b"", **headers: str) -> Play:
    """An answer of HTTP."""
    told = body.encode() if isinstance(body, str) else body
    lines = {"Content-Length": str(len(told)), "Connection": "close"}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return raw(f"HTTP/1.1 {status} Said\r\n{head}\r\n".encode("latin-1") + told)


def raw(answer: bytes) -> Play:
    """These bytes, then the end."""
    return lambda _, caller: caller.sendall(answer)


def endless(head: bytes, piece: bytes) -> Play:
    """A beginning, and then the same without end."""

    def play(provider: Provider, caller: socket.socket) -> None:
        caller.sendall(head)
        while provider.written < _ENDLESS and not provider.over.is_set():
            caller.sendall(piece)
            provider.written += len(piece)

    return play


def drips(head: bytes) -> Play:
    """A beginning, and then a byte now and then."""

    def play(provider: Provider, caller: socket.socket) -> None:
        caller.sendall(head)
        while not provider.over.wait(_PAUSE):
            caller.sendall(b"x")

    return play


def silent(provider: Provider, _caller: socket.socket) -> None:
    """Nothing at all."""
    provider.over.wait()


def resets(_provider: Provider, caller: socket.socket) -> None:
    """The connection is reset."""
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _read(caller: socket.socket) -> bytes:
    """A request with its body; empty when the caller left."""
    told = b""
    while b"\r\n\r\n" not in told:
        piece = caller.recv(65536)
        if not piece:
            return b""
        told += piece
    head, _, body = told.partition(b"\r\n\r\n")
    length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0")
    while len(body) < int(length.partition(b":")[2]):
        body += caller.recv(65536)
    return head + b"\r\n\r\n" + body


def certificate(path: Path) -> Path:
    """A key and its self-signed certificate for HOST and this machine, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


def tls_of(pem: Path) -> ssl.SSLContext:
    """The server's side of that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context
