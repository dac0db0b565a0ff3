"""Taking steps: those who are due are read once, walked on in memory until each rests, and what became of them is written once for all.

An event's key is the enrolment and its number, so a step is decided once however many planners run and however often; and the moves, what
they bring about and the events are one transaction.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property, lru_cache
from typing import Any

from sqlalchemy import Connection, Select, TextClause, text

from crm_plugin.clock import local_day
from crm_plugin.rules.book import Book
from crm_plugin.rules.by_hand import Before, Decision
from crm_plugin.rules.nodes import Node
from crm_plugin.rules.supposed import Case, Fact, Rule
from crm_plugin.store.base import to_json, to_micros
from crm_plugin.store.rows import at_once, given, whole
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.steps import ending
from crm_plugin.touchpoints.steps.document import Place, Step
from crm_plugin.touchpoints.versions import Version

# Puts touchpoints in for a voice of the journey, from rows as the planner's own (member, occasion, instants); answers those that are new:
# member_id, occasion, state, reason.
Insert = Callable[[Journey, Select[Any]], Sequence[Any]]


@dataclass(slots=True)
class Stay:
    """One enrolment in hand: where it stands, which is not written so far. Instants are in microseconds, the day of its occasion a number.

    `taken` are the steps that it took on other versions; `end_reason` is set when it is over.
    """

    enrolment_id: int
    member_id: int
    occasion: str
    occasion_on: int
    version: int
    step_key: str
    phase: str
    base_at: int
    due_at: int
    seq: int
    member_state: str
    zone: str
    taken: str | None
    end_reason: str = ""


# One event that is not written yet, in the order of `_EVENT`.
Event = list[Any]
_EVENT = {
    "enrolment_id": "BIGINT",
    "seq": "INTEGER",
    "what": "TEXT",
    "version": "INTEGER",
    "step_key": "TEXT",
    "to_step": "TEXT",
    "phase": "TEXT",
    "base_at": "BIGINT",
    "due_at": "BIGINT",
    "reason": "TEXT",
    "detail": "TEXT",
}
_REASON, _DETAIL = list(_EVENT).index("reason"), list(_EVENT).index("detail")


@dataclass
class Group:
    """Those who are taken in hand at once, and what is still to be written of them.

    Of the acts: `said` is by member and fact what was brought about, a tag given or taken, a level; `unwritten` by (member, tag) those tags
    that are not stored so far, `decided` by programme the levels that are not; `codes` by pool who gets one at which step, with the event
    that tells it; `tasks` as they are stored but for their ids; `needless` are the tasks (`duties.reached`) that the goal does away with.

    Of what they go by: `programs` are by their key what is stored of the tier programmes that steps give levels of; `foreseen` is how often
    a member may come to get a code of a pool, `stock` by pool and whose they are (None for nobody's) the codes that were read for that,
    with their places; `answers` what rules said of members; `rules` those that were looked up, by what is written, `book` what they may
    name; `news` what became of messages, by member, occasion and number of the step; `heard` by enrolment and step from when somebody waits
    there who goes on from where they stand, and when that had happened, None where it had not.

    `came` says that there are newcomers of whom no event tells so far.
    """

    connection: Connection
    shop: Shop
    journey_key: str
    now: datetime
    insert: Insert
    came: bool = False
    events: list[Event] = field(default_factory=list)
    moved: dict[int, Stay] = field(default_factory=dict)
    said: dict[tuple[int, Fact], bool | str] = field(default_factory=dict)
    unwritten: dict[tuple[int, str], bool] = field(default_factory=dict)
    decided: dict[str, list[Decision]] = field(default_factory=dict)
    programs: dict[str, Before] = field(default_factory=dict)
    codes: dict[str, list[tuple[Stay, str, Event]]] = field(default_factory=dict)
    foreseen: Counter[tuple[str, int]] = field(default_factory=Counter)
    stock: dict[tuple[str, int | None], deque[tuple[str, int]]] = field(default_factory=lambda: defaultdict(deque))
    tasks: list[tuple[Any, ...]] = field(default_factory=list)
    needless: list[Any] = field(default_factory=list)
    answers: dict[Case, dict[int, Any]] = field(default_factory=dict)
    rules: dict[Node, Rule] = field(default_factory=dict)
    book: Book | None = None
    news: dict[tuple[int, str, int], Any] = field(default_factory=dict)
    heard: dict[int, dict[str, tuple[int, int | None]]] = field(default_factory=dict)
    _waiting: list[tuple[TextClause, Sequence[Any]]] = field(default_factory=list)

    @cached_property
    def at(self) -> int:
        """The instant of the round as stored."""
        return to_micros(self.now)

    @cached_property
    def today(self) -> date:
        """The day of the round in the shop's zone."""
        return local_day(self.now, self.shop.timezone)

    @property
    def is_sqlite(self) -> bool:
        return bool(self.connection.dialect.name == "sqlite")

    def run(self, statement: TextClause, rows: Sequence[Any], **values: Any) -> Any:
        """Run a statement over `given` rows, for this shop and journey at this instant."""
        return self.connection.execute(statement, self.values(rows, **values))

    def values(self, rows: Sequence[Any], **values: Any) -> dict[str, Any]:
        """What a statement over `given` rows is bound to."""
        ours = {"rows": to_json(rows), "shop_id": self.shop.shop_id, "journey_key": self.journey_key, "now": self.at}
        return {**ours, **values}

    def put(self, statement: TextClause, rows: Sequence[Any]) -> None:
        """Write by a statement over `given` rows, at the latest when `flush` is called. None sees what another writes."""
        if self.is_sqlite:
            self.run(statement, rows)
        else:
            self._waiting.append((statement, rows))

    def flush(self) -> None:
        """Write all that was put; PostgreSQL takes it as one statement."""
        if not self._waiting:
            return
        lists = list({id(rows): rows for _, rows in self._waiting}.values())
        places = {id(rows): place for place, rows in enumerate(lists)}
        parts = tuple((statement.text, places[id(rows)]) for statement, rows in self._waiting)
        self.run(at_once(parts), (), **{f"rows{place}": to_json(rows) for place, rows in enumerate(lists)})
        self._waiting.clear()

    def begin(self, stay: Stay, phase: str, till: int) -> None:
        """The step has begun; they stay in `phase` until `till`."""
        self._note(stay, ending.BEGUN, stay.step_key, phase, stay.base_at, till, "", "")

    def done(
        self,
        stay: Stay,
        to: str,
        *,
        base: int | None = None,
        reason: str = "",
        detail: str = "",
        what: str = ending.DONE,
    ) -> Event:
        """The step is done, and they go on at `to`, or are at the end, from the instant `base`; the event may be told more."""
        since = stay.base_at if base is None else base
        return self._note(stay, what, to, ending.DUE, since, since, reason, detail)

    def leave(self, stay: Stay, reason: str) -> None:
        """They go no further."""
        self._note(stay, ending.ENDED, "", "", stay.base_at, stay.base_at, reason, "")

    def put_off(self, stay: Stay, till: int) -> None:
        """They wait on, and nothing has happened."""
        stay.due_at = till
        self.moved[stay.enrolment_id] = stay

    def _note(
        self, stay: Stay, what: str, to: str, phase: str, base_at: int, due_at: int, reason: str, detail: str
    ) -> Event:
        stay.seq += 1
        told = [
            stay.enrolment_id,
            stay.seq,
            what,
            stay.version,
            stay.step_key,
            to,
            phase,
            base_at,
            due_at,
            reason,
            detail,
        ]
        self.events.append(told)
        stay.step_key, stay.phase, stay.base_at, stay.due_at = to or stay.step_key, phase, base_at, due_at
        if not to:
            stay.end_reason = reason if what == ending.ENDED else ending.DONE
        self.moved[stay.enrolment_id] = stay
        return told

    def write(self) -> None:
        """Write all events, where everybody has come to, and what was put before.

        Raises: IntegrityError where another decided the same meanwhile.
        """
        if self.events or self.came:
            self.put(_noting(self.is_sqlite, self.came), self.events)
        if self.moved:
            self.put(_moving(self.is_sqlite), [_place(stay) for stay in self.moved.values()])
        self.flush()


def tell(event: Event, reason: str, detail: str) -> None:
    """Say more in an event that is not written yet."""
    event[_REASON], event[_DETAIL] = reason, detail


@dataclass(frozen=True, slots=True)
class Stand:
    """A step of a version of a journey, for those in hand who come to it."""

    group: Group
    version: Version
    place: Place

    @property
    def step(self) -> Step:
        return self.place.step

    @property
    def told(self) -> Mapping[str, Any]:
        """The step's parameters."""
        return self.place.step.told

    def to(self, arm: str = "") -> str:
        """The step that follows in that list; empty for the end."""
        goes = self.place.goes
        return next(iter(goes.values())) if len(goes) == 1 else goes.get(arm, "")


_NEWCOMERS = (
    "SELECT e.shop_id, CAST(:now AS BIGINT), e.enrolment_id, 0, 'enrolled', e.version, '', e.step_key, e.phase, e.base_at, e.due_at, '', "
    "e.cause FROM enrolments AS e{index} WHERE e.shop_id = :shop_id AND e.journey_key = :journey_key AND e.state = 'active' "
    "AND e.due_at <= CAST(:now AS BIGINT) AND e.phase = 'due' AND e.seq = 0 AND NOT EXISTS (SELECT 1 FROM enrolment_events AS p "
    "WHERE p.shop_id = e.shop_id AND p.enrolment_id = e.enrolment_id AND p.seq = 0)"
)


def note_newcomers(connection: Connection, shop: Shop, journey_key: str, now: datetime) -> None:
    """The first event of each who came in and was not moved so far."""
    told = {"shop_id": shop.shop_id, "journey_key": journey_key, "now": to_micros(now), "rows": "[]"}
    connection.execute(_noting(connection.dialect.name == "sqlite", True), told)


@lru_cache
def _noting(is_sqlite: bool, came: bool) -> TextClause:
    """Events, and with `came` the first of each newcomer: they stand due at the first step until `_moving` is run."""
    names = ", ".join(_EVENT)
    told = f"SELECT CAST(:shop_id AS BIGINT), CAST(:now AS BIGINT), {names} FROM {given(is_sqlite, _EVENT)}"  # noqa: S608
    if came:
        told += f" UNION ALL {_NEWCOMERS.format(index=' INDEXED BY ix_enrolments_due' if is_sqlite else '')}"
    return text(f"INSERT INTO enrolment_events (shop_id, at, {names}) {told}")


_PLACE = {
    "enrolment_id": "BIGINT",
    "step_key": "TEXT",
    "phase": "TEXT",
    "base_at": "BIGINT",
    "due_at": "BIGINT",
    "seq": "INTEGER",
    "end_reason": "TEXT",
}


def _place(stay: Stay) -> tuple[Any, ...]:
    return (stay.enrolment_id, stay.step_key, stay.phase, stay.base_at, stay.due_at, stay.seq, stay.end_reason)


@lru_cache
def _moving(is_sqlite: bool) -> TextClause:
    sets = ", ".join(f"{name} = w.{name}" for name in _PLACE if name != "enrolment_id")
    return text(
        f"UPDATE enrolments SET {sets}, state = CASE WHEN w.end_reason = '' THEN 'active' ELSE 'ended' END, "  # noqa: S608
        "ended_at = CASE WHEN w.end_reason <> '' THEN CAST(:now AS BIGINT) END, updated_at = CAST(:now AS BIGINT) "
        f"FROM {whole(is_sqlite, _PLACE)} WHERE enrolments.shop_id = w.shop_id AND enrolments.enrolment_id = w.enrolment_id"
    )
