"""The made-up shop on this machine, as its REST API would answer: keys, pages, dates and refusals in WooCommerce's form.

It answers over plain http on the loopback address only, so callers sign with OAuth 1.0a. Accounts,
webhooks and coupons can be written, and notes on orders.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from crm_plugin.clock import zone
from crm_plugin.demo.loopback import HOST, JsonHandler, LoopbackServer, running
from crm_plugin.demo.shop import DemoShop
from crm_plugin.demo.woo_accounts import Accounts
from crm_plugin.demo.woo_auth import Door
from crm_plugin.demo.woo_form import Row
from crm_plugin.demo.woo_lists import Customers, Found, Goods, Orders, Refused, Table, only
from crm_plugin.demo.woo_written import Written

_API = "/wp-json/wc/v3/"
_VERSION = "11.0.1"
_PAST = re.compile(r"/\d+")
_CHILD_LISTS = {("orders", "refunds"): "refunds", ("products", "variations"): "variations"}
_NO_SUCH = {
    "orders": "woocommerce_rest_shop_order_invalid_id",
    "customers": "wc_user_invalid_id",
    "products": "woocommerce_rest_product_invalid_id",
}


@dataclass(frozen=True, slots=True)
class Note:
    """A note on an order; the store mails it to the customer when `to_customer`."""

    note_id: int
    order_id: int
    text: str
    to_customer: bool


@dataclass(frozen=True, slots=True)
class Trouble:
    """An answer that the store gives on a bad day, of this status; 0 hangs up without any. `after` it did what was asked all the same."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    after: bool = False


@dataclass(slots=True)
class ServedShop:
    """A running shop: where it is, its keys, and what was asked of it.

    `calls` counts requests by method and path with ids left out ("GET orders/{id}/refunds"), refused ones too, which `refused` counts
    apart. Whoever serves it may take the key's right to write, and say by `trouble` what goes wrong with a request, by method and path.
    """

    url: str
    key: str
    secret: str
    calls: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    notes: list[Note] = field(default_factory=list)
    may_write: bool = True
    trouble: Callable[[str, str], Trouble | None] | None = None


@contextmanager
def serve(shop: DemoShop, port: int = 0, *, key: str = "", secret: str = "") -> Iterator[ServedShop]:
    """Serve the shop until the end of the block; without a pair of keys it makes one."""
    server = _Server(shop, port, key or f"ck_{secrets.token_hex(20)}", secret or f"cs_{secrets.token_hex(20)}")
    with running(server):
        yield server.served


class _Server(LoopbackServer):
    def __init__(self, shop: DemoShop, port: int, key: str, secret: str) -> None:
        super().__init__(port, _Handler)
        self.shop = shop
        self.served = ServedShop(f"http://{HOST}:{self.port}", key, secret)
        self.door = Door(key, secret)
        self.lock = threading.Lock()
        customers = Customers(shop.customers, shop.timezone)
        self.accounts = Accounts(customers)
        self.written = Written(shop.timezone)
        self.tables: dict[str, Table] = {
            "customers": customers,
            "orders": Orders(shop.orders, shop.timezone),
            "refunds": Table(shop.refunds, shop.timezone),
            "products": Goods(shop.products, shop.timezone),
            "variations": Goods(shop.variations, shop.timezone),
            **self.written.tables,
        }

    def count(self, method: str, path: str) -> None:
        with self.lock:
            self.served.calls[f"{method} {_PAST.sub('/{id}', path)}"] += 1

    def refuse(self) -> None:
        with self.lock:
            self.served.refused += 1

    def add_note(self, order_id: int, text: str, to_customer: bool) -> Note:
        with self.lock:
            note = Note(len(self.served.notes) + 1, order_id, text, to_customer)
            self.served.notes.append(note)
        return note

    def index(self) -> Row:
        """What the site tells anybody."""
        offset = datetime.combine(self.shop.until, time(), zone(self.shop.timezone)).utcoffset()
        return {
            "name": self.shop.title,
            "description": "",
            "url": self.served.url,
            "home": self.served.url,
            "gmt_offset": offset.total_seconds() / 3600 if offset else 0,
            "timezone_string": self.shop.timezone,
            "namespaces": ["wp/v2", "wc/v3"],
        }

    def status(self) -> Row:
        """The part of the system status that a client may want."""
        return {
            "environment": {
                "home_url": self.served.url,
                "site_url": self.served.url,
                "version": _VERSION,
                "wp_version": "7.0.4",
                "wp_cron": True,
            },
            "active_plugins": [],
            "settings": {"currency": self.shop.currency, "currency_symbol": "£", "HPOS_enabled": True},
            "security": {"secure_connection": False, "hide_errors": True},
        }

    def settings(self) -> list[Row]:
        """The general settings."""
        return [{"id": "woocommerce_currency", "label": "Currency", "type": "select", "value": self.shop.currency}]


