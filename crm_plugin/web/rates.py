"""Exchange rates: the currencies that orders come in, those without a rate first, and the form that sets them."""

from __future__ import annotations

from dataclasses import dataclass

from babel.numbers import get_currency_name
from flask_babel import get_locale
from flask_babel import gettext as _
from sqlalchemy import Connection

from crm_plugin.analytics import today as figures
from crm_plugin.errors import CrmError
from crm_plugin.jobs.tasks import is_counted
from crm_plugin.store.tenants import Shop
from crm_plugin.web.forms import Form
from crm_plugin.web.i18n import in_words
from crm_plugin.web.languages import sentences

_PREFIX = "rate-"


@dataclass(frozen=True, slots=True)
class Foreign:
    """A currency beside the shop's own, and how many orders in it are in no sum."""

    code: str
    name: str
    field: str
    orders: int


@dataclass(frozen=True, slots=True)
class Rates:
    """What the card shows; `counted` says whether the sums are by these rates."""

    currencies: tuple[Foreign, ...]
    counted: bool


def look(connection: Connection, shop: Shop) -> Rates:
    """The currencies that have a rate or lack one, those that lack one first."""
    lacking = figures.without_rate(connection, shop.shop_id)
    codes = sorted({*lacking, *shop.rates} - {shop.currency}, key=lambda code: (code in shop.rates, code))
    found = tuple(Foreign(code, _name(code), _PREFIX + code, lacking.get(code, 0)) for code in codes)
    return Rates(found, is_counted(connection, shop))


def filled(shop: Shop) -> Form:
    """The form with the rates there are."""
    return Form({_PREFIX + code: format(rate, "f") for code, rate in shop.rates.items()})


def told(form: Form) -> dict[str, str]:
    """The rates as settings tell them; one that was emptied goes. A comma is a point here, for a rate has no thousands."""
    typed = {name.removeprefix(_PREFIX): form.text(name) for name in form.values if name.startswith(_PREFIX)}
    return {code: rate.replace(",", ".") if rate.count(",") == 1 else rate for code, rate in typed.items() if rate}


def refuse(form: Form, error: CrmError) -> None:
    """Put an error at its currency; how a file would write it says nothing here."""
    place = getattr(error, "field", "").replace("rates.", _PREFIX, 1)
    if place in form.values:
        form.errors[place] = sentences((in_words(error.message), _("Write a number such as 0.92.")))
    else:
        form.refuse(error)


def _name(code: str) -> str:
    return str(get_currency_name(code, locale=get_locale()))
