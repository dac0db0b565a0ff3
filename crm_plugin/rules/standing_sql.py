"""Who must be looked at on a day, in one statement: everybody whose level or term that day changes, with all that decides.

What becomes of each is `standing.next_step`; here stands only for whom that is anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    Select,
    and_,
    case,
    exists,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    true,
    type_coerce,
)

from crm_plugin.clock import day_number, from_day_number
from crm_plugin.rules import Book, Rule, compile_rule
from crm_plugin.rules.earned import all_rows, plain_value, refuse_own_level
from crm_plugin.rules.nodes import Field, fields_of
from crm_plugin.rules.operands import Operand, Truth
from crm_plugin.rules.policy import Policy, PolicyLevel
from crm_plugin.rules.scopes import JoinedScope
from crm_plugin.rules.sql import ACTIVE, operand, truth
from crm_plugin.rules.standing import Held, Sees
from crm_plugin.rules.text import field_text
from crm_plugin.store import members, tier_bars, tier_changes, tier_entries, tier_invitations, tier_runs
from crm_plugin.store.tenants import Shop


@dataclass(frozen=True, slots=True)
class Rung:
    """A level with its rules, checked and with segments in their place; None where nothing is asked, or nothing can be earned.

    `lately` tells on a programme's first day who earns it by this year, where the year before counts too.
    """

    level: PolicyLevel
    entry: Rule | None
    keep: Rule | None
    reentry: Rule | None
    lately: Rule | None = None


class Seen(NamedTuple):
    """One member who must be looked at; `values` are what the fields of the rules come to, by their text."""

    member_id: int
    held: Held
    sees: Sees
    values: Mapping[str, Any]
    first_seen_at: int
    first_order_on: date | None


def rungs(policy: Policy, book: Book | None, today: date, *, first: bool = False) -> list[Rung]:
    """The levels with their rules as they stand on that day, `first` for a programme's first pass. Raises: RuleError."""
    found = []
    for level in policy.levels:
        entry = policy.entry_text(level, today)
        earns = policy.first_text(level, today) if first else entry
        texts = [earns, policy.keep_text(level, today), policy.reentry_text(level, today)]
        texts.append(entry if earns != entry else "")
        rules = [compile_rule(text, book) if text else None for text in texts]
        for rule in rules:
            if rule is not None:
                refuse_own_level(rule)
        found.append(Rung(level, *rules))
    return found


def that_stands(shop: Shop, program: str) -> tuple[Truth, ...]:
    """Which changes of level have happened: what a run led to that was undone was never held, and what undoing led back to was before."""
    t, r = tier_changes.c, tier_runs.c
    undone = select(r.run_id).where(r.shop_id == shop.shop_id, r.undone_at.is_not(None))
    return (t.run_id.is_(None) | t.run_id.not_in(undone), t.shop_id == shop.shop_id, t.program_key == program)


