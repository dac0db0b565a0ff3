"""What may happen to a member, and the member as rules would see them then.

A change is a few settings by key: so many orders, so much money, a tag, a consent. It is applied to a snapshot on a day, so that whatever
is said of it can be asked of `evaluate`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from fractions import Fraction
from typing import Any

from crm_plugin.rules.evaluate import BoughtLine, GivenRefund, PlacedOrder, SentMessage, Snapshot
from crm_plugin.rules.nodes import Compare, Field, Holds, Leaf, Membership, Within
from crm_plugin.rules.rows import CLICKED, MACHINE_OPENED, MARKETING, OPENED, RECEIVED
from crm_plugin.rules.windows import PROGRAM

# The first part of a key says what happens; the others say to what.
ORDERS, MINOR, PIECES, KINDS, COUPONS, DISCOUNT = "orders", "minor", "pieces", "kinds", "coupons", "discount"
REFUNDS, REFUNDED = "refunds", "refunded"
TIMES, BOUGHT_PIECES, BOUGHT_MINOR = "bought_times", "bought_pieces", "bought_minor"
MESSAGES, TAG, CONSENT, SUPPRESSED, LIST, LEVEL = "messages", "tag", "consent", "suppressed", "list", "level"
TEXT, ATTRIBUTE, ACCOUNT = "text", "attribute", "account"
OF_ORDERS = (ORDERS, MINOR, PIECES, KINDS, COUPONS, DISCOUNT, TIMES, BOUGHT_PIECES, BOUGHT_MINOR)
AMOUNTS = (MINOR, DISCOUNT, REFUNDED, BOUGHT_MINOR)

Key = tuple[Any, ...]
Setting = int | str | bool


@dataclass(frozen=True, slots=True)
class Change:
    """What happens, by key. Amounts are in minor units of the shop's currency, and of all new orders together."""

    settings: Mapping[Key, Setting] = field(default_factory=dict)

    def get(self, key: Key) -> Any:
        return self.settings.get(key, 0)

    def having(self, key: Key, value: Setting) -> Change:
        return Change({**self.settings, key: value})

    def without(self, key: Key) -> Change:
        return Change({one: value for one, value in self.settings.items() if one != key})

    def of(self, kind: str) -> Iterator[tuple[Key, Any]]:
        """The settings of one kind: the rest of the key, and the value."""
        return ((key[1:], value) for key, value in self.settings.items() if key[0] == kind)

    @property
    def orders(self) -> int:
        """How many new orders it takes."""
        least = 1 if any(key[0] in OF_ORDERS for key in self.settings) else 0
        asked = [value for kind in (ORDERS, COUPONS, TIMES) for _, value in self.of(kind)]
        return int(max(least, *asked, 0))

    @property
    def refunds(self) -> int:
        return int(max(1 if (REFUNDED,) in self.settings else 0, self.get((REFUNDS,))))

    def within(self, other: Change) -> bool:
        """Whether all of it happens in the other too: an amount spent takes an order."""
        implied = {(ORDERS,): other.orders, (REFUNDS,): other.refunds}
        for key, value in self.settings.items():
            theirs = other.settings.get(key)
            if counts(value):
                if int(value) > max(int(theirs or 0), implied.get(key, 0)):
                    return False
            elif value != theirs:
                return False
        return True


NOTHING = Change()


def counts(value: Setting) -> bool:
    """Whether it is a number of something, and not a yes or no."""
    return isinstance(value, int) and not isinstance(value, bool)


def apply(change: Change, snapshot: Snapshot, day: date) -> Snapshot:
    """The member after all of it has happened on that day."""
    if not change.settings:
        return snapshot
    channels = frozenset(of[0] for of, on in change.of(SUPPRESSED) if on)
    cleared = {of[0] for of, on in change.of(SUPPRESSED) if not on}
    tags = {of[0]: on for of, on in change.of(TAG)}
    lists = {of[0]: on for of, on in change.of(LIST)}
    held = {of[0]: key for of, key in change.of(LEVEL)}
    return replace(
        snapshot,
        orders=(*snapshot.orders, *_orders(change, day)),
        refunds=(*snapshot.refunds, *_refunds(change, day)),
        messages=(*snapshot.messages, *_messages(change, day)),
        tags=frozenset(one for one in snapshot.tags if tags.get(one, True)) | {one for one, on in tags.items() if on},
        consents={**snapshot.consents, **dict(change.of(CONSENT))},
        suppressed=(snapshot.suppressed | channels) - cleared,
        segments={key: since for key, since in snapshot.segments.items() if lists.get(key, True)}
        | {key: day for key, on in lists.items() if on},
        tiers={key: one for key, one in snapshot.tiers.items() if key not in held}
        | {program: (level, day) for program, level in held.items() if level},
        texts={**snapshot.texts, **{of[0]: value for of, value in change.of(TEXT)}},
        attributes={**snapshot.attributes, **{of[0]: value for of, value in change.of(ATTRIBUTE)}},
        guest=snapshot.guest and (ACCOUNT,) not in change.settings,
    )


