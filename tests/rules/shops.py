"""Small shops and rules made up by hypothesis, dense around the edges that matter: window ends, NULLs, ties."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st
from sqlalchemy import Connection, insert, select

from crm_plugin.errors import RuleTypeError
from crm_plugin.ids import new_id
from crm_plugin.rules.book import Book
from crm_plugin.rules.check import check
from crm_plugin.rules.nodes import (
    And,
    Calculation,
    Compare,
    Everyone,
    Field,
    Holds,
    Known,
    Matches,
    Membership,
    Node,
    Not,
    Number,
    Or,
    Relation,
    Term,
)
from crm_plugin.rules.operators import MATCHES, OPERATORS
from crm_plugin.rules.parse import parse
from crm_plugin.rules.windows import ANCHORS
from crm_plugin.store import (
    delivery_events,
    member_consents,
    member_events,
    member_tags,
    member_tiers,
    members,
    order_lines,
    orders,
    products,
    refunds,
    segment_members,
    segments,
    suppressions,
    tier_changes,
    touchpoints,
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
    """An order; `known_rate` False is one in a currency without a rate. A line is code, title, quantity and amount."""

    days_ago: int
    minor: int
    counts: bool = True
    known_rate: bool = True
    lines: tuple[tuple[str, str, float], ...] = ()
    discount: int = 0
    cost: int | None = None
    coupon: bool = False
    # An order in another currency with a rate comes to this in the shop's own.
    foreign: int | None = None
    shipping: int = 0
    tax: int = 0

    @property
    def base(self) -> int | None:
        """In the shop's currency."""
        return None if not self.known_rate else self.minor if self.foreign is None else self.foreign


@dataclass(frozen=True)
class MadeRefund:
    """A refund; `of` is the place of its order among the member's, None or too far where that is not known."""

    days_ago: int
    minor: int
    counts: bool = True
    of: int | None = None


@dataclass(frozen=True)
class MadeMessage:
    """A touchpoint with what was told of it: kind, whether by a machine, how many days ago."""

    channel: str
    journey: str
    state: str
    days_ago: int
    events: tuple[tuple[str, bool, int], ...] = ()


@dataclass(frozen=True)
class MadeMember:
    """A member with everything a rule can ask for."""

    state: str = "active"
    country: str = ""
    locale: str = ""
    email: str = ""
    birth_year: int | None = None
    birth_md: int | None = None
    joined_days_ago: int | None = None
    tier: str = ""
    tier_days_ago: int = 0
    guest: bool = False
    attributes: dict[str, Any] = field(default_factory=dict)
    tags: frozenset[str] = frozenset()
    consents: dict[str, str] = field(default_factory=dict)
    suppressed: bool = False
    orders: tuple[MadeOrder, ...] = ()
    refunds: tuple[MadeRefund, ...] = ()
    messages: tuple[MadeMessage, ...] = ()
    lists: tuple[tuple[str, int], ...] = ()
    # Kind, how many days ago, whether withdrawn.
    events: tuple[tuple[str, int, bool], ...] = ()


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
        st.tuples(st.sampled_from(_SKUS), st.sampled_from(_TITLES), st.sampled_from([1.0, 2.5, 0.0])), max_size=2
    ).map(tuple),
    discount=st.sampled_from([0, 0, 100, 333]),
    cost=st.sampled_from([None, 0, 400, 777]),
    coupon=st.booleans(),
    foreign=st.sampled_from([None, None, 1, 1501, 0]),
    shipping=st.sampled_from([0, 0, 490, 1]),
    tax=st.sampled_from([0, 0, 190, 333]),
)
made_messages = st.builds(
    MadeMessage,
    st.sampled_from(["email", "sms"]),
    st.sampled_from(["birthday", "lapse"]),
    st.sampled_from(["accepted", "delivered", "bounced", "planned"]),
    _OFFSETS,
    st.lists(st.tuples(st.sampled_from(["opened", "clicked", "delivered"]), st.booleans(), _OFFSETS), max_size=3).map(
        tuple
    ),
)
_ATTRIBUTES = st.sampled_from(["XL", "", "true", True, False, 3, 9.99, -1, None, ["XL"], {"a": 1}])
made_members = st.builds(
    MadeMember,
    state=st.sampled_from(["active", "active", "active", "deleted"]),
    country=st.sampled_from(["", "GB", "DE"]),
    locale=st.sampled_from(["", "en", "zh-CN"]),
    email=st.sampled_from(["", "ada@example.com", "bob%_@example.org", "ÉVA@Example.com"]),
    birth_year=st.sampled_from([None, 1990, 2008, 2027]),
    birth_md=st.sampled_from([None, 100, 229, 531, 601, 602, 1231, 10416, 10417, 10800, 11230, 30600]),
    joined_days_ago=st.none() | _OFFSETS,
    tier=st.sampled_from(["", "silver", "gold"]),
    tier_days_ago=st.sampled_from([0, 30, 365]),
    guest=st.booleans(),
    attributes=st.dictionaries(st.sampled_from(["size", "a.b $[0]"]), _ATTRIBUTES, max_size=2),
    tags=st.frozensets(st.sampled_from(_TAGS)),
    consents=st.dictionaries(st.sampled_from(["email", "sms"]), st.sampled_from(["granted", "withdrawn"])),
    suppressed=st.booleans(),
    orders=st.lists(made_orders, max_size=4).map(tuple),
    refunds=st.lists(
        st.builds(
            MadeRefund,
            _OFFSETS,
            _AMOUNTS,
            counts=st.sampled_from([True, True, False]),
            of=st.sampled_from([None, 0, 0, 1]),
        ),
        max_size=2,
    ).map(tuple),
    messages=st.lists(made_messages, max_size=2).map(tuple),
    lists=st.sampled_from([(), (("vips", 0),), (("vips", 30),)]),
    events=st.lists(st.tuples(st.sampled_from(["moved", "complaint"]), _OFFSETS, st.booleans()), max_size=3).map(tuple),
)

