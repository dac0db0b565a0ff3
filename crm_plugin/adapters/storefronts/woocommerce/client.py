"""HTTP to one store: shows the keys, tries again, makes pages smaller when the store is slow, and says what is wrong.

The client never follows a redirect and never sends a secret over plain http.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn
from urllib.parse import urlsplit, urlunsplit

import msgspec
import requests

from crm_plugin.adapters.raw import any_json
from crm_plugin.adapters.storefronts.unanswered import timed_out
from crm_plugin.adapters.storefronts.woocommerce import errors
from crm_plugin.adapters.storefronts.woocommerce.auth import Way, oauth_params, query_string, ways_for
from crm_plugin.adapters.storefronts.woocommerce.errors import ADAPTER, Answer
from crm_plugin.errors import AdapterError, MalformedResponse, OutcomeUnknown, TransientError
from crm_plugin.http_client import MAX_BODY, BodyTooLarge, make_session, never_left, read_body, retry_after
from crm_plugin.phrases import phrase

API = "/wp-json/wc/v3/"
PAGE_SIZES = (100, 50, 25, 10)
ATTEMPTS = 5
# A store that asks for a longer pause than this gets it between two syncs, not within one.
LONGEST_PAUSE = 60.0
# Of what answers something that was written.
_LARGEST_YES = 4 * 2**20
_AFTER_STORE = re.compile(r"/(wp-json|wp-admin|wp-login\.php)(/.*)?$")


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a list, its records raw. `total` is None when a proxy dropped the header."""

    rows: list[msgspec.Raw]
    total: int | None
    more: bool
    next_offset: int


class _Slow(Exception):
    """The store could not make a page of this size in time."""

    def __init__(self, error: AdapterError) -> None:
        super().__init__(str(error))
        self.error = error


def store_address(url: str) -> str:
    """The store's own address out of what a merchant pastes: without query, `wp-admin` or `wp-json`."""
    parts = urlsplit(url.strip())
    return urlunsplit(
        (parts.scheme.lower(), parts.netloc.lower(), _AFTER_STORE.sub("", parts.path).rstrip("/"), "", "")
    )


