"""How far the reading of a store or a file is, as the pages show it while it goes on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flask_babel import gettext as _
from flask_babel import lazy_gettext, ngettext
from sqlalchemy import Connection

from crm_plugin.adapters.registry import storefront_class
from crm_plugin.analytics import today as figures
from crm_plugin.jobs.asked import Jobs
from crm_plugin.store.tenants import Shop
from crm_plugin.web import formats
from crm_plugin.web.languages import sentences

# What the pages call the lists of a store and the kinds of a file.
NAMES = {
    "products": lazy_gettext("Products"),
    "members": lazy_gettext("Members"),
    "orders": lazy_gettext("Orders"),
    "refunds": lazy_gettext("Refunds"),
    "checkouts": lazy_gettext("Checkouts"),
    "order_lines": lazy_gettext("Order lines"),
}
# The jobs that pages ask for.
SYNC, IMPORT, RETRY, RECOUNT, FOLLOW, LEAVE = "sync", "import_file", "retry_problems", "recount", "follow", "leave"
RECONCILE = "reconcile"


@dataclass(frozen=True, slots=True)
class Line:
    """One list of the store, or one file: what has been read of it. `state` is waiting, reading, done or stopped."""

    key: str
    state: str
    done: int
    total: int | None
    at: datetime | None
    detail: str = ""

    @property
    def name(self) -> str:
        return name_of(self.key)


@dataclass(frozen=True, slots=True)
class Reading:
    """All lists of a store. `live` while a job is at it; `complete` once the whole history has been read."""

    lines: tuple[Line, ...]
    live: bool
    complete: bool
    per_second: float | None = None
    seconds_left: int | None = None

    @property
    def stopped(self) -> Line | None:
        """The list that the last reading stopped at."""
        return next((line for line in self.lines if line.state == "stopped"), None)

    @property
    def last_at(self) -> datetime | None:
        """When the store was read last."""
        return max((line.at for line in self.lines if line.at is not None), default=None)


def name_of(key: str) -> str:
    """What a list of the store or a kind of file is called."""
    return str(NAMES.get(key, key))


def takes_files(shop: Shop) -> bool:
    """Whether the shop hands in files: its platform has no lists to ask for."""
    return not storefront_class(shop.platform).streams


def read(connection: Connection, queue: Jobs, shop: Shop, now: datetime) -> Reading:
    """Where the reading of the shop stands."""
    if takes_files(shop):
        return _of_files(connection, queue, shop, now)
    wanted = [stream.value for stream in storefront_class(shop.platform).streams]
    found = figures.streams(connection, shop.shop_id)
    live = any(one.job == SYNC for one in queue.running(shop.shop_id))
    known = {state.stream: state for state in found}
    lines = [_line(key, known.get(key), live) for key in wanted]
    pace = figures.pace(found, now) if live else figures.Pace(None, None)
    return Reading(tuple(lines), live, figures.all_read(found, wanted), pace.per_second, pace.seconds_left)


def _line(key: str, state: figures.StreamState | None, live: bool) -> Line:
    if state is None:
        return Line(key, "waiting", 0, None, None)
    if state.reading:
        # Interrupted, or read by another process: it goes on where it stopped.
        return Line(key, "reading" if live else "waiting", state.done, state.total, state.updated_at)
    stopped = state.phase == "stopped"
    return Line(key, "stopped" if stopped else "done", state.done, state.total, state.updated_at, state.detail)


def _of_files(connection: Connection, queue: Jobs, shop: Shop, now: datetime) -> Reading:
    complete = figures.has_orders(connection, shop.shop_id) or bool(figures.count_members(connection, shop.shop_id))
    job = next((one for one in queue.running(shop.shop_id) if one.job == IMPORT), None)
    if job is None:
        return Reading((), False, complete)
    line = Line(job.label, "reading", job.done, job.total, now)
    seconds = (now - job.since).total_seconds()
    rate = job.done / seconds if seconds >= figures.FIRST_SECONDS and job.done else None
    left = None if rate is None or job.total is None else max(0, round((job.total - job.done) / rate))
    return Reading((line,), True, complete, rate, left)


def in_words(reading: Reading) -> str:
    """The speed and the time that is left, as far as anybody can tell."""
    if reading.per_second is None:
        return ""
    rate = max(1, round(reading.per_second))
    told = ngettext(
        "About %(count)s record a second.", "About %(count)s records a second.", rate, count=formats.number(rate)
    )
    left = reading.seconds_left
    if left is None:
        return str(told)
    if left < 60:
        return sentences((told, _("Less than a minute left for these.")))
    minutes = ngettext(
        "About %(num)s minute left for these.", "About %(num)s minutes left for these.", round(left / 60)
    )
    return sentences((told, minutes))