_DAYS = st.sampled_from([1, 30, 365])
_DATES = st.sampled_from(["2025-06-01", "2025-06-02", "2026-05-02", "2026-05-31", "2026-06-01", "2026-06-02"])


@st.composite
def _windows(draw: st.DrawFn, *, anchors: bool = True) -> tuple[tuple[str, Any], ...]:
    how = draw(st.sampled_from(["all", "days", "dates", *(["since", "since"] if anchors else [])]))
    if how == "days":
        return (("days", draw(_DAYS)),)
    if how == "dates":
        first, last = sorted((draw(_DATES), draw(_DATES)))
        return draw(
            st.sampled_from([(("from_date", first),), (("to_date", last),), (("from_date", first), ("to_date", last))])
        )
    if how == "since":
        days = draw(st.sampled_from([(), (("days", 1),), (("days", 31),)]))
        return (*days, ("since", draw(st.sampled_from(ANCHORS))))
    return ()


_OPS = st.sampled_from(["==", "!=", ">=", ">", "<=", "<"])
_COUNTS = st.sampled_from([0, 1, 2, Decimal("1.5")])
_MONEY = st.sampled_from([0, 10, Decimal("9.99"), Decimal("10.005"), Decimal("-0.01"), 50])
_SHARES = st.sampled_from([0, Decimal("0.5"), Decimal("0.3333"), 1])
_SINCE = st.sampled_from([-1, 0, 30, 31, 365, Decimal("29.5")])
# Numbers that can be asked for any span, then those that have none.
_SPANNED = {
    "orders": _COUNTS,
    "refunds": _COUNTS,
    "spent": _MONEY,
    "gross": _MONEY,
    "profit": _MONEY,
    "refunded": _MONEY,
    "discounts": _MONEY,
    "shipping": _MONEY,
    "tax": _MONEY,
    "average_order": st.sampled_from([0, 10, Decimal("9.99"), Decimal("10.005"), Decimal("5.0001"), 50]),
    "return_rate": _SHARES,
    "coupon_share": _SHARES,
    "items": st.sampled_from([0, 1, Decimal("2.5"), Decimal("3.5")]),
    "products": _COUNTS,
}
_BOUGHT = {
    "bought_times": _COUNTS,
    "bought_items": st.sampled_from([0, Decimal("2.5"), 5]),
    "bought_amount": _MONEY,
    "bought_among": _MONEY,
    "refunded_among": _MONEY,
}
_MESSAGES = ("received", "opened", "clicked", "machine_opened")
_PLAIN = {
    "days_since_order": _SINCE,
    "days_since_first_order": _SINCE,
    "days_since_joined": _SINCE,
    "days_in_tier": _SINCE,
    "mean_gap": st.sampled_from([1, 29, Decimal("182.5"), 365]),
    "late_by": st.sampled_from([0, Decimal("0.5"), 1, 2]),
    "age": st.sampled_from([17, 18, 35, 36]),
    "birthday_month": st.sampled_from([1, 2, 6, 12, Decimal("1.5")]),
    "birthday_day": st.sampled_from([1, 2, 29, 31]),
    "lunar_birthday_month": st.sampled_from([4, 6, 8]),
    "lunar_birthday_day": st.sampled_from([15, 16, 30]),
}
_TEXTS = {
    "country": st.sampled_from(["GB", "DE", "FR"]),
    "locale": st.sampled_from(["en", "zh-CN"]),
    "email": st.sampled_from(["ada@example.com", "nobody@example.com"]),
    "tier": st.sampled_from(["", "gold", "silver"]),
    "timezone": st.sampled_from(["UTC", "Europe/London"]),
}
_PIECES = st.sampled_from(["@example.com", "ADA", "%", "_", "é", "É", "example", "zh", "X", "ada@example.com.long"])


