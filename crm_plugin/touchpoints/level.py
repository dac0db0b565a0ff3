"""What a text tells of a member's level in a tier programme: its name, the next one, what is missing to it, until when it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from babel.numbers import format_currency, format_decimal
from sqlalchemy import Connection, bindparam, select

from crm_plugin.rules.book import read_book, resolve
from crm_plugin.rules.check import check
from crm_plugin.rules.fields import FIELDS, Unit
from crm_plugin.rules.nodes import Field, Holds, Known, Term, term_fields
from crm_plugin.rules.operands import Operand
from crm_plugin.rules.parse import parse
from crm_plugin.rules.sql import PROGRAM_KEY, SingleScope, operand
from crm_plugin.store import member_tiers, tier_levels
from crm_plugin.store.lists import among
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.scene import TierView, babel_locale

# Orders are counted in words: "2 orders", "2 单".
_ORDERS = {"en": ("%s order", "%s orders"), "zh": ("%s 单", "%s 单")}
# What is asked; only the field itself is read from the rule made of it.
_ASKED = ("tier_next", "to_next_tier", "tier_ends_in")


@dataclass(frozen=True, slots=True)
class Level:
    """One member's level: keys, what is missing in major units or pieces (None where nobody can say), the last day (None without one)."""

    key: str = ""
    next_key: str = ""
    missing: Decimal | None = None
    unit: str = ""
    ends_on: date | None = None


@dataclass(slots=True)
class Levels:
    """The levels of some members in one programme, and what the shop calls each, by key and language."""

    program: str = PROGRAM_KEY
    of: dict[int, Level] = field(default_factory=dict)
    titles: dict[str, Mapping[str, str]] = field(default_factory=dict)

    def view(self, member_id: int, currency: str, locale: str) -> TierView:
        """What a text in that language may say of a member's level."""
        level = self.of.get(member_id, Level())
        return TierView(
            self.title(level.key, locale),
            self.title(level.next_key, locale),
            _missing(level, currency, locale),
            level.ends_on,
        )

    def held_by(self, member_id: int, locale: str) -> str:
        """What the level that a member holds is called in a language; empty for none."""
        level = self.of.get(member_id)
        return "" if level is None else self.title(level.key, locale)

    def title(self, key: str, locale: str) -> str:
        """What a level is called in a language, in another where it has no name in that one; empty for no level."""
        told = self.titles.get(key, {})
        return told.get(locale) or told.get(locale.split("-")[0]) or told.get("en") or next(iter(told.values()), "")


_t, _h = tier_levels.c, member_tiers.c
_TITLES = select(_t.level_key, _t.title).where(
    _t.shop_id == bindparam("b_shop"), _t.program_key == bindparam("b_program")
)
_HELD = select(_h.member_id, _h.level_key).where(
    _h.shop_id == bindparam("b_shop"), _h.program_key == bindparam("b_program"), among(_h.member_id, "b_ids")
)


def held(connection: Connection, shop_id: int, ids: Sequence[int], program: str = PROGRAM_KEY) -> Levels:
    """The level each of these members holds in a programme, and no more."""
    asked = {"b_shop": shop_id, "b_program": program}
    found = Levels(program, titles={row.level_key: row.title for row in connection.execute(_TITLES, asked)})
    if found.titles:
        for row in connection.execute(_HELD, {**asked, "b_ids": ids}):
            found.of[row.member_id] = Level(row.level_key)
    return found


def standing(connection: Connection, shop: Shop, ids: Sequence[int], today: date, into: Levels) -> None:
    """What is missing to the next level and until when the one held holds, read for all of these members in one statement."""
    if not into.titles:
        return
    book = read_book(connection, shop.shop_id)
    rules = (f'known({name}(program="{into.program}"))' for name in _ASKED)
    following, missing, ends = (_field(resolve(check(parse(rule)), book)) for rule in rules)
    scope = SingleScope(shop, today)
    asked = [operand(scope, one) for one in (following, missing, ends)]
    query = select(scope.member("member_id"), *(column for one in asked for column in one.columns))
    query = query.select_from(scope.source)
    units = {step.level: _unit(step.missing) for step in missing.steps or ()}
    where = (scope.member("shop_id") == shop.shop_id, among(scope.member("member_id"), ids))
    for member_id, *raw in connection.execute(query.where(*where)):
        key = into.of.get(member_id, Level()).key
        above, left, days = _shown(asked, raw)
        into.of[member_id] = Level(
            key,
            str(above or ""),
            None if left is None else Decimal(left),
            units.get(key, ""),
            None if days is None else today + timedelta(days=int(days)),
        )


def _field(node: Any) -> Field:
    assert isinstance(node, Known | Holds)
    return node.field


def _shown(asked: Sequence[Operand], raw: Sequence[Any]) -> list[Any]:
    values, found = list(raw), []
    for one in asked:
        found.append(one.shown(tuple(values[: len(one.columns)])))
        values = values[len(one.columns) :]
    return found


def _unit(missing: Term | None) -> str:
    """`money`, `orders`, or empty for a plain number."""
    fields = list(term_fields(missing)) if missing is not None else []
    if fields and all(FIELDS[one.key].unit is Unit.MONEY for one in fields):
        return "money"
    return "orders" if [one.key for one in fields] == ["orders"] else ""


def _missing(level: Level, currency: str, locale: str) -> str:
    if level.missing is None or not level.next_key:
        return ""
    if level.unit == "money":
        return str(format_currency(level.missing, currency, locale=babel_locale(locale)))
    number = str(format_decimal(level.missing, locale=babel_locale(locale)))
    if level.unit == "orders":
        one, many = _ORDERS["zh" if locale.startswith("zh") else "en"]
        return (one if level.missing == 1 else many) % number
    return number
