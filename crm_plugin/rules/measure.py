"""What a tier programme measures, as text of the rule language: a sum in a window, less what is excluded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from crm_plugin.errors import InvalidInput, RuleError
from crm_plugin.phrases import phrase
from crm_plugin.rules.catalogue.common import BETWEEN
from crm_plugin.rules.check import check
from crm_plugin.rules.fields import FIELDS, Unit
from crm_plugin.rules.nodes import Calculation, Compare, Field, Relation, Term, Value, term_fields
from crm_plugin.rules.parse import parse
from crm_plugin.rules.text import term_text, value_text

LIFETIME, CALENDAR_YEAR, SINCE_JOINING = "lifetime", "calendar_year", "since_joining"
WINDOWS = (LIFETIME, CALENDAR_YEAR, SINCE_JOINING)
# These are net of refunds already: what is given back of an excluded product must not be taken off once more.
_NET = frozenset({"spent", "profit"})
SUMS = ("spent", "gross", "orders", "profit")


@dataclass(frozen=True, slots=True)
class Excluded:
    """What does not count: products by code, whole categories, shipping, tax."""

    products: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    shipping: bool = False
    tax: bool = False

    def __bool__(self) -> bool:
        return bool(self.products or self.categories or self.shipping or self.tax)

    def as_dict(self) -> dict[str, Any]:
        told = {"products": list(self.products), "categories": list(self.categories)}
        return {name: value for name, value in {**told, "shipping": self.shipping, "tax": self.tax}.items() if value}


@dataclass(frozen=True, slots=True)
class Measure:
    """`what` is one of `SUMS` or the text of a number; the window is one of `WINDOWS` or the last `days`."""

    what: str
    window: str = LIFETIME
    days: int | None = None
    excluded: Excluded = Excluded()

    @property
    def by_year(self) -> bool:
        """Whether it begins anew each year."""
        return self.window == CALENDAR_YEAR

    def text(self, year: int | None = None) -> str:
        """The number as the rule language writes it; of one whole `year` in place of the window where that is given."""
        span = self._span() if year is None else _year(year)
        term = self._less(_spanned(_term(self.what), span), span)
        told = term_text(term)
        return f"({told})" if isinstance(term, Calculation) else told

    def _span(self) -> tuple[tuple[str, Value], ...]:
        if self.days is not None:
            return (("days", self.days),)
        since = {CALENDAR_YEAR: "year", SINCE_JOINING: "joined"}.get(self.window)
        return () if since is None else (("since", since),)

    def _less(self, term: Term, span: tuple[tuple[str, Value], ...]) -> Term:
        out = self.excluded
        named: list[tuple[str, Value]] = []
        if out.products:
            named.append(("skus", BETWEEN.join(out.products)))
        if out.categories:
            named.append(("categories", BETWEEN.join(out.categories)))
        less = [Field("bought_among", (*named, *span))] if named else []
        less += [Field("shipping", span)] if out.shipping else []
        less += [Field("tax", span)] if out.tax else []
        back = bool(named) and any(one.key in _NET for one in term_fields(term))
        for one in less:
            term = Calculation("-", term, one)
            if back and one.key == "bought_among":
                term = Calculation("+", term, Field("refunded_among", one.args))
        return term


def check_measure(measure: Measure) -> None:
    """Refuse a measure that is no number, or of which amounts cannot be taken off. Raises: InvalidInput, RuleError."""
    term = _term(measure.what)
    for name in (*measure.excluded.products, *measure.excluded.categories):
        if not name or BETWEEN in name:
            raise InvalidInput(
                phrase("%(name)r cannot be excluded.", name=name),
                field="exclude",
                hint=phrase("A name is not empty and holds no %(mark)s.", mark=BETWEEN),
            )
    if measure.excluded and any(FIELDS[one.key].unit is not Unit.MONEY for one in term_fields(term)):
        raise InvalidInput(
            phrase("Exclusions are amounts, and %(measure)s is none.", measure=measure.what),
            field="exclude",
            hint=phrase("Measure spent, gross or profit."),
        )


def at_least(measure: Measure, bar: Value, today: date, *, last_year_too: bool = False) -> str:
    """The rule that the measure has reached a bar; what a year must keep may have been reached in the one before."""
    rule = f"{measure.text()} >= {value_text(bar)}"
    if not (measure.by_year and last_year_too):
        return rule
    return f"{rule} or {measure.text(today.year - 1)} >= {value_text(bar)}"


def _term(what: str) -> Term:
    """The number a text stands for. Raises: RuleError, InvalidInput."""
    try:
        node = check(parse(f"{what}() >= 0" if what in SUMS else f"({what}) >= 0"))
    except RuleError as error:
        # In the text as it was told: without the bracket that was put before it, and never behind its end.
        lines = what.split("\n")
        line = min(error.line, len(lines))
        column = max(1, min(error.column - (line == 1), len(lines[line - 1]) + 1)) if line else error.column
        raise type(error)(error.message, line=line, column=column, path="measure", hint=error.hint) from error
    if isinstance(node, Compare):
        return node.field
    if isinstance(node, Relation):
        return node.left
    raise InvalidInput(
        phrase("%(measure)r is no number that can be measured.", measure=what),
        field="measure",
        hint=phrase("Write one of %(names)s, or a number such as %(example)s.", names=SUMS, example="orders(days=365)"),
    )


def _spanned(term: Term, span: Sequence[tuple[str, Value]]) -> Term:
    """The same with the window where a field can have one and was given none."""
    if isinstance(term, Calculation):
        return replace(term, left=_spanned(term.left, span), right=_spanned(term.right, span))
    if not isinstance(term, Field) or not span or not FIELDS[term.key].windowed:
        return term
    if any(name in ("days", "from_date", "to_date", "since") for name, _ in term.args):
        return term
    return replace(term, args=(*term.args, *span))


def _year(year: int) -> tuple[tuple[str, Value], ...]:
    return (("from_date", f"{year}-01-01"), ("to_date", f"{year}-12-31"))
