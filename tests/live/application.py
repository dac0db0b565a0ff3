"""Our own application beside a running store, on a database of its own."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import insert, select

from crm_plugin.app import create_app
from crm_plugin.clock import SystemClock
from crm_plugin.config import Config
from crm_plugin.jobs.queue import Queue
from crm_plugin.runtime import Runtime
from crm_plugin.store import inapp_messages, members, migrate
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database, make_engine
from crm_plugin.store.tenants import Shop
from crm_plugin.web.server import HOST, listening


@dataclass
class LiveCrm:
    """The running application; `url` is its address."""

    runtime: Runtime
    queue: Queue
    url: str

    def write_to(self, shop: Shop, customer: str, title: str) -> None:
        """An in-app message for one customer."""
        whose = select(members.c.member_id).where(members.c.shop_id == shop.shop_id, members.c.external_id == customer)
        with self.runtime.db.write() as connection:
            row = {"shop_id": shop.shop_id, "message_id": 1, "touchpoint_key": "test:1", "title": title, "body": "Tea"}
            member = connection.execute(whose).scalar_one()
            values = {**row, "member_id": member, "created_at": datetime.now(UTC)}
            connection.execute(insert(inapp_messages).values(**values))


@contextmanager
def running(folder: Path, port: int, certificate: Path | None = None) -> Iterator[LiveCrm]:
    """The application listening on that port, by https where it has a certificate."""
    url = f"http://{HOST}:{port}" if certificate is None else f"https://localhost:{port}"
    address = f"sqlite:///{folder / 'crm.sqlite3'}"
    engine = make_engine(address)
    migrate.upgrade(engine)
    config = Config(address, folder, public_url=url)
    runtime = Runtime(config, Database(engine), SecretBox(Fernet.generate_key()), SystemClock())
    queue = Queue(runtime, workers=1)
    app = create_app(runtime, queue)
    try:
        with listening(app, HOST, port) if certificate is None else _ciphered(app, port, certificate):
            yield LiveCrm(runtime, queue, url)
    finally:
        queue.close(wait=True)
        runtime.close()


def make_certificate(file: Path) -> None:
    """One for this machine, good for a day and believed by who is given the file; its key is in the file too."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address(HOST))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    opened = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(made.public_bytes(pem) + opened)


@contextmanager
def _ciphered(app: Any, port: int, certificate: Path) -> Iterator[None]:
    """What stands before the application in earnest too: it ends https, and passes on what comes."""
    told = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    told.load_cert_chain(certificate)
    loop = asyncio.new_event_loop()
    with listening(app, HOST, 0) as inner:
        inner_port = int(inner.rpartition(":")[2])

        async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            inner_reader, inner_writer = await asyncio.open_connection(HOST, inner_port)
            await asyncio.gather(_pour(reader, inner_writer), _pour(inner_reader, writer))

        loop.run_until_complete(asyncio.start_server(passed_on, HOST, port, ssl=told))
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(timeout=10)


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # Either side may hang up at any time.
    with contextlib.suppress(OSError):
        while piece := await reader.read(2**16):
            writer.write(piece)
            await writer.drain()
    writer.close()