def _orders(change: Change, day: date) -> Iterator[PlacedOrder]:
    """The new orders, of which the first has whatever is no matter of their number."""
    lines = dict.fromkeys(of for kind in (TIMES, BOUGHT_PIECES, BOUGHT_MINOR) for of, _ in change.of(kind))
    for number in range(change.orders):
        bought = [one for named in lines if (one := _line(change, named, number)) is not None]
        if not number:
            bought += [BoughtLine(product=f"\0{one}") for one in range(change.get((KINDS,)))]
        pieces = sum((line.quantity for line in bought), Fraction(0))
        paid = sum(line.base_minor for line in bought)
        yield PlacedOrder(
            day,
            paid if number else max(change.get((MINOR,)), paid),
            tuple(bought),
            int(1000 * (pieces if number else max(change.get((PIECES,)), pieces))),
            0 if number else change.get((DISCOUNT,)),
            coupon=number < change.get((COUPONS,)),
        )


def _line(change: Change, named: Key, number: int) -> BoughtLine | None:
    """A product within the new order of that number."""
    if number >= max(1, change.get((TIMES, *named))):
        return None
    args = dict(named)
    category = args.get("category")
    return BoughtLine(
        args.get("sku", ""),
        args.get("title", ""),
        args.get("product", ""),
        frozenset() if category is None else frozenset({category}),
        Fraction(1 if number else max(1, change.get((BOUGHT_PIECES, *named)))),
        0 if number else change.get((BOUGHT_MINOR, *named)),
    )


def _refunds(change: Change, day: date) -> Iterator[GivenRefund]:
    for number in range(change.refunds):
        yield GivenRefund(day, 0 if number else change.get((REFUNDED,)))


def _messages(change: Change, day: date) -> Iterator[SentMessage]:
    for (what, channel, journey), number in change.of(MESSAGES):
        for _ in range(number):
            yield SentMessage(channel or "email", journey or "", {RECEIVED: (day,), what: (day,)})


_NAMED = ("sku", "title", "product", "category")
_KNOBS: dict[str, tuple[str, ...]] = {
    "orders": (ORDERS,),
    "spent": (MINOR, REFUNDED),
    "gross": (MINOR,),
    "profit": (MINOR, REFUNDED),
    "refunds": (REFUNDS,),
    "refunded": (REFUNDED,),
    "return_rate": (REFUNDED, MINOR),
    "average_order": (MINOR, ORDERS),
    "items": (PIECES,),
    "products": (KINDS,),
    "discounts": (DISCOUNT,),
    "coupon_share": (COUPONS, ORDERS),
    "days_since_order": (ORDERS,),
    "days_since_first_order": (ORDERS,),
    "mean_gap": (ORDERS,),
    "late_by": (ORDERS,),
    "bought": (TIMES,),
    "bought_times": (TIMES,),
    "bought_items": (BOUGHT_PIECES,),
    "bought_amount": (BOUGHT_MINOR,),
    **dict.fromkeys((RECEIVED, OPENED, CLICKED, MACHINE_OPENED), (MESSAGES,)),
}


def knobs(asked: Field) -> Iterator[Key]:
    """What can be counted up so that a field moves."""
    named = tuple((name, value) for name, value in asked.args if name in _NAMED)
    for kind in _KNOBS.get(asked.key, ()):
        if kind in (TIMES, BOUGHT_PIECES, BOUGHT_MINOR):
            yield (kind, *named)
        elif kind == MESSAGES:
            yield (kind, asked.key, asked.arg("channel"), asked.arg("journey"))
        else:
            yield (kind,)


def options(leaf: Leaf, snapshot: Snapshot) -> Iterator[tuple[Key, Setting]]:
    """What can be set so that a condition may turn; whether it does is for `evaluate` to say."""
    if isinstance(leaf, Within):
        key = str(leaf.field.arg("segment"))
        yield (LIST, key), key not in snapshot.segments
    elif isinstance(leaf, Holds):
        yield from _flags(leaf.field, snapshot)
    elif isinstance(leaf, Compare | Membership):
        values = leaf.values if isinstance(leaf, Membership) else (leaf.value,)
        yield from _values(leaf.field, values)


def _flags(asked: Field, snapshot: Snapshot) -> Iterator[tuple[Key, Setting]]:
    if asked.key == "tag":
        yield (TAG, asked.arg("tag")), asked.arg("tag") not in snapshot.tags
    elif asked.key == "consents":
        key = (str(asked.arg("channel")), str(asked.arg("topic") or MARKETING))
        yield (CONSENT, *key), "withdrawn" if snapshot.consents.get(key) == "granted" else "granted"
    elif asked.key == "suppressed":
        yield (SUPPRESSED, asked.arg("channel")), asked.arg("channel") not in snapshot.suppressed
    elif asked.key == "guest" and snapshot.guest:
        yield (ACCOUNT,), True


def _values(asked: Field, values: tuple[Any, ...]) -> Iterator[tuple[Key, Setting]]:
    if asked.key == "consent":
        for value in ("granted", "withdrawn"):
            yield (CONSENT, asked.arg("channel"), asked.arg("topic") or MARKETING), value
    elif asked.key in ("tier", "days_in_tier"):
        # Without a level whatever is said of one is not true.
        for value in (*(values if asked.key == "tier" else ()), ""):
            yield (LEVEL, asked.arg("program") or PROGRAM), value
    elif asked.key == "days_in_segment":
        for on in (True, False):
            yield (LIST, asked.arg("segment")), on
    elif asked.key in ("country", "locale"):
        for value in values:
            yield (TEXT, asked.key), value
    elif asked.key == "attribute":
        for value in values:
            yield (ATTRIBUTE, asked.arg("name")), value
