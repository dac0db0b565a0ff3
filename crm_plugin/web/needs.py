"""What waits for the merchant: each need in words, with what to do and where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flask import url_for
from flask_babel import gettext as _
from flask_babel import lazy_gettext, ngettext
from sqlalchemy import Connection

from crm_plugin.adapters.registry import channel_class
from crm_plugin.analytics import today as figures
from crm_plugin.jobs.stalls import Stall, What, stalls
from crm_plugin.phrases import unpacked
from crm_plugin.store import runs, writebacks
from crm_plugin.store.tenants import CONNECTED, Shop
from crm_plugin.sync import problems, store_writes
from crm_plugin.touchpoints import journeys, senders, waves
from crm_plugin.touchpoints.audience import problem_of
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.steps import stock
from crm_plugin.web import formats, held_words, in_step, store_states
from crm_plugin.web.i18n import explained, in_words
from crm_plugin.web.journey_words import by
from crm_plugin.web.languages import sentences
from crm_plugin.web.reading import IMPORT, SYNC, Reading, takes_files
from crm_plugin.web.site import site
from crm_plugin.web.titles import named


@dataclass(frozen=True, slots=True)
class Need:
    """One thing for the merchant to do; `tone` is bad when something stands still because of it, else warn."""

    tone: str
    title: str
    text: str
    href: str
    action: str


def needs(connection: Connection, shop: Shop, reading: Reading, public_url: str) -> list[Need]:
    """Everything that waits for the merchant, what stands still first."""
    running = [journey for journey in journeys.all_journeys(connection, shop.shop_id) if journey.enabled]
    found = [
        *_store(connection, shop, reading),
        *_in_step(connection, shop),
        *_jobs(connection, shop, reading),
        *_stalled(connection, shop),
        *_senders(connection, shop),
        *_levels(connection, shop),
        *_written(connection, shop),
        *_coupons(connection, shop),
        *_audiences(connection, shop, running),
        *_held(connection, shop),
        *_channels(connection, shop, running),
        *_public_address(shop, running, public_url),
        *_postal_address(shop, running),
        *_unconfirmed(connection, shop),
        *_records(connection, shop),
        *_rates(connection, shop),
    ]
    return sorted(found, key=lambda need: need.tone != "bad")


def _store(connection: Connection, shop: Shop, reading: Reading) -> Iterator[Need]:
    stopped = reading.stopped
    if shop.status != CONNECTED:
        state, there = store_states.state_of(connection, shop), url_for("pages.connections", shop=shop.name)
        told = sentences((in_words(state.detail), state.help))
        yield Need(
            "bad" if state.tone == "bad" else "warn",
            str(state.title),
            told,
            state.href or there,
            state.action or _("Look at it"),
        )
    elif stopped is not None and not reading.live:
        yield Need(
            "warn",
            _("Reading your store stopped at: %(list)s", list=stopped.name),
            sentences((in_words(stopped.detail), _("Nothing is lost: it continues there next time."))),
            url_for("pages.connections", shop=shop.name),
            _("Read it now"),
        )


def _in_step(connection: Connection, shop: Shop) -> Iterator[Need]:
    """What the store told and could not be followed, and what the last comparison with it would not believe."""
    there = f"{url_for('pages.connections', shop=shop.name)}#step"
    if not takes_files(shop):
        for one in in_step.warnings(connection, shop, site().runtime.clock.now()):
            yield Need("warn", one.title, sentences((one.text, one.where)), there, _("Look at it"))


def _coupons(connection: Connection, shop: Shop) -> Iterator[Need]:
    """Pools that the store makes no codes for."""
    here = url_for("pages.journeys_coupons", shop=shop.name)
    for pool, one in stock.all_stocks(connection, shop.shop_id).items():
        order = one.order
        if order is not None and order.state == stock.STOPPED:
            title = _("Your store makes no codes for the pool %(pool)s", pool=pool)
            yield Need("warn", title, in_words(unpacked(order.why)), here, _("Look at it"))


def _jobs(connection: Connection, shop: Shop, reading: Reading) -> Iterator[Need]:
    """What ended with an error that stands nowhere else."""
    here = url_for("pages.connections", shop=shop.name)
    seen = shop.status != "connected" or reading.stopped is not None
    for job, title, href in (
        (SYNC, _("Your store could not be read"), here),
        (IMPORT, _("The last file was not loaded"), f"{here}#files"),
        ("tick", _("The last round of messages ended with an error"), url_for("pages.outbox", shop=shop.name)),
    ):
        run = runs.last(connection, shop.shop_id, job)
        if run is not None and run.error and not (job == SYNC and seen):
            yield Need("bad", title, run.error, href, _("Look at it"))


def _stalled(connection: Connection, shop: Shop) -> Iterator[Need]:
    """What should move and does not."""
    for one in stalls(connection, site().runtime.clock.now(), shop.shop_id):
        there = url_for("pages.outbox", shop=shop.name)
        yield Need("bad", _standing(one), _STALLED[one.what], there, _("Look at it"))


def _standing(one: Stall) -> Any:
    since, count = formats.moment(one.since), formats.number(one.count)
    match one.what:
        case What.ROUNDS:
            return _("Nothing has been looked at since %(when)s", when=since)
        case What.MESSAGES:
            return ngettext(
                "%(count)s message is due since %(when)s and does not leave",
                "%(count)s messages are due since %(when)s and do not leave",
                one.count,
                count=count,
                when=since,
            )
        case What.CLAIMS:
            return ngettext(
                "%(count)s message was begun before %(when)s and never finished",
                "%(count)s messages were begun before %(when)s and never finished",
                one.count,
                count=count,
                when=since,
            )


_STALLED: dict[What, Any] = {
    What.ROUNDS: lazy_gettext(
        "Messages wait until the program that sends them runs again. Ask whoever looks after your server."
    ),
    What.MESSAGES: lazy_gettext(
        "Their sender is well and their journey is on. Ask whoever looks after your server for its log."
    ),
    What.CLAIMS: lazy_gettext(
        "They are settled as soon as a round goes through. Ask whoever looks after your server for its log."
    ),
}


def _senders(connection: Connection, shop: Shop) -> Iterator[Need]:
    for adapter, detail in senders.paused(connection, shop.shop_id).items():
        yield Need(
            "bad",
            _("%(sender)s is paused", sender=channel_class(adapter).label),
            detail,
            url_for("pages.connections_sender", shop=shop.name, adapter=adapter),
            _("Fix it"),
        )


def _levels(connection: Connection, shop: Shop) -> Iterator[Need]:
    """Levels that do not reach the store."""
    switch = writebacks.switch_of(connection, shop.shop_id)
    if not switch.enabled or shop.status != "connected":
        return
    there = f"{url_for('pages.tiers', shop=shop.name)}#store"
    if switch.stopped_at is not None:
        yield Need("bad", _("Levels no longer reach your store"), switch.detail, there, _("Look at it"))
    elif count := writebacks.count_failed(connection, shop.shop_id):
        yield Need(
            "warn",
            ngettext("%(num)s level was refused by your store", "%(num)s levels were refused by your store", count),
            _("Each is shown with its reason; all others are written."),
            there,
            _("See why"),
        )


def _written(connection: Connection, shop: Shop) -> Iterator[Need]:
    """Tags and consent that do not reach the store."""
    count, why = store_writes.stuck(connection, shop.shop_id)
    if count and shop.status == CONNECTED:
        yield Need(
            "warn",
            ngettext(
                "%(count)s tag or consent does not reach your store",
                "%(count)s tags and consents do not reach your store",
                count,
                count=formats.number(count),
            ),
            sentences((in_words(why), _("It is tried again by itself."))),
            f"{url_for('pages.connections', shop=shop.name)}#messages",
            _("Look at it"),
        )


def _audiences(connection: Connection, shop: Shop, running: list[Journey]) -> Iterator[Need]:
    for journey in running:
        if (problem := problem_of(connection, shop, journey)) is not None:
            still = _("It means nobody and plans nothing until this is mended; all other journeys go on.")
            yield Need(
                "bad",
                _("“%(journey)s” stands still", journey=named(journey.title, journey.key)),
                sentences((explained(problem), still)),
                url_for("pages.journeys_one", shop=shop.name, key=journey.key),
                _("Mend it"),
            )


def _held(connection: Connection, shop: Shop) -> Iterator[Need]:
    """Journeys that stand still because too much went out at once."""
    for wave in waves.all_waves(connection, shop.shop_id).values():
        if wave.state == waves.HELD:
            journey = journeys.get(connection, shop.shop_id, wave.journey_key)
            yield Need(
                "bad",
                _("“%(journey)s” stands still", journey=named(journey.title, journey.key)),
                held_words.why(wave),
                url_for("pages.journeys_one", shop=shop.name, key=journey.key),
                _("Look at it"),
            )


def _channels(connection: Connection, shop: Shop, running: list[Journey]) -> Iterator[Need]:
    known = senders.senders(connection, shop)
    there = {one.channel for one in known if one.enabled}
    off = {one.channel: one for one in reversed(known) if not one.enabled}
    used = {channel for journey in running for channel in journey.channels}
    silent = any(not set(journey.channels) & there for journey in running)
    for channel in sorted(used - there):
        tone = "bad" if silent else "warn"
        title = _("Nothing goes out by %(channel)s", channel=by([channel]))
        if channel in off:
            sender = off[channel]
            yield Need(
                tone,
                title,
                _("A journey that is on uses it, and %(sender)s is switched off.", sender=_(sender.label)),
                url_for("pages.connections_sender", shop=shop.name, adapter=sender.adapter),
                _("Switch it on"),
            )
        else:
            yield Need(
                tone,
                title,
                _("A journey that is on uses it, but no sender is set up for it."),
                f"{url_for('pages.connections', shop=shop.name)}#senders",
                _("Set up a sender"),
            )


def _public_address(shop: Shop, running: list[Journey], public_url: str) -> Iterator[Need]:
    if not public_url and any(journey.kind == "marketing" and "email" in journey.channels for journey in running):
        yield Need(
            "bad",
            _("Customers cannot reach this server"),
            _(
                "Promotional e-mail must carry a link to unsubscribe, so it is held back until there is a public address."
            ),
            f"{url_for('pages.connections', shop=shop.name)}#public",
            _("How to set it"),
        )


def _postal_address(shop: Shop, running: list[Journey]) -> Iterator[Need]:
    mails = any(journey.kind == "marketing" and {"email", "note"} & set(journey.channels) for journey in running)
    if mails and not policy_of(shop).address:
        yield Need(
            "warn",
            _("Your postal address is missing"),
            _("Many countries demand it at the foot of every promotional e-mail."),
            f"{url_for('pages.connections', shop=shop.name)}#messages",
            _("Enter it"),
        )


def _unconfirmed(connection: Connection, shop: Shop) -> Iterator[Need]:
    count = figures.count_unconfirmed(connection, shop.shop_id)
    if count:
        yield Need(
            "warn",
            ngettext("%(num)s message may have gone out or not", "%(num)s messages may have gone out or not", count),
            _("The provider gave no answer. Look at them and say which did: none is sent twice by itself."),
            url_for("pages.outbox", shop=shop.name, state="unconfirmed"),
            _("Look at them"),
        )


def _records(connection: Connection, shop: Shop) -> Iterator[Need]:
    count = problems.count_open(connection, shop.shop_id)
    if count:
        yield Need(
            "warn",
            ngettext("%(num)s record could not be read", "%(num)s records could not be read", count),
            _("They are set aside with the reason; everything else was read."),
            f"{url_for('pages.connections', shop=shop.name)}#problems",
            _("See why"),
        )


def _rates(connection: Connection, shop: Shop) -> Iterator[Need]:
    found = figures.without_rate(connection, shop.shop_id)
    count = sum(found.values())
    missing = sorted(set(found) - set(shop.rates))
    if count and missing:
        yield Need(
            "warn",
            ngettext("%(num)s order is in no sum", "%(num)s orders are in no sum", count),
            _("There is no exchange rate for %(currencies)s.", currencies=_(", ").join(missing)),
            f"{url_for('pages.connections', shop=shop.name)}#rates",
            _("Enter the rates"),
        )