class Looked:
    """The statement for a shop, a policy and a day; `only` asks for one member.

    With `history` what came after that day is left out (`sql.is_history`). `unmarked` is a policy that is only looked at, where the one
    in force keeps no track of levels held before: then what has happened is asked.
    """

    def __init__(
        self,
        shop: Shop,
        policy: Policy,
        ladder: Sequence[Rung],
        today: date,
        only: int | None = None,
        *,
        history: bool = False,
        unmarked: bool = False,
    ) -> None:
        self._shop, self._policy, self._today, self._only = shop, policy, today, only
        self._unmarked = unmarked
        self._scope = JoinedScope(shop, today, history=history)
        self._keys = policy.keys
        self.held = self._column("level_key", "")
        self._entry = [self._entered(rung) for rung in ladder]
        self._lately = [true() if rung.lately is None else self._holds(rung.lately) for rung in ladder]
        self._keep = [true() if rung.keep is None else self._holds(rung.keep) for rung in ladder]
        asked = dict.fromkeys(
            field for rung in ladder for rule in (rung.entry, rung.keep, rung.reentry) if rule for field in fields_of(rule.node)
        )  # fmt: skip
        self._operands: dict[Field, Operand] = {one: operand(self._scope, one) for one in asked}
        self._first_order = type_coerce(self._scope.fact_day("first_order_on"), Integer)

    def rows(self, reader: Connection) -> Iterator[list[Seen]]:
        """Everybody who must be looked at, in pages."""
        query = self.select().where(self._must_change())
        if self._only is not None:
            query = query.where(members.c.member_id == self._only)
        for page in all_rows(reader, query, members.c.member_id):
            yield [self._read(row) for row in page]

    def select(self) -> Select[Any]:
        """One row: a member with what is held, seen and told."""
        columns = [column for one in self._operands.values() for column in one.columns]
        names = ("since_at", "since_on", "valid_until", "grace_until", "in_grace", "fixed", "fixed_until")
        standing = [type_coerce(self._tier(name), Integer).label(name) for name in names[1:]]
        standing.insert(0, type_coerce(self._tier("since_at"), BigInteger).label("since_at"))
        return (
            select(
                members.c.member_id,
                self.held.label("held"),
                *standing,
                self._tier("fixed_reason"),
                self._tier("fixed_by"),
                (members.c.state != ACTIVE).label("gone"),
                type_coerce(members.c.first_seen_at, BigInteger).label("first_seen"),
                self._first_order.label("first_order"),
                *(one.label(f"entry_{place}") for place, one in enumerate(self._entry)),
                *(one.label(f"keep_{place}") for place, one in enumerate(self._keep)),
                *(one.label(f"lately_{place}") for place, one in enumerate(self._lately)),
                *(column.label(f"value_{place}") for place, column in enumerate(columns)),
            )
            .select_from(self._scope.source)
            .where(members.c.shop_id == self._shop.shop_id)
        )

    def _read(self, row: Sequence[Any]) -> Seen:
        member_id, level, since_at, *rest = row
        since_on, valid, grace, in_grace, fixed, fixed_until, reason, by, gone, first_seen, first_order, *rest = rest
        held = Held(
            level or "",
            since_at or 0,
            _day(since_on),
            _day(valid),
            _day(grace),
            in_grace=bool(in_grace),
            fixed=bool(fixed),
            fixed_until=_day(fixed_until),
            fixed_reason=reason or "",
            fixed_by=by or "",
        )
        size = len(self._keys)
        entry, keep, lately = ([bool(one) for one in rest[n * size : (n + 1) * size]] for n in range(3))
        sees = Sees(entry, keep, bool(gone), lately)
        values: dict[str, Any] = {}
        place = 3 * size
        for asked, one in self._operands.items():
            values[field_text(asked)] = plain_value(one.shown(tuple(rest[place : place + len(one.columns)])))
            place += len(one.columns)
        return Seen(member_id, held, sees, values, first_seen, _day(first_order))

    def _must_change(self) -> Truth:
        today = day_number(self._today)
        there = self.held.in_(self._keys)
        fixed, until = func.coalesce(self._tier("fixed"), false()), self._number("fixed_until")
        valid, grace = self._number("valid_until"), self._number("grace_until")
        lifts = [and_(entry, self.held.not_in(self._keys[place:])) for place, entry in enumerate(self._entry)]
        kept = or_(false(), *(and_(self.held == key, self._keep[place]) for place, key in enumerate(self._keys)))
        in_grace = func.coalesce(self._tier("in_grace"), false())
        ends = self._policy.ends(self._today) is not None
        # Kept, there is a new term to write, or one of a former policy to forget.
        renewed = true() if ends else or_(valid.is_not(None), in_grace)
        over = and_(
            there,
            or_(valid.is_(None), valid < today),
            case((kept, renewed), else_=not_(and_(in_grace, grace >= today))),
        )
        removed = and_(self.held != "", not_(there))
        stays = and_(there, fixed, or_(until.is_(None), until >= today))
        changes = and_(not_(stays), or_(fixed, removed, over, *lifts))
        return case((members.c.state != ACTIVE, self.held != ""), else_=and_(changes, not_(self._barred())))

    def _barred(self) -> Truth:
        """Whoever holds no level by hand."""
        c = tier_bars.c
        own = (
            c.shop_id == self._shop.shop_id,
            c.program_key == self._policy.program,
            c.member_id == members.c.member_id,
        )
        lasts = or_(c.until.is_(None), c.until >= self._today)
        return exists(select(literal(1)).where(*own, lasts).correlate(members))

    def _entered(self, rung: Rung) -> Truth:
        if rung.entry is None:
            c = tier_invitations.c
            return exists(
                select(literal(1)).where(*self._own(c, rung), c.state == "accepted", not_(c.taken)).correlate(members)
            )
        entry = self._holds(rung.entry)
        if rung.reentry is None:
            return entry
        c = tier_entries.c
        before: Truth = exists(select(literal(1)).where(*self._own(c, rung), c.held).correlate(members))
        if self._unmarked:
            before = or_(before, self.held == rung.level.key, self._was(rung.level.key))
        return case((before, self._holds(rung.reentry)), else_=entry)

    def _was(self, level: str) -> Truth:
        """Whether the member has come to a level ever."""
        c = tier_changes.c
        own = (c.member_id == members.c.member_id, c.to_level == level)
        return exists(select(literal(1)).where(*that_stands(self._shop, self._policy.program), *own).correlate(members))

    def _own(self, c: Any, rung: Rung) -> tuple[Truth, ...]:
        return (
            c.shop_id == self._shop.shop_id,
            c.program_key == self._policy.program,
            c.member_id == members.c.member_id,
            c.level_key == rung.level.key,
        )

    def _holds(self, rule: Rule) -> Truth:
        return func.coalesce(truth(self._scope, rule.asked), false())

    def _tier(self, name: str) -> ColumnElement[Any]:
        return self._scope.held(self._policy.program, name)

    def _column(self, name: str, without: Any) -> ColumnElement[Any]:
        return func.coalesce(self._tier(name), without)

    def _number(self, name: str) -> ColumnElement[int]:
        return type_coerce(self._tier(name), Integer)


def _day(number: int | None) -> date | None:
    return None if number is None else from_day_number(number)
