"""A Medusa at the edge of the network: lists with windows and offsets, metadata, groups and promotions, behind `responses`."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
import responses

URL = "https://api.shop.example"
KEY = "sk_" + "a1" * 20
Answer = tuple[int, dict[str, str], str]
_FILTERS = re.compile(
    r"limit|offset|order|fields|updated_at\[\$gte\]|id\[\d+\]|code|name|campaign_identifier|has_account"
)
_LISTS = {"product-variants": "variants", "customer-groups": "customer_groups"}


def customer(number: int, updated: str = "2026-11-22T05:00:00.000Z", **values: Any) -> dict[str, Any]:
    """An account, as the store tells it."""
    return {
        "id": f"cus_{number:04}",
        "email": f"c{number}@example.com",
        "first_name": "Mei",
        "last_name": "Lin",
        "company_name": None,
        "phone": "+886912000004",
        "has_account": True,
        "metadata": None,
        "created_at": "2026-01-01T00:00:00.000Z",
        "updated_at": updated,
        "groups": [],
        "addresses": [],
        **values,
    }


class FakeMedusa:
    """`rows` by the list's name; `faults` are answers given before the real ones, in turn."""

    def __init__(self) -> None:
        names = ("customers", "orders", "variants", "payments", "customer_groups", "promotions", "campaigns")
        self.rows: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        self.rows["stores"] = [
            {
                "id": "store_1",
                "name": "Teas",
                "supported_currencies": [{"currency_code": "eur"}, {"currency_code": "twd", "is_default": True}],
            }
        ]
        self.faults: list[Answer | Exception] = []
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.before_list: Callable[[], None] | None = None
        self.now = "2026-11-23T00:00:00.000Z"

    def mount(self, mock: responses.RequestsMock) -> None:
        for method in (responses.GET, responses.POST):
            mock.add_callback(method, re.compile(rf"{re.escape(URL)}/admin/.*"), self.answer)

    def answer(self, request: requests.PreparedRequest) -> Answer:
        if self.faults:
            fault = self.faults.pop(0)
            if isinstance(fault, Exception):
                raise fault
            return fault
        if request.headers.get("Authorization") != "Basic " + base64.b64encode(f"{KEY}:".encode()).decode():
            return 401, {}, '{"message":"Unauthorized"}'
        parts = urlsplit(str(request.url))
        path, told = parts.path.removeprefix("/admin/"), dict(parse_qsl(parts.query))
        if request.method == "POST":
            told = json.loads(request.body or b"{}")
        self.calls.append((str(request.method), path, told))
        return self._list(path, told) if request.method == "GET" else self._change(path, told)

    def _list(self, path: str, told: dict[str, str]) -> Answer:
        unknown = [name for name in told if not _FILTERS.fullmatch(name)]
        if unknown:
            return 400, {}, json.dumps({"type": "invalid_data", "message": f"Unrecognized fields: {unknown}"})
        if self.before_list is not None:
            self.before_list()
        key = _LISTS.get(path, path)
        rows = self.rows[key]
        if since := told.get("updated_at[$gte]"):
            rows = [row for row in rows if row["updated_at"] >= since]
        if ids := {value for name, value in told.items() if name.startswith("id[")}:
            rows = [row for row in rows if row["id"] in ids]
        for name in ("code", "name", "campaign_identifier"):
            if name in told:
                rows = [row for row in rows if row[name] == told[name]]
        if "has_account" in told:
            rows = [row for row in rows if row["has_account"] is (told["has_account"] == "true")]
        by = told.get("order", "id")
        rows = sorted(rows, key=lambda row: str(row[by.removeprefix("-")]), reverse=by.startswith("-"))
        offset, limit = int(told.get("offset", 0)), int(told["limit"])
        return (
            200,
            {},
            json.dumps({key: rows[offset : offset + limit], "count": len(rows), "offset": offset, "limit": limit}),
        )

    def _change(self, path: str, told: dict[str, Any]) -> Answer:
        name, _, rest = path.partition("/")
        if name == "customers":
            return self._customer(*rest.partition("/")[::2], told)
        key = _LISTS.get(name, name)
        unique = {"promotions": "code", "campaigns": "campaign_identifier", "customer_groups": "name"}[key]
        if any(row[unique] == told[unique] for row in self.rows[key]):
            return 400, {}, '{"type":"invalid_data","message":"already exists"}'
        made = {"id": f"{key[:4]}_{len(self.rows[key])}", **told}
        self.rows[key].append(made)
        return 200, {}, json.dumps({key.removesuffix("s"): made})

    def _customer(self, name: str, what: str, told: dict[str, Any]) -> Answer:
        row = next((row for row in self.rows["customers"] if row["id"] == name), None)
        if row is None:
            return 404, {}, '{"type":"not_found","message":"Customer was not found"}'
        if what:
            groups = {one["id"]: one for one in self.rows["customer_groups"]}
            kept = [one for one in row["groups"] if one["id"] not in told["remove"]]
            row["groups"] = kept + [groups[one] for one in told["add"] if groups[one] not in kept]
            return 200, {}, json.dumps({"customer": row})
        merged = {**(row["metadata"] or {}), **told["metadata"]}
        row["metadata"] = {key: value for key, value in merged.items() if value != ""}
        row["updated_at"] = self.now
        return 200, {}, json.dumps({"customer": row})
