"""A store that is never the bottleneck: the demo's shop in WooCommerce's lists, each record encoded beforehand, in its own process.

`python -m benchmarks.store_server MEMBERS SEED` prints its address as JSON and serves until its input ends. It looks at no key.
"""

from __future__ import annotations

import json
import subprocess
import sys
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from benchmarks.data import END
from crm_plugin.demo.loopback import HOST, JsonHandler, LoopbackServer, running
from crm_plugin.demo.shop import DemoShop, generate

_API = "/wp-json/wc/v3/"
_LATEST = "9999"


@dataclass(frozen=True, slots=True)
class Served:
    """A running store and how many records it has."""

    url: str
    records: dict[str, int]


@contextmanager
def store(members: int, seed: int) -> Iterator[Served]:
    """Start the store, and end it with the block."""
    command = [sys.executable, "-m", "benchmarks.store_server", str(members), str(seed)]
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
        size, number = int(params.get("per_page", "10")), int(params.get("page", "1"))
        start = first + (number - 1) * size
        return b"[" + b",".join(rows[start : start + size]) + b"]", len(rows) - first


def _changed_at(row: dict[str, Any]) -> tuple[str, int]:
    return str(row.get("date_modified_gmt") or ""), int(row["id"])


class _Store(LoopbackServer):
    def __init__(self, shop: DemoShop) -> None:
        super().__init__(0, _Handler)
        self.shop = shop
        live = [row for row in shop.orders if row["status"] != "trash"]
        trash = [row for row in shop.orders if row["status"] == "trash"]
        self.lists = {
            "customers": _List(shop.customers),
            "orders": _List(live),
            "orders?trash": _List(trash),
            "refunds": _List(shop.refunds),
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
            found, total = self.server.lists[f"{name}?trash" if params.get("status") == "trash" else name].page(params)
            pages = -(-total // int(params.get("per_page", "10")))
            self.reply(200, found, {"X-WP-Total": str(total), "X-WP-TotalPages": str(pages)})


def main() -> None:
    """Make the shop, say where it is, serve."""
    server = _Store(generate(seed=int(sys.argv[2]), members=int(sys.argv[1]), years=3, until=END.date()))
    with running(server):
        records = {name: len(found.by_id) for name, found in server.lists.items()}
        print(json.dumps({"url": f"http://{HOST}:{server.port}", "records": records}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
