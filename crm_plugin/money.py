"""Money as integer minor units plus currency; no float ever holds an amount."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

# ISO 4217 currencies whose minor unit is not a hundredth.
_EXPONENTS = {
    **dict.fromkeys(
        ["BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"], 0
    ),
    **dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3),
}  # fmt: skip

# No order is larger; thousands of this still add up to what a column of the database holds.
LARGEST_MINOR = 10**15


def exponent(currency: str) -> int:
    """Digits after the point in this ISO 4217 currency: 2 for EUR, 0 for JPY, 3 for KWD."""
    return _EXPONENTS.get(currency.upper(), 2)


def to_minor(amount: Decimal, currency: str) -> int:
    """The amount in minor units, rounded half up (away from zero at the tie). Raises: ValueError past `LARGEST_MINOR`."""
    try:
        minor = int(amount.scaleb(exponent(currency)).quantize(Decimal(1), ROUND_HALF_UP))
    except ArithmeticError as error:
        raise ValueError(f"too large an amount: {amount}") from error
    if not -LARGEST_MINOR <= minor <= LARGEST_MINOR:
        raise ValueError(f"too large an amount: {amount}")
    return minor


def parse_minor(text: str | int, currency: str) -> int:
    """Read a plain decimal such as "298.55" or "-53.81" into minor units.

    Raises: ValueError when the text is not a finite number, or one too large to be kept.
    """
    try:
        value = Decimal(str(text).strip())
    except InvalidOperation as error:
        raise ValueError(f"not an amount: {text!r}") from error
    if not value.is_finite():
        raise ValueError(f"not an amount: {text!r}")
    return to_minor(value, currency)


def to_major(minor: int, currency: str) -> Decimal:
    """Minor units as an exact decimal: 29855 EUR is Decimal("298.55")."""
    return Decimal(minor).scaleb(-exponent(currency))


def convert_minor(minor: int, currency: str, rate: Decimal, into: str) -> int:
    """The amount in another currency; `rate` is units of `into` for one unit of `currency`. Rounded half up once."""
    return to_minor(to_major(minor, currency) * rate, into)


def share(part: int, base: int | None, total: int) -> int:
    """A part (discount, cost) of an order in another currency in the shop's: in proportion to its total, rounded half up.

    Taken from stored figures alone, so that a later change of a rate cannot make what is taken away differ from what was added.
    """
    if not part or base is None or not total:
        return 0
    numerator, denominator = part * base, total
    if denominator < 0:
        numerator, denominator = -numerator, -denominator
    sign = -1 if numerator < 0 else 1
    return sign * ((2 * abs(numerator) + denominator) // (2 * denominator))


def portion(given: int | None, part: int | None, whole: int | None) -> int:
    """What of an amount given back falls on a part of the whole: in proportion, rounded down, never more than was given; else 0."""
    if given is None or part is None or whole is None or given <= 0 or whole <= 0:
        return 0
    return given * min(max(part, 0), whole) // whole
