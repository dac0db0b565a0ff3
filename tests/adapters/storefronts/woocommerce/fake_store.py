"""A store at the edge of the network: lists that filter, sort and page as WooCommerce does, behind `responses`."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
import responses

URL = "https://shop.example"
Answer = tuple[int, dict[str, str], str]

# States that are told only to who asks for them.
_HIDDEN = ("trash", "checkout-draft")


class FakeStore:
    """`lists` by path; `faults` are answers given before the real ones, in turn."""

    def __init__(self) -> None:
        self.lists: dict[str, list[dict[str, Any]]] = {"customers": [], "orders": [], "refunds": [], "products": []}
        self.faults: list[Answer | Exception] = []
        self.calls: list[tuple[str, dict[str, str]]] = []
        self.raw: dict[str, str] = {}
        self.currency = "EUR"
        self.root: dict[str, Any] = {"name": "Fake", "timezone_string": "Europe/Paris", "home": URL}

    def mount(self, mock: responses.RequestsMock, url: str = URL) -> None:
        """Answer every GET to the store."""
        mock.add_callback(responses.GET, re.compile(rf"{re.escape(url)}/.*"), self._answer)

    def _answer(self, request: requests.PreparedRequest) -> Answer:
        parts = urlsplit(str(request.url))
        query = dict(parse_qsl(parts.query))
        path = parts.path.removeprefix("/wp-json/").removeprefix("wc/v3/").strip("/")
        self.calls.append((path, query))
        if self.faults:
            fault = self.faults.pop(0)
            if isinstance(fault, Exception):
                raise fault
            return fault
        if not path:
            return self._json(self.root)
        if path == "system_status":
            return self._json({"settings": {"currency": self.currency}, "environment": {"version": "11.0.1"}})
        if path not in self.lists:
            name, _, row_id = path.partition("/")
            found = [row for row in self.lists.get(name, []) if str(row["id"]) == row_id]
            return (
                self._json(found[0])
                if found
                else (404, {}, json.dumps({"code": "not_found", "message": "Invalid ID."}))
            )
        return self._list(path, query)

    def _list(self, path: str, query: dict[str, str]) -> Answer:
        rows = self.lists[path]
        if path == "orders":
            asked = query.get("status", "any")
            rows = [row for row in rows if (row["status"] if row["status"] in _HIDDEN else "any") == asked]
        if include := query.get("include"):
            rows = [row for row in rows if str(row["id"]) in include.split(",")]
        if after := query.get("modified_after"):
            rows = [row for row in rows if row["date_modified_gmt"] > after]
        key = "date_modified_gmt" if query.get("orderby") == "modified" else "id"
        rows = sorted(rows, key=lambda row: (row[key], row["id"]), reverse=query.get("order") == "desc")
        size, start = int(query.get("per_page", 10)), int(query.get("offset", 0))
        cut = rows[start : start + size]
        body = "[" + ",".join(self.raw.get(str(row["id"]), json.dumps(row)) for row in cut) + "]"
        return 200, {"X-WP-Total": str(len(rows)), "X-WP-TotalPages": str(-(-len(rows) // size))}, body

    @staticmethod
    def _json(value: Any) -> Answer:
        return 200, {}, json.dumps(value)


def order(row_id: int, modified: str = "2026-01-01T00:00:00", **values: Any) -> dict[str, Any]:
    """An order of a guest, as the store tells it."""
    return {
        "id": row_id,
        "number": str(row_id),
        "status": "completed",
        "currency": "EUR",
        "total": "298.55",
        "total_tax": "49.76",
        "customer_id": 0,
        "date_created_gmt": "2025-12-01T13:04:49",
        "date_modified_gmt": modified,
        "billing": {
            "first_name": "Γιώργος",
            "country": "GR",
            "email": f"g{row_id}@example.test",
            "phone": "+30 210 1234565",
        },
        "line_items": [
            {"name": "Bag", "sku": "TB-026", "product_id": 37, "quantity": 1, "total": "44.84", "total_tax": "8.97"}
        ],
        "refunds": [],
        "meta_data": [{"id": 1, "key": "marketing_opt_in", "value": "yes"}],
        **values,
    }


def customer(row_id: int, **values: Any) -> dict[str, Any]:
    """An account, as the store tells it."""
    return {
        "id": row_id,
        "email": f"c{row_id}@example.test",
        "role": "customer",
        "date_created_gmt": "2025-01-01T00:00:00",
        "date_modified_gmt": None,
        "billing": {},
        "meta_data": [{"id": 1, "key": "birthday", "value": "1985-06-05"}],
        **values,
    }
