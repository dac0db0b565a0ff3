"""Webhooks and coupons that are made in the made-up store: in batches, each item answered by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from crm_plugin.demo.woo_form import Row
from crm_plugin.demo.woo_lists import Refused, Table

_MOST = 100
_RESOURCES, _EVENTS = ("coupon", "customer", "order", "product"), ("created", "updated", "deleted", "restored")


class Webhooks(Table):
    """Webhooks by id; their secrets are never told."""

    dated = False


class CouponTable(Table):
    """Coupons, whose codes are kept in small letters and are there once."""

    filters: ClassVar[Mapping[str, Callable[[Row, str], bool]]] = {
        "code": lambda row, code: row["code"] == code.lower()
    }


class Written:
    """Takes webhooks and coupons in. `secrets` are those of the webhooks, by id."""

    def __init__(self, timezone: str) -> None:
        self.webhooks, self.coupons = Webhooks([], timezone), CouponTable([], timezone)
        self.secrets: dict[int, str] = {}
        self._lock = threading.Lock()
        self._number = 0

    @property
    def tables(self) -> dict[str, Table]:
        return {"webhooks": self.webhooks, "coupons": self.coupons}

    def batch(self, kind: str, told: Mapping[str, Any]) -> dict[str, list[Row]]:
        """Items made and taken away; what fails of them is told at its place. Raises: Refused for too many."""
        made, removed = told.get("create") or [], told.get("delete") or []
        if len(made) + len(removed) > _MOST:
            said = f"Unable to accept more than {_MOST} items for this request."
            raise Refused(413, "woocommerce_rest_request_entity_too_large", said)
        create = self._webhook if kind == "webhooks" else self._coupon
        with self._lock:
            answer = {
                "create": [_tried(lambda item=item: create(item), 0) for item in made],  # type: ignore[misc]
                "delete": [_tried(lambda number=number: self._remove(kind, number), number) for number in removed],  # type: ignore[misc]
            }
        return {word: rows for word, rows in answer.items() if rows}

    def _webhook(self, item: Mapping[str, Any]) -> Row:
        resource, _, event = str(item.get("topic", "")).partition(".")
        if resource not in _RESOURCES or event not in _EVENTS or (resource, event) == ("customer", "restored"):
            raise Refused(400, "woocommerce_rest_webhook_invalid_topic", "Webhook topic must be valid.")
        self._number += 1
        self.secrets[self._number] = str(item.get("secret") or "")
        told = ("name", "topic", "delivery_url")
        row = {"id": self._number, "status": item.get("status") or "active", **{key: item.get(key, "") for key in told}}
        self.webhooks.put(row)
        return row

    def _coupon(self, item: Mapping[str, Any]) -> Row:
        code = str(item.get("code") or "").lower()
        if self.coupons.page({"code": code}).total:
            said = "The coupon code already exists"
            raise Refused(400, "woocommerce_rest_coupon_code_already_exists", said)
        self._number += 1
        row = {"id": self._number, "meta_data": [], **item, "code": code}
        self.coupons.put(row)
        return row

    def _remove(self, kind: str, number: int) -> Row:
        table = self.tables[kind]
        row = table.one(number)
        if row is None:
            raise Refused(404, "woocommerce_rest_shop_webhook_invalid_id", "Invalid ID.")
        table.remove(number)
        return row


def _tried(call: Callable[[], Row], number: int) -> Row:
    try:
        return call()
    except Refused as refused:
        status, code, message = refused.refusal
        return {"id": number, "error": {"code": code, "message": message, "data": {"status": status}}}
