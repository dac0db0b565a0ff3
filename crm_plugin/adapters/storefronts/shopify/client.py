"""Calls to the Admin API of one shop: within what it may cost, tried again, and stopped where the answer would not mean what was asked."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import msgspec
import requests

from crm_plugin.adapters.storefronts.shopify import errors, operations
from crm_plugin.adapters.storefronts.shopify.budget import Budget
from crm_plugin.adapters.storefronts.shopify.errors import ADAPTER, GraphError, TooCostly
from crm_plugin.adapters.storefronts.shopify.tokens import Tokens
from crm_plugin.adapters.storefronts.shopify.versions import VERSION
from crm_plugin.adapters.storefronts.unanswered import unanswered
from crm_plugin.errors import PermanentError, TransientError
from crm_plugin.http_client import BodyTooLarge, make_session, read_body
from crm_plugin.phrases import phrase

T = TypeVar("T")
ATTEMPTS = 4
# A shop that asks for a longer pause than this gets it between two syncs, not within one.
LONGEST_PAUSE = 30.0
# How many rows a page begins with and has at most; where a query costs too much it has fewer.
FIRST, MOST = 50, 250
# While a page costs less than this, the next may be larger.
CHEAP = 500
_NULL = msgspec.Raw(b"null")
_log = logging.getLogger(__name__)


class _Warning(msgspec.Struct):
    field: str = ""
    message: str = ""


class _Search(msgspec.Struct):
    query: str = ""
    warnings: list[_Warning] = []


class Throttle(msgspec.Struct, rename="camel"):
    """How much of the shop's bucket is left."""

    maximum_available: float = 0
    currently_available: float = 0
    restore_rate: float = 0


class Cost(msgspec.Struct, rename="camel"):
    """What the query may cost, and what is left."""

    requested_query_cost: float | None = None
    throttle_status: Throttle | None = None


class _Extensions(msgspec.Struct):
    cost: Cost | None = None
    search: list[_Search] = []


class _Answer(msgspec.Struct):
    data: msgspec.Raw = _NULL
    errors: list[GraphError] | str = []
    extensions: _Extensions | None = None


class PageInfo(msgspec.Struct, rename="camel"):
    """Where a list goes on."""

    has_next_page: bool = False
    end_cursor: str | None = None


class Rows(msgspec.Struct, rename="camel"):
    """A page of a list, its rows raw."""

    nodes: list[msgspec.Raw] = []
    page_info: PageInfo = msgspec.field(default_factory=PageInfo)


class Listed(msgspec.Struct):
    """The data of an operation that asks for a list."""

    rows: Rows


_ANSWER = msgspec.json.Decoder(_Answer)


