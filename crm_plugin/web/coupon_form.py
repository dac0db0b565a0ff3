"""Codes that a store is asked for: the form, what it would make, and how pools stand, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal, InvalidOperation

from flask import flash
from flask_babel import gettext as _
from flask_babel import ngettext

from crm_plugin.adapters.registry import storefront_class
from crm_plugin.clock import local_day
from crm_plugin.errors import InvalidInput
from crm_plugin.money import parse_minor
from crm_plugin.phrases import phrase, unpacked
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.steps.duties import Loaded, Pool
from crm_plugin.touchpoints.steps.stock import DONE, OPEN, Order, Stock, Terms
from crm_plugin.web import formats
from crm_plugin.web.forms import Form
from crm_plugin.web.i18n import in_words
from crm_plugin.web.languages import sentences
from crm_plugin.web.site import site

PERCENT, AMOUNT = "percent", "amount"
EMPTY = {
    "pool": "", "title": "", "kind": PERCENT, "value": "", "least": "", "days": "", "prefix": "", "count": "100", "keep": "", "segment": "",
    "confirm": "",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the form asks for."""

    pool: str
    terms: Terms
    count: int
    keep: bool
    segment: str


@dataclass(frozen=True, slots=True)
class Preview:
    """What would be made, in sentences; `asks` whether the number has to be typed."""

    sentences: tuple[str, ...]
    count: int
    asks: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One pool as it stands; `why` is what the store said last, `order` what is not at its end."""

    pool: Pool
    worth: str
    keep: int
    order: Order | None
    why: str
    is_stopped: bool


def kinds(currency: str) -> list[tuple[str, str]]:
    """What can come off, by name."""
    return [
        (PERCENT, _("A share of the order, in per cent")),
        (AMOUNT, _("An amount, in %(currency)s", currency=currency)),
    ]


def read(form: Form, shop: Shop) -> Wanted:
    """Raises: InvalidInput naming the field."""
    value, kind = form.text("value"), form.text("kind")
    terms = Terms(
        percent=_share(value) if kind != AMOUNT else None,
        amount_minor=_amount(value, "value", shop) if kind == AMOUNT else None,
        least_minor=_amount(form.text("least"), "least", shop) if form.text("least") else 0,
        days=form.whole("days") if form.text("days") else 0,
        title=form.text("title"),
        prefix=form.text("prefix").upper(),
    )
    segment = form.text("segment")
    return Wanted(form.text("pool"), terms, 1 if segment else form.whole("count"), bool(form.text("keep")), segment)


def _share(text: str) -> Decimal:
    try:
        return Decimal(_pointed(text).removesuffix("%").strip())
    except InvalidOperation as error:
        raise InvalidInput(phrase("Write a number such as 10 or 7.5."), field="value") from error


def _amount(text: str, field: str, shop: Shop) -> int:
    try:
        return parse_minor(_pointed(text), shop.currency)
    except ValueError as error:
        raise InvalidInput(phrase("Write an amount such as 5.00."), field=field) from error


def _pointed(text: str) -> str:
    return text.replace(",", ".") if text.count(",") == 1 and "." not in text else text


def preview(wanted: Wanted, shop: Shop, left: int, bound: int) -> Preview:
    """What asking would do; `left` codes are in the pool already, `bound` members would have one of their own."""
    cls = storefront_class(shop.platform)
    count = bound or (max(0, wanted.count - left) if wanted.keep else wanted.count)
    shown = Order("example", 1, wanted.terms, site().runtime.clock.now()).code(0)
    said = [worth(wanted.terms, shop)]
    if bound:
        said.append(
            ngettext(
                "%(count)s member of the segment with an account and an e-mail address gets a code such as %(code)s, theirs alone.",
                "%(count)s members of the segment with an account and an e-mail address get a code such as %(code)s each, theirs alone.",
                bound,
                count=formats.number(bound),
                code=shown,
            )
        )
    elif count:
        said.append(
            ngettext(
                "%(count)s code such as %(code)s, good once, for whoever has it.",
                "%(count)s codes such as %(code)s, each good once, for whoever has it.",
                count,
                count=formats.number(count),
                code=shown,
            )
        )
    if count:
        calls = bound or -(-count // cls.coupons_at_once)
        said.append(
            ngettext(
                "It takes %(count)s request to %(platform)s, in the background.",
                "It takes %(count)s requests to %(platform)s, in the background.",
                calls,
                count=formats.number(calls),
                platform=_(cls.label),
            )
        )
    if wanted.keep:
        said.append(
            _(
                "%(keep)s are kept in stock: %(left)s are there now, and more are made whenever a fifth is gone.",
                keep=formats.number(wanted.count),
                left=formats.number(left),
            )
        )
    return Preview(tuple(said), count, policy_of(shop).blast.asks(count))


def worth(terms: Terms, shop: Shop) -> str:
    """What a code is worth, in a sentence or two."""
    if terms.percent is not None:
        off = _("%(share)s %% off.", share=f"{terms.percent.normalize():f}")
    else:
        off = _("%(amount)s off.", amount=formats.money(terms.amount_minor, shop.currency))
    least = _("For an order of at least %(amount)s.", amount=formats.money(terms.least_minor, shop.currency))
    until = local_day(site().runtime.clock.now(), shop.timezone) + timedelta(days=terms.days)
    good = _("Made today, it is good until %(day)s.", day=formats.day(until))
    return sentences([off, least if terms.least_minor else "", good if terms.days else ""])


def rows(pools: Sequence[Pool], stocks: dict[str, Stock], shop: Shop) -> list[Row]:
    """The pools with what is asked of the store for them."""
    made = []
    for pool in pools:
        stock = stocks.get(pool.key, Stock(pool.key))
        order = stock.order
        # Of an order that goes on it is only what the store said of some codes, which others make up for.
        stands = order is not None and (order.state != OPEN or order.next_try_at is not None)
        why = str(in_words(unpacked(order.why))) if order is not None and stands else ""
        terms = worth(stock.terms, shop) if stock.terms is not None else ""
        made.append(Row(pool, terms, stock.keep, order, why, order is not None and order.state not in (OPEN, DONE)))
    return made


def tell(loaded: Loaded) -> None:
    """Say what came of codes that were written in; that nothing is new is no success."""
    if loaded.added:
        told = ngettext(
            "%(count)s code was added.", "%(count)s codes were added.", loaded.added, count=formats.number(loaded.added)
        )
    else:
        told = _("No code was added.")
    if loaded.there:
        there = ngettext(
            "%(count)s is in the pool already.",
            "%(count)s are in the pool already.",
            loaded.there,
            count=formats.number(loaded.there),
        )
        told = sentences((told, there))
    if loaded.alike:
        left = ngettext(
            "%(count)s was left out: it differs from another only in small or large letters, which a store takes for the same code.",
            "%(count)s were left out: they differ from others only in small or large letters, which a store takes for the same codes.",
            loaded.alike,
            count=formats.number(loaded.alike),
        )
        told = sentences((told, left))
    flash(told, "good" if loaded.added else "info")
