"""Saved segments kept as lists: who is in them, since when, and each coming and going.

Whoever may have changed since the last time (`changes`) is asked again, by all segments in one statement; the rest is not looked at. A
segment that is new, or whose rule says something else than before, asks everybody. What comes out is the same.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, Row, and_, case, insert, literal, select, text

from crm_plugin.clock import day_number, local_day
from crm_plugin.errors import RuleError
from crm_plugin.ids import new_ids
from crm_plugin.rules.book import RULE, read_book, resolve
from crm_plugin.rules.changes import Span, moved
from crm_plugin.rules.nodes import Node, deep_fields
from crm_plugin.rules.sql import ACTIVE, SingleScope, is_history, select_members, truth
from crm_plugin.store import bulk, segment_events, segment_members, segments
from crm_plugin.store.base import Instant as InstantType
from crm_plugin.store.base import LocalDay, to_micros
from crm_plugin.store.members import lock
from crm_plugin.store.tenants import Shop

# A mark is made before its transaction ends, and clocks are set right: what is this much older is looked at once more.
OVERLAP = timedelta(minutes=10)
# Of more members than this it is quicker to ask everybody, in one stretch.
MOST = 100_000
_CHUNK = 2000
_TOGETHER = 20
_HELD = ("shop_id", "segment_key", "member_id", "since_at", "since_on")
_STEPS = ("shop_id", "event_id", "segment_key", "member_id", "entered", "cause", "at", "as_of")
# Why somebody came or went: something happened to the member or a day went by, the rule was changed, a list was written.
MOVED, RULE_CHANGED, WRITTEN = "moved", "rule", "list"


@dataclass(frozen=True, slots=True)
class Turnover:
    """How many came into a segment, and how many left it. Of a segment that was filled for the first time nobody "came"."""

    entered: int = 0
    left: int = 0


@dataclass(slots=True)
class KeptReport:
    """What one keeping did. `asked` is how many members were asked again; `filled` are segments asked of everybody.

    `problems` are segments whose rule cannot be asked, such as for want of a level: they stay as they were.
    """

    at: datetime
    as_of: date
    asked: int = 0
    filled: list[str] = field(default_factory=list)
    turnover: dict[str, Turnover] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        moves = {key: asdict(one) for key, one in self.turnover.items()}
        return {
            "as_of": self.as_of.isoformat(),
            "asked": self.asked,
            "filled": self.filled,
            "segments": moves,
            "problems": self.problems,
        }


@dataclass(frozen=True, slots=True)
class _Saved:
    """A segment with its resolved rule; `mark` tells one rule from another."""

    row: Row[Any]
    node: Node
    mark: str

    @property
    def key(self) -> str:
        return str(self.row.segment_key)

    @property
    def is_kept(self) -> bool:
        return self.row.kept_through is not None and self.row.kept_rule == self.mark


def keep(connection: Connection, shop: Shop, now: datetime, keys: Collection[str] | None = None) -> KeptReport:
    """Bring the lists of these segments, or of all, to what their rules say at `now`, in the caller's transaction.

    Segments that the rules count days in are kept before them. A second keeping at the same instant writes no row of a member.
    """
    lock(connection, shop.shop_id)
    today = local_day(now, shop.timezone)
    report = KeptReport(now, today)
    wanted = _wanted(connection, shop, report)
    turn = _Turn(connection, shop, now, report)
    chosen = wanted.keys() if keys is None else _with_those_named(wanted, keys)
    for layer in _layers({key: one for key, one in wanted.items() if key in chosen}):
        turn.keep(layer)
    return report


def record(
    connection: Connection,
    shop: Shop,
    key: str,
    now: datetime,
    *,
    entered: Iterable[int],
    left: Iterable[int],
    cause: str = MOVED,
) -> Turnover:
    """Write who came into a segment and who left it: the list, and for good the events."""
    shop_id, at, today = shop.shop_id, to_micros(now), day_number(local_day(now, shop.timezone))
    came, gone = sorted(entered), sorted(left)
    bulk.insert_rows(connection, segment_members, _HELD, [(shop_id, key, one, at, today) for one in came])
    forget = "DELETE FROM segment_members WHERE shop_id = ? AND segment_key = ? AND member_id IN ({marks})"
    bulk.execute_in(connection, forget, (shop_id, key), gone)
    steps = [(one, 1) for one in came] + [(one, 0) for one in gone]
    rows = [
        (shop_id, event_id, key, member_id, is_in, cause, at, today)
        for event_id, (member_id, is_in) in zip(new_ids(len(steps)), steps, strict=True)
    ]
    bulk.insert_rows(connection, segment_events, _STEPS, rows)
    return Turnover(len(came), len(gone))


def write_list(
    connection: Connection, shop: Shop, key: str, member_ids: Collection[int], now: datetime, *, add: bool = False
) -> Turnover:
    """Make these the members of a segment that is a list, or with `add` some more of them."""
    lock(connection, shop.shop_id)
    c = segment_members.c
    held = set(connection.execute(select(c.member_id).where(c.shop_id == shop.shop_id, c.segment_key == key)).scalars())
    wanted = set(member_ids)
    left: set[int] = set() if add else held - wanted
    return record(connection, shop, key, now, entered=wanted - held, left=left, cause=WRITTEN)


def _wanted(connection: Connection, shop: Shop, report: KeptReport) -> dict[str, _Saved]:
    """All segments with a rule that can be asked; the others are told of in the report."""
    book = read_book(connection, shop.shop_id)
    c = segments.c
    found: dict[str, _Saved] = {}
    query = select(segments).where(c.shop_id == shop.shop_id, c.kind == RULE).order_by(c.segment_key)
    for row in connection.execute(query):
        try:
            rule = book.segments[row.segment_key]
            assert rule is not None
            node = resolve(rule, book)
        except RuleError as error:
            report.problems[row.segment_key] = error.message
            continue
        # In another zone or currency the same rule asks for other days and amounts.
        told = f"{node!r} {shop.timezone} {shop.currency}"
        found[row.segment_key] = _Saved(row, node, hashlib.sha256(told.encode("utf-8", "replace")).hexdigest())
    return found


def _counted_in(node: Node) -> set[str]:
    """Segments whose list decides, not whose rule."""
    return {str(asked.arg("segment")) for asked in deep_fields(node) if asked.key == "days_in_segment"}


def _with_those_named(wanted: Mapping[str, _Saved], keys: Collection[str]) -> set[str]:
    found: set[str] = set()
    waiting = [key for key in keys if key in wanted]
    while waiting:
        key = waiting.pop()
        if key not in found:
            found.add(key)
            waiting += [other for other in _counted_in(wanted[key].node) if other in wanted]
    return found


def _layers(wanted: Mapping[str, _Saved]) -> Iterator[list[_Saved]]:
    """The segments so that those whose lists are asked for come before those that ask."""
    left = {key: _counted_in(one.node) & wanted.keys() for key, one in wanted.items()}
    while left:
        ready = [key for key, needs in left.items() if not needs & left.keys()]
        # A circle cannot be saved; were there one all the same, it is gone through once.
        layer = ready or list(left)
        yield [wanted[key] for key in layer]
        for key in layer:
            del left[key]


_KEPT = text(
    "UPDATE segments SET kept_through = :now, kept_on = :today, kept_rule = :rule WHERE shop_id = :shop_id AND segment_key = :segment_key"
)


class _Turn:
    """One keeping of a shop's segments."""

    def __init__(self, connection: Connection, shop: Shop, now: datetime, report: KeptReport) -> None:
        self._connection = connection
        self._shop = shop
        self._now = now
        self._today = report.as_of
        self._report = report

    @cached_property
    def _history(self) -> bool:
        return is_history(self._connection, self._shop, self._today)

    def keep(self, layer: Sequence[_Saved]) -> None:
        """Those kept before by who has changed, each of the others by everybody."""
        together: defaultdict[tuple[datetime, date], list[_Saved]] = defaultdict(list)
        for one in layer:
            if one.is_kept:
                together[one.row.kept_through, one.row.kept_on].append(one)
            else:
                self._fill(one)
        for (through, on), kept in together.items():
            span = Span(min(through, self._now) - OVERLAP, on, self._today)
            query = moved(self._shop, [one.node for one in kept], span).limit(MOST + 1)
            asked = sorted(self._connection.execute(query).scalars())
            if len(asked) > MOST:
                for one in kept:
                    self._fill(one)
                continue
            self._report.asked += len(asked)
            for start in range(0, len(kept) if asked else 0, _TOGETHER):
                self._ask(kept[start : start + _TOGETHER], asked)
        marks = {"shop_id": self._shop.shop_id, "now": to_micros(self._now), "today": day_number(self._today)}
        self._connection.execute(_KEPT, [{**marks, "segment_key": one.key, "rule": one.mark} for one in layer])

    def _fill(self, one: _Saved) -> None:
        connection, shop_id, c = self._connection, self._shop.shop_id, segment_members.c
        inside = select_members(self._shop, one.node, self._today, history=self._history)
        self._report.filled.append(one.key)
        if one.row.kept_through is None:
            row = (literal(shop_id), literal(one.key), inside.selected_columns.member_id)
            since = (literal(self._now, InstantType), literal(self._today, LocalDay))
            chosen = inside.with_only_columns(*row, *since)
            connection.execute(insert(segment_members).from_select([*_HELD], chosen, include_defaults=False))
            return
        held = select(c.member_id).where(c.shop_id == shop_id, c.segment_key == one.key)
        entered = list(connection.execute(inside.except_(held)).scalars())
        left = list(connection.execute(held.except_(inside)).scalars())
        cause = MOVED if one.row.kept_rule == one.mark else RULE_CHANGED
        self._record(one.key, entered, left, cause)

    def _ask(self, together: Sequence[_Saved], asked: Sequence[int]) -> None:
        """Ask these members by all these segments at once, and write what is no longer so."""
        entered: defaultdict[str, list[int]] = defaultdict(list)
        left: defaultdict[str, list[int]] = defaultdict(list)
        scope = SingleScope(self._shop, self._today, history=self._history)
        active = scope.member("state") == ACTIVE
        answers = [case((and_(active, truth(scope, one.node)), 1), else_=0) for one in together]
        query = select(scope.member("member_id"), *(answer.label(f"s{n}") for n, answer in enumerate(answers)))
        query = query.select_from(scope.source).where(scope.member("shop_id") == self._shop.shop_id)
        keys = [one.key for one in together]
        for start in range(0, len(asked), _CHUNK):
            chunk = asked[start : start + _CHUNK]
            held = self._held(keys, chunk)
            for member_id, *now_in in self._connection.execute(query.where(scope.member("member_id").in_(chunk))):
                for key, is_in in zip(keys, now_in, strict=True):
                    if bool(is_in) != ((key, member_id) in held):
                        (entered if is_in else left)[key].append(member_id)
        for key in keys:
            self._record(key, entered[key], left[key], MOVED)

    def _held(self, keys: Sequence[str], chunk: Sequence[int]) -> set[tuple[str, int]]:
        c = segment_members.c
        query = select(c.segment_key, c.member_id).where(c.shop_id == self._shop.shop_id, c.member_id.in_(chunk))
        wanted = set(keys)
        return {(key, member_id) for key, member_id in self._connection.execute(query) if key in wanted}

    def _record(self, key: str, entered: Sequence[int], left: Sequence[int], cause: str) -> None:
        if entered or left:
            turnover = record(self._connection, self._shop, key, self._now, entered=entered, left=left, cause=cause)
            self._report.turnover[key] = turnover
