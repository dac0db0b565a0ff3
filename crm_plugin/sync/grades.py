"""The grades that a store has of its own: what is set there, what a change would make of it, and making it, which only a person does."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from itertools import pairwise

from crm_plugin.adapters.registry import storefront_class
from crm_plugin.adapters.storefronts.base import StorefrontAdapter, StoreGrade
from crm_plugin.errors import InvalidInput
from crm_plugin.money import parse_minor
from crm_plugin.phrases import phrase
from crm_plugin.store import audit
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop

# What raises a member: the sum of their orders, or how many they are.
AMOUNT, ORDERS = "amount", "orders"
CHANGED = "store.grades"
_COUNT = re.compile(r"[0-9]{1,9}")
_PERCENT = re.compile(r"[0-9]{1,2}([.,][0-9])?")


@dataclass(frozen=True, slots=True)
class GradeChange:
    """One grade as it is and as it would be; None where it is not in use."""

    number: int
    before: StoreGrade | None
    after: StoreGrade | None

    @property
    def is_change(self) -> bool:
        """Whether anything would be another."""
        return self._said(self.before) != self._said(self.after)

    @staticmethod
    def _said(grade: StoreGrade | None) -> tuple[object, ...] | None:
        return None if grade is None else (grade.least_minor, grade.least_orders, grade.percent_off)


def there(shop: Shop, storefront: StorefrontAdapter) -> list[StoreGrade]:
    """The grades as they are set. Raises: InvalidInput for a store without any, AdapterError."""
    if not storefront_class(shop.platform).most_grades:
        label = phrase(storefront_class(shop.platform).label)
        raise InvalidInput(phrase("There are no grades of %(platform)s that could be set from here.", platform=label))
    return storefront.grades()


def read(by: str, least: Sequence[str], off: Sequence[str], currency: str) -> list[StoreGrade]:
    """The grades that were typed in, the first of each list for grade 1; an empty `off` leaves what is there.

    Raises: InvalidInput naming `least_1`, `off_1` and so on.
    """
    while least and not least[-1].strip():
        least = least[:-1]
    found = [
        _read(number, by, text.strip(), off[number - 1].strip() if number <= len(off) else "", currency)
        for number, text in enumerate(least, 1)
    ]
    if not found:
        raise InvalidInput(phrase("Say from when on members get grade 1."), field="least_1")
    for below, above in pairwise(found):
        if _least(below) >= _least(above):
            raise InvalidInput(
                phrase("Each grade has to begin higher than the one below."), field=f"least_{above.number}"
            )
    return found


def compare(told: Sequence[StoreGrade], wanted: Sequence[StoreGrade]) -> list[GradeChange]:
    """Grade by grade what would be another, the lowest first."""
    before = {grade.number: grade for grade in told}
    after = {grade.number: _beside(grade, before.get(grade.number)) for grade in wanted}
    return [
        GradeChange(number, before.get(number), after.get(number)) for number in sorted(before.keys() | after.keys())
    ]


def change(
    db: Database, shop: Shop, storefront: StorefrontAdapter, wanted: Sequence[StoreGrade], now: datetime, *, actor: str
) -> list[GradeChange]:
    """Set the grades in the store; what that changed. Nothing is asked of it where nothing would be another. Raises: as `there`."""
    changes = compare(there(shop, storefront), wanted)
    if any(one.is_change for one in changes):
        storefront.set_grades([one.after for one in changes if one.after is not None])
        detail = {str(one.number): _words(one.after) for one in changes}
        with db.write() as connection:
            audit.note(connection, shop.shop_id, actor, CHANGED, detail, now)
    return changes


def _read(number: int, by: str, least: str, off: str, currency: str) -> StoreGrade:
    percent = Decimal(off.replace(",", ".")) if _PERCENT.fullmatch(off) else None
    if off and percent is None:
        raise InvalidInput(phrase("Write percent such as 5 or 2.5, below 100."), field=f"off_{number}")
    if by == ORDERS:
        if not _COUNT.fullmatch(least):
            raise InvalidInput(phrase("Write a whole number."), field=f"least_{number}")
        return StoreGrade(number, least_orders=int(least), percent_off=percent)
    try:
        minor = parse_minor(least.replace(",", "."), currency)
    except ValueError:
        minor = -1
    if minor < 0:
        raise InvalidInput(phrase("Write an amount such as 99.90."), field=f"least_{number}")
    return StoreGrade(number, least_minor=minor, percent_off=percent)


def _beside(wanted: StoreGrade, before: StoreGrade | None) -> StoreGrade:
    """The grade as it would be: its name and level stay, and what it takes off where nothing else is said."""
    if before is None:
        return replace(wanted, percent_off=wanted.percent_off or Decimal(0))
    off = before.percent_off if wanted.percent_off is None else wanted.percent_off
    return replace(wanted, name=before.name, level=before.level, percent_off=off)


def _least(grade: StoreGrade) -> int:
    return grade.least_minor if grade.least_minor is not None else grade.least_orders or 0


def _words(grade: StoreGrade | None) -> dict[str, str] | None:
    if grade is None:
        return None
    told = {"least_minor": grade.least_minor, "least_orders": grade.least_orders, "percent_off": grade.percent_off}
    return {name: str(value) for name, value in told.items() if value is not None}
