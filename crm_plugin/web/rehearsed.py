"""A rehearsal that was played in the background, as its page shows it: days or weeks with their bars, reasons, cost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from babel.dates import format_skeleton
from babel.numbers import format_currency
from flask_babel import get_locale, lazy_gettext
from flask_babel import gettext as _

from crm_plugin.jobs.asked import Jobs, Running
from crm_plugin.store.tenants import Shop
from crm_plugin.web import labels
from crm_plugin.web.titles import named

JOB = "rehearse"
# The spans to choose from: the word in the form, days before today, days from today on.
SPANS = {
    "next-30": (lazy_gettext("The next 30 days"), 0, 30),
    "next-90": (lazy_gettext("The next 90 days"), 0, 90),
    "next-365": (lazy_gettext("The next 365 days"), 0, 365),
    "last-30": (lazy_gettext("The last 30 days"), 30, 0),
    "last-90": (lazy_gettext("The last 90 days"), 90, 0),
    "last-365": (lazy_gettext("The last 365 days"), 365, 0),
}
# Above so many days a row is a week.
_MOST_ROWS = 62


@dataclass(frozen=True, slots=True)
class Row:
    """One day or week: messages, their share of the fullest, and how many there are in each column."""

    name: str
    total: int
    share: int
    columns: dict[str, int]


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What a rehearsal came to. `columns` are journeys, or channels where it was about one journey, with their names."""

    told: Mapping[str, Any]
    rows: tuple[Row, ...]
    weekly: bool
    columns: dict[str, str]
    reasons: list[tuple[str, int]]
    assumes: list[str]
    unknown: list[tuple[str, int]]

    @property
    def first(self) -> date:
        return date.fromisoformat(self.told["first"])

    @property
    def last(self) -> date:
        return date.fromisoformat(self.told["last"])

    @property
    def cost(self) -> str:
        """What the text messages cost; empty while no price is known."""
        if self.told["cost"] is None:
            return ""
        return str(format_currency(Decimal(self.told["cost"]), self.told["currency"], locale=get_locale()))


def span_of(word: str, today: date) -> tuple[date, date]:
    """First and last day of a span out of the form; the first that there is for a word nobody offered."""
    _name, before, ahead = SPANS.get(word, SPANS["next-30"])
    return (
        (today, today + timedelta(days=ahead - 1))
        if ahead
        else (today - timedelta(days=before), today - timedelta(days=1))
    )


def running(queue: Jobs, shop: Shop) -> Running | None:
    """The rehearsal that waits or is played now."""
    return next((one for one in queue.running(shop.shop_id) if one.job == JOB), None)


def seen(told: Mapping[str, Any], titles: Mapping[str, Mapping[str, str]]) -> Rehearsed:
    """A result as it was kept, ready to be shown; `titles` are the journeys' by key."""
    first, last = date.fromisoformat(told["first"]), date.fromisoformat(told["last"])
    weekly = (last - first).days >= _MOST_ROWS
    by = "channel" if told["journey"] else "journey"
    names = sorted({one[by] for one in told["sends"]})
    counts: defaultdict[date, Counter[str]] = defaultdict(Counter)
    day = first
    while day <= last:
        counts[_begins(day, first, weekly)] += Counter()
        day += timedelta(days=1)
    for one in told["sends"]:
        counts[_begins(date.fromisoformat(one["on"]), first, weekly)][one[by]] += one["messages"]
    fullest = max((row.total() for row in counts.values()), default=0) or 1
    held: Counter[str] = Counter()
    for one in told["held"]:
        held[one["reason"]] += one["messages"]
    return Rehearsed(
        told,
        tuple(
            Row(_day_name(begins), row.total(), round(100 * row.total() / fullest), dict(row))
            for begins, row in sorted(counts.items())
        ),
        weekly,
        {name: _column(by, name, titles) for name in names},
        held.most_common(),
        [_(one) for one in told["assumes"]],
        [_unknown(**one) for one in told.get("unknown", ())],
    )


def _unknown(what: str, count: int) -> tuple[str, int]:
    return _(what), count


def _column(by: str, name: str, titles: Mapping[str, Mapping[str, str]]) -> str:
    return str(labels.channel_name(name)) if by == "channel" else named(titles.get(name, {}), name)


def _begins(day: date, first: date, weekly: bool) -> date:
    return max(first, day - timedelta(days=day.weekday())) if weekly else day


def _day_name(day: date) -> str:
    return str(format_skeleton("yMMMEd", day, locale=get_locale()))