class WooCommerceClient:
    """Calls to the REST API of one store with one pair of keys. Not for use by two threads at once."""

    def __init__(
        self,
        url: str,
        key: str,
        secret: str,
        *,
        attempts: int = ATTEMPTS,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.url = store_address(url)
        self.attempts = attempts
        self.per_page = PAGE_SIZES[0]
        self.calls = 0
        self._key = key.strip()
        self._secret = secret.strip()
        self._sleep = sleep
        self._now = now
        self._way: Way | None = None
        self._home: str | None = None
        self._session = make_session()
        self._environment: Any = None
        self._address = ""

    def close(self) -> None:
        """Give back the connections."""
        self._session.close()

    def clock(self) -> float:
        """Seconds since 1970, by the clock that signs requests."""
        return self._now()

    def root(self) -> dict[str, Any]:
        """What the store says of itself to anybody: name, zone, home, name spaces."""
        answer = self._persist(lambda: self._send("GET", f"{self.url}/wp-json/", {}), "wp-json", sizes=False)
        if answer.status == 401:
            raise errors.for_unauthorised(answer, "wp-json", ways_for(self.url))
        if answer.status != 200:
            raise errors.for_answer(answer, "wp-json", self.url)
        value = errors.decoded(answer, "wp-json")
        if not isinstance(value, dict):
            raise errors.for_body(answer, "wp-json")
        return value

    def get(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """The JSON at this path below `wc/v3/`. Raises: what `errors.py` makes of a refusal."""
        return errors.decoded(self._get(path, params or {}), path)

    def get_raw(self, path: str) -> bytes:
        """The same, not yet decoded."""
        answer = self._get(path, {})
        errors.decoded(answer, path)
        return answer.body

    def list(self, path: str, params: Mapping[str, str], offset: int = 0) -> Listing:
        """The page of a list that begins with row `offset`, counted from 0.

        It is made smaller (100, 50, 25, 10) each time the store takes too long, and stays so for this client. One with fewer rows than the
        store counts is asked for a second time: a store may leave out rows that it cannot load, or could not load just then.
        """
        listing, expected = self._page(path, params, offset)
        if len(listing.rows) < expected:
            again, _ = self._page(path, params, offset)
            return max(again, listing, key=lambda one: len(one.rows))
        return listing

    def _page(self, path: str, params: Mapping[str, str], offset: int) -> tuple[Listing, int]:
        """The page, and how many rows it has by the store's own count (0 where it tells none)."""
        while True:
            size = self.per_page
            asked = {**params, "per_page": str(size), "offset": str(offset)}
            try:
                answer = self._get(path, asked, sizes=True)
                break
            except _Slow as slow:
                smaller = [size for size in PAGE_SIZES if size < self.per_page]
                if not smaller:
                    raise slow.error from slow
                self.per_page = smaller[0]
        if answer.rows is None:
            raise errors.for_body(answer, path)
        total = _number(answer, "X-WP-Total")
        more = bool(answer.rows) if total is None else offset + size < total
        return Listing(answer.rows, total, more, offset + size), min(size, max(0, (total or 0) - offset))

    def post(self, path: str, payload: Mapping[str, Any]) -> Any:
        """Create something. Sent once: no answer means OutcomeUnknown, for it may have been done."""
        body = msgspec.json.encode(payload)
        try:
            answer = self._authorised("POST", path, {}, body)
        except requests.RequestException as error:
            if never_left(error):
                raise errors.for_exception(error, path, self.url) from error
            raise _unknown(path) from error
        answer = errors.error_inside(answer)
        if 200 <= answer.status < 300:
            made = any_json(answer.body)
            if made is None:
                # The store said yes in words we cannot read: it was done.
                raise _unknown(path)
            return made
        if answer.status in errors.TOO_HEAVY or answer.status in (408, 521, 523):
            # A gateway that gave up waiting does not know whether the store went on.
            raise _unknown(path, answer.status)
        raise self._refusal(answer, path)

    def bring(self, path: str, payload: Mapping[str, Any]) -> Any:
        """Bring something to what the payload says. Twice does no harm, so without an answer it is only to be asked again."""
        try:
            answer = self._authorised("POST", path, {}, msgspec.json.encode(payload))
        except requests.RequestException as error:
            raise errors.for_exception(error, path, self.url) from error
        if answer.status in (200, 201):
            return errors.decoded(answer, path)
        raise self._refusal(answer, path)

    def _refusal(self, answer: Answer, path: str) -> AdapterError:
        failed = errors.for_answer(answer, path, self.url)
        if isinstance(failed, TransientError):
            failed.retry_after = self._asked_pause(answer)
        return failed

    def _asked_pause(self, answer: Answer) -> float | None:
        """Seconds the store asked us to wait."""
        response = requests.Response()
        response.headers = answer.headers
        return retry_after(response, datetime.fromtimestamp(self._now(), UTC))

    def _get(self, path: str, params: Mapping[str, str], *, sizes: bool = False) -> Answer:
        answer = self._persist(lambda: self._authorised("GET", path, params), path, sizes=sizes)
        if answer.status != 200:
            raise errors.for_answer(answer, path, self.url)
        return answer

    def _persist(self, call: Callable[[], Answer], operation: str, *, sizes: bool) -> Answer:
        """Call until there is an answer worth having; pauses of 1, 2, 4 … seconds, or what Retry-After asks."""
        for attempt in range(1, self.attempts + 1):
            pause = float(2 ** (attempt - 1))
            try:
                answer = call()
            except BodyTooLarge as error:
                self._smaller(sizes, _too_large(operation), error)
            except requests.RequestException as error:
                failed = errors.for_exception(error, operation, self.url)
                if not isinstance(failed, TransientError):
                    raise failed from error
                if timed_out(error):
                    self._slower(sizes, failed, error)
                if attempt == self.attempts:
                    raise failed from error
            else:
                broken = answer.status == 200 and not answer.is_json and not answer.is_html
                if answer.status not in errors.TRANSIENT and not broken:
                    return answer
                if broken and attempt == self.attempts:
                    raise errors.for_body(answer, operation)
                pause = self._pause_for(answer, operation, pause, last=attempt == self.attempts, sizes=sizes)
            self._sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _pause_for(self, answer: Answer, operation: str, pause: float, *, last: bool, sizes: bool) -> float:
        failed = errors.for_answer(answer, operation, self.url) if answer.status != 200 else None
        asked = self._asked_pause(answer)
        if failed is not None:
            if isinstance(failed, TransientError):
                failed.retry_after = asked
            if answer.status in errors.TOO_HEAVY:
                self._slower(sizes, failed, None)
            if last or (asked or 0) > LONGEST_PAUSE:
                raise failed
        return pause if asked is None else asked

    def _slower(self, sizes: bool, failed: AdapterError, cause: Exception | None) -> None:
        if sizes and self.per_page > PAGE_SIZES[-1]:
            raise _Slow(failed) from cause

    def _smaller(self, sizes: bool, failed: AdapterError, cause: Exception) -> NoReturn:
        if sizes:
            raise _Slow(failed) from cause
        raise failed from cause

    def _authorised(self, method: str, path: str, params: Mapping[str, str], body: bytes = b"") -> Answer:
        """Show the keys in the way that worked last, else in each way that is allowed here until one is taken."""
        ways = ways_for(self.url)
        order = ways if self._way is None else (self._way, *(way for way in ways if way is not self._way))
        refused: Answer | None = None
        for way in order:
            if way is Way.OAUTH_HOME and self._other_home() is None:
                continue
            answer = self._as(way, method, path, params, body)
            if answer.status == 401 and "nonce" in answer.told()[1].lower():
                answer = self._as(way, method, path, params, body)
            if answer.status != 401:
                if answer.status not in errors.TRANSIENT:
                    self._way = way
                return answer
            refused = _plainer(refused, answer)
            if _final(answer):
                break
        assert refused is not None
        raise errors.for_unauthorised(refused, path, ways)

    def _as(self, way: Way, method: str, path: str, params: Mapping[str, str], body: bytes) -> Answer:
        url = f"{self.url}{API}{path}"
        sent = dict(params)
        auth = None
        if way is Way.BASIC:
            auth = (self._key, self._secret)
        elif way is Way.QUERY:
            sent |= {"consumer_key": self._key, "consumer_secret": self._secret}
        else:
            base = f"{self._signed_address(way)}{API}{path}"
            sent = oauth_params(method, base, sent, self._key, self._secret, at=self._now())
        return self._send(method, url, sent, auth, body)

    def _signed_address(self, way: Way) -> str:
        if way is Way.OAUTH_AS_HTTP:
            return self.url.replace("https://", "http://", 1)
        return (self._other_home() or self.url) if way is Way.OAUTH_HOME else self.url

    def _other_home(self) -> str | None:
        """The address the store calls its own when it is another than ours: that is the one it signs."""
        if self._home is None:
            try:
                self._home = str(self.root().get("home") or "").rstrip("/")
            except AdapterError:
                self._home = ""
        return self._home if self._home and self._home != self.url else None

    def _send(
        self,
        method: str,
        url: str,
        params: Mapping[str, str],
        auth: tuple[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        self.calls += 1
        if self._environment is None:
            # Proxies and certificates of the environment: it is one store, so they are looked up once.
            self._environment = self._session.merge_environment_settings(url, {}, True, None, None)
        request = self._request(method, url.removeprefix(self.url), params, auth, body)
        with self._session.send(request, allow_redirects=False, **self._environment) as response:
            return errors.answer_of(response, read_body(response, MAX_BODY if method == "GET" else _LARGEST_YES))

    def _request(
        self, method: str, path: str, params: Mapping[str, str], auth: tuple[str, str] | None, body: bytes
    ) -> requests.PreparedRequest:
        """What is sent. Only the store's address is prepared by requests, once: what follows it is encoded by us as it is signed."""
        if not self._address:
            self._address = (requests.Request("GET", f"{self.url}/").prepare().url or "").removesuffix("/")
        request = requests.PreparedRequest()
        request.method = method
        request.url = f"{self._address}{path}?{query_string(params.items())}" if params else f"{self._address}{path}"
        content = {"Content-Type": "application/json"} if body else {}
        request.prepare_headers({**self._session.headers, "Accept": "application/json", **content})
        request.prepare_cookies(self._session.cookies)
        if body:
            request.prepare_body(body, None)
        if auth:
            request.prepare_auth(auth)
        return request


def _number(answer: Answer, name: str) -> int | None:
    value = answer.headers.get(name, "")
    return int(value) if value.isdigit() else None


def _final(answer: Answer) -> bool:
    """Whether another way to show the keys cannot help: the store has found the key and says what is wrong with it."""
    said = answer.told()[1].lower()
    return any(word in said for word in ("secret is invalid", "key is invalid", "timestamp", "permissions"))


def _plainer(before: Answer | None, after: Answer) -> Answer:
    """Of two refusals the one that says more: "you cannot list resources" says nothing of the reason."""
    return after if before is None or after.told()[0].endswith("authentication_error") else before


def _unknown(operation: str, status: int | None = None) -> OutcomeUnknown:
    return OutcomeUnknown(
        phrase("The store took the request but gave no answer: it may have been done."),
        hint=phrase("Look at the order in the store before sending again."),
        adapter=ADAPTER,
        operation=operation,
        status=status,
    )


def _too_large(operation: str) -> MalformedResponse:
    return MalformedResponse(
        phrase("The store's answer is larger than 64 MB."),
        hint=phrase("A plugin of the store adds too much to its REST API."),
        adapter=ADAPTER,
        operation=operation,
        path="$",
    )
