"""What a merchant reads when something else than a store answers, over real connections; and that nothing is kept then."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import select

from crm_plugin import http_client
from crm_plugin.adapters.storefronts.woocommerce.adapter import WooCommerceStorefront
from crm_plugin.adapters.storefronts.woocommerce.client import WooCommerceClient
from crm_plugin.errors import ActionRequired, AdapterError, TransientError
from crm_plugin.records import Stream
from crm_plugin.store import shops
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.sync.connect import add_shop
from tests.factories import NOON

KEYS = {"key": "ck_" + "a" * 40, "secret": "cs_" + "b" * 40}
Handler = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def _answering(answer: Handler, tls: Path | None = None) -> Iterator[str]:
    """A server whose every GET is answered by `answer`; its address without scheme."""

    class Answerer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answerer)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _with(status: int, body: str, **headers: str) -> Handler:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", str(len(body.encode())))
        request.end_headers()
        request.wfile.write(body.encode())

    return answer


def _breaking_off(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "500")
    request.end_headers()
    request.wfile.write(b'{"name": "Sh')


def _code(code: str, message: str) -> str:
    return json.dumps({"code": code, "message": message})


def _storefront(url: str, waits: list[float] | None = None) -> WooCommerceStorefront:
    sleep = waits.append if waits is not None else lambda _: None
    client = WooCommerceClient(url, KEYS["key"], KEYS["secret"], sleep=sleep)
    return WooCommerceStorefront({"url": url, **KEYS}, client=client)


@pytest.mark.parametrize(
    ("answer", "message", "hint"),
    [
        (
            _with(401, _code("woocommerce_rest_authentication_error", "Consumer secret is invalid.")),
            "The store knows the key, but the secret is wrong.",
            "create a key for an administrator",
        ),
        (
            _with(401, _code("woocommerce_rest_authentication_error", "Invalid signature.")),
            "does not accept the signature",
            "Site Address",
        ),
        (
            _with(401, _code("woocommerce_rest_authentication_error", "Invalid timestamp.")),
            "this computer's clock is wrong",
            "15 minutes",
        ),
        (
            _with(401, _code("woocommerce_rest_cannot_view", "Sorry, you cannot list resources.")),
            "does not accept the keys, shown with a signature",
            "Authorization header",
        ),
        (
            _with(403, _code("woocommerce_rest_cannot_view", "Sorry, you cannot list resources.")),
            "knows the key but does not allow this",
            "rights of a shop manager",
        ),
        (
            _with(200, "<!doctype html><html><body>Welcome</body></html>", Content_Type="text/html"),
            "a web page instead of data (HTTP 200)",
            "Permalinks",
        ),
        (_with(403, "<html><body>Wordfence</body></html>"), "a web page instead of data (HTTP 403)", "/wp-json/wc/"),
        (_with(404, "<html><body>Gone</body></html>"), "There is no WooCommerce REST API", "Permalinks"),
        (
            _with(301, "", Location="https://www.shop.example/wp-json/"),
            "sends us on from",
            "Enter https://www.shop.example as",
        ),
        (_with(302, "", Location="/wp-login.php"), "to a sign-in page", "firewall"),
        (_with(301, "", Location="/wp-json/"), "sends us in a circle", "Permalinks"),
        (
            _with(400, "<html>The plain HTTP request was sent to HTTPS port</html>"),
            "answers only to https",
            "Enter https://127.0.0.1",
        ),
        (_with(503, "busy"), "busy or down (HTTP 503)", "Try again in a few minutes"),
        (_with(429, "", Retry_After="1"), "fewer requests at a time", "goes on where it stopped"),
        (_with(200, '{"name": "Sh'), "breaks off or is not valid JSON", "a plugin of the store"),
        (_breaking_off, "cannot be reached, or broke off in the middle", "Try again in a few minutes"),
    ],
)
def test_refusal_says_what_to_do(answer: Handler, message: str, hint: str) -> None:
    with _answering(answer) as address:
        storefront = _storefront(f"http://{address}")
        (problem,) = storefront.check()
        storefront.close()
    assert message in problem.message
    assert hint in problem.hint


def test_refused_store_is_not_kept(sqlite_db: Database) -> None:
    refused = _with(401, _code("woocommerce_rest_authentication_error", "Consumer key is invalid."))
    with _answering(refused) as address, pytest.raises(ActionRequired, match="does not know this key"):
        add_shop(
            sqlite_db,
            SecretBox("A" * 43 + "="),
            name="shop",
            platform="woocommerce",
            credentials=KEYS,
            url=f"http://{address}",
            now=NOON,
        )
    with sqlite_db.read() as connection:
        assert connection.execute(select(shops.c.name)).all() == []


def test_https_address_of_a_plain_server_is_told() -> None:
    with _answering(_with(200, "{}")) as address:
        (problem,) = _storefront(f"https://{address}").check()
    assert problem.message == f"{address} does not answer to https."
    assert "http:// instead" in problem.hint


def test_self_signed_certificate_is_told(tmp_path: Path) -> None:
    with _answering(_with(200, "{}"), tls=_certificate(tmp_path)) as address:
        (problem,) = _storefront(f"https://{address}").check()
    assert (problem.code, problem.message) == (
        "certificate",
        f"The certificate of {address} is self-signed, so nobody vouches for it.",
    )


def test_store_that_never_answers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "READ_TIMEOUT", 0.05)
    done = threading.Event()
    with _answering(lambda _: done.wait(10) and None) as address:
        (problem,) = _storefront(f"http://{address}").check()
        done.set()
    assert problem.message == f"{address} took too long to answer."


def test_nobody_at_the_address_is_told() -> None:
    with _answering(_with(200, "{}")) as address:
        pass
    waits: list[float] = []
    storefront = _storefront(f"http://{address}", waits)
    with pytest.raises(TransientError, match="cannot be reached"):
        next(storefront.pages(Stream.MEMBERS, ""))
    assert waits == [1.0, 2.0, 4.0, 8.0]


def test_longer_pause_than_a_minute_ends_the_sync_with_the_time_asked() -> None:
    waits: list[float] = []
    with _answering(_with(429, "", Retry_After="120")) as address, pytest.raises(AdapterError) as caught:
        next(_storefront(f"http://{address}", waits).pages(Stream.MEMBERS, ""))
    assert isinstance(caught.value, TransientError)
    assert (caught.value.retry_after, waits) == (120.0, [])


def _certificate(folder: Path) -> Path:
    """A self-signed certificate with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "server.pem"
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path
