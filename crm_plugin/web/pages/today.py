"""Today: what goes out today and this week, what needs the merchant, what happened; for a new shop, what is still to set up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from babel.dates import format_skeleton
from flask import render_template, url_for
from flask_babel import get_locale, ngettext
from flask_babel import gettext as _
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from crm_plugin.analytics import today as figures
from crm_plugin.clock import at_local, local_day
from crm_plugin.rules import tiers
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys, plan, senders
from crm_plugin.web import backlog_words, formats
from crm_plugin.web.labels import reason
from crm_plugin.web.languages import sentences
from crm_plugin.web.needs import Need, needs
from crm_plugin.web.pages import bp, go
from crm_plugin.web.reading import Reading, in_words, read, takes_files
from crm_plugin.web.rehearsal import stamp
from crm_plugin.web.site import site, the_shop
from crm_plugin.web.titles import named

DAYS_AHEAD = 7


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a new shop's checklist."""

    key: str
    done: bool
    title: str
    text: str
    href: str = ""
    action: str = ""


@dataclass(frozen=True, slots=True)
class Day:
    """What goes out on one day, by journey; `share` is the part of the fullest day's, in per cent."""

    on: date
    total: int
    share: int
    by_journey: dict[str, int]


@dataclass(frozen=True, slots=True)
class Outlook:
    """Today and the next days. `titles` are the journeys that have anything, `held_back` who matches and will get nothing.

    `come_in` are those who come into journeys of several steps: what these send depends on their steps.
    """

    days: tuple[Day, ...]
    titles: dict[str, dict[str, str]]
    held_back: int
    come_in: int

    @property
    def today(self) -> int:
        return self.days[0].total

    @property
    def total(self) -> int:
        return sum(day.total for day in self.days)


@bp.get("/s/<shop>/")
def today_from_the_shop() -> Response:
    """The shop's first page."""
    return go("today")


@bp.get("/s/<shop>/today")
def today() -> str:
    """The page."""
    here, shop = site(), the_shop()
    now = here.runtime.clock.now()
    start = at_local(local_day(now, shop.timezone), time(), shop.timezone)
    with here.runtime.db.read() as connection:
        reading = read(connection, here.queue, shop, now)
        steps = _steps(connection, shop, reading)
        waiting = needs(connection, shop, reading, here.public_url)
        held_for = stamp(connection, shop, now)
        outlook = here.kept.get(("outlook", shop.shop_id), held_for, lambda: _outlook(connection, shop, now))
        sent_today = figures.became(connection, shop.shop_id, start, now).sent
        week = timedelta(days=7)
        told = {
            "backlog": backlog_words.sentence(connection, shop, now),
            "week": figures.became(connection, shop.shop_id, now - week, now),
            "week_before": figures.became(connection, shop.shop_id, now - 2 * week, now - week),
            "members": figures.count_members(connection, shop.shop_id),
            "growth": figures.growth(connection, shop, local_day(now, shop.timezone)),
            "any_on": any(one.runs for one in journeys.all_journeys(connection, shop.shop_id)),
        }
    return render_template(
        "today.html",
        lede=_lede(outlook if shop.is_awake else None, sent_today, waiting),
        steps=steps,
        open_steps=sum(not step.done for step in steps),
        reading=reading,
        pace=in_words(reading),
        needs=waiting,
        outlook=outlook,
        named=named,
        day_name=day_name,
        reason=reason,
        **told,
    )


@bp.get("/s/<shop>/reading")
def today_reading() -> str:
    """How far the reading of the store or of a file is, for the pages that show it live."""
    here, shop = site(), the_shop()
    with here.runtime.db.read() as connection:
        reading = read(connection, here.queue, shop, here.runtime.clock.now())
    return render_template("_reading.html", reading=reading, pace=in_words(reading))


