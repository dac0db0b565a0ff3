"""What the form of a policy says, and what is wrong with it: each mistake beside the field it is about, with what to do."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from flask_babel import gettext as _

from crm_plugin.errors import CrmError, InvalidInput, RuleError
from crm_plugin.phrases import phrase
from crm_plugin.rules import Book, compile_rule
from crm_plugin.rules.book import check_key
from crm_plugin.rules.earned import refuse_own_level
from crm_plugin.rules.measure import LIFETIME, WINDOWS, Excluded, Measure, check_measure
from crm_plugin.rules.policy import DAYS, DESCENTS, MOST_DAYS, NEVER, NO_TERM, STRAIGHT, TERMS, Policy
from crm_plugin.rules.policy_read import read_policy
from crm_plugin.rules.standing_sql import rungs
from crm_plugin.web.forms import Form, as_whole
from crm_plugin.web.i18n import explained
from crm_plugin.web.policy_form import BY_BAR, BY_INVITATION, BY_RULE, OWN, rows_of
from crm_plugin.web.rule_help import rule_error
from crm_plugin.web.titles import chinese, key_for, retitled

# A figure with more digits before or behind the point is a slip of the hand.
_DIGITS = 15


@dataclass(frozen=True, slots=True)
class Known:
    """What the form is read against: the policy it was filled from, whether it is of a new programme, the names there are, the day."""

    before: Policy
    new: bool
    taken: Collection[str]
    book: Book
    today: date


def read(form: Form, known: Known) -> Policy | None:
    """The policy it asks for; None when something is wrong, which then stands at its field."""
    program = _program_key(form, known)
    measure = _measure(form)
    rows = rows_of(form)
    _name_levels(form, rows)
    book = replace(known.book, levels={**known.book.levels, program: [row["key"] for row in rows]})
    levels = _levels(form, rows, known, book, measured=bool(form.text("measure")))
    told = {
        "program": program,
        "title": retitled(known.before.title, form.text("en"), form.text("zh")),
        **measure,
        **_time(form),
        "levels": levels,
        "effective_on": _day(form, known.today),
    }
    if form.failed:
        return None
    try:
        policy = read_policy(told, program)
        rungs(policy, book, known.today)
    except InvalidInput as error:
        form.errors[""] = explained(error)
    except RuleError as error:
        # Each part can be read: together with what is measured, such as many exclusions, it is more than a rule can hold.
        form.errors["products" if measure.get("exclude") else "own" if form.text("own") else "measure"] = explained(
            error
        )
    return None if form.failed else policy


def _program_key(form: Form, known: Known) -> str:
    if not known.new:
        return known.before.program
    if not (form.text("en") or form.text("zh")):
        form.errors["zh" if chinese() else "en"] = _("Give the programme a name.")
    key = form.text("key") or key_for(form.text("en"), known.taken, "programme")
    if key in known.taken:
        form.errors["key"] = _("Another programme has this key. Give each a key of its own.")
    _check_key(form, "key", key)
    return key


def _check_key(form: Form, place: str, key: str) -> None:
    try:
        check_key(key, phrase("level"))
    except InvalidInput:
        told = _("Use small letters, digits, - and _, beginning with a letter or digit.")
        form.errors.setdefault(place, told)


def _measure(form: Form) -> dict[str, Any]:
    """What is measured, in which window, less what."""
    what = form.text("own") if form.text("measure") == OWN else form.text("measure")
    if form.text("measure") == OWN and not what:
        form.errors["own"] = _("Write the figure, or choose another one above.")
    if not what:
        return {}
    window, days = form.text("window"), None
    if window == DAYS:
        days = _whole(form, "window_days", 1)
    elif window not in WINDOWS:
        form.errors["window"] = _("Choose one of these.")
        window = LIFETIME
    excluded = Excluded() if what == "orders" else _excluded(form)
    try:
        check_measure(Measure(what, LIFETIME if window == DAYS else window, days, excluded))
    except (InvalidInput, RuleError) as error:
        place = {"exclude": "products"}.get(
            getattr(error, "field", ""), "own" if what == form.text("own") else "measure"
        )
        form.errors[place] = explained(error)
    told: dict[str, Any] = {"measure": what, "window": {"days": days} if window == DAYS else window}
    return told | ({"exclude": excluded.as_dict()} if excluded else {})


def _excluded(form: Form) -> Excluded:
    lists = {name: _lines(form.text(name)) for name in ("products", "categories")}
    return Excluded(**lists, shipping=bool(form.text("shipping")), tax=bool(form.text("tax")))


def _lines(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(line.strip() for line in text.split("\n") if line.strip()))


def _time(form: Form) -> dict[str, Any]:
    """Term, grace and descent; where nobody goes down the first two are not shown, and a mistake in them is none."""
    descent = form.text("descent") or STRAIGHT
    if descent not in DESCENTS:
        form.errors["descent"] = _("Choose one of these.")
    trial = Form(form.values) if descent == NEVER else form
    told = _term(trial)
    return {"descent": descent, **({"term": NO_TERM} if trial is not form and trial.failed else told)}


def _term(form: Form) -> dict[str, Any]:
    term: Any = form.text("term")
    if term == DAYS:
        term = {"days": _whole(form, "term_days", 1)}
    elif term not in TERMS:
        form.errors["term"] = _("Choose one of these.")
    grace = _whole(form, "grace_days", 0) if form.text("grace_days") else 0
    return {"term": term, "grace_days": grace}


def _day(form: Form, today: date) -> str | None:
    told = form.text("effective_on")
    if not told:
        return None
    try:
        if date.fromisoformat(told) < today:
            form.errors["effective_on"] = _("This day is over. Choose a day to come, or leave it empty for at once.")
    except ValueError:
        form.errors["effective_on"] = _("Write the day as %(example)s.", example=today.isoformat())
    return told


def _whole(form: Form, name: str, low: int) -> int:
    told = as_whole(form.text(name))
    if told is not None and low <= told <= MOST_DAYS:
        return told
    form.errors[name] = _("Write a whole number from %(low)s to %(high)s.", low=low, high=MOST_DAYS)
    return low


def _name_levels(form: Form, rows: list[dict[str, str]]) -> None:
    """A name for each level, and a key made from it where there is none; none of them twice."""
    taken = {row["key"] for row in rows if row["key"]}
    seen: set[str] = set()
    called: set[tuple[str, str]] = set()
    for number, row in enumerate(rows):
        if not (row["en"] or row["zh"]):
            form.errors[f"zh-{number}" if chinese() else f"en-{number}"] = _("Give the level a name.")
        if not row["key"]:
            row["key"] = key_for(row["en"], taken, "level")
            taken.add(row["key"])
        if row["key"] in seen:
            form.errors[f"key-{number}"] = _("Another level has this key. Give each a key of its own.")
        seen.add(row["key"])
        _check_key(form, f"key-{number}", row["key"])
        _name_apart(form, number, row, called)


def _name_apart(form: Form, number: int, row: dict[str, str], called: set[tuple[str, str]]) -> None:
    """Two levels of one name could not be told apart, in whichever language the reader has."""
    for lang, other in (("en", "zh"), ("zh", "en")):
        name = (row[lang] or row[other]).casefold()
        if name and (lang, name) in called:
            field = f"{lang if row[lang] else other}-{number}"
            form.errors.setdefault(field, _("Another level has this name. Give each a name of its own."))
        called.add((lang, name))


def _levels(
    form: Form, rows: list[dict[str, str]], known: Known, book: Book, *, measured: bool
) -> list[dict[str, Any]]:
    """The levels as a policy holds them, the lowest first."""
    titles = {one.key: one.title for one in known.before.levels}
    found: list[dict[str, Any]] = []
    below: Decimal | None = None
    for number, row in reversed(list(enumerate(rows))):
        one = _Row(form, number, row, measured)
        title = retitled(titles.get(row["was"], {}), row["en"], row["zh"])
        told = {"key": row["key"], "title": title, "reward": row["reward"], **one.told()}
        one.check_rules(told, book)
        below = one.check_bars(below)
        found.append(told)
    return found


class _Row:
    """One level of the form, while it is read."""

    def __init__(self, form: Form, number: int, row: Mapping[str, str], measured: bool) -> None:
        self._form, self._number, self._row, self._measured = form, number, row, measured
        self._bars: dict[str, Decimal] = {}

    def told(self) -> dict[str, Any]:
        """How it is reached, kept and come back to; what the form does not show is not read."""
        how = self._row["how"] or BY_BAR
        told = self._reached(how)
        for bar, rule in (("keep", "keep_rule"), ("reentry", "reentry_rule")):
            if how == BY_INVITATION and bar == "reentry":
                continue
            found = self._bar(bar) if self._measured else None
            if found is not None and self._row[rule]:
                self._wrong(rule, _("Say it by a figure or by a rule, and leave the other one empty."))
            told |= {bar: found} if found is not None else {}
            told |= {rule: self._row[rule]} if self._row[rule] else {}
        return told

    def _reached(self, how: str) -> dict[str, Any]:
        if how == BY_INVITATION:
            return {"invitation": True}
        if how == BY_RULE:
            if not self._row["rule"]:
                self._wrong("rule", _("Write who belongs to this level."))
            return {"rule": self._row["rule"]}
        if how != BY_BAR or not self._measured:
            self._wrong("how", _("Nothing is counted: choose above what counts, or give this level a rule."))
            return {}
        found = self._bar("entry")
        if found is None:
            self._wrong("entry", _("Write the figure that is to be reached, such as %(example)s.", example="100"))
        return {"entry": found}

    def _bar(self, name: str) -> str | None:
        text = self._row[name]
        if not text:
            return None
        try:
            bar = Decimal(text)
            if not bar.is_finite() or bar < 0 or abs(bar.adjusted()) > _DIGITS:
                raise InvalidOperation
            compile_rule(f"spent() >= {bar:f}")
        except InvalidOperation:
            self._wrong(name, _("Write a plain number such as 1000 or 99.50, without a currency or commas."))
            return None
        except RuleError as error:
            self._wrong(name, explained(error))
            return None
        self._bars[name] = bar
        return text

    def check_bars(self, below: Decimal | None) -> Decimal | None:
        """Hold the figures against each other and against the level below; gives what the next one has to exceed."""
        entry, keep = self._bars.get("entry"), self._bars.get("keep")
        if entry is not None and below is not None and entry <= below:
            told = _("A level below asks for %(bar)s already. Write more, or move this level down.", bar=below)
            self._wrong("entry", told)
        least = min((bar for name, bar in self._bars.items() if name != "keep"), default=None)
        if keep is not None and least is not None and keep > least:
            told = _("Whoever comes in with %(bar)s would lose it again. Write at most %(bar)s.", bar=least)
            self._wrong("keep", told)
        return below if entry is None else entry

    def check_rules(self, told: Mapping[str, Any], book: Book) -> None:
        """Read the rules with the names there will be."""
        for name in ("rule", "keep_rule", "reentry_rule"):
            try:
                if told.get(name):
                    refuse_own_level(compile_rule(told[name], book))
            except RuleError as error:
                self._wrong(name, rule_error(error))
            except CrmError as error:
                self._wrong(name, explained(error))

    def _wrong(self, name: str, what: str) -> None:
        self._form.errors.setdefault(f"{name}-{self._number}", what)