class ShopifyClient:
    """The GraphQL Admin API of one shop. Not for use by two threads at once."""

    def __init__(
        self,
        shop: str,
        tokens: Tokens,
        *,
        base_url: str = "",
        version: str = VERSION,
        birthday: str = operations.BIRTHDAY,
        attempts: int = ATTEMPTS,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        rows: int = MOST,
    ) -> None:
        self.shop = shop
        self.version = version
        self.attempts = attempts
        self.calls = 0
        # What the shop really speaks, as its last answer told, and its own time then.
        self.answered_version = version
        self.told_at: datetime | None = None
        self._url = f"{base_url or f'https://{shop}'}/admin/api/{version}/graphql.json"
        self._tokens = tokens
        self._birthday = birthday
        self.sleep = sleep
        self.now = now
        # The most rows of a page.
        self.rows = rows
        self._budget = Budget(sleep, clock, LONGEST_PAUSE)
        self._sizes: dict[str, int] = {}
        self._session = make_session()

    def close(self) -> None:
        """Give back the connections."""
        self._session.close()

    def text(self, operation: str) -> str:
        """The operation as this shop is asked it."""
        return operations.text(operation, self.version, self._birthday)

    def query(self, operation: str, into: type[T], variables: Mapping[str, Any] | None = None) -> T:
        """The data of a query. Raises: TooCostly, and what `errors.py` makes of a refusal."""
        return self._read(self._ask(operation, variables or {}, self.attempts), operation, into)

    def page(self, operation: str, variables: Mapping[str, Any]) -> Rows:
        """A page of a list, as large as may be: half as many rows where it costs too much, more again while it is cheap."""
        while True:
            first = self._sizes.get(operation, min(FIRST, self.rows))
            try:
                rows = self.query(operation, Listed, {**variables, "first": first}).rows
            except TooCostly as error:
                if first == 1:
                    raise _too_costly(operation) from error
                self._sizes[operation] = first // 2
                continue
            if self._budget.last_cost < CHEAP:
                self._sizes[operation] = min(self.rows, first * 2)
            return rows

    def change(self, operation: str, into: type[T], variables: Mapping[str, Any]) -> T:
        """The data of a mutation that does no harm when it is done twice. It waits where the bucket is empty, but for nothing else."""
        try:
            return self._read(self._ask(operation, variables, 1), operation, into)
        except TooCostly as error:
            raise _too_costly(operation) from error

    def _read(self, data: msgspec.Raw, operation: str, into: type[T]) -> T:
        try:
            return msgspec.json.decode(data, type=into)
        except msgspec.ValidationError as error:
            raise errors.for_body(bytes(data), operation, str(error).rpartition("`")[0].rpartition("`")[2]) from error

    def _ask(self, operation: str, variables: Mapping[str, Any], attempts: int) -> msgspec.Raw:
        """Ask until there is an answer worth having; pauses of 1, 2, 4 seconds, or what the shop asks for."""
        body = msgspec.json.encode({"query": self.text(operation), "variables": dict(variables)})
        for attempt in range(1, attempts + 1):
            try:
                return self._once(operation, body)
            except TransientError as error:
                pause = error.retry_after
                if attempt == attempts or (pause or 0) > LONGEST_PAUSE:
                    raise
            self.sleep(2.0 ** (attempt - 1) if pause is None else pause)
        raise AssertionError("the last attempt returns or raises")

    def _once(self, operation: str, body: bytes) -> msgspec.Raw:
        token = self._tokens.current()
        while True:
            self._budget.wait(operation)
            response, told = self._send(operation, token, body)
            if response.status_code == 401:
                token = self._tokens.instead_of(token)
                response, told = self._send(operation, token, body)
                if response.status_code == 401:
                    raise errors.for_keys(operation, renewable=True)
            if response.status_code != 200:
                raise errors.for_status(response, told, operation, self.shop, self.now())
            self._note(response)
            data = self._judge(operation, told)
            if data is not None:
                return data

    def _send(self, operation: str, token: str, body: bytes) -> tuple[requests.Response, bytes]:
        self.calls += 1
        headers = {"Content-Type": "application/json", "Accept": "application/json", "X-Shopify-Access-Token": token}
        try:
            with self._session.post(
                self._url, data=body, headers=headers, allow_redirects=False, stream=True
            ) as response:
                return response, read_body(response)
        except BodyTooLarge as error:
            raise errors.for_body(b"", operation) from error
        except requests.RequestException as error:
            raise unanswered(error, adapter=ADAPTER, operation=operation, store=self._url) from error

    def _note(self, response: requests.Response) -> None:
        try:
            told = parsedate_to_datetime(response.headers.get("Date", ""))
        except ValueError:
            self.told_at = None
        else:
            self.told_at = told if told.tzinfo else told.replace(tzinfo=UTC)
        answered = response.headers.get("X-Shopify-API-Version", "") or self.version
        if answered not in (self.version, self.answered_version):
            _log.warning("%s answers with version %s of its API, not %s", self.shop, answered, self.version)
        self.answered_version = answered

    def _judge(self, operation: str, told: bytes) -> msgspec.Raw | None:
        """The data of an answer; None where it is to be asked again, after a pause that was already made."""
        try:
            answer = _ANSWER.decode(told)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            # Half an answer passes by itself; a page for people does not.
            raise errors.for_text(told, operation) from error
        extensions = answer.extensions or _Extensions()
        self._budget.note(operation, extensions.cost)
        said = [GraphError(answer.errors)] if isinstance(answer.errors, str) else answer.errors
        codes = {error.code for error in said}
        if "MAX_COST_EXCEEDED" in codes:
            raise TooCostly
        if "THROTTLED" in codes:
            if not self._budget.pause(extensions.cost):
                raise errors.for_errors(said, operation)
            return None
        if said:
            raise errors.for_errors(said, operation)
        self._budget.went_well()
        _no_warnings(operation, extensions.search)
        return answer.data


def _no_warnings(operation: str, searches: list[_Search]) -> None:
    """Stop where the shop has dropped a filter that it does not know: it answers with more than was asked for, and says so only here."""
    for search in searches:
        for warning in search.warnings:
            raise PermanentError(
                phrase("The shop does not understand the filter %(filter)r.", filter=warning.field or search.query),
                hint=errors.UPGRADE,
                code="filter",
                adapter=ADAPTER,
                operation=operation,
                excerpt=warning.message[:300],
            )


def _too_costly(operation: str) -> PermanentError:
    return PermanentError(
        phrase("The shop says that a single row costs more than a query may."),
        hint=errors.UPGRADE,
        code="too_costly",
        adapter=ADAPTER,
        operation=operation,
    )
