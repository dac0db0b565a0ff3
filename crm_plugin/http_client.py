"""The one requests session factory: time-outs, a named user agent, connection pool, bounded bodies, redacted excerpts.

A time-out of requests is one for each wait: whoever sends a byte now and then could hold a worker for days. So a call has a deadline too,
from its first byte to the last of its answer.
"""

from __future__ import annotations

import http.client
import io
import logging
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache, partial
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ProxyError
from urllib3.util.ssl_match_hostname import CertificateError

from crm_plugin import __version__
from crm_plugin.bounded import Bounded

USER_AGENT = f"crm-plugin/{__version__}"
CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 60.0
# Of one call in all: the largest pages of slow stores come within it.
CALL_TIMEOUT = 300.0
MAX_BODY = 64 * 1024 * 1024


class BodyTooLarge(requests.RequestException):
    """The answer went on past `MAX_BODY`."""


class NoTls(ssl.SSLError):
    """The other side and we did not agree on TLS: nothing was asked."""


class BadCertificate(NoTls):
    """Its certificate cannot be trusted."""


class _Response(http.client.HTTPResponse):
    """An answer whose status, headers and body come before `until`."""

    def __init__(self, sock: Any, *args: Any, until: float, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(Bounded(self.fp.detach(), sock, until))


class _Within:
    """A connection whose calls end within `whole` seconds."""

    whole = CALL_TIMEOUT

    def putrequest(self, *args: Any, **options: Any) -> None:
        """A call begins here."""
        self.response_class = partial(_Response, until=time.monotonic() + self.whole)
        super().putrequest(*args, **options)  # type: ignore[misc]


class _Encrypted(_Within, HTTPSConnection):  # type: ignore[misc]
    """Tells what went wrong before the request was written from what went wrong after it."""

    def connect(self) -> None:
        try:
            super().connect()
        except (ssl.SSLCertVerificationError, CertificateError) as error:
            raise BadCertificate(*error.args) from error
        except ssl.SSLError as error:
            raise NoTls(*error.args) from error


@lru_cache(maxsize=8)
def _pools(whole: float) -> dict[str, Any]:
    """The kinds of connection pools whose calls end within so many seconds, by scheme."""
    plain = type("Plain", (_Within, HTTPConnection), {"whole": whole})
    tls = type("Tls", (_Encrypted,), {"whole": whole})
    return {
        "http": type("PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("TlsPool", (HTTPSConnectionPool,), {"ConnectionCls": tls}),
    }


class BoundedAdapter(HTTPAdapter):
    """A time-out on every wait, also where the caller forgot one, and a deadline of `whole` seconds for every call."""

    def __init__(self, *, whole: float = CALL_TIMEOUT, **options: Any) -> None:
        self._whole = whole
        super().__init__(**options)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _pools(self._whole)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = _pools(self._whole)
        return manager

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
        if options.get("timeout") is None:
            options["timeout"] = (CONNECT_TIMEOUT, READ_TIMEOUT)
        return super().send(request, **options)


def make_session(pool: int = 4, whole: float = CALL_TIMEOUT) -> requests.Session:
    """A session without redirects of its own retries, environment proxies kept, our user agent; a call takes `whole` seconds at most."""
    # It tells each address it asks for, and a store that reads no headers is told its keys there.
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    session = requests.Session()
    session.headers["User-Agent"] = USER_AGENT
    adapter = BoundedAdapter(pool_connections=pool, pool_maxsize=pool, whole=whole)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


# The request was not written: nothing but these says so.
_BEFORE = (
    *(NewConnectionError, ConnectTimeoutError, ProxyError, NoTls),
    *(requests.exceptions.InvalidURL, requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema),
    *(requests.exceptions.ConnectTimeout, requests.exceptions.InvalidHeader),
)


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and those that it was made of, outermost first."""
    yield error
    for one in (*error.args, getattr(error, "reason", None)):
        if isinstance(one, BaseException):
            yield from causes(one)


def never_left(error: requests.RequestException) -> bool:
    """Whether a call failed before its request was written; of any other failure nobody knows what it did."""
    return any(isinstance(one, _BEFORE) for one in causes(error))


def distrusted(error: Exception) -> bool:
    """Whether it failed for the other side's certificate."""
    return any(isinstance(one, BadCertificate) for one in causes(error))


def read_body(response: requests.Response, limit: int = MAX_BODY) -> bytes:
    """The body of a streamed response. Raises: BodyTooLarge past `limit` bytes."""
    parts: list[bytes] = []
    size = 0
    for part in response.iter_content(65536):
        size += len(part)
        if size > limit:
            response.close()
            raise BodyTooLarge(f"the answer is larger than {limit} bytes")
        parts.append(part)
    return b"".join(parts)


def retry_after(response: requests.Response, now: datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks for (number or date); None without a usable one."""
    value = response.headers.get("Retry-After", "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    at = mail_date(value)
    return None if at is None else max(0.0, (at - (now or datetime.now(UTC))).total_seconds())


def mail_date(text: str) -> datetime | None:
    """An instant written as in mails and HTTP headers; without a zone it is UTC. None for anything else."""
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
