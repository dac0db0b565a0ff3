"""Coupons: one discount for an order of codes, which bears its reference in its title, so that asking twice makes them once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from crm_plugin.adapters.storefronts.shopify import errors
from crm_plugin.adapters.storefronts.shopify.client import ShopifyClient
from crm_plugin.adapters.storefronts.shopify.errors import ADAPTER, UserError
from crm_plugin.adapters.storefronts.shopify.writing import account
from crm_plugin.errors import PermanentError, TransientError, UnsupportedFeature
from crm_plugin.money import to_major
from crm_plugin.phrases import phrase
from crm_plugin.records import CouponMade, CouponOrder

# What the shop takes in one request, and how many accounts one discount can be for.
AT_ONCE = 250
# How often, and after which pause in seconds, it is asked whether it is done with them.
_POLLS, _PAUSE = 30, 1.0
_LONGEST_TITLE = 255


class _Code(msgspec.Struct):
    id: str
    code: str


class _Codes(msgspec.Struct):
    nodes: list[_Code] = []


class _Discount(msgspec.Struct):
    title: str = ""
    codes: _Codes = msgspec.field(default_factory=_Codes)


class _Node(msgspec.Struct, rename="camel"):
    id: str
    code_discount: _Discount = msgspec.field(default_factory=_Discount)


class _Found(msgspec.Struct):
    row: _Node | None = None


class _Create(msgspec.Struct, rename="camel"):
    code_discount_node: _Node | None = None
    user_errors: list[UserError] = []


class _Created(msgspec.Struct):
    done: _Create


class _Creation(msgspec.Struct):
    id: str


class _Add(msgspec.Struct, rename="camel"):
    bulk_creation: _Creation | None = None
    user_errors: list[UserError] = []


class _Added(msgspec.Struct):
    done: _Add


class _One(msgspec.Struct, rename="camel"):
    code: str
    errors: list[UserError] = []
    discount_redeem_code: _Creation | None = None


class _All(msgspec.Struct):
    nodes: list[_One] = []


class _State(msgspec.Struct):
    done: bool
    codes: _All = msgspec.field(default_factory=_All)


class _StateData(msgspec.Struct):
    row: _State | None = None


class Coupons:
    """Makes codes in one shop, of whose currency amounts have to be."""

    def __init__(self, client: ShopifyClient, currency: str) -> None:
        self._client = client
        self._currency = currency

    def create(self, order: CouponOrder, now: datetime) -> list[CouponMade]:
        """See the contract. A code that another discount has is refused, the others are made."""
        self._check(order)
        made: dict[str, CouponMade] = {}
        node = self._discount(order, now, made)
        if node is not None:
            have = {one.code: one.id for one in node.code_discount.codes.nodes}
            made |= {code: _made(order, code, have[code]) for code in order.codes if code in have}
            missing = [code for code in order.codes if code not in made]
            if missing:
                made |= self._add(order, node.id, missing)
        return [made[code] for code in order.codes]

    def _check(self, order: CouponOrder) -> None:
        if (order.amount_minor is not None and order.currency != self._currency) or (
            order.least_minor and order.currency not in ("", self._currency)
        ):
            said = phrase(
                "The shop's discounts are in %(own)s, not in %(other)s.", own=self._currency, other=order.currency
            )
            raise UnsupportedFeature(said, adapter=ADAPTER, operation="create_coupons")
        if len(order.references) > AT_ONCE or len(order.codes) > AT_ONCE:
            said = phrase("Shopify takes %(most)s at a time.", most=AT_ONCE)
            raise UnsupportedFeature(said, adapter=ADAPTER, operation="create_coupons")

    def _discount(self, order: CouponOrder, now: datetime, made: dict[str, CouponMade]) -> _Node | None:
        """The order's discount, found by one of its codes or made with the first that is free."""
        for code in order.codes:
            found = self._client.query("discount_by_code", _Found, {"code": code}).row
            if found is None:
                done = self._client.change(
                    "discount_create", _Created, {"discount": self._asked(order, code, now)}
                ).done
                if done.code_discount_node is not None and not done.user_errors:
                    return done.code_discount_node
                if not any(error.code == "TAKEN" for error in done.user_errors):
                    raise errors.for_user_errors(done.user_errors, "discount_create")
            elif found.code_discount.title == _title(order):
                return found
            made[code] = _taken(code)
        return None

    def _asked(self, order: CouponOrder, code: str, now: datetime) -> dict[str, Any]:
        value: dict[str, Any] = (
            {"percentage": float(order.percent / 100)}
            if order.percent is not None
            else {"discountAmount": {"amount": self._major(order.amount_minor or 0), "appliesOnEachItem": False}}
        )
        least = {"subtotal": {"greaterThanOrEqualToSubtotal": self._major(order.least_minor)}}
        everybody: dict[str, Any] = {"all": "ALL"}
        only = {"customers": {"add": [account(reference) for reference in order.references]}}
        return {
            "title": _title(order),
            "code": code,
            "startsAt": _at(order.starts_at or now),
            "endsAt": _at(order.ends_at) if order.ends_at else None,
            # Of each code, not of all of them together.
            "usageLimit": 1,
            "appliesOncePerCustomer": False,
            "context": only if order.references else everybody,
            "customerGets": {"value": value, "items": {"all": True}},
            **({"minimumRequirement": least} if order.least_minor else {}),
        }

    def _add(self, order: CouponOrder, discount: str, codes: list[str]) -> dict[str, CouponMade]:
        asked = {"discount": discount, "codes": [{"code": code} for code in codes]}
        added = self._client.change("codes_add", _Added, asked).done
        if added.bulk_creation is None or added.user_errors:
            raise errors.for_user_errors(added.user_errors, "codes_add")
        told = {one.code: one for one in self._ended(added.bulk_creation.id).codes.nodes}
        return {code: _outcome(order, code, told.get(code)) for code in codes}

    def _ended(self, gid: str) -> _State:
        for _ in range(_POLLS):
            state = self._client.query("codes_state", _StateData, {"id": gid}).row
            if state is not None and state.done:
                return state
            self._client.sleep(_PAUSE)
        said = phrase("The shop is still making the codes.")
        raise TransientError(said, retry_after=60.0, adapter=ADAPTER, operation="codes_state")

    def _major(self, minor: int) -> str:
        return str(to_major(minor, self._currency))


def _title(order: CouponOrder) -> str:
    mark = f" [{order.reference}]"
    return f"{order.title[: _LONGEST_TITLE - len(mark)]}{mark}"


def _at(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _made(order: CouponOrder, code: str, gid: str) -> CouponMade:
    return CouponMade(code, gid.rpartition("/")[2], is_restricted=bool(order.references))


def _taken(code: str) -> CouponMade:
    said = phrase("Another discount of the shop has this code.")
    return CouponMade(code, error=PermanentError(said, code="taken", adapter=ADAPTER, operation="create_coupons"))


def _outcome(order: CouponOrder, code: str, one: _One | None) -> CouponMade:
    if one is not None and one.discount_redeem_code is not None:
        return _made(order, code, one.discount_redeem_code.id)
    if one is not None and any(error.code == "TAKEN" for error in one.errors):
        return _taken(code)
    return CouponMade(code, error=errors.for_user_errors(one.errors if one else [], "codes_add"))