@st.composite
def _named(draw: st.DrawFn) -> list[tuple[str, Any]]:
    asked = draw(st.sampled_from([("sku",), ("title",), ("sku", "title"), ("category",), ("product",)]))
    values = {"sku": _SKUS, "title": _TITLES, "category": ("Mugs", "Hats"), "product": ("7", "8")}
    return [(name, draw(st.sampled_from(values[name]))) for name in asked]


@st.composite
def _listed(draw: st.DrawFn) -> list[tuple[str, Any]]:
    """Products by lists of codes and categories."""
    skus, categories = (("skus", "A;B"), ("skus", "B")), (("categories", "Mugs;Hats"), ("categories", "Hats"))
    both = [(draw(st.sampled_from(skus)), draw(st.sampled_from(categories)))]
    return list(draw(st.sampled_from([*((one,) for one in (*skus, *categories)), *both])))


@st.composite
def numbers(draw: st.DrawFn) -> tuple[Field, st.SearchStrategy[Any]]:
    """A field that is a number, and values to compare it with."""
    key = draw(st.sampled_from([*_SPANNED, *_BOUGHT, *_PLAIN, *_MESSAGES, "days_in_segment", "happened"]))
    if key in _SPANNED:
        return Field(key, draw(_windows())), _SPANNED[key]
    if key in _BOUGHT:
        named = _listed() if key.endswith("_among") else _named()
        return Field(key, (*draw(named), *draw(_windows()))), _BOUGHT[key]
    if key in _PLAIN:
        return Field(key), _PLAIN[key]
    if key == "days_in_segment":
        return Field(key, (("segment", "vips"),)), _SINCE
    if key == "happened":
        return Field(key, (("event", "moved"), *draw(_windows(anchors=False)))), _COUNTS
    of = draw(st.sampled_from([(), (("channel", "email"),), (("journey", "lapse"),)]))
    return Field(key, (*of, *draw(_windows(anchors=False)))), _COUNTS


@st.composite
def _compared(draw: st.DrawFn) -> Node:
    if draw(st.integers(0, 3)) == 0:
        asked, values = draw(_texts())
        ops = st.sampled_from(["==", "!="])
    else:
        asked, values = draw(numbers())
        ops = _OPS
    if draw(st.integers(0, 2)) == 0:
        found = tuple(draw(st.lists(values, min_size=1, max_size=3)))
        return Membership(asked, found, draw(st.booleans()))
    return Compare(asked, draw(ops), draw(values))


@st.composite
def _texts(draw: st.DrawFn) -> tuple[Field, st.SearchStrategy[Any]]:
    key = draw(st.sampled_from([*_TEXTS, "attribute", "consent"]))
    if key == "attribute":
        return Field(key, (("name", draw(st.sampled_from(["size", "a.b $[0]", "none"]))),)), st.sampled_from(
            ["XL", "true", "3", "-1"]
        )
    if key == "consent":
        return Field(key, (("channel", draw(st.sampled_from(["email", "sms"]))),)), st.sampled_from(
            ["granted", "withdrawn", ""]
        )
    return Field(key), _TEXTS[key]


@st.composite
def _looked_into(draw: st.DrawFn) -> Node:
    asked, _ = draw(_texts())
    return Matches(asked, draw(st.sampled_from([*MATCHES])), draw(_PIECES))


@st.composite
def _known(draw: st.DrawFn) -> Node:
    asked, _ = draw(numbers() | _texts())
    return Known(asked)


