"""The span of local days a field looks at.

`days=N` is the last N days, the day of asking being the last of them. `from_date=` and `to_date=` are fixed, both days included.
`since=` begins at a day of the member's own or at the calendar's; with `days=N` it is the first N days from there. Whatever the
span, nothing after the day of asking counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from crm_plugin.rules.nodes import Field
from crm_plugin.store.program import PROGRAM as PROGRAM

FIRST_ORDER, JOINED, TIER, YEAR, MONTH = "first_order", "joined", "tier", "year", "month"
ANCHORS = (FIRST_ORDER, JOINED, TIER, YEAR, MONTH)
# Those that are another day for each member; the rest follow from the day of asking.
OWN_ANCHORS = (FIRST_ORDER, JOINED, TIER)


@dataclass(frozen=True, slots=True)
class Window:
    """A span as it was asked for; None and "" where nothing was said."""

    days: int | None = None
    from_day: date | None = None
    to_day: date | None = None
    since: str = ""

    @property
    def anchor(self) -> str:
        """The member's own day it begins at; empty for a span that is the same for all."""
        return self.since if self.since in OWN_ANCHORS else ""

    def bounds(self, as_of: date) -> tuple[date | None, date]:
        """First and last day, both included; the first None when open. Raises: ValueError for a span of each member's own."""
        if self.anchor:
            raise ValueError(f"{self.since} is another day for each member")
        if self.since:
            begins = as_of.replace(day=1) if self.since == MONTH else as_of.replace(month=1, day=1)
            return begins, as_of if self.days is None else min(as_of, begins + timedelta(days=self.days - 1))
        if self.days is not None:
            return as_of - timedelta(days=self.days - 1), as_of
        return self.from_day, as_of if self.to_day is None else min(self.to_day, as_of)

    def from_anchor(self, anchor: date, as_of: date) -> tuple[date, date]:
        """The same for a member whose own day is known."""
        return anchor, as_of if self.days is None else min(as_of, anchor + timedelta(days=self.days - 1))


def window_of(field: Field) -> Window | None:
    """The span that a checked field asks for; None for all there ever was."""
    days, since = field.arg("days"), field.arg("since")
    from_date, to_date = field.arg("from_date"), field.arg("to_date")
    if days is None and since is None and from_date is None and to_date is None:
        return None
    return Window(
        int(days) if days is not None else None,
        date.fromisoformat(str(from_date)) if from_date is not None else None,
        date.fromisoformat(str(to_date)) if to_date is not None else None,
        str(since) if since is not None else "",
    )
