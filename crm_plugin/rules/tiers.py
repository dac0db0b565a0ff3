"""Tier programmes: what the levels are, saving them, and bringing every member to the one earned.

Each programme has a policy (`policy.py`), kept by version. One pass over all of a shop finds who changes; only they are written, each
change with its reason for good. A member who was deleted holds no level.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, func, select

from crm_plugin.clock import local_day
from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.rules import Book, Rule, read_book
from crm_plugin.rules.asked import NOTHING, Rewritten, book_then, refuse_asked
from crm_plugin.rules.earned import Level, check_keys, compiled, plan_for
from crm_plugin.rules.lab import Lab, look_at
from crm_plugin.rules.policies import Kept, in_force, one_at_a_time, put_levels, versions
from crm_plugin.rules.policies import save as save_version
from crm_plugin.rules.policy import Policy, of_ladder
from crm_plugin.rules.sql import ACTIVE, PROGRAM_KEY, is_history
from crm_plugin.rules.standing_sql import rungs
from crm_plugin.rules.tier_holds import go_on
from crm_plugin.rules.tier_runs import Move, is_bound, ladder_of, moves_of, run
from crm_plugin.store import audit, member_tiers, members, tier_levels
from crm_plugin.store.members import lock
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop

__all__ = [
    "APPLIED",
    "SAVED",
    "Level",
    "Move",
    "Preview",
    "TierReport",
    "apply",
    "apply_within",
    "check_level",
    "held",
    "levels",
    "preview",
    "read_level",
    "save_and_apply",
    "save_levels",
    "save_policy",
    "save_policy_and_apply",
]

# What the audit log calls the two acts.
SAVED, APPLIED = "tiers.saved", "tiers.applied"


@dataclass(frozen=True, slots=True)
class Preview:
    """What levels would come to: active members for each (the empty key for none), and who would move."""

    as_of: date
    levels: dict[str, int]
    moves: tuple[Move, ...]
    # Of each move the member who is here longest and the newest; one id where only one moves.
    examples: Mapping[tuple[str, str], tuple[int, ...]] = field(default_factory=dict, compare=False)

    @property
    def moved(self) -> int:
        """How many members would move."""
        return sum(move.members for move in self.moves)

    def as_dict(self) -> dict[str, Any]:
        return {"as_of": self.as_of.isoformat(), "levels": self.levels, "moves": [asdict(move) for move in self.moves]}


@dataclass(frozen=True, slots=True)
class TierReport:
    """What one run changed: in the main programme, and in the others by their key; `terms` counts what changed but the level.

    `run_id` is what `undo` takes; None when nothing changed. `still` are programmes that a daily run passed by, since a run was undone.
    """

    as_of: date
    moves: tuple[Move, ...]
    others: Mapping[str, tuple[Move, ...]] = field(default_factory=dict)
    terms: Mapping[str, int] = field(default_factory=dict)
    run_id: int | None = None
    still: tuple[str, ...] = ()

    @property
    def changed(self) -> int:
        """How many members changed level, each programme counted by itself."""
        return sum(move.members for moves in (self.moves, *self.others.values()) for move in moves)

    def moved_in(self, program: str) -> int:
        """How many members changed level in one programme."""
        moves = self.moves if program == PROGRAM_KEY else self.others.get(program, ())
        return sum(move.members for move in moves)

    def as_dict(self) -> dict[str, Any]:
        told: dict[str, Any] = {"as_of": self.as_of.isoformat(), "changed": self.changed}
        told["moves"] = [asdict(move) for move in self.moves]
        if self.others:
            told["programs"] = {one: [asdict(move) for move in moves] for one, moves in self.others.items()}
        told |= {"terms": dict(self.terms)} if self.terms else {}
        return told | ({"still": list(self.still)} if self.still else {})


def read_level(document: Mapping[str, Any]) -> Level:
    """A level as a file or form tells it: key, rule, title (a text, or one for each language). Raises: InvalidInput."""
    unknown = sorted(set(document) - {"key", "rule", "title"})
    if unknown:
        raise InvalidInput(
            phrase("A level has no %(unknown)r.", unknown=unknown[0]),
            field=unknown[0],
            hint=phrase("It has key, title and rule."),
        )
    title = document.get("title") or {}
    titles = title if isinstance(title, Mapping) else {"en": title}
    return Level(
        str(document.get("key", "")),
        str(document.get("rule", "")),
        {str(lang): str(name) for lang, name in titles.items()},
    )


def check_level(level: Level) -> Rule:
    """One level's rule, checked by itself. Raises: InvalidInput for its key, RuleError for its rule."""
    return compiled([level])[0][1]


