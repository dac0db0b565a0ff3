"""What a ladder would come to, as the page says it: who moves from where to where, who stays, and some of them by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from flask_babel import gettext as _
from flask_babel import ngettext
from sqlalchemy import Connection

from crm_plugin.rules import compile_rule
from crm_plugin.rules.asked import Asking
from crm_plugin.rules.called import Called, called
from crm_plugin.rules.tier_words import sentence_of
from crm_plugin.rules.tiers import Level, Move, Preview
from crm_plugin.store.members import names_of
from crm_plugin.store.tenants import Shop
from crm_plugin.web.formats import number
from crm_plugin.web.forms import Form
from crm_plugin.web.languages import sentences
from crm_plugin.web.titles import chinese, named
from crm_plugin.web.why import lang, sentence

KINDS = ("up", "in", "down", "out")


@dataclass(frozen=True, slots=True)
class Step:
    """Members who go the same way; `kind` is up, down, in (none before) or out (none after)."""

    kind: str
    before: str
    after: str
    count: int
    examples: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Cell:
    """One place of the matrix; `kind` is stay on its diagonal."""

    kind: str
    count: int


@dataclass(frozen=True, slots=True)
class Line:
    """One level of the matrix's left side, and what becomes of its members."""

    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Rung:
    """One level: its rule as a sentence, and how many members hold it now, or would."""

    key: str
    name: str
    sentence: str
    members: int


@dataclass(frozen=True, slots=True)
class Look:
    """All of it. `seen` marks what was looked at, `unchanged` says that these levels are already saved.

    Where some would move `anyway`, by the levels saved now, `caused` are those whom the change itself gives another level.
    Of a whole policy also what it promises, what becomes of terms, and the day to come it is for.
    """

    rungs: tuple[Rung, ...]
    steps: tuple[Step, ...]
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    moved: int
    seen: str
    unchanged: bool
    promises: tuple[str, ...] = ()
    terms: tuple[str, ...] = ()
    starts_on: date | None = None
    anyway: int = 0
    caused: int = 0

    def total(self, kind: str) -> int:
        """How many go this way."""
        return sum(step.count for step in self.steps if step.kind == kind)


def look_of(
    connection: Connection,
    shop: Shop,
    found: Preview,
    ladders: Sequence[Sequence[Level]],
    seen: str,
    *,
    unchanged: bool,
) -> Look:
    """A preview as the page says it; of the ladders the first is the one wanted, the others have names of levels that are gone."""
    wanted, names, ranks = ladders[0], _names_of(*ladders), _ranks(*ladders)
    by = called(connection, shop)
    people = names_of(connection, shop.shop_id, [one for ids in found.examples.values() for one in ids])
    steps = [_step(move, found, names, people, ranks) for move in found.moves]
    order = [level.key for level in reversed(wanted)] + [""]
    gone = [key for key in dict.fromkeys(move.from_level for move in found.moves) if key not in order]
    lines = (_line(key, order, found, names, ranks) for key in (*order[:-1], *gone, ""))
    return Look(
        rungs=tuple(rung(level, found.levels[level.key], by) for level in reversed(wanted)),
        steps=tuple(sorted(steps, key=lambda step: (KINDS.index(step.kind), -step.count))),
        columns=tuple(_name(names, key) for key in order),
        lines=tuple(line for line in lines if any(cell.count for cell in line.cells)),
        moved=found.moved,
        seen=f"{seen}.{found.moved}",
        unchanged=unchanged,
    )


def rung(level: Level, members: int, by: Called) -> Rung:
    """A level that can be read, with so many members; `by` is what the shop calls its own."""
    told = sentence(compile_rule(level.rule).node, by) if level.rule else str(_("By invitation only"))
    return Rung(level.key, named(level.title, level.key), told, members)


def _names_of(*ladders: Sequence[Level]) -> dict[str, str]:
    """What each level is called, in the first of these ladders that has it."""
    return {level.key: named(level.title, level.key) for ladder in reversed(ladders) for level in ladder}


def kind_of(before: str, after: str, ranks: Mapping[str, float]) -> str:
    """Which way a step goes."""
    if not before:
        return "in"
    if not after:
        return "out"
    return "up" if ranks.get(after, 0) > ranks.get(before, 0) else "down"


def _ranks(wanted: Sequence[Level], *before: Sequence[Level]) -> dict[str, float]:
    """Where each level stands; one that was taken out stands just above its neighbour below that is still there."""
    ranks: dict[str, float] = {level.key: float(place) for place, level in enumerate(wanted)}
    for ladder in before:
        below = -1.0
        for level in ladder:
            if level.key in ranks:
                below = ranks[level.key]
            else:
                ranks[level.key] = below + 0.5
    return ranks


def _step(
    move: Move, found: Preview, names: Mapping[str, str], people: Mapping[int, str], ranks: Mapping[str, float]
) -> Step:
    examples = found.examples.get((move.from_level, move.to_level), ())
    return Step(
        kind_of(move.from_level, move.to_level, ranks),
        _name(names, move.from_level),
        _name(names, move.to_level),
        move.members,
        tuple((one, people[one]) for one in examples if one in people),
    )


def _line(key: str, order: Sequence[str], found: Preview, names: Mapping[str, str], ranks: Mapping[str, float]) -> Line:
    moves = {(move.from_level, move.to_level): move.members for move in found.moves}
    arrived = sum(count for (_before, after), count in moves.items() if after == key)
    cells = tuple(
        Cell("stay", found.levels[key] - arrived)
        if after == key
        else Cell(kind_of(key, after, ranks), moves.get((key, after), 0))
        for after in order
    )
    return Line(_name(names, key), cells)


def _name(names: Mapping[str, str], key: str) -> str:
    return names.get(key, key) if key else str(_("No level"))


def asked_words(one: Asking, gone: str, by: Called) -> str:
    """What keeps a level from being taken out, and what to do about it."""
    name = by.segment(one.key) if one.kind == "segment" else by.journey(one.key, chinese())
    told = {"level": gone, "rule": sentence_of(one.rule, lang(), by), "name": name}
    text = (
        _(
            "%(level)s cannot go: the segment %(name)s is for %(rule)s. "
            "Keep the level, or give the segment another rule first.",
            **told,
        )
        if one.kind == "segment"
        else _(
            "%(level)s cannot go: the journey “%(name)s” is only for %(rule)s. "
            "Keep the level, or change under Journeys whom the journey is for.",
            **told,
        )
    )
    return str(text)


def moved_words(moved: int) -> str:
    """What saving and moving came to."""
    if not moved:
        return str(_("Saved. Everybody already held the right level."))
    told = ngettext("%(count)s member has moved.", "%(count)s members have moved.", moved, count=number(moved))
    return sentences([_("Saved."), told])


def wrong_levels(form: Form, besides: Mapping[str, str] | None = None) -> list[tuple[str, str]]:
    """Each mistake with the level it stands at; `besides` are what fields of no level are called."""
    found = []
    for place, what in form.errors.items():
        part, _sep, place_of_it = place.rpartition("-")
        if place and not part:
            found.append(((besides or {}).get(place, place), what))
            continue
        name = (
            form.text(f"{'zh' if chinese() else 'en'}-{place_of_it}")
            or form.text(f"en-{place_of_it}")
            or form.text(f"zh-{place_of_it}")
        )
        found.append((name or (_("A level without a name") if place else _("The level that was taken out")), what))
    return found
