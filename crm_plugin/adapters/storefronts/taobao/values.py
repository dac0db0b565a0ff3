"""Taobao's values at the border: times in China's zone, money in yuan here and in fen there, ids longer than other numbers.

Members and trades tell yuan as text; grades and what is written into a member are in fen. Inside, every amount is in fen: our minor unit.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

from crm_plugin.adapters.raw import FieldError
from crm_plugin.adapters.storefronts import limits
from crm_plugin.money import LARGEST_MINOR, parse_minor, to_major
from crm_plugin.phrases import phrase

# China has kept one zone without summer time since 1991; TOP's times are in it, also those before.
CHINA = timezone(timedelta(hours=8), "GMT+8")
ZONE = "Asia/Shanghai"
CURRENCY = "CNY"
_FORM = "%Y-%m-%d %H:%M:%S"
Number = str | int | float | None


def told_at(at: datetime) -> str:
    """An instant as TOP takes it, to the second."""
    return at.astimezone(CHINA).strftime(_FORM)


def instant(text: str | None, path: str) -> datetime | None:
    """A time of TOP as aware UTC; None where there is none. Raises: FieldError."""
    if not text or not text.strip() or text.startswith("0000"):
        return None
    try:
        plain = datetime.strptime(text.strip()[:19], _FORM).replace(tzinfo=CHINA)
    except ValueError as error:
        raise FieldError(phrase("%(told)r is no time", told=text), path) from error
    return limits.instant(plain.astimezone(UTC), path)


def yuan(told: Number, path: str) -> int | None:
    """Yuan, mostly as text such as "99.90", in fen; None where it is not told. Raises: FieldError."""
    if told is None or told == "":
        return None
    try:
        # A float's shortest text is what stood in the JSON.
        return parse_minor(repr(told) if isinstance(told, float) else told, CURRENCY)
    except ValueError as error:
        raise FieldError(phrase("%(told)r is no amount", told=str(told)), path) from error


def fen(told: Number, path: str) -> int | None:
    """Fen as they are told, as a number or as text; None where it is not told. Raises: FieldError for what has a fraction."""
    if told is None or told == "":
        return None
    text = str(told).strip()
    if not text.removeprefix("-").isdigit() or abs(int(text)) > LARGEST_MINOR:
        raise FieldError(phrase("%(told)r is no amount", told=text), path)
    return int(text)


def in_yuan(minor: int) -> str:
    """Fen as the yuan that Taobao takes: 9990 is "99.90", and whole yuan have no point."""
    amount = to_major(minor, CURRENCY)
    return str(amount.quantize(Decimal(1))) if amount == amount.to_integral_value() else f"{amount:.2f}"


def whole(told: Number) -> int | None:
    """A whole number that may come as text; None where there is none."""
    text = "" if told is None else str(told).strip()
    return int(text) if text.isascii() and text.removeprefix("-").isdigit() else None