class _Handler(JsonHandler):
    server: _Server
    _trouble: Trouble | None = None

    def answer(self, method: str, path: str, query: str, body: bytes) -> None:
        """Count, check the signature, answer."""
        below = path.rstrip("/") if not path.startswith(_API) else path.removeprefix(_API).strip("/")
        self.server.count(method, below.strip("/"))
        trouble = self.server.served.trouble(method, below.strip("/")) if self.server.served.trouble else None
        if trouble is not None and not trouble.after:
            self._in_trouble(trouble)
            return
        self._trouble = trouble
        try:
            if path.rstrip("/") == "/wp-json":
                self.reply(200, self.server.index())
                return
            if not path.startswith(_API):
                raise _no_route()
            header = self.headers.get("Authorization", "")
            refusal = self.server.door.refusal(method, f"{self.server.served.url}{path}", query, header)
            if refusal is not None:
                raise Refused(*refusal)
            params = dict(parse_qsl(query, keep_blank_values=True))
            if method not in ("GET", "HEAD") and not self.server.served.may_write:
                raise _read_only()
            if method in ("POST", "PUT", "PATCH", "DELETE"):
                self._write(method, below.split("/"), params, body)
            elif method in ("GET", "HEAD"):
                self._read(below.split("/"), params)
            else:
                raise _no_route()
        except Refused as refused:
            self.server.refuse()
            status, code, message = refused.refusal
            self.reply(status, {"code": code, "message": message, "data": {"status": status}})

    def reply(
        self, status: int, body: bytes | dict[str, Any] | list[Any], headers: dict[str, str] | None = None
    ) -> None:
        """As usual, unless the answer is to be lost on its way."""
        trouble, self._trouble = self._trouble, None
        if trouble is None:
            super().reply(status, body, headers)
        else:
            self._in_trouble(trouble)

    def _in_trouble(self, trouble: Trouble) -> None:
        if trouble.status:
            super().reply(trouble.status, {}, trouble.headers)
        else:
            self.close_connection = True

    def _read(self, parts: list[str], params: dict[str, str]) -> None:
        tables = self.server.tables
        match parts:
            case ["system_status"]:
                self._one(self.server.status(), params)
            case ["settings", "general"]:
                self.reply(200, msgspec.json.encode(self.server.settings()))
            case ["settings", "general", name]:
                self._one(_named(self.server.settings(), name), params)
            case ["data", "currencies", "current"]:
                self._one({"code": self.server.shop.currency, "name": "Pound sterling", "symbol": "£"}, params)
            case [kind] if kind in tables:
                self._list(tables[kind].page(params))
            case [kind, number] if kind in tables:
                self._one(self._existing(kind, number), params)
            case ["orders", number, "notes"]:
                order = self._existing("orders", number)
                self.reply(200, [_note_row(note) for note in self.server.served.notes if note.order_id == order["id"]])
            case [kind, number, child] if (kind, child) in _CHILD_LISTS:
                parent = int(self._existing(kind, number)["id"])
                self._list(tables[_CHILD_LISTS[kind, child]].page(params, parent))
            case _:
                raise _no_route()

    def _write(self, method: str, parts: list[str], params: dict[str, str], body: bytes) -> None:
        accounts = self.server.accounts
        match method, parts:
            case "POST", ["customers", "batch"]:
                self.reply(200, accounts.batch(_decoded(body)))
            case "POST", [("webhooks" | "coupons") as kind, "batch"]:
                self.reply(200, self.server.written.batch(kind, _decoded(body)))
            case "DELETE", ["customers", number] if number.isdigit():
                if params.get("force") != "true":
                    raise Refused(501, "woocommerce_rest_trash_not_supported", "Customers do not support trashing.")
                self.reply(200, accounts.remove(int(number)))
            case (("POST" | "PUT" | "PATCH"), ["customers", number]) if number.isdigit():
                self.reply(200, accounts.change(int(number), _decoded(body)))
            case "POST", ["orders", number, "notes"]:
                order = self._existing("orders", number)
                said = _decoded(body)
                text = str(said.get("note", "")).strip()
                if not text:
                    raise Refused(400, "rest_missing_callback_param", "Missing parameter(s): note")
                note = self.server.add_note(int(order["id"]), text, said.get("customer_note") is True)
                self.reply(201, _note_row(note))
            case _:
                raise _no_route()

    def _existing(self, kind: str, number: str) -> Row:
        row = self.server.tables[kind].one(int(number)) if number.isdigit() else None
        if row is None:
            raise Refused(404, _NO_SUCH.get(kind, "woocommerce_rest_invalid_id"), "Invalid ID.")
        return row

    def _one(self, row: Row, params: dict[str, str]) -> None:
        self.reply(200, only(row, params["_fields"]) if params.get("_fields") else row)

    def _list(self, found: Found) -> None:
        headers = {"X-WP-Total": str(found.total), "X-WP-TotalPages": str(found.pages)}
        self.reply(200, found.body, headers)


def _read_only() -> Refused:
    said = "The API key provided does not have write permissions."
    return Refused(401, "woocommerce_rest_authentication_error", said)


def _no_route() -> Refused:
    return Refused(404, "rest_no_route", "No route was found matching the URL and request method.")


def _named(settings: list[Row], name: str) -> Row:
    for row in settings:
        if row["id"] == name:
            return row
    raise Refused(404, "rest_setting_setting_invalid", "Invalid setting.")


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise Refused(400, "rest_invalid_json", "Invalid JSON body passed.") from error


def _note_row(note: Note) -> Row:
    return {
        "id": note.note_id,
        "author": "system",
        "date_created_gmt": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}",
        "note": note.text,
        "customer_note": note.to_customer,
    }
