"""Taking a step: for all who stand at it what becomes of each is written first, as events; then one statement moves them by these.

An event's key is the enrolment and its number, so a step is decided once however many planners run and however often; and the moves, what
they bring about and the events are one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Connection,
    Select,
    Text,
    case,
    cast,
    literal,
    literal_column,
    not_,
    null,
    or_,
    select,
    text,
    type_coerce,
)
from sqlalchemy.dialects import postgresql, sqlite

from crm_plugin.clock import local_day
from crm_plugin.rules import compile_rule
from crm_plugin.rules import sql as rules_sql
from crm_plugin.rules.book import resolved
from crm_plugin.store import enrolment_events
from crm_plugin.store.base import to_micros
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.audience import meant, rule_of
from crm_plugin.touchpoints.holdout import held_out_sql
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.steps import ending, flow
from crm_plugin.touchpoints.steps.document import Place
from crm_plugin.touchpoints.versions import Version

# Puts touchpoints in for a voice of the journey, from rows as the planner's own: member, occasion, instants.
Insert = Callable[[Journey, Select[Any]], None]
_COLUMNS = (
    "shop_id enrolment_id seq at what version step_key to_step phase base_at due_at reason detail".split()  # noqa: SIM905
)
_MEMBER: ColumnElement[int] = literal_column("e.member_id")
# Those who stand at a step in a phase and are due, by the index that begins so.
STANDING = (
    "e.shop_id = :shop_id AND e.journey_key = :journey_key AND e.version = :version AND e.step_key = :step_key "
    "AND e.state = 'active' AND e.phase = :phase AND e.due_at <= CAST(:now AS BIGINT)"
)
# Steps that bring something about, which nobody gets twice.
ONCE = frozenset({"send", "coupon", "tag", "tier", "task", "webhook"})
# The event that was just written for them.
DECIDED = "v.shop_id = e.shop_id AND v.enrolment_id = e.enrolment_id AND v.seq = e.seq + 1"


@dataclass(frozen=True, slots=True)
class Stand:
    """A step of a version of a journey, and those who stand at it in one phase."""

    connection: Connection
    shop: Shop
    version: Version
    place: Place
    phase: str
    now: datetime
    insert: Insert

    @property
    def told(self) -> Mapping[str, Any]:
        """The step's parameters."""
        return self.place.step.told

    @property
    def is_sqlite(self) -> bool:
        return bool(self.connection.dialect.name == "sqlite")

    @property
    def binds(self) -> dict[str, Any]:
        """What `STANDING` asks for."""
        return {
            "shop_id": self.shop.shop_id,
            "journey_key": self.version.journey.key,
            "version": self.version.version,
            "step_key": self.place.step.key,
            "phase": self.phase,
            "now": to_micros(self.now),
        }


def col(name: str) -> ColumnElement[Any]:
    """A column of the enrolment `e` or the member `m`."""
    return literal_column(name)


