"""Small shops and rules made up by hypothesis, dense around the edges that matter: window ends, NULLs, ties."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st
from sqlalchemy import Connection, insert

from crm_plugin.ids import new_id
from crm_plugin.rules.evaluate import GivenRefund, PlacedOrder, Snapshot
from crm_plugin.rules.nodes import And, Compare, Everyone, Field, Holds, Membership, Node, Not, Or, Value
from crm_plugin.store import (
    member_consents,
    member_tags,
    member_tiers,
    members,
    order_lines,
    orders,
    refunds,
)
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import facts
from tests.factories import make_shop

AS_OF = date(2026, 6, 1)
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
# Days before AS_OF: today, the edges of the windows 1, 30 and 365, and one that has not come yet.
_OFFSETS = st.sampled_from([-1, 0, 1, 29, 30, 31, 364, 365, 400])
_AMOUNTS = st.sampled_from([0, 1, 999, 1000, 1001, 5000, 12345])
_SKUS, _TITLES, _TAGS = ("A", "B"), ("Mug", "Hat"), ("vip", "staff")


@dataclass(frozen=True)
class MadeOrder:
    """An order; `known_rate` False is one in a currency without a rate."""

    days_ago: int
    minor: int
    counts: bool = True
    known_rate: bool = True
    lines: tuple[tuple[str, str, float], ...] = ()


@dataclass(frozen=True)
class MadeRefund:
    """A refund without a known order."""

    days_ago: int
    minor: int
    counts: bool = True


@dataclass(frozen=True)
class MadeMember:
    """A member with everything a rule can ask for."""

    state: str = "active"
    country: str = ""
    locale: str = ""
    birth_md: int | None = None
    joined_days_ago: int | None = None
    tier: str = ""
    tags: frozenset[str] = frozenset()
    consents: dict[str, str] = field(default_factory=dict)
    orders: tuple[MadeOrder, ...] = ()
    refunds: tuple[MadeRefund, ...] = ()

    def snapshot(self, currency: str) -> Snapshot:
        """What `evaluate` is asked about."""
        return Snapshot(
            currency=currency,
            country=self.country,
            locale=self.locale,
            birth_md=self.birth_md,
            joined_on=None if self.joined_days_ago is None else _ago(self.joined_days_ago),
            tier=self.tier,
            orders=tuple(
                PlacedOrder(
                    _ago(order.days_ago),
                    order.minor if order.known_rate else None,
                    tuple((sku, title) for sku, title, quantity in order.lines if quantity > 0),
                )
                for order in self.orders
                if order.counts
            ),
            refunds=tuple(GivenRefund(_ago(one.days_ago), one.minor) for one in self.refunds if one.counts),
            tags=self.tags,
            consents=frozenset(channel for channel, state in self.consents.items() if state == "granted"),
        )


def _ago(days: int) -> date:
    return AS_OF - timedelta(days=days)


def _noon(days: int) -> datetime:
    return datetime.combine(_ago(days), datetime.min.time(), UTC) + timedelta(hours=12)


made_orders = st.builds(
    MadeOrder,
    _OFFSETS,
    _AMOUNTS,
    counts=st.sampled_from([True, True, True, False]),
    known_rate=st.sampled_from([True, True, True, False]),
    lines=st.lists(
        st.tuples(st.sampled_from(_SKUS), st.sampled_from(_TITLES), st.sampled_from([1.0, 0.0])), max_size=2
    ).map(tuple),
)
made_members = st.builds(
    MadeMember,
    state=st.sampled_from(["active", "active", "active", "deleted"]),
    country=st.sampled_from(["", "GB", "DE"]),
    locale=st.sampled_from(["", "en", "zh-CN"]),
    birth_md=st.sampled_from([None, 100, 229, 1231]),
    joined_days_ago=st.none() | _OFFSETS,
    tier=st.sampled_from(["", "silver", "gold"]),
    tags=st.frozensets(st.sampled_from(_TAGS)),
    consents=st.dictionaries(st.sampled_from(["email", "sms"]), st.sampled_from(["granted", "withdrawn"])),
    orders=st.lists(made_orders, max_size=4).map(tuple),
    refunds=st.lists(
        st.builds(MadeRefund, _OFFSETS, _AMOUNTS, counts=st.sampled_from([True, True, False])), max_size=2
    ).map(tuple),
)

_WINDOWS = st.sampled_from([(), (("days", 1),), (("days", 30),), (("days", 365),)])
_OPS = st.sampled_from(["==", "!=", ">=", ">", "<=", "<"])
_NUMBERS = {
    "orders": st.sampled_from([0, 1, 2, Decimal("1.5")]),
    "refunds": st.sampled_from([0, 1, Decimal("0.5")]),
    "spent": st.sampled_from([0, 10, Decimal("9.99"), Decimal("10.005"), Decimal("-0.01"), 50]),
}
_PLAIN = {
    "days_since_order": st.sampled_from([-1, 0, 30, 365, Decimal("29.5")]),
    "days_since_first_order": st.sampled_from([0, 30, 400]),
    "days_since_joined": st.sampled_from([0, 29, 365]),
    "average_order": st.sampled_from([0, 10, Decimal("9.99"), Decimal("10.005"), Decimal("5.0001"), 50]),
    "birthday_month": st.sampled_from([1, 2, 12, Decimal("1.5")]),
}
_TEXTS = {
    "country": st.sampled_from(["GB", "DE", "FR"]),
    "locale": st.sampled_from(["en", "zh-CN"]),
    "tier": st.sampled_from(["", "gold", "silver"]),
}


@st.composite
def _compared(draw: st.DrawFn) -> Node:
    key = draw(st.sampled_from([*_NUMBERS, *_PLAIN, *_TEXTS]))
    args = draw(_WINDOWS) if key in _NUMBERS else ()
    values: st.SearchStrategy[Value] = (_NUMBERS | _PLAIN | _TEXTS)[key]  # type: ignore[assignment]
    if draw(st.booleans()):
        found = tuple(draw(st.lists(values, min_size=1, max_size=3)))
        return Membership(Field(key, args), found, draw(st.booleans()))
    ops = st.sampled_from(["==", "!="]) if key in _TEXTS else _OPS
    return Compare(Field(key, args), draw(ops), draw(values))


@st.composite
def _held(draw: st.DrawFn) -> Node:
    key = draw(st.sampled_from(["tag", "bought", "consents"]))
    args: list[tuple[str, Any]] = []
    if key == "tag":
        args.append(("tag", draw(st.sampled_from([*_TAGS, "nobody's"]))))
    elif key == "consents":
        args.append(("channel", draw(st.sampled_from(["email", "sms", "inapp"]))))
    else:
        asked = draw(st.sampled_from([("sku",), ("title",), ("sku", "title")]))
        args += [(name, draw(st.sampled_from(_SKUS if name == "sku" else _TITLES))) for name in asked]
        args += draw(_WINDOWS)
    return Holds(Field(key, tuple(args)))


rules: st.SearchStrategy[Node] = st.recursive(
    _compared() | _held() | st.just(Everyone()),
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple))
        | st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=6,
)


def keep(connection: Connection, shop_id: int, made: list[MadeMember], **shop: Any) -> Shop:
    """Write a shop with these members, whose ids are 1, 2, 3 … in every shop."""
    kept = make_shop(connection, shop_id, timezone="UTC", **shop)
    for member_id, one in enumerate(made, start=1):
        _keep_member(connection, kept, member_id, one)
    facts.rebuild(connection, kept, NOW)
    return kept


def _keep_member(connection: Connection, shop: Shop, member_id: int, made: MadeMember) -> None:
    key = {"shop_id": shop.shop_id, "member_id": member_id}
    connection.execute(
        insert(members).values(
            **key,
            external_id=str(member_id),
            state=made.state,
            zone="UTC",
            country=made.country,
            locale=made.locale,
            birth_md=made.birth_md,
            joined_on=None if made.joined_days_ago is None else _ago(made.joined_days_ago),
            first_seen_at=NOW,
            changed_at=NOW,
        )
    )
    for tag in made.tags:
        connection.execute(insert(member_tags).values(**key, tag=tag))
    for channel, state in made.consents.items():
        connection.execute(
            insert(member_consents).values(**key, channel=channel, topic="marketing", state=state, at=NOW)
        )
    if made.tier:
        row = {**key, "program_key": "main", "level_key": made.tier, "since_at": NOW, "since_on": AS_OF}
        connection.execute(insert(member_tiers).values(**row))
    for order in made.orders:
        _keep_order(connection, shop, member_id, order)
    for one in made.refunds:
        refund_id = new_id()
        connection.execute(
            insert(refunds).values(
                **key,
                refund_id=refund_id,
                external_id=str(refund_id),
                currency=shop.currency,
                amount_minor=one.minor,
                base_minor=one.minor,
                counts=one.counts,
                refunded_at=_noon(one.days_ago),
                refunded_on=_ago(one.days_ago),
                first_seen_at=NOW,
            )
        )


def _keep_order(connection: Connection, shop: Shop, member_id: int, made: MadeOrder) -> None:
    order_id = new_id()
    connection.execute(
        insert(orders).values(
            shop_id=shop.shop_id,
            order_id=order_id,
            external_id=str(order_id),
            member_id=member_id,
            status="completed" if made.counts else "cancelled",
            counts=made.counts,
            currency=shop.currency if made.known_rate else "USD",
            total_minor=made.minor,
            base_minor=made.minor if made.known_rate else None,
            placed_at=_noon(made.days_ago),
            placed_on=_ago(made.days_ago),
            first_seen_at=NOW,
        )
    )
    for number, (sku, title, quantity) in enumerate(made.lines, start=1):
        connection.execute(
            insert(order_lines).values(
                shop_id=shop.shop_id,
                order_id=order_id,
                line_no=number,
                sku=sku,
                title=title,
                quantity=quantity,
                total_minor=0,
            )
        )
