"""Figures for Prometheus, counted from the rows when they are asked for: whichever process is asked, the answer is the same.

Each figure is one statement over all shops that reads an index range of what waits or happened lately, never of what is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import Connection, func, select

from crm_plugin.clock import Clock
from crm_plugin.jobs.leader import CLOCK
from crm_plugin.jobs.stalls import stalls
from crm_plugin.runtime import Runtime
from crm_plugin.store import connections, hook_counts, job_runs, leases, sender_health, shops, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.touchpoints.senders import PAUSED
from crm_plugin.touchpoints.states import WAITING, State

CONTENT_TYPE = CONTENT_TYPE_LATEST
# Rates are over this span.
LATELY = timedelta(minutes=5)
_t = touchpoints.c
# With the shops named, an index that begins with them serves; many at once would be too many to be bound.
_SHOPS = select(shops.c.shop_id)


def exposition(runtime: Runtime) -> bytes:
    """All figures in Prometheus' text form."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(runtime.db, runtime.clock))
    return generate_latest(registry)


class _Figures:
    """What the registry asks at each reading."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        now = self._clock.now()
        with self._db.read() as connection:
            rows = connection.execute(select(shops.c.shop_id, shops.c.name))
            names = {row.shop_id: row.name for row in rows}
            yield from _queue(connection, names, now)
            yield from _lately(connection, names, now)
            yield from _jobs(connection, names, now)
            yield _resting(connection, names, now)
            yield _hooks(connection, names)
            yield _stalled(connection, names, now)
            leading = any(one.name == CLOCK for one in leases.held(connection, leases.EVERYBODY, now))
            yield _gauge("crm_clock_leads", "Whether one of several clocks holds the lease.", (), [((), int(leading))])


def _queue(connection: Connection, names: dict[int, str], now: datetime) -> Iterator[GaugeMetricFamily]:
    due = [state.value for state in WAITING]
    waiting = connection.execute(
        select(_t.shop_id, func.count(), func.min(_t.next_try_at))
        .where(_t.shop_id.in_(_SHOPS), _t.state.in_(due), _t.next_try_at <= now)
        .group_by(_t.shop_id)
    ).all()
    yield _gauge(
        "crm_touchpoints_due",
        "Messages that are due and wait.",
        ("shop",),
        [((names[shop],), n) for shop, n, _ in waiting],
    )
    yield _gauge(
        "crm_touchpoints_oldest_due_seconds",
        "For how long the first of them has been due.",
        ("shop",),
        [((names[shop],), (now - first).total_seconds()) for shop, _, first in waiting],
    )
    held = connection.execute(
        select(_t.shop_id, _t.state, func.count())
        .where(_t.shop_id.in_(_SHOPS), _t.state.in_([State.IN_FLIGHT.value, State.UNCONFIRMED.value]))
        .group_by(_t.shop_id, _t.state)
    )
    yield _gauge(
        "crm_touchpoints",
        "Messages in flight, and those whose outcome is unknown.",
        ("shop", "state"),
        [((names[shop], state), n) for shop, state, n in held],
    )


def _lately(connection: Connection, names: dict[int, str], now: datetime) -> Iterator[GaugeMetricFamily]:
    accepted = connection.execute(
        select(_t.shop_id, _t.adapter, func.count())
        .where(_t.shop_id.in_(_SHOPS), _t.accepted_at > now - LATELY, _t.accepted_at <= now)
        .group_by(_t.shop_id, _t.adapter)
    )
    yield _gauge(
        "crm_accepted_per_second",
        "Messages that senders took, over the last five minutes.",
        ("shop", "adapter"),
        [((names[shop], adapter), n / LATELY.total_seconds()) for shop, adapter, n in accepted],
    )


def _jobs(connection: Connection, names: dict[int, str], now: datetime) -> Iterator[GaugeMetricFamily]:
    r = job_runs.c
    rows = connection.execute(
        select(r.shop_id, r.job, r.started_at, r.finished_at, r.error, r.result).where(
            r.shop_id.in_(_SHOPS), r.job != hook_counts.HOOKS
        )
    ).all()
    about = [((names[row.shop_id], row.job), row) for row in rows]
    told = ("shop", "job")
    yield _gauge(
        "crm_job_ok", "Whether the last run of a job went well.", told, [(on, int(not row.error)) for on, row in about]
    )
    yield _gauge(
        "crm_job_seconds",
        "How long it took.",
        told,
        [(on, (row.finished_at - row.started_at).total_seconds()) for on, row in about],
    )
    yield _gauge(
        "crm_job_age_seconds",
        "How long ago it ended.",
        told,
        [(on, (now - row.finished_at).total_seconds()) for on, row in about],
    )
    for kind in ("states", "reasons"):
        yield _gauge(
            f"crm_last_round_{kind}",
            f"Messages that the last round settled, by {kind}.",
            ("shop", kind.removesuffix("s")),
            [
                ((names[row.shop_id], name), count)
                for row in rows
                if row.job == "tick"
                for name, count in ((row.result or {}).get("dispatch", {}).get(kind) or {}).items()
            ],
        )


def _resting(connection: Connection, names: dict[int, str], now: datetime) -> GaugeMetricFamily:
    c, h = connections.c, sender_health.c
    paused = connection.execute(select(c.shop_id, c.adapter).where(c.shop_id.in_(_SHOPS), c.status == PAUSED))
    failing = connection.execute(select(h.shop_id, h.adapter).where(h.shop_id.in_(_SHOPS), h.rests_until > now))
    rows = [((names[shop], adapter, "merchant"), 1) for shop, adapter in paused]
    rows += [((names[shop], adapter, "failures"), 1) for shop, adapter in failing]
    return _gauge(
        "crm_sender_rests", "Senders that are left alone, and who has to act.", ("shop", "adapter", "why"), rows
    )


def _hooks(connection: Connection, names: dict[int, str]) -> CounterMetricFamily:
    family = CounterMetricFamily(
        "crm_hooks",
        "What came to the hooks of a shop and was refused, or moved nothing.",
        labels=["shop", "adapter", "reason"],
    )
    for one in hook_counts.counts(connection):
        family.add_metric([names[one.shop_id], one.adapter, one.reason.value], one.number)
    return family


def _stalled(connection: Connection, names: dict[int, str], now: datetime) -> GaugeMetricFamily:
    rows = [((names[one.shop_id], one.what.value, one.adapter), max(one.count, 1)) for one in stalls(connection, now)]
    return _gauge(
        "crm_stalled",
        "What should move and does not: rounds, messages that are due, messages that a worker left.",
        ("shop", "what", "adapter"),
        rows,
    )


def _gauge(
    name: str, help_: str, labels: Iterable[str], rows: Iterable[tuple[tuple[str, ...], Any]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_, labels=list(labels))
    for values, value in rows:
        family.add_metric(list(values), float(value))
    return family
