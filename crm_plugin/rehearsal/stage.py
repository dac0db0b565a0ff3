"""Setting the copy as the rehearsal asks for it: the past taken back, the journey on, senders that work."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, or_, update

from crm_plugin.adapters.registry import channel_class, channel_names
from crm_plugin.clock import local_day
from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.rehearsal import answers
from crm_plugin.rehearsal.arrivals import LONG_AGO, Arrivals, take_out
from crm_plugin.rehearsal.ask import Ask
from crm_plugin.rounds import CADENCES
from crm_plugin.rules import cadences
from crm_plugin.store import connections, journeys, shops, sync_state, touchpoints
from crm_plugin.store.base import to_micros
from crm_plugin.store.bulk import execute
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop, shop_by_id
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints import senders
from crm_plugin.touchpoints.journey import CHANNELS
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.states import WAITING, State

# What fell due so shortly before the span may have been planned in its first round; what was planned has its key.
_FIRST_ROUND = timedelta(hours=1)


def known(connection: Connection, shop: Shop, ask: Ask) -> Ask:
    """The same, with the draft of a journey that has one. Raises: NotFound, InvalidInput for what the shop has not got."""
    if ask.journey:
        journey = journey_store.get(connection, shop.shop_id, ask.journey)
        if ask.draft is None and journey.draft is not None:
            return replace(ask, draft=read_draft({**journey.draft, "enabled": None}))
    elif ask.draft is None and not any(one.enabled for one in journey_store.all_journeys(connection, shop.shop_id)):
        raise InvalidInput(
            phrase("No journey is on, so there is nothing to rehearse."),
            field="journey",
            hint=phrase("Name one: it is rehearsed as if it were on."),
        )
    return ask


def prepare(scratch: Database, shop: Shop, ask: Ask, start: datetime, now: datetime) -> tuple[Shop, Arrivals | None]:
    """Set the copy; answers with the shop as rehearsed, and with what is to come again when the span begins before `now`."""
    begin, _ = ask.span(shop)
    with scratch.write() as connection:
        if ask.settings:
            settings = {**shop.settings, **ask.settings}
            connection.execute(update(shops).where(shops.c.shop_id == shop.shop_id).values(settings=settings))
        set_ = shop_by_id(connection, shop.shop_id)
        arrivals, has_cadences = None, False
        if start < now:
            _forget_sends(connection, shop.shop_id, start)
            arrivals = take_out(connection, set_, start)
            has_cadences = _forget_cadences(connection, set_, start - LONG_AGO)
        _open_senders(connection, set_, ask)
        _set_marks(connection, set_, start)
        if ask.draft is not None:
            journey_store.save(connection, set_, ask.draft, start)
        if ask.only:
            _switch_on(connection, set_, ask.only, max(begin, start))
        # Whoever reads the store is in time.
        connection.execute(
            update(sync_state)
            .where(sync_state.c.shop_id == shop.shop_id)
            .values(whole_since=_end(ask, shop), phase="idle")
        )
    if has_cadences:
        cadences.count(scratch, set_, start - LONG_AGO)
    return set_, arrivals


def _end(ask: Ask, shop: Shop) -> datetime:
    return ask.span(shop)[1]


def _forget_cadences(connection: Connection, shop: Shop, at: datetime) -> bool:
    """How long products and pauses last is not known, nor which day it was counted on last; answers whether it ever was."""
    had = [execute(connection, f"DELETE FROM {name} WHERE shop_id = ?", (shop.shop_id,)).rowcount for name in _COUNTED]  # noqa: S608
    mark = "UPDATE job_runs SET through = MIN(through, ?) WHERE shop_id = ? AND job = ?"
    execute(connection, mark, (local_day(at, shop.timezone).isoformat(), shop.shop_id, CADENCES))
    return any(had)


_COUNTED = ("cadences", "refills")


def _forget_sends(connection: Connection, shop_id: int, start: datetime) -> None:
    """What was planned after `start` is planned anew; what was only settled after it waits again."""
    t = touchpoints.c
    answers.take_back(connection, shop_id, to_micros(start))
    connection.execute(delete(touchpoints).where(t.shop_id == shop_id, t.planned_at > start))
    open_then = or_(t.settled_at > start, t.accepted_at > start, t.state.in_([one.value for one in WAITING]))
    planned = t.channel != ""
    connection.execute(
        update(touchpoints)
        .where(t.shop_id == shop_id, planned, open_then)
        .values(
            state=State.PLANNED.value,
            reason="",
            reason_detail="",
            next_try_at=t.due_at,
            attempts=0,
            accepted_at=None,
            settled_at=None,
            provider_message_id=None,
            claimed_until=None,
            capped_at=None,
            updated_at=start,
        )
    )


def _set_marks(connection: Connection, shop: Shop, start: datetime) -> None:
    """Planned up to the beginning, and no further; what was switched on after it is on from the beginning."""
    j = journeys.c
    mine = (j.shop_id == shop.shop_id, j.planned_through > start)
    connection.execute(update(journeys).where(*mine).values(planned_through=start - _FIRST_ROUND))
    late = (j.shop_id == shop.shop_id, j.enabled_at > start)
    connection.execute(update(journeys).where(*late).values(enabled_at=start, planned_through=start))


def _switch_on(connection: Connection, shop: Shop, key: str, at: datetime) -> None:
    """On from then on, or since longer."""
    j = journeys.c
    mine = (j.shop_id == shop.shop_id, j.journey_key == key)
    fresh = ~j.enabled | j.enabled_at.is_(None) | (j.enabled_at > at)
    connection.execute(update(journeys).where(*mine, fresh).values(enabled=True, enabled_at=at, planned_through=at))
    connection.execute(update(journeys).where(*mine).values(paused_at=None))


def _open_senders(connection: Connection, shop: Shop, ask: Ask) -> None:
    """A sender that waits for the merchant is rehearsed as one that works; with `all_channels` each channel has one."""
    c = connections.c
    connection.execute(update(connections).where(c.shop_id == shop.shop_id).values(status="ok", status_detail=""))
    if not ask.all_channels:
        return
    connection.execute(update(connections).where(c.shop_id == shop.shop_id).values(enabled=True))
    there = senders.available(connection, shop)
    for channel in CHANNELS:
        fit = [name for name in channel_names() if channel_class(name).channel == channel]
        fit = [name for name in fit if channel_class(name).uses_storefront in ("", shop.platform)]
        if channel not in there and fit:
            row = {"adapter": fit[0], "channel": channel, "settings": b"", "enabled": True, "status": "ok"}
            connection.execute(
                connections.insert().values(shop_id=shop.shop_id, **row, status_detail="", updated_at=ask.span(shop)[0])
            )
