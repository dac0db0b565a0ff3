"""The one requests session factory: time-outs, a named user agent, connection pool, bounded bodies, redacted excerpts."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from crm_plugin import __version__
from crm_plugin.redaction import redact

USER_AGENT = f"crm-plugin/{__version__}"
CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 60.0
MAX_BODY = 64 * 1024 * 1024
_EXCERPT = 300


class BodyTooLarge(requests.RequestException):
    """The answer went on past `MAX_BODY`."""


class _TimeoutAdapter(HTTPAdapter):
    """A time-out on every request, also where the caller forgot one."""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
        if options.get("timeout") is None:
            options["timeout"] = (CONNECT_TIMEOUT, READ_TIMEOUT)
        return super().send(request, **options)


def make_session(pool: int = 4) -> requests.Session:
    """A session without redirects of its own retries, environment proxies kept, with our user agent."""
    # It tells each address it asks for, and a store that reads no headers is told its keys there.
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    session = requests.Session()
    session.headers["User-Agent"] = USER_AGENT
    adapter = _TimeoutAdapter(pool_connections=pool, pool_maxsize=pool)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


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


def excerpt(body: bytes | str) -> str:
    """The first words of an answer, redacted and on one line, for messages and logs."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    return redact(" ".join(text[: _EXCERPT * 4].split()))[:_EXCERPT]


def retry_after(response: requests.Response, now: datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks for (number or date); None without a usable one."""
    value = response.headers.get("Retry-After", "").strip()
    if not value:
        return None
    if value.isdigit():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - (now or datetime.now(UTC))).total_seconds())
