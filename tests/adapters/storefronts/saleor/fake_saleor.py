"""A Saleor at the edge of the network: lists with keyset cursors, metadata, vouchers and permissions, behind `responses`."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import requests
import responses

URL = "https://shop.example/graphql/"
TOKEN = "lx8B" + "a" * 26
APP = "QXBwOjE="
ALL = ["MANAGE_USERS", "MANAGE_ORDERS", "MANAGE_PRODUCTS", "MANAGE_CHECKOUTS", "MANAGE_DISCOUNTS"]
Answer = tuple[int, dict[str, str], str]
_LISTS = {
    "Members": ("users", "MANAGE_USERS"),
    "Orders": ("orders", "MANAGE_ORDERS"),
    "RecentMembers": ("users", "MANAGE_USERS"),
    "RecentOrders": ("orders", "MANAGE_ORDERS"),
    "FinishedCheckouts": ("orders", "MANAGE_ORDERS"),
    "Variants": ("variants", "MANAGE_PRODUCTS"),
    "ProductsChanged": ("products", "MANAGE_PRODUCTS"),
    "Checkouts": ("checkouts", "MANAGE_CHECKOUTS"),
}
_ONES = {"MemberOne": "users", "OrderOne": "orders", "VariantOne": "variants", "CheckoutOne": "checkouts"}


def user(number: int, updated: str = "2026-11-22T05:00:00+00:00", **values: Any) -> dict[str, Any]:
    """An account, as the store tells it."""
    return {
        "id": base64.b64encode(f"User:{number}".encode()).decode(),
        "email": f"c{number}@example.com",
        "firstName": "Mei",
        "lastName": "Lin",
        "isActive": True,
        "dateJoined": "2026-01-01T00:00:00+00:00",
        "updatedAt": updated,
        "languageCode": "EN",
        "metadata": [],
        "defaultBillingAddress": None,
        "defaultShippingAddress": None,
        **values,
    }


class FakeSaleor:
    """`rows` by kind; `faults` are answers given before the real ones, in turn; `steps` are called before each list's answer."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {
            name: [] for name in ("users", "orders", "variants", "products", "checkouts")
        }
        self.permissions = list(ALL)
        self.token: str | None = TOKEN
        self.webhooks: list[dict[str, Any]] = []
        self.vouchers: list[dict[str, Any]] = []
        self.listings: dict[str, list[dict[str, Any]]] = {}
        self.faults: list[Answer | Exception] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.jwks: dict[str, Any] = {"keys": []}
        self.before_list: Any = None

    def mount(self, mock: responses.RequestsMock, url: str = URL) -> None:
        mock.add_callback(responses.POST, url, self.answer)
        mock.add_callback(
            responses.GET, "https://shop.example/.well-known/jwks.json", lambda _: (200, {}, json.dumps(self.jwks))
        )

    def answer(self, request: requests.PreparedRequest) -> Answer:
        if self.faults:
            fault = self.faults.pop(0)
            if isinstance(fault, Exception):
                raise fault
            return fault
        asked = json.loads(request.body or b"{}")
        found = re.match(r"(query|mutation) (\w+)", asked["query"])
        assert found is not None
        name, variables = found[2], asked["variables"]
        assert set(re.findall(r"\$(\w+):", asked["query"])) >= set(variables)
        self.calls.append((name, variables))
        known = request.headers.get("Authorization") == f"Bearer {self.token}"
        data, errors = self._data(name, variables, known)
        return 200, {}, json.dumps({"data": data, **({"errors": errors} if errors else {})})

    def _data(self, name: str, told: dict[str, Any], known: bool) -> tuple[Any, list[dict[str, Any]]]:
        app = (
            {"id": APP, "name": "CRM", "permissions": [{"code": code} for code in self.permissions]} if known else None
        )
        if name == "App":
            return {"app": app}, [] if app else [_denied("app")]
        if name.startswith("Webhook"):
            return self._webhook(name, told) if app else ({"app": None, "made": None}, [_denied(name)])
        if name == "Shop":
            channels = [
                {"id": "Q2g6MQ==", "slug": "old", "isActive": False, "currencyCode": "EUR"},
                {"id": "Q2g6Mg==", "slug": "tw", "isActive": True, "currencyCode": "TWD"},
                {"id": "Q2g6Mw==", "slug": "us", "isActive": True, "currencyCode": "USD"},
            ]
            shop = {"name": "Teas", "version": "3.24.0", "domain": {"url": "https://shop.example"}}
            return {"shop": shop, "channels": channels if known else None, "app": app}, []
        needed = "MANAGE_DISCOUNTS" if name.startswith("Voucher") else "MANAGE_USERS"
        if name in _LISTS:
            needed = _LISTS[name][1]
        elif name in _ONES:
            needed = next(one for kind, one in _LISTS.values() if kind == _ONES[name])
        if not known or needed not in self.permissions:
            return None, [_denied(name)]
        if name.startswith("Recent"):
            rows = sorted(self.rows[_LISTS[name][0]], key=lambda row: str(row["updatedAt"]), reverse=True)
            kept = [{"node": {"id": row["id"], "metadata": row["metadata"]}} for row in rows[: told["first"]]]
            return {"page": {"edges": kept}}, []
        if name in _LISTS:
            return self._list(_LISTS[name][0], told)
        if name.startswith(("Count", "Ids")):
            kind = _LISTS[name.removeprefix("Count").removeprefix("Ids")][0]
            return self._list(kind, {"first": 1, "after": None, "since": "", **told})
        if name in _ONES:
            return {"one": next((row for row in self.rows[_ONES[name]] if row["id"] == told["id"]), None)}, []
        if name == "Metadata":
            return self._metadata(told), []
        return self._voucher(name, told), []

    def _list(self, kind: str, told: dict[str, Any]) -> tuple[Any, list[dict[str, Any]]]:
        if self.before_list is not None:
            self.before_list(self)
        if told["first"] > 100:
            return None, [{"message": "Requesting more than 100 records exceeds the `first` limit."}]
        by = "created" if kind == "checkouts" else "updatedAt"
        rows = [row for row in self.rows[kind] if row["updatedAt"][: len(told["since"])] >= told["since"]]
        total, after = len(rows), told["after"]
        rows.sort(key=lambda row: (row[by], row["id"]))
        if after:
            try:
                place = tuple(json.loads(base64.b64decode(after, validate=True)))
            except ValueError:
                return None, [{"message": "Received cursor is invalid."}]
            rows = [row for row in rows if (row[by], row["id"]) > place]
        cut = rows[: told["first"]]
        end = base64.b64encode(json.dumps([cut[-1][by], cut[-1]["id"]]).encode()).decode() if cut else None
        info = {"hasNextPage": len(rows) > len(cut), "endCursor": end}
        return {"page": {"totalCount": total, "pageInfo": info, "edges": [{"node": row} for row in cut]}}, []

    def _webhook(self, name: str, told: dict[str, Any]) -> tuple[Any, list[dict[str, Any]]]:
        """Of an app's own webhooks; one that would call this machine is refused, as by default."""
        if name == "Webhooks":
            codes = [{"code": code} for code in self.permissions]
            return {"app": {"id": APP, "permissions": codes, "webhooks": self.webhooks}}, []
        held = next((one for one in self.webhooks if one["id"] == told.get("id")), None)
        given = told.get("input", {})
        if "localhost" in given.get("targetUrl", ""):
            error = {"field": "targetUrl", "code": "INVALID", "message": "Invalid target URL."}
            return {"made": {"errors": [error]}}, []
        if name == "WebhookRemove":
            self.webhooks.remove(held)  # type: ignore[arg-type]
            return {"made": {"errors": []}}, []
        if held is None:
            held = {"id": f"V2ViaG9vazo{len(self.calls)}"}
            self.webhooks.append(held)
        words = [{"eventType": word} for word in given["asyncEvents"]]
        held |= {"isActive": given["isActive"], "asyncEvents": words, "subscriptionQuery": given["query"]}
        held.setdefault("targetUrl", given.get("targetUrl"))
        return {"made": {"errors": []}}, []

    def _metadata(self, told: dict[str, Any]) -> dict[str, Any]:
        done: dict[str, Any] = {}
        for alias in (name for name in told if name[0] in "sd"):
            row = next((row for row in self.rows["users"] if row["id"] == told[f"i{alias[1:]}"]), None)
            if row is None:
                done[alias] = {
                    "item": None,
                    "errors": [{"field": "id", "code": "NOT_FOUND", "message": "No such node"}],
                }
                continue
            kept = {entry["key"]: entry["value"] for entry in row["metadata"]}
            if alias[0] == "s":
                kept |= {entry["key"]: entry["value"] for entry in told[alias]}
            else:
                kept = {key: value for key, value in kept.items() if key not in told[alias]}
            row["metadata"] = [{"key": key, "value": value} for key, value in kept.items()]
            row["updatedAt"] = "2026-11-23T00:00:00+00:00"
            done[alias] = {"item": {"updatedAt": row["updatedAt"]}, "errors": []}
        return done

    def _voucher(self, name: str, told: dict[str, Any]) -> dict[str, Any]:
        if name == "VoucherFind":
            rows = [one for one in self.vouchers if told["code"] in one["addCodes"]]
            nodes = [
                {
                    "id": one["id"],
                    "name": one["name"],
                    "codes": {"edges": [{"node": {"code": c}} for c in one["addCodes"]]},
                }
                for one in rows
            ]
            return {"page": {"edges": [{"node": node} for node in nodes]}}
        if name == "VoucherChannels":
            self.listings[told["id"]] = told["listings"]
            return {"made": {"errors": []}}
        taken = {code for one in self.vouchers for code in one["addCodes"]}
        if taken & set(told["input"]["addCodes"]):
            error = {"field": "codes", "code": "ALREADY_EXISTS", "message": "Codes already exist."}
            return {"made": {"voucher": None, "errors": [error]}}
        self.vouchers.append({"id": f"Vm91Y2hlcjo{len(self.vouchers)}", **told["input"]})
        return {"made": {"voucher": {"id": self.vouchers[-1]["id"]}, "errors": []}}


def _denied(name: str) -> dict[str, Any]:
    return {
        "message": "To access this path, you need a permission.",
        "path": [name],
        "extensions": {"exception": {"code": "PermissionDenied"}},
    }
