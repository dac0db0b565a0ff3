"""What a record may say at most: past this it cannot be stored or counted with, and is set aside where it is read."""

from __future__ import annotations

from datetime import UTC, datetime

from crm_plugin.adapters.raw import FieldError
from crm_plugin.phrases import phrase

# Wide enough for every birthday and order; far enough from the ends of the calendar for any zone and any number of days.
FIRST_YEAR, LAST_YEAR = 1900, 2199
LARGEST_QUANTITY = 1e9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLAIN_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001


def instant(value: datetime, path: str) -> datetime:
    """The time as aware UTC; one without a zone is UTC. Raises: FieldError for a year that nothing can be reckoned with."""
    if not FIRST_YEAR <= value.year <= LAST_YEAR:
        raise FieldError(phrase("the year %(year)s cannot be right", year=value.year), path)
    # The same as `replace(tzinfo=UTC)` in a sixth of its time; every order has four.
    return _EPOCH + (value - _PLAIN_EPOCH) if value.tzinfo is None else value.astimezone(UTC)


def quantity(value: float, path: str) -> float:
    """How many pieces. Raises: FieldError for more than any order holds."""
    # Turned round, so that what is no number is refused too.
    if not -LARGEST_QUANTITY <= value <= LARGEST_QUANTITY:
        raise FieldError(phrase("the quantity %(quantity)s cannot be right", quantity=f"{value:g}"), path)
    return value
