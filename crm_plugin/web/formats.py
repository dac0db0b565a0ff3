"""How numbers, money, days and moments are written on pages; everything in the reader's language and the shop's zone."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from babel.dates import format_date
from babel.numbers import format_currency, format_decimal
from flask import Flask
from flask_babel import get_locale

from crm_plugin.clock import local_day, zone
from crm_plugin.money import to_major
from crm_plugin.web.site import the_shop


def money(minor: int | None, currency: str = "") -> str:
    """Minor units as money; an en dash for what is unknown."""
    if minor is None:
        return "–"
    code = currency or the_shop().currency
    return str(format_currency(to_major(minor, code), code, locale=get_locale()))


def number(value: float | None) -> str:
    """A figure with its thousands apart."""
    return "–" if value is None else str(format_decimal(value, locale=get_locale()))


def day(value: date | None, style: str = "medium") -> str:
    """A calendar day."""
    return "–" if value is None else str(format_date(value, style, locale=get_locale()))


def moment(value: datetime | None, zone_name: str = "") -> str:
    """An instant as wall-clock time in the shop's zone, or in the one given."""
    if value is None:
        return "–"
    local = value.astimezone(zone(zone_name or the_shop().timezone))
    return f"{format_date(local.date(), 'medium', locale=get_locale())} {local:%H:%M}"


def instant_day(value: datetime, style: str = "medium") -> str:
    """The day of an instant in the shop's zone."""
    return day(local_day(value, the_shop().timezone), style)


def install(app: Flask) -> None:
    """Give the templates these filters."""
    filters: dict[str, Any] = {
        "money": money,
        "number": number,
        "day": day,
        "moment": moment,
        "instant_day": instant_day,
    }
    app.jinja_env.filters.update(filters)
