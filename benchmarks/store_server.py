"""A store that is never the bottleneck: the demo's shop in WooCommerce's lists, each record encoded beforehand, in its own process.

`python -m benchmarks.store_server MEMBERS SEED [ORDERS]` prints its address as JSON and serves until its input ends. It looks at no key.
With ORDERS it has so many: the shop's own again and again, each with an id of its own, changed a second after the one before.
"""

from __future__ import annotations

import json
import subprocess
import sys
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from benchmarks.data import END
from crm_plugin.demo.loopback import HOST, JsonHandler, LoopbackServer, running
from crm_plugin.demo.shop import DemoShop, generate

_API = "/wp-json/wc/v3/"
# From when on orders that are made again and again have changed, in UTC.
_BEGINNING = datetime(2025, 1, 1)  # noqa: DTZ001
_STARTED = _BEGINNING.isoformat()


@dataclass(frozen=True, slots=True)
class Served:
    """A running store and how many records it has."""

    url: str
    records: dict[str, int]


@contextmanager
def store(members: int, seed: int, orders: int = 0) -> Iterator[Served]:
    """Start the store, and end it with the block; 0 orders are as many as such a shop has."""
    command = [sys.executable, "-m", "benchmarks.store_server", str(members), str(seed), str(orders)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        yield Served(told["url"], told["records"])
    finally:
        process.communicate()


class _List:
    """One kind of record, by id and by time of change."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        by_id = sorted(rows, key=lambda row: int(row["id"]))
        by_change = sorted(rows, key=_changed_at)
        self.by_id = [msgspec.json.encode(row) for row in by_id]
        self.by_change = [msgspec.json.encode(row) for row in by_change]
        self.times = [_changed_at(row)[0] for row in by_change]
        self.currencies = {int(row["id"]): row.get("currency", "") for row in rows}

    def page(self, params: dict[str, str]) -> tuple[bytes, int]:
        """The page asked for, and how many records the whole list has."""
        if "include" in params:
            ids = [int(part) for part in params["include"].split(",")]
            found = [{"id": row_id, "currency": self.currencies[row_id]} for row_id in ids]
            return msgspec.json.encode(found), len(found)
        rows, first = self.by_id, 0
        if params.get("orderby") == "modified":
            rows, first = self.by_change, bisect_right(self.times, params.get("modified_after", ""))
        size = int(params.get("per_page", "10"))
        start = first + _offset(params, size)
        return b"[" + b",".join(rows[start : start + size]) + b"]", len(rows) - first


class _Repeated:
    """The orders of a shop again and again, made when they are asked for; they change in the order of their ids."""

    def __init__(self, rows: list[dict[str, Any]], count: int) -> None:
        self._rows, self._count = rows, count
        self.by_id = range(count)
        self.currencies: dict[int, str] = {}

    def page(self, params: dict[str, str]) -> tuple[bytes, int]:
        """The page asked for, and how many orders follow what they shall have changed after."""
        if "include" in params:
            found = [self._row(int(part)) for part in params["include"].split(",")]
            return msgspec.json.encode(found), len(found)
        after = params.get("modified_after", "")
        first = int((datetime.fromisoformat(after) - _BEGINNING).total_seconds()) if after > _STARTED else 0
        size = int(params.get("per_page", "10"))
        start = first + _offset(params, size)
        rows = [self._row(order_id) for order_id in range(start + 1, min(start + size, self._count) + 1)]
        return msgspec.json.encode(rows), self._count - first

    def _row(self, order_id: int) -> dict[str, Any]:
        changed = (_BEGINNING + timedelta(seconds=order_id)).isoformat()
        row = self._rows[order_id % len(self._rows)]
        return {**row, "id": order_id, "number": str(order_id), "date_modified_gmt": changed, "refunds": []}


def _offset(params: dict[str, str], size: int) -> int:
    """How many records come before the page, as WooCommerce counts: by `offset` where it is told, else by the page's number."""
    return int(params["offset"]) if "offset" in params else (int(params.get("page", "1")) - 1) * size


def _changed_at(row: dict[str, Any]) -> tuple[str, int]:
    return str(row.get("date_modified_gmt") or ""), int(row["id"])


class _Store(LoopbackServer):
    def __init__(self, shop: DemoShop, orders: int) -> None:
        super().__init__(0, _Handler)
        self.shop = shop
        live = [row for row in shop.orders if row["status"] != "trash"]
        trash = [row for row in shop.orders if row["status"] == "trash"]
        self.lists: dict[str, _List | _Repeated] = {
            "customers": _List(shop.customers),
            "orders": _Repeated(live, orders) if orders else _List(live),
            "orders?trash": _List(trash),
            "orders?checkout-draft": _List([row for row in live if row["status"] == "checkout-draft"]),
            "refunds": _List([] if orders else shop.refunds),
            "products": _List(shop.products),
            "variations": _List(shop.variations),
        }
        self.lists["orders"].currencies.update(self.lists["orders?trash"].currencies)


class _Handler(JsonHandler):
    server: _Store

    def answer(self, method: str, path: str, query: str, body: bytes) -> None:
        shop, params = self.server.shop, dict(parse_qsl(query))
        name = path.removeprefix(_API).strip("/")
        if path.rstrip("/") == "/wp-json":
            self.reply(200, {"name": shop.title, "home": "", "timezone_string": shop.timezone, "namespaces": ["wc/v3"]})
        elif name == "system_status":
            self.reply(200, {"environment": {"version": "11.0.1"}, "settings": {"currency": shop.currency}})
        else:
            asked = f"{name}?{params['status']}" if "status" in params else name
            found, total = self.server.lists[asked].page(params)
            pages = -(-total // int(params.get("per_page", "10")))
            self.reply(200, found, {"X-WP-Total": str(total), "X-WP-TotalPages": str(pages)})


def main() -> None:
    """Make the shop, say where it is, serve."""
    shop = generate(seed=int(sys.argv[2]), members=int(sys.argv[1]), years=3, until=END.date())
    server = _Store(shop, int(sys.argv[3]))
    with running(server):
        records = {name: len(found.by_id) for name, found in server.lists.items()}
        print(json.dumps({"url": f"http://{HOST}:{server.port}", "records": records}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