def _lede(outlook: Outlook | None, sent: int, waiting: Sequence[Need]) -> str:
    """The day in a sentence or two; without an outlook nothing more goes out."""
    parts = []
    if sent:
        told = formats.number(sent)
        parts.append(
            ngettext("%(count)s message went out today.", "%(count)s messages went out today.", sent, count=told)
        )
    still = outlook.today if outlook else 0
    if still:
        told = formats.number(still)
        parts.append(
            ngettext("%(count)s message will go out today.", "%(count)s messages will go out today.", still, count=told)
        )
    elif not sent and not (outlook and outlook.come_in):
        parts.append(_("Nothing goes out today."))
    count = len(waiting)
    parts.append(
        ngettext("%(num)s thing needs you.", "%(num)s things need you.", count) if count else _("Nothing needs you.")
    )
    return sentences(parts)


def _steps(connection: Connection, shop: Shop, reading: Reading) -> list[Step]:
    """What a new shop has to do, in order; each ticks itself off."""
    connections = url_for("pages.connections", shop=shop.name)
    files = takes_files(shop)
    set_up = [one for one in senders.senders(connection, shop) if one.channel in ("email", "sms")]
    off = next((one for one in set_up if not any(other.enabled for other in set_up)), None)
    return [
        Step("store", True, _("Connect your store"), shop.url),
        Step(
            "reading",
            reading.complete,
            _("Upload your first file") if files else _("Read your store"),
            _("Orders or customers, as CSV.")
            if files
            else _("All customers, orders and refunds there are. It takes a while and continues by itself."),
            f"{connections}#files" if files else connections,
            _("Upload a file") if files else _("See your store"),
        ),
        Step(
            "senders",
            any(one.enabled for one in set_up),
            _("Set up who sends your messages"),
            _("%(sender)s is set up and switched off.", sender=_(off.label))
            if off
            else _("A mail server for e-mail, Twilio for text messages: at least one of them."),
            url_for("pages.connections_sender", shop=shop.name, adapter=off.adapter)
            if off
            else f"{connections}#senders",
            _("Switch it on") if off else _("Set up a sender"),
        ),
        Step(
            "tiers",
            bool(tiers.levels(connection, shop.shop_id)),
            _("Set up levels for your members"),
            _("Such as silver and gold, by what they spent."),
            url_for("pages.tiers", shop=shop.name),
            _("Make levels"),
        ),
        Step(
            "journey",
            any(journey.enabled for journey in journeys.all_journeys(connection, shop.shop_id)),
            _("Switch on a journey"),
            _("Birthday greeting, thanks after an order, win-back: ready to use. You see who gets it first."),
            url_for("pages.journeys", shop=shop.name),
            _("Choose one"),
        ),
        Step(
            "public",
            bool(site().public_url),
            _("Give this server a public address"),
            _("So that customers can unsubscribe by a link. Without it no promotional e-mail goes out."),
            f"{connections}#public",
            _("How to set it"),
        ),
    ]


def _outlook(connection: Connection, shop: Shop, now: datetime) -> Outlook:
    """What is planned and what will be, day by day in the shop's zone."""
    first = local_day(now, shop.timezone)
    days = [first + timedelta(days=number) for number in range(DAYS_AHEAD + 1)]
    ends = [at_local(day + timedelta(days=1), time(), shop.timezone) for day in days]
    counts: dict[date, Counter[str]] = {day: Counter() for day in days}
    there = journeys.all_journeys(connection, shop.shop_id)
    stepped = {one.key for one in there if one.flow.steps}
    held_back = come_in = 0
    for one in figures.waiting(connection, shop.shop_id, ends):
        counts[days[one.span]][one.journey_key] += one.count
    for coming in plan.forecast(connection, shop, now, ends[-1]):
        if coming.journey_key in stepped:
            come_in += coming.planned
        else:
            counts[coming.on][coming.journey_key] += coming.planned
        held_back += coming.skipped
    most = max(1, *(sum(of.values()) for of in counts.values()))
    speak = {key for of in counts.values() for key, count in of.items() if count}
    titles = {one.key: one.title for one in there if one.key in speak}
    return Outlook(
        tuple(Day(day, sum(of.values()), round(100 * sum(of.values()) / most), dict(of)) for day, of in counts.items()),
        titles,
        held_back,
        come_in,
    )


def day_name(day: date) -> str:
    """A day with its weekday, in the reader's order of words."""
    return str(format_skeleton("MMMEd", day, locale=get_locale()))