@st.composite
def _loose(draw: st.DrawFn) -> Node:
    asked = Field("attribute_number", (("name", draw(st.sampled_from(["size", "a.b $[0]"]))),))
    return Compare(asked, draw(_OPS), draw(st.sampled_from([3, Decimal("9.99"), -1, 0])))


@st.composite
def _terms(draw: st.DrawFn, depth: int = 0) -> Term:
    what = draw(st.integers(0, 5 if depth < 2 else 3))
    if what == 0:
        return Number(draw(st.sampled_from([0, 1, 2, Decimal("0.5"), Decimal("9.99"), -3])))
    if what <= 3:
        return draw(numbers())[0]
    return Calculation(draw(st.sampled_from("+-*/")), draw(_terms(depth + 1)), draw(_terms(depth + 1)))


@st.composite
def _related(draw: st.DrawFn) -> Node:
    left, right = draw(_terms()), draw(_terms())
    if isinstance(left, Number) and isinstance(right, Number):
        left = Field("orders")
    op = draw(_OPS)
    # As it is read back: a field against a number is the simple form.
    if isinstance(left, Field) and isinstance(right, Number):
        return Compare(left, op, right.value)
    if isinstance(left, Number) and isinstance(right, Field):
        return Compare(right, OPERATORS[op].mirrored, left.value)
    return Relation(left, op, right)


def sound(node: Node) -> bool:
    """Whether the checker lets it pass: sums of unlike things are made up too, and left out."""
    try:
        check(node)
    except RuleTypeError:
        return False
    return True


@st.composite
def _held(draw: st.DrawFn) -> Node:
    key = draw(st.sampled_from(["tag", "bought", "consents", "guest", "suppressed", "segment"]))
    args: list[tuple[str, Any]] = []
    if key == "tag":
        args.append(("tag", draw(st.sampled_from([*_TAGS, "nobody's"]))))
    elif key == "consents":
        args.append(("channel", draw(st.sampled_from(["email", "sms", "inapp"]))))
    elif key == "suppressed":
        args.append(("channel", "email"))
    elif key == "segment":
        args.append(("segment", draw(st.sampled_from(["vips", "buyers", "british"]))))
    elif key == "bought":
        args += [*draw(_named()), *draw(_windows())]
    return Holds(Field(key, tuple(args)))


@st.composite
def _of_orders(draw: st.DrawFn) -> Node:
    key = draw(st.sampled_from([*_SPANNED, *_BOUGHT, "days_since_order", "mean_gap", "late_by"]))
    named = draw(_listed() if key.endswith("_among") else _named()) if key in _BOUGHT else []
    span = draw(_windows()) if key in _SPANNED or key in _BOUGHT else ()
    return Compare(Field(key, (*named, *span)), draw(_OPS), draw((_SPANNED | _BOUGHT | _PLAIN)[key]))


def _trees(leaves: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    return st.recursive(
        leaves,
        lambda inner: (
            st.builds(Not, inner)
            | st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple))
            | st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple))
        ),
        max_leaves=6,
    )


rules = _trees(
    _compared() | _held() | _looked_into() | _known() | _loose() | _related().filter(sound) | st.just(Everyone())
)
rules_of_orders = _trees(_of_orders())

# Saved segments that the made rules speak of: a list, one whose rule may be unknown, one that asks for another.
BOOK = Book(
    {"main": ("silver", "gold")},
    {
        "vips": None,
        "buyers": parse("days_since_order < 60"),
        "british": parse('country == "GB" and not segment("buyers")'),
    },
)


def keep(connection: Connection, shop_id: int, made: list[MadeMember], **shop: Any) -> Shop:
    """Write a shop with these members, whose ids are 1, 2, 3 … in every shop."""
    kept = make_shop(connection, shop_id, timezone="UTC", **shop)
    listed = {"segment_key": "vips", "kind": "list", "rule_text": "", "rule": {}, "updated_at": NOW}
    if any(one.lists for one in made):
        connection.execute(insert(segments).values(shop_id=shop_id, **listed))
    for member_id, one in enumerate(made, start=1):
        _keep_member(connection, kept, member_id, one)
    for sku, external_id, category in (("A", "7", "Mugs"), ("B", "8", "Hats")):
        connection.execute(
            insert(products).values(
                shop_id=shop_id, product_id=new_id(), external_id=external_id, sku=sku, category=category
            )
        )
    facts.rebuild(connection, kept, NOW)
    return kept


