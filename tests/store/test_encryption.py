"""A connection to PostgreSQL is encrypted where the server offers it, and plain where it offers none."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy.exc import DBAPIError

from crm_plugin.store.session import make_engine
from tests.databases import PostgresDatabases

# The request for encryption, as PostgreSQL's protocol has it: its length and a number.
_QUESTION = struct.pack("!ii", 8, 80877103)


@pytest.fixture
def certificate(tmp_path: Path) -> ssl.SSLContext:
    """What the server shows; nobody has signed it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "database")])
    start = dt.datetime(2026, 1, 1)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, start, dt.datetime(2126, 1, 1))
    (tmp_path / "server.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    return context


@pytest.fixture
def heard() -> list[bytes]:
    """What reached the server, by connection."""
    return []


@pytest.fixture
def address(certificate: ssl.SSLContext, heard: list[bytes]) -> Iterator[str]:
    """A server that says yes to encryption, reads what comes over it, and hangs up."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def answer() -> None:
            with suppress(OSError):
                while True:
                    plain, _peer = listener.accept()
                    with plain:
                        heard.append(plain.recv(100))
                        plain.sendall(b"S")
                        with certificate.wrap_socket(plain, server_side=True) as line:
                            heard.append(line.recv(100))

        Thread(target=answer, daemon=True).start()
        yield f"postgresql://crm:secret@127.0.0.1:{listener.getsockname()[1]}/crm"
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def test_what_is_offered_is_taken(address: str, heard: list[bytes]) -> None:
    engine = make_engine(address)
    with pytest.raises(DBAPIError):
        engine.connect()
    question, name = heard
    assert (question, b"crm" in name) == (_QUESTION, True)


@pytest.mark.postgres
def test_server_without_is_connected_to(postgres: PostgresDatabases, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_options: object) -> None:
        raise AssertionError("the system's certificates were read, and none is verified")

    monkeypatch.setattr(ssl, "create_default_context", read)
    with postgres.bare() as url:
        engine = make_engine(url)
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1
        engine.dispose()