def levels(connection: Connection, shop_id: int, program: str = PROGRAM_KEY) -> list[Level]:
    """The levels in force, lowest first; the rule of one by invitation is empty."""
    columns = tier_levels.c
    query = select(tier_levels).where(columns.shop_id == shop_id, columns.program_key == program)
    rows = connection.execute(query.order_by(columns.rank))
    return [Level(row.level_key, row.rule_text, row.title) for row in rows]


def save_levels(
    connection: Connection,
    shop: Shop,
    wanted: Sequence[Level],
    now: datetime,
    *,
    actor: str = "",
    besides: Rewritten = NOTHING,
) -> None:
    """Save these levels, lowest first, in place of those there are; nobody moves before `apply`. An `actor` goes into the audit log.

    What the policy promises besides (terms, grace, what keeps a level) stays for levels that are still there. A level that a saved rule
    asks for stays, or the rule would mean something else; `besides` are those rewritten in the same transaction.
    Raises: InvalidInput, RuleError; nothing is written then.
    """
    # First of all: what is kept of the policy before is that of whoever saved last.
    one_at_a_time(connection, shop)
    then = book_then(connection, shop, [level.key for level in wanted], besides.segments)
    policy = ladder_policy(connection, shop, wanted, local_day(now, shop.timezone))
    check_policy(policy, then, now, shop)
    refuse_asked(connection, shop, then, local_day(now, shop.timezone), replace(besides, tiers=True))
    before = levels(connection, shop.shop_id) if actor else []
    put_policy(connection, shop, policy, now, actor=actor)
    if actor:
        # The ladder before too: who holds a level that is gone, and what was, are still told by its name.
        kept = {name: [one.as_dict() for one in ladder] for name, ladder in (("levels", wanted), ("before", before))}
        audit.note(connection, shop.shop_id, actor, SAVED, kept, now)


def save_policy(
    connection: Connection, shop: Shop, policy: Policy, now: datetime, *, actor: str, based_on: int | None = None
) -> Kept:
    """Save a policy; with a day to come it waits, and what is in force stays. Nobody moves before `apply`.

    `based_on` is the newest version that whoever changed it knew: where there is another one by now nothing is saved.
    Raises: InvalidInput, RuleError; nothing is written then.
    """
    one_at_a_time(connection, shop)
    if based_on is not None:
        _refuse_saved_meanwhile(connection, shop, policy.program, based_on)
    today = local_day(now, shop.timezone)
    book = read_book(connection, shop.shop_id)
    then = replace(book, levels={**book.levels, policy.program: policy.keys})
    check_policy(policy, then, now, shop)
    if policy.effective_on is None or policy.effective_on <= today:
        refuse_asked(connection, shop, then, today, Rewritten(tiers=True))
    before = levels(connection, shop.shop_id, policy.program)
    kept = put_policy(connection, shop, policy, now, actor=actor)
    ladders = {"levels": ladder_of(policy, today), "before": before}
    told = {name: [one.as_dict() for one in ladder] for name, ladder in ladders.items()}
    detail = {"program": policy.program, "version": kept.version, **(told if policy.program == PROGRAM_KEY else {})}
    audit.note(connection, shop.shop_id, actor, SAVED, detail, now)
    return kept


def _refuse_saved_meanwhile(connection: Connection, shop: Shop, program: str, based_on: int) -> None:
    kept = versions(connection, shop.shop_id, program)
    if kept and kept[-1].version != based_on:
        raise InvalidInput(
            phrase("The tier programme %(key)s was saved by somebody else meanwhile.", key=program),
            field="version",
            hint=phrase("Look at it again, then save."),
        )


