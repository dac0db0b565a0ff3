"""Lists as WooCommerce's REST API gives them: filters, order, pages, chosen fields, and its peculiarities where a sync meets them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cache
from typing import Any, ClassVar, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from crm_plugin.clock import zone
from crm_plugin.demo.woo_auth import Refusal
from crm_plugin.demo.woo_form import Row

Params = Mapping[str, str]
_STATUSES = (
    "any", "trash", "auto-draft", "pending", "processing", "on-hold", "completed", "cancelled", "refunded", "failed", "checkout-draft",
)  # fmt: skip
_HIDDEN = frozenset({"trash", "auto-draft", "checkout-draft"})
_DATES = {
    "after": ("created", 1),
    "before": ("created", -1),
    "modified_after": ("modified", 1),
    "modified_before": ("modified", -1),
}


class Refused(Exception):
    """A request whose parameters the store does not take."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.refusal = Refusal(status, code, message)


class Found(NamedTuple):
    """One page: JSON, and what the headers say of the whole list."""

    body: bytes
    total: int
    pages: int
    page: int


class Table:
    """One kind of record of a shop in this zone.

    `filters` take a row and the parameter's value; parameters nobody knows are ignored, as the store does.
    """

    orders: ClassVar[Mapping[str, str]] = {
        "date": "date_created_gmt",
        "id": "id",
        "modified": "date_modified_gmt",
        "title": "name",
    }
    default_order = ("date", "desc")
    dated = True
    forgets_total = False
    filters: ClassVar[Mapping[str, Callable[[Row, str], bool]]] = {}

    def __init__(self, rows: Iterable[Row], timezone: str) -> None:
        self._rows = {int(row["id"]): row for row in rows}
        self._encoded = {number: msgspec.json.encode(row) for number, row in self._rows.items()}
        self.zone = zone(timezone)
        self._sorted = cache(self._sort)

    def one(self, number: int) -> Row | None:
        """The record of that id."""
        return self._rows.get(number)

    def rows(self) -> list[Row]:
        """All records."""
        return list(self._rows.values())

    def put(self, row: Row) -> None:
        """Keep a record in place of the one with its id."""
        self._rows[int(row["id"])] = row
        self._encoded[int(row["id"])] = msgspec.json.encode(row)
        self._sorted.cache_clear()

    def remove(self, number: int) -> None:
        """Forget a record."""
        del self._rows[number]
        self._sorted.cache_clear()

    def page(self, params: Params, parent: int | None = None) -> Found:
        """The page asked for, of the children of one record where `parent` is given. Raises: Refused."""
        size = _whole(params, "per_page", 10, 1, 100)
        number = _whole(params, "page", 1, 1, None)
        start = _whole(params, "offset", (number - 1) * size, 0, None)
        rows = self._select(params, parent)
        cut = rows[start : start + size]
        total = 0 if self.forgets_total and not cut else len(rows)
        return Found(self._join(cut, params.get("_fields", "")), total, -(-total // size), number)

    def _select(self, params: Params, parent: int | None) -> list[Row]:
        by, direction = params.get("orderby", self.default_order[0]), params.get("order", self.default_order[1])
        if by not in self.orders and by != "include":
            raise Refused(400, "rest_invalid_param", "Invalid parameter(s): orderby")
        if direction not in ("asc", "desc"):
            raise Refused(400, "rest_invalid_param", "Invalid parameter(s): order")
        tests = self._tests(params)
        if parent is not None:
            tests.append(lambda row: row.get("parent_id") == parent)
        rows = self._sorted(self.orders.get(by, "id"), direction == "desc")
        return [row for row in rows if all(test(row) for test in tests)]

    def _tests(self, params: Params) -> list[Callable[[Row], bool]]:
        tests: list[Callable[[Row], bool]] = []
        for name, taken in (("include", True), ("exclude", False)):
            if params.get(name):
                ids = frozenset(params[name].split(","))
                tests.append(lambda row, ids=ids, taken=taken: (str(row["id"]) in ids) is taken)  # type: ignore[misc]
        for name, (what, sign) in _DATES.items():
            if self.dated and params.get(name):
                tests.append(
                    _later_than(params[name], what, sign, _is_true(params.get("dates_are_gmt", "")), self.zone)
                )
        for name, test in self.filters.items():
            if params.get(name):
                tests.append(lambda row, test=test, value=params[name]: test(row, value))  # type: ignore[misc]
        return tests

    def _sort(self, column: str, descending: bool) -> list[Row]:
        return sorted(self._rows.values(), key=lambda row: (row.get(column) or "", row["id"]), reverse=descending)

    def _join(self, rows: list[Row], fields: str) -> bytes:
        if fields:
            return msgspec.json.encode([only(row, fields) for row in rows])
        return b"[" + b",".join(self._encoded[row["id"]] for row in rows) + b"]"


class Customers(Table):
    """Accounts: only those of one role unless all are asked for, and no way to ask for changes."""

    orders: ClassVar[Mapping[str, str]] = {"id": "id", "name": "username", "registered_date": "date_created_gmt"}
    default_order = ("name", "asc")
    dated = False
    filters: ClassVar[Mapping[str, Callable[[Row, str], bool]]] = {
        "role": lambda row, value: value in ("all", row["role"]),
        "email": lambda row, value: row["email"].lower() == value.lower(),
    }

    def _select(self, params: Params, parent: int | None) -> list[Row]:
        return super()._select({"role": "customer", **params}, parent)


class Orders(Table):
    """Orders: without the trash unless it is asked for; past the last page the total is 0."""

    forgets_total = True
    filters: ClassVar[Mapping[str, Callable[[Row, str], bool]]] = {
        "status": lambda row, value: _has_status(row["status"], value),
        "customer": lambda row, value: str(row["customer_id"]) == value,
    }

    def _select(self, params: Params, parent: int | None) -> list[Row]:
        asked = params.get("status", "any")
        if unknown := [word for word in asked.split(",") if word not in _STATUSES]:
            said = f"status[0] is not one of {', '.join(_STATUSES[:-1])}, and {_STATUSES[-1]}."
            raise Refused(400, "rest_invalid_param", f"Invalid parameter(s): status ({unknown[0]}: {said})")
        return super()._select({**params, "status": asked}, parent)


class Goods(Table):
    """Products and variations."""

    orders: ClassVar[Mapping[str, str]] = {**Table.orders, "slug": "slug"}
    filters: ClassVar[Mapping[str, Callable[[Row, str], bool]]] = {
        "sku": lambda row, value: row["sku"] in value.split(","),
        "status": lambda row, value: value in ("any", row["status"]),
        "type": lambda row, value: row["type"] == value,
    }


def only(row: Row, fields: str) -> Row:
    """The named fields of a record; `settings.currency` names one within another."""
    tree: dict[str, list[str]] = {}
    for field in fields.split(","):
        head, _, rest = field.strip().partition(".")
        tree.setdefault(head, []).append(rest)
    chosen: dict[str, Any] = {}
    for name, value in row.items():
        if name in tree:
            within = tree[name]
            chosen[name] = only(value, ",".join(within)) if all(within) and isinstance(value, dict) else value
    return chosen


def _has_status(status: str, asked: str) -> bool:
    words = asked.split(",")
    return status in words or ("any" in words and status not in _HIDDEN)


def _later_than(value: str, what: str, sign: int, gmt: bool, local: ZoneInfo) -> Callable[[Row], bool]:
    """Strictly later (or earlier) than the value. A value with an offset becomes local time even when UTC is compared, as in the store."""
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        at = None
    if at is None or "T" not in value:
        raise Refused(400, "rest_invalid_param", "Invalid date.")
    naive = (at if at.tzinfo is None else at.astimezone(local)).replace(tzinfo=None)
    limit, column = f"{naive:%Y-%m-%dT%H:%M:%S}", f"date_{what}_gmt" if gmt else f"date_{what}"
    if sign > 0:
        return lambda row: (row.get(column) or "") > limit
    return lambda row: (row.get(column) or "") < limit


def _is_true(value: str) -> bool:
    return value.lower() in ("1", "true")


def _whole(params: Params, name: str, default: int, least: int, most: int | None) -> int:
    value = params.get(name, "")
    if not value:
        return default
    if not value.isdigit() or int(value) < least or (most is not None and int(value) > most):
        raise Refused(400, "rest_invalid_param", f"Invalid parameter(s): {name}")
    return int(value)
