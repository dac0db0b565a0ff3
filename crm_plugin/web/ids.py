"""Numbers in addresses: what no row of any database can have is read as the largest id there could be, and so simply not found."""

from __future__ import annotations

from werkzeug.routing import IntegerConverter

LARGEST = 2**63 - 1
_DIGITS = len(str(LARGEST))


def place(told: str) -> int:
    """The number as a database can hold it, for `request.args.get(type=...)`. Raises: ValueError."""
    if told.isdecimal() and len(told) > _DIGITS:
        # Python refuses to read a number of thousands of digits.
        return LARGEST
    return max(-LARGEST, min(int(told), LARGEST))


class IdConverter(IntegerConverter):
    """`<int:name>` in a rule, in place of Flask's own: what stands there is the id of a row."""

    def to_python(self, value: str) -> int:
        return place(value)
