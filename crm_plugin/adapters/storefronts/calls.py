"""Calls to a platform's API: tried again where trouble passes by itself, no redirect followed, no body without end.

What a refusal means is the platform's own affair: the caller gets every answer that is neither passing trouble nor a redirect.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests

from crm_plugin.adapters.raw import UNREADABLE, any_json
from crm_plugin.adapters.storefronts.unanswered import LATER, unanswered
from crm_plugin.errors import ActionRequired, MalformedResponse, TransientError
from crm_plugin.http_client import CALL_TIMEOUT, MAX_BODY, BodyTooLarge, make_session, read_body, retry_after
from crm_plugin.phrases import phrase
from crm_plugin.redaction import excerpt

ATTEMPTS = 5
# A store that asks for a longer pause than this gets it between two syncs, not within one.
LONGEST_PAUSE = 60.0
# 520-524 are what a CDN says for a store that does not answer it.
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; the body is not yet looked at."""

    status: int
    body: bytes

    @property
    def is_cut(self) -> bool:
        """Whether this is the beginning of JSON, and no more."""
        if not 200 <= self.status < 300 or self.body.lstrip()[:1] not in (b"{", b"["):
            return False
        try:
            msgspec.json.decode(self.body, type=msgspec.Raw)
        except UNREADABLE:
            return True
        return False

    def value(self) -> Any:
        """The body as plain Python, None when it is no JSON."""
        return any_json(self.body)


class Calls:
    """Requests to one store. Not for use by two threads at once.

    `whole` is how many seconds one of them takes at most, `largest` how many bytes an answer may have; by `clock`, in seconds since 1970,
    a pause is told that the store asks for by a date.
    """

    def __init__(
        self,
        adapter: str,
        *,
        attempts: int = ATTEMPTS,
        whole: float = CALL_TIMEOUT,
        largest: int = MAX_BODY,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
        session: requests.Session | None = None,
    ) -> None:
        self.attempts = attempts
        self.made = 0
        self._adapter = adapter
        self._sleep = sleep
        self._largest = largest
        self._clock = clock
        self._session = session or make_session(whole=whole)

    def close(self) -> None:
        """Give back the connections."""
        self._session.close()

    def send(
        self,
        method: str,
        url: str,
        *,
        operation: str,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        attempts: int | None = None,
    ) -> Answer:
        """The answer. A call is repeated up to `attempts` times, so more than one is for what does no harm when done twice.

        Raises: TransientError with the pause that the store asked for, ActionRequired for a redirect or a certificate, MalformedResponse
        for a body that is too large.
        """
        most = attempts or self.attempts
        for attempt in range(1, most + 1):
            pause = float(2 ** (attempt - 1))
            try:
                found = self._once(method, url, operation, headers, params, body)
            except TransientError as failed:
                asked = failed.retry_after
                if attempt == most or (asked or 0) > LONGEST_PAUSE:
                    raise
                self._sleep(pause if asked is None else asked)
            else:
                # An answer that broke off in the middle is no answer; the last one is the caller's to judge.
                if attempt == most or not found.is_cut:
                    return found
                self._sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _once(
        self,
        method: str,
        url: str,
        operation: str,
        headers: Mapping[str, str] | None,
        params: Mapping[str, str] | None,
        body: bytes | None,
    ) -> Answer:
        self.made += 1
        try:
            with self._session.request(
                method, url, params=params, data=body, headers=dict(headers or {}), allow_redirects=False, stream=True
            ) as response:
                found = Answer(response.status_code, read_body(response, self._largest))
                location, asked = (
                    response.headers.get("Location", ""),
                    retry_after(response, datetime.fromtimestamp(self._clock(), UTC)),
                )
        except BodyTooLarge as error:
            raise MalformedResponse(
                phrase("The store's answer is larger than %(most)s MB.", most=self._largest // 2**20),
                hint=LATER,
                adapter=self._adapter,
                operation=operation,
                path="$",
            ) from error
        except requests.RequestException as error:
            raise unanswered(error, adapter=self._adapter, operation=operation, store=url) from error
        context: dict[str, Any] = {
            "adapter": self._adapter,
            "operation": operation,
            "status": found.status,
            "excerpt": excerpt(found.body),
        }
        if found.status in PASSING:
            said = (
                phrase("The store asks for fewer requests at a time (HTTP 429).")
                if found.status == 429
                else phrase("The store is busy or down (HTTP %(status)s).", status=found.status)
            )
            raise TransientError(said, hint=LATER, retry_after=asked, **context)
        if 300 <= found.status < 400:
            raise _redirected(url, location, context)
        return found


def _redirected(url: str, location: str, context: dict[str, Any]) -> ActionRequired:
    here, there = _origin(url), _origin(location) or location.split("?")[0]
    return ActionRequired(
        phrase("The store sends us on from %(store)s to %(there)s.", store=here, there=there),
        hint=phrase(
            "Enter %(there)s as the store's address: keys are never sent to another address than the one given.",
            there=there,
        ),
        code="redirected",
        **context,
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""