def check_policy(policy: Policy, book: Book, now: datetime, shop: Shop) -> None:
    """Hold a policy against the names there will be. Raises: InvalidInput, RuleError."""
    check_keys(policy.keys)
    rungs(policy, book, policy.effective_on or local_day(now, shop.timezone))
    _refuse_same_names([Level(one.key, "", one.title) for one in policy.levels])


def put_policy(connection: Connection, shop: Shop, policy: Policy, now: datetime, *, actor: str = "") -> Kept:
    """Keep a policy whose names were checked; its levels are the shop's at once where it is in force at once."""
    one_at_a_time(connection, shop)
    today = local_day(now, shop.timezone)
    kept = save_version(connection, shop, policy, now, actor=actor)
    current = in_force(connection, shop.shop_id, policy.program, today)
    put_levels(connection, shop, current.policy, None, today, now)
    if kept.version == current.version:
        go_on(connection, shop, now, actor=actor, program=policy.program)
    return kept


def ladder_policy(connection: Connection, shop: Shop, wanted: Sequence[Level], today: date) -> Policy:
    """The main programme's policy with these levels. Raises: InvalidInput, RuleError for what each says by itself."""
    before = in_force(connection, shop.shop_id, PROGRAM_KEY, today).policy
    invited = [one.key for one in before.levels if one.invitation]
    check_keys([one.key for one in wanted])
    rules = {one.key: "" if one.key in invited and not one.rule else check_level(one).text for one in wanted}
    return of_ladder(PROGRAM_KEY, [(one.key, one.title, rules[one.key]) for one in wanted], before)


def check_levels(wanted: Sequence[Level], book: Book, connection: Connection, shop: Shop, now: datetime) -> None:
    """Hold levels of the main programme against the names there will be. Raises: InvalidInput, RuleError."""
    check_policy(ladder_policy(connection, shop, wanted, local_day(now, shop.timezone)), book, now, shop)


def put_main_levels(connection: Connection, shop: Shop, wanted: Sequence[Level], now: datetime) -> None:
    """The same for levels whose names were checked by whoever saves what they name too. Raises: InvalidInput, RuleError."""
    one_at_a_time(connection, shop)
    put_policy(connection, shop, ladder_policy(connection, shop, wanted, local_day(now, shop.timezone)), now)


def _refuse_same_names(wanted: Sequence[Level]) -> None:
    """Refuse two levels that a reader could not tell apart. Raises: InvalidInput."""
    seen: set[tuple[str, str]] = set()
    for level in wanted:
        for lang, name in level.title.items():
            if name and (lang, name.casefold()) in seen:
                raise InvalidInput(
                    phrase("Two levels are called %(name)r.", name=name),
                    field="title",
                    hint=phrase("Give each a name of its own."),
                )
            seen.add((lang, name.casefold()))


def held(connection: Connection, shop_id: int) -> dict[str, int]:
    """How many members hold each level now; levels nobody holds are left out."""
    columns = member_tiers.c
    query = select(columns.level_key, func.count()).where(
        columns.shop_id == shop_id, columns.program_key == PROGRAM_KEY
    )
    return {key: number for key, number in connection.execute(query.group_by(columns.level_key))}  # noqa: C416