def word(value: str) -> ColumnElement[str]:
    """A text of ours; as a type of its own, for PostgreSQL asks what a bare parameter is."""
    return cast(literal(value, Text), Text)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of those who stay in: the step is done, going on in the list `arm` from the instant `base`; or it begins, and they stay
    in `phase` until `till`. `tables` with their `binds` are joined beside e(nrolment) and m(ember)."""

    arm: ColumnElement[Any] = field(default_factory=lambda: word(""))
    base: ColumnElement[Any] = field(default_factory=lambda: col("e.base_at"))
    begins: bool = False
    ends: bool = False
    phase: ColumnElement[Any] = field(default_factory=lambda: word(ending.DUE))
    till: ColumnElement[Any] | None = None
    reason: ColumnElement[Any] = field(default_factory=lambda: word(""))
    detail: ColumnElement[Any] | None = None
    tables: str = ""
    where: str = ""
    binds: Mapping[str, Any] = field(default_factory=dict)
    ctes: tuple[Any, ...] = ()


def decide(stand: Stand, outcome: Outcome, *, asks: bool = False) -> int:
    """Write what becomes of each; answers of how many. With `asks` those leave first who have reached the goal or belong no longer."""
    leave = _leaving(stand) if asks else word("")
    before = _taken_before(stand) if asks and stand.place.step.kind in ONCE else word("")
    inner = (
        select(
            *(col(f"e.{name}").label(name) for name in ("enrolment_id", "seq", "step_key")),
            leave.label("leave"),
            before.label("before"),
            outcome.arm.label("arm"),
            outcome.base.label("base"),
            (outcome.till if outcome.till is not None else outcome.base).label("till"),
            outcome.phase.label("phase"),
            outcome.reason.label("reason"),
            (outcome.detail if outcome.detail is not None else word("")).label("detail"),
        )
        .select_from(
            text(f"enrolments AS e{_indexed(stand)} CROSS JOIN members AS m {outcome.tables}").bindparams(
                **outcome.binds
            )
        )
        .where(
            text(
                f"{STANDING} AND m.shop_id = e.shop_id AND m.member_id = e.member_id{' AND ' if outcome.where else ''}{outcome.where}"
            ).bindparams(**stand.binds)
        )
    )
    for cte in outcome.ctes:
        inner = inner.add_cte(cte)
    x = inner.subquery("x").c
    leaves, passes, begins = x.leave != "", x.before != "", outcome.begins
    going = word("") if outcome.ends else _target(stand.place, x.arm)
    what = ending.BEGUN if begins else ending.ENDED if outcome.ends else ending.DONE
    values: dict[str, Any] = {
        "shop_id": literal(stand.shop.shop_id, BigInteger),
        "enrolment_id": x.enrolment_id,
        "seq": x.seq + 1,
        "at": literal(to_micros(stand.now), BigInteger),
        "what": case((leaves, word(ending.ENDED)), (passes, word(ending.DONE)), else_=word(what)),
        "version": literal(stand.version.version),
        "step_key": x.step_key,
        "to_step": case((leaves, word("")), (passes, going), else_=x.step_key if begins else going),
        "phase": case((leaves, word("")), (passes, word(ending.DUE)), else_=x.phase if begins else word(ending.DUE)),
        "base_at": x.base,
        "due_at": case((or_(leaves, passes), x.base), else_=x.till) if begins else x.base,
        "reason": case((leaves, x.leave), (passes, x.before), else_=x.reason),
        "detail": case((leaves, word("")), else_=x.detail if outcome.detail is not None else x.arm),
    }
    # A condition, for SQLite could not tell where the SELECT ends.
    chosen = select(*(values[name] for name in _COLUMNS)).where(x.enrolment_id.is_not(null()))
    add = sqlite.insert if stand.is_sqlite else postgresql.insert
    statement = add(enrolment_events).from_select(_COLUMNS, chosen, include_defaults=False).on_conflict_do_nothing()
    # Counted by what comes back: of a statement that begins with WITH, SQLite's driver does not tell how many rows it wrote.
    return len(stand.connection.execute(statement.returning(enrolment_events.c.seq)).all())


def _indexed(stand: Stand) -> str:
    # Without figures about the table SQLite may take the index of what is due, and read all who are inside.
    return " INDEXED BY ix_enrolments_step" if stand.is_sqlite else ""


def _target(place: Place, arm: ColumnElement[Any]) -> ColumnElement[Any]:
    if len(place.goes) == 1:
        return word(next(iter(place.goes.values())))
    return case(*((arm == name, word(to)) for name, to in place.goes.items()), else_=word(""))


def _leaving(stand: Stand) -> ColumnElement[Any]:
    """Why somebody goes no further; empty for those who do. Raises: RuleError when a rule cannot be asked."""
    journey, today = stand.version.journey, local_day(stand.now, stand.shop.timezone)
    asked: list[tuple[ColumnElement[bool], str]] = [(literal_column("m.state <> 'active'"), ending.GONE)]
    if held_out := held_out_sql(stand.shop.shop_id, journey, "e.member_id"):
        # They are counted, and get nothing at all: neither messages nor what else the steps bring.
        asked.append((type_coerce(text(held_out), Boolean), ending.HOLDOUT))
    if journey.flow.goal_text:
        asked.append((rule(stand, journey.flow.goal_text), ending.GOAL))
    if rule_of(journey) is not None and journey.flow.exit == flow.AUDIENCE:
        asked.append((not_(meant(stand.connection, stand.shop, journey, today, _MEMBER)), ending.AUDIENCE))
    return case(*((condition, word(reason)) for condition, reason in asked), else_=word(""))


def _taken_before(stand: Stand) -> ColumnElement[Any]:
    """Whether the step was taken on another version already, which had it at another place; it is passed by then."""
    taken = (
        "EXISTS (SELECT 1 FROM enrolment_events AS p WHERE p.shop_id = e.shop_id AND p.enrolment_id = e.enrolment_id "
        "AND p.step_key = e.step_key AND p.what IN ('begun', 'done'))"
    )
    return case((type_coerce(text(taken), Boolean), word(ending.BEFORE)), else_=word(""))


def rule(stand: Stand, told: str) -> ColumnElement[bool]:
    """A rule asked of the member of an enrolment, as of today in the shop's zone. Raises: RuleError."""
    node = resolved(stand.connection, stand.shop.shop_id, compile_rule(told).node)
    return rules_sql.condition(stand.shop, node, local_day(stand.now, stand.shop.timezone), _MEMBER)


_APPLY = text(
    "UPDATE enrolments SET step_key = CASE WHEN v.to_step = '' THEN e.step_key ELSE v.to_step END, phase = v.phase, "  # noqa: S608
    "base_at = v.base_at, due_at = v.due_at, seq = v.seq, state = CASE WHEN v.to_step = '' THEN 'ended' ELSE 'active' END, "
    "end_reason = CASE WHEN v.to_step <> '' THEN '' WHEN v.what = 'ended' THEN v.reason ELSE 'done' END, "
    "ended_at = CASE WHEN v.to_step = '' THEN CAST(:now AS BIGINT) END, updated_at = CAST(:now AS BIGINT) "
    f"FROM enrolments AS e JOIN enrolment_events AS v ON {DECIDED} "
    f"WHERE {STANDING} AND enrolments.shop_id = e.shop_id AND enrolments.enrolment_id = e.enrolment_id"
)


def apply(stand: Stand) -> None:
    """Move everybody of whom it was decided."""
    stand.connection.execute(_APPLY, stand.binds)
