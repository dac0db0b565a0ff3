"""What we write into a Medusa: levels as entries of a customer's metadata, tags as customer groups, coupons as promotions.

Metadata is merged key by key, and an empty text takes a key away, so nothing of others is touched.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from crm_plugin.adapters.raw import UNREADABLE
from crm_plugin.adapters.storefronts.medusa import payloads
from crm_plugin.adapters.storefronts.medusa.client import ADAPTER, MedusaClient
from crm_plugin.adapters.storefronts.medusa.mapping import MARK_PREFIX
from crm_plugin.errors import AdapterError, MalformedResponse, PermanentError, UnsupportedFeature
from crm_plugin.money import to_major
from crm_plugin.phrases import phrase
from crm_plugin.records import CouponMade, CouponOrder, TierMark

_CUSTOMER = re.compile(r"cus_[A-Za-z0-9]{1,100}")


class _Campaign(msgspec.Struct):
    id: str
    campaign_identifier: str = ""


class _Promotion(msgspec.Struct):
    id: str
    code: str = ""
    campaign_id: str | None = None


def write_mark(client: MedusaClient, reference: str, mark: TierMark) -> datetime | None:
    """Bring one customer's mark to this level."""
    told = _customer(client, reference, {"metadata": {f"{MARK_PREFIX}{mark.program}": mark.level}})
    at = told.updated_at
    return at.astimezone(UTC) if at is not None else None


def write_tags(client: MedusaClient, reference: str, add: Collection[str], remove: Collection[str]) -> None:
    """Put a customer into the groups of these names, made where there is none, and take them out of those."""
    if not _CUSTOMER.fullmatch(reference):
        raise _gone()
    known = {name: _group(client, name) for name in {*add, *remove}}
    for name in add:
        if not known[name]:
            told = client.post("customer-groups", {"name": name})
            known[name] = _read(told, "customer_group", payloads.Group, "customer-groups").id
    change = {
        "add": [known[name] for name in add],
        "remove": [known[name] for name in remove if known[name] and name not in add],
    }
    if any(change.values()):
        client.post(f"customers/{reference}/customer-groups", change)


def create_coupons(client: MedusaClient, order: CouponOrder) -> list[CouponMade]:
    """One promotion for each code, all in one campaign, which holds the order's reference and its time."""
    if order.least_minor:
        raise UnsupportedFeature(
            phrase("Medusa knows no least amount of an order for a coupon."), adapter=ADAPTER, operation="promotions"
        )
    campaign = _campaign(client, order)
    return [_coupon(client, order, campaign, code) for code in order.codes]


def _coupon(client: MedusaClient, order: CouponOrder, campaign: str, code: str) -> CouponMade:
    found = _first(client, "promotions", {"code": code, "fields": "id,code,campaign_id"}, "promotions", _Promotion)
    try:
        if found is None:
            told = client.post("promotions", {**_promotion(order, code), "campaign_id": campaign})
            found = _read(told, "promotion", _Promotion, "promotions")
        elif found.campaign_id != campaign:
            raise PermanentError(
                phrase("The store has another coupon with one of these codes."),
                code="code_taken",
                adapter=ADAPTER,
                operation="promotions",
            )
    except PermanentError as error:
        return CouponMade(code, error=error)
    return CouponMade(code, external_id=found.id, is_restricted=bool(order.references))


def _promotion(order: CouponOrder, code: str) -> dict[str, Any]:
    method: dict[str, Any] = {"target_type": "order", "allocation": "across"}
    if order.percent is not None:
        method |= {"type": "percentage", "value": _number(order.percent)}
    else:
        value = to_major(order.amount_minor or 0, order.currency)
        method |= {"type": "fixed", "value": _number(value), "currency_code": order.currency.lower()}
    rules = (
        [{"attribute": "customer.id", "operator": "in", "values": list(order.references)}] if order.references else []
    )
    return {
        "code": code,
        "type": "standard",
        "status": "active",
        "is_automatic": False,
        "limit": 1,
        "application_method": method,
        "rules": rules,
    }


def _campaign(client: MedusaClient, order: CouponOrder) -> str:
    found = _first(client, "campaigns", {"campaign_identifier": order.reference}, "campaigns", _Campaign)
    if found is None:
        told: dict[str, Any] = {"name": order.title, "campaign_identifier": order.reference}
        if order.starts_at is not None:
            told["starts_at"] = order.starts_at.isoformat()
        if order.ends_at is not None:
            told["ends_at"] = order.ends_at.isoformat()
        found = _read(client.post("campaigns", told), "campaign", _Campaign, "campaigns")
    return str(found.id)


def _group(client: MedusaClient, name: str) -> str:
    found = _first(client, "customer-groups", {"name": name, "fields": "id,name"}, "customer_groups", payloads.Group)
    return found.id if found is not None else ""


def _first(client: MedusaClient, path: str, params: Mapping[str, str], key: str, kind: type[Any]) -> Any:
    rows = client.list(path, key, {**params, "limit": "1"}).rows
    return _decoded(rows[0], kind, path) if rows else None


def _customer(client: MedusaClient, reference: str, change: Mapping[str, Any]) -> payloads.Head:
    if not _CUSTOMER.fullmatch(reference):
        raise _gone()
    try:
        told = client.post(f"customers/{reference}", change)
    except AdapterError as error:
        raise (_gone() if error.code == "gone" else error) from error
    head: payloads.Head = _read(told, "customer", payloads.Head, "customers")
    return head


def _read(told: Mapping[str, msgspec.Raw], key: str, kind: type[Any], path: str) -> Any:
    return _decoded(told.get(key, msgspec.Raw(b"null")), kind, path)


def _decoded(raw: msgspec.Raw, kind: type[Any], path: str) -> Any:
    try:
        return msgspec.json.decode(raw, type=kind)
    except UNREADABLE as error:
        raise MalformedResponse(
            phrase("The store's answer has another form than asked for."), adapter=ADAPTER, operation=path, path="$"
        ) from error


def _number(value: Decimal) -> msgspec.Raw:
    """A decimal as a JSON number, written out and not through a float."""
    return msgspec.Raw(f"{value:f}".encode())


def _gone() -> PermanentError:
    return PermanentError(
        phrase("This account is no longer in the store."), code="gone", adapter=ADAPTER, operation="customers"
    )