def _keep_member(connection: Connection, shop: Shop, member_id: int, made: MadeMember) -> None:
    key = {"shop_id": shop.shop_id, "member_id": member_id}
    connection.execute(
        insert(members).values(
            **key,
            external_id=None if made.guest else str(member_id),
            state=made.state,
            zone="UTC",
            country=made.country,
            locale=made.locale,
            email=made.email,
            birth_year=made.birth_year,
            birth_md=made.birth_md,
            attributes=made.attributes,
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
        row = {
            **key,
            "program_key": "main",
            "level_key": made.tier,
            "since_at": NOW,
            "since_on": _ago(made.tier_days_ago),
        }
        connection.execute(insert(member_tiers).values(**row))
        change = {"program_key": "main", "from_level": "", "to_level": made.tier, "changed_at": NOW}
        connection.execute(
            insert(tier_changes).values(**key, **change, change_id=new_id(), as_of=_ago(made.tier_days_ago))
        )
    if made.suppressed and made.email:
        _keep_suppression(connection, shop, made.email)
    for segment, days_ago in made.lists:
        row = {**key, "segment_key": segment, "since_at": NOW, "since_on": _ago(days_ago)}
        connection.execute(insert(segment_members).values(**row))
    for number, (kind, days_ago, withdrawn) in enumerate(made.events):
        at = _noon(days_ago)
        row = {"kind": kind, "subject": str(number), "at": at, "on_day": _ago(days_ago), "recorded_at": at}
        withdrawn_at = at if withdrawn else None
        connection.execute(insert(member_events).values(**key, event_id=new_id(), **row, withdrawn_at=withdrawn_at))
    for number, message in enumerate(made.messages):
        _keep_message(connection, key, number, message)
    kept = [_keep_order(connection, shop, member_id, order) for order in made.orders]
    for one in made.refunds:
        refund_id = new_id()
        connection.execute(
            insert(refunds).values(
                **key,
                refund_id=refund_id,
                order_id=None if one.of is None or one.of >= len(kept) else kept[one.of],
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


def _keep_order(connection: Connection, shop: Shop, member_id: int, made: MadeOrder) -> int:
    order_id = new_id()
    connection.execute(
        insert(orders).values(
            shop_id=shop.shop_id,
            order_id=order_id,
            external_id=str(order_id),
            member_id=member_id,
            status="completed" if made.counts else "cancelled",
            counts=made.counts,
            currency=shop.currency if made.known_rate and made.foreign is None else "USD",
            total_minor=made.minor,
            base_minor=made.base,
            discount_minor=made.discount,
            cost_minor=made.cost,
            shipping_minor=made.shipping,
            tax_minor=made.tax,
            coupon_codes=["TEN"] if made.coupon else [],
            items_milli=round(sum(quantity for _, _, quantity in made.lines) * 1000),
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
                product_external_id="7" if title == "Mug" and sku == "A" else "",
                total_minor=made.minor // (number + 1),
            )
        )
    return order_id


def _keep_suppression(connection: Connection, shop: Shop, address: str) -> None:
    c = suppressions.c
    present = select(c.address).where(c.shop_id == shop.shop_id, c.channel == "email", c.address == address)
    if connection.execute(present).first() is None:
        row = {"channel": "email", "address": address, "reason": "bounced", "at": NOW}
        connection.execute(insert(suppressions).values(shop_id=shop.shop_id, **row))


def _keep_message(connection: Connection, key: dict[str, int], number: int, made: MadeMessage) -> None:
    touchpoint_id, at = new_id(), _noon(made.days_ago)
    connection.execute(
        insert(touchpoints).values(
            **key,
            touchpoint_id=touchpoint_id,
            journey_key=made.journey,
            occasion=str(number),
            state=made.state,
            channel=made.channel,
            occasion_on=_ago(made.days_ago),
            due_at=at,
            next_try_at=at,
            valid_until=at,
            planned_at=at,
            accepted_at=None if made.state == "planned" else at,
            updated_at=at,
        )
    )
    for kind, machine, days_ago in made.events:
        event_id = new_id()
        connection.execute(
            insert(delivery_events).values(
                shop_id=key["shop_id"],
                event_id=event_id,
                adapter="smtp",
                provider_event_id=str(event_id),
                touchpoint_id=touchpoint_id,
                kind=kind,
                machine=machine,
                at=_noon(days_ago),
                received_at=NOW,
            )
        )
