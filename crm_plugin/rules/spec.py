"""What a row of the catalogue of fields is made of."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, Protocol

from sqlalchemy import ColumnElement

from crm_plugin.phrases import phrase
from crm_plugin.rules.nodes import Field, Place
from crm_plugin.rules.operands import Operand, Truth
from crm_plugin.rules.rows import Rows
from crm_plugin.rules.windows import Window
from crm_plugin.store.tenants import Shop


class Scope(Protocol):
    """What a field's SQL may stand on; `scopes.py` has one that joins for all members and one for the member at hand."""

    shop: Shop
    as_of: date

    def member(self, name: str) -> ColumnElement[Any]:
        """A column of the member."""

    def fact(self, name: str) -> ColumnElement[int]:
        """A column of the facts, 0 for a member without any."""

    def fact_day(self, name: str) -> ColumnElement[int]:
        """A day of the facts as a number, NULL when it never came."""

    def tier(self, program: str) -> ColumnElement[str]:
        """Key of the level held, empty for none."""

    def tier_day(self, program: str) -> ColumnElement[int]:
        """The day as a number since which the level is held, NULL for none."""

    def held(self, program: str, name: str) -> ColumnElement[Any]:
        """Another column of the level held now, NULL for none; of a past day too it is as it stands now."""

    def total(self, rows: Rows, name: str, window: Window | None) -> ColumnElement[Any]:
        """One of the sums of these rows within a window, or of all there are; NULL where the window's beginning is unknown."""

    def among(self, rows: Rows, window: Window | None = None) -> Truth:
        """Whether the member has any of these rows in the window; never unknown."""

    def attribute(self, name: str, *, number: bool) -> ColumnElement[Any]:
        """An attribute of the member as a text or as a number; NULL when it is neither or missing."""

    def within(self, segment: str) -> Truth:
        """Whether a saved segment whose members are listed holds the member."""


class Kind(StrEnum):
    """What values a field has."""

    NUMBER = "number"
    TEXT = "text"
    FLAG = "flag"


class Unit(StrEnum):
    """What a number counts. A share is 1 for all of it."""

    COUNT = "count"
    MONEY = "money"
    DAYS = "days"
    MONTH = "month"
    YEAR = "year"
    SHARE = "share"
    NONE = ""


class Source(StrEnum):
    """What changes a member's value: the mark that `changes` follows."""

    PROFILE = "profile"
    PURCHASES = "purchases"
    CONSENTS = "consents"
    TIERS = "tiers"
    SEGMENTS = "segments"
    MESSAGES = "messages"
    EVENTS = "events"


class Moves(StrEnum):
    """How a value moves by itself as days go by."""

    NEVER = "never"
    # Each day by one, from a stored day.
    DAILY = "daily"
    # When a row enters or leaves the field's window.
    WINDOW = "window"
    # At a pace of the member's own.
    OWN_PACE = "own pace"


@dataclass(frozen=True, slots=True)
class Text:
    """The same in the languages of the product."""

    en: str
    zh: str

    def in_language(self, lang: str) -> str:
        """Chinese for any `zh…`, else English."""
        return self.zh if lang.lower().startswith("zh") else self.en


@dataclass(frozen=True, slots=True)
class Parameter:
    """An argument of a field. A positional one may be written without its name and must be given, unless there is a `default`.

    `phrase` says it within the field's label, where `{}` is the value.
    """

    key: str
    type: type[str] | type[int]
    label: Text
    positional: bool = False
    choices: tuple[str, ...] = ()
    phrase: Text = Text("", "")
    # What a day looks like; such a text is checked to be one.
    is_day: bool = False
    default: str = ""
    # What it names is looked up in the shop: a mistyped name would widen the audience.
    names: str = ""


ZERO = Text("0 when there is none.", "没有时为 0。")
KNOWN = Text("Always yes or no.", "始终为是或否。")


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One row of the catalogue. `label` names a value ("whose …"); for a flag it says a fact ("who …"), `without` its opposite.

    `unknown` says what the field is for a member of whom nothing is stored. `sources` and `moves` say when a value may change.
    """

    key: str
    kind: Kind
    label: Text
    help: Text
    unknown: Text
    sources: tuple[Source, ...]
    sql: Callable[[Scope, Field], Operand]
    unit: Unit = Unit.NONE
    parameters: tuple[Parameter, ...] = ()
    without: Text = Text("", "")
    between: tuple[int, int] | None = None
    # A text that no member can have would make `!=` match everyone, so it is refused: expression, and what to write.
    form: tuple[str, str] | None = None
    # At least one of these arguments has to be there.
    needs_one_of: tuple[str, ...] = ()
    moves: Moves = Moves.NEVER
    # The stored day that a DAILY field counts from: table and column.
    counts_from: tuple[str, str] = ("", "")
    # Kept as written by others, so in floating point: compared, never calculated with.
    exact: bool = True
    # An empty text means "none" and is a value of its own.
    empty_is_known: bool = False
    # Example for docs, pages and tests: arguments as written, then the value compared with.
    example: tuple[str, str] = ("", "")
    group: str = ""

    def parameter(self, key: str) -> Parameter | None:
        """The parameter of that name."""
        return next((one for one in self.parameters if one.key == key), None)

    @property
    def positional(self) -> tuple[Parameter, ...]:
        """The parameters that may be written without a name."""
        return tuple(one for one in self.parameters if one.positional)

    @property
    def called(self) -> bool:
        """Whether it is written with brackets though nothing stands in them: what is counted or summed in a span of days."""
        return self.windowed and not any(one.positional for one in self.parameters)

    @property
    def windowed(self) -> bool:
        """Whether it can be asked for a span of days."""
        return self.parameter("days") is not None


def nearest(word: str, known: Iterable[str]) -> str:
    """A question with the name that looks most alike, or all names there are."""
    names = list(known)
    close = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    if close:
        return phrase("Did you mean %(name)s?", name=close[0])
    return phrase("There are: %(names)s.", names=names) if names else ""


def at(place: Place) -> dict[str, Any]:
    """A place as the errors take it."""
    return {"line": place.line, "column": place.column, "path": place.path}