def preview(connection: Connection, shop: Shop, wanted: Sequence[Level], as_of: date) -> Preview:
    """What these levels would come to if they were saved and applied; writes nothing. Raises: InvalidInput, RuleError."""
    policy = ladder_policy(connection, shop, wanted, as_of)
    if not policy.plain or is_bound(connection, shop.shop_id, PROGRAM_KEY, as_of):
        seen = look_at(connection, shop, policy, as_of)
        return preview_of(seen)
    ranks, history = compiled(wanted, read_book(connection, shop.shop_id)), is_history(connection, shop, as_of)
    plan = plan_for(shop, ranks, as_of, history=history)
    everybody = plan.everybody
    chosen = everybody.select.where(members.c.state == ACTIVE)
    pairs = chosen.with_only_columns(members.c.member_id, everybody.held, everybody.earned).subquery()
    first, last = func.min(pairs.c.member_id), func.max(pairs.c.member_id)
    query = select(pairs.c.held, pairs.c.earned, func.count(), first, last).group_by(pairs.c.held, pairs.c.earned)
    counted = {"": 0} | {level.key: 0 for level in wanted}
    moved: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], tuple[int, ...]] = {}
    for before, after, number, oldest, newest in connection.execute(query):
        counted[after] += number
        if before != after:
            moved[before, after] += number
            examples[before, after] = tuple(dict.fromkeys((oldest, newest)))
    return Preview(as_of, counted, moves_of(moved), examples)


def preview_of(seen: Lab) -> Preview:
    """The same out of what a whole policy would come to."""
    moved_to = {cell.pair: cell.members for cell in seen.cells if cell.moves}
    few = {cell.pair: tuple(dict.fromkeys((cell.first, cell.last))) for cell in seen.cells if cell.moves}
    return Preview(seen.as_of, dict(seen.after), moves_of(moved_to), few)


def apply(
    db: Database,
    shop: Shop,
    *,
    as_of: date,
    now: datetime,
    actor: str = "job:tiers",
    daily: bool = False,
    going_on: str | None = None,
) -> TierReport:
    """Bring every member to the level earned on that local day, in one transaction; a second run writes nothing.

    A `daily` run leaves programmes alone in which a run was undone, until one by hand or another policy makes them go on; by hand
    `going_on` names the one that does, None is all of them.
    """
    with db.write() as writer, db.read() as reader:
        if going_on is not None:
            one_at_a_time(writer, shop)
            go_on(writer, shop, now, actor=actor, program=going_on)
        daily = daily or going_on is not None
        return apply_within(writer, reader, shop, as_of=as_of, now=now, actor=actor, daily=daily)


def save_and_apply(
    db: Database, shop: Shop, wanted: Sequence[Level], *, as_of: date, now: datetime, actor: str
) -> TierReport:
    """Save these levels and bring every member to the one earned, both or neither. Raises: InvalidInput, RuleError.

    The programme goes on where it stands still; another one that does is left alone, for nobody looked at what it would do.
    """
    with db.write() as writer, db.read() as reader:
        save_levels(writer, shop, wanted, now, actor=actor)
        return apply_within(writer, reader, shop, as_of=as_of, now=now, actor=actor, daily=True)


def save_policy_and_apply(
    db: Database,
    shop: Shop,
    policy: Policy,
    *,
    as_of: date,
    now: datetime,
    actor: str,
    based_on: int | None = None,
) -> TierReport:
    """The same with a whole policy; one for a day to come waits. Raises: InvalidInput, RuleError."""
    with db.write() as writer, db.read() as reader:
        save_policy(writer, shop, policy, now, actor=actor, based_on=based_on)
        return apply_within(writer, reader, shop, as_of=as_of, now=now, actor=actor, daily=True)


def apply_within(
    writer: Connection, reader: Connection, shop: Shop, *, as_of: date, now: datetime, actor: str, daily: bool = False
) -> TierReport:
    """The same inside a transaction. `reader` is a connection of its own: what is written cannot disturb what is still being read."""
    one_at_a_time(writer, shop)
    lock(writer, shop.shop_id)
    ran = run(writer, reader, shop, as_of=as_of, now=now, actor=actor, daily=daily)
    terms: Counter[str] = sum((tally.terms for tally in ran.tallies.values()), Counter())
    others = {one: tally.moves for one, tally in ran.tallies.items() if one != PROGRAM_KEY and tally.moved}
    main = ran.tallies.get(PROGRAM_KEY)
    report = TierReport(as_of, main.moves if main is not None else (), others, dict(terms), ran.run_id, ran.still)
    if report.changed or report.terms:
        audit.note(writer, shop.shop_id, actor, APPLIED, report.as_dict(), now)
    return report
