"""One function a job. Each does one thing for one shop, and what it has done is in the rows when it ends."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from crm_plugin.adapters.registry import storefront_class
from crm_plugin.clock import local_day
from crm_plugin.errors import InvalidInput
from crm_plugin.jobs import runs
from crm_plugin.jobs.runs import Run
from crm_plugin.rules import tiers
from crm_plugin.runtime import Runtime
from crm_plugin.store.tenants import Shop, shop_by_id
from crm_plugin.sync import connect, facts, imports, problems, pull
from crm_plugin.touchpoints import program, recipes
from crm_plugin.touchpoints.dispatch import dispatch_shop
from crm_plugin.touchpoints.intake import match_early
from crm_plugin.touchpoints.plan import plan_shop
from crm_plugin.touchpoints.recover import recover_shop

_log = logging.getLogger(__name__)
Progress = Callable[[pull.Progress], None]
TIERS = "tiers"


@dataclass(frozen=True, slots=True)
class Job:
    """A job by name. `every_seconds` is how often the clock asks for it; 0 means only when somebody does."""

    name: str
    help: str
    every_seconds: int
    run: Callable[..., dict[str, Any]]
    # Whether the clock asks for it for this shop.
    wanted: Callable[[Shop], bool] = lambda _shop: True


@dataclass(frozen=True, slots=True)
class TickReport:
    """What one round did.

    `recovered` are messages whose end was learned late; `tiers` is None when the levels were looked at that day already.
    """

    at: datetime
    recovered: dict[str, int]
    tiers: dict[str, Any] | None
    plan: dict[str, Any]
    dispatch: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "at": self.at.isoformat()}


def add_shop(runtime: Runtime, *, name: str, platform: str, credentials: Mapping[str, Any], **told: str) -> Shop:
    """Connect a store and give it the recipes, switched off. Raises: as `sync.connect.add_shop`."""
    now = runtime.clock.now()
    shop = connect.add_shop(
        runtime.db, runtime.box, name=name, platform=platform, credentials=credentials, now=now, **told
    )
    with runtime.db.write() as connection:
        recipes.install(connection, shop, now)
    return shop


def can_be_pulled(shop: Shop) -> bool:
    """Whether the store can be asked for what is new; a shop of files cannot."""
    return bool(storefront_class(shop.platform).streams)


def sync(
    runtime: Runtime,
    shop: Shop,
    *,
    full: bool = False,
    now: datetime | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Pull what is new. Raises: InvalidInput for a shop of files, and what the storefront raises."""
    if not can_be_pulled(shop):
        raise InvalidInput(
            f"{shop.name} takes files.", hint=f"crm-plugin import {shop.name} FILE --mapping mapping.yaml"
        )
    storefront = connect.open_storefront(runtime.db, runtime.box, shop)
    at = now or runtime.clock.now()
    try:
        return pull.sync_shop(runtime.db, shop, storefront, now=at, full=full, progress=progress).as_dict()
    finally:
        storefront.close()


def import_file(
    runtime: Runtime,
    shop: Shop,
    *,
    path: str,
    mapping: Mapping[str, Any],
    now: datetime,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Load an uploaded file, and remove it whatever becomes of it."""
    file = Path(path)
    try:
        return imports.import_file(runtime.db, shop, file, mapping, now=now, progress=progress).as_dict()
    finally:
        file.unlink(missing_ok=True)


def retry_problems(
    runtime: Runtime, shop: Shop, *, now: datetime | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Read again every record that could not be read."""
    storefront = connect.open_storefront(runtime.db, runtime.box, shop) if can_be_pulled(shop) else None
    try:
        return problems.retry(runtime.db, shop, storefront, now or runtime.clock.now()).as_dict()
    finally:
        if storefront is not None:
            storefront.close()


def load_program(runtime: Runtime, shop: Shop, document: Mapping[str, Any], *, actor: str) -> dict[str, Any]:
    """Make a shop's programme what the document says; with new exchange rates all sums are counted anew.

    Raises: InvalidInput, RuleError; nothing is written then.
    """
    now = runtime.clock.now()
    with runtime.db.write() as connection:
        report = program.load(connection, shop, document, now, actor=actor)
        if report.rates_changed:
            facts.rebuild(connection, shop_by_id(connection, shop.shop_id), now)
    return report.as_dict()


def tick(runtime: Runtime, shop: Shop, at: datetime) -> TickReport:
    """One round: settle what a crash left, levels once a local day, plan what has fallen due, send what may leave."""
    recovered = {**recover_shop(runtime.db, shop, at), **match_early(runtime.db, shop, at)}
    moved = daily_tiers(runtime, shop, at)
    planned = plan_shop(runtime.db, shop, at)
    sent = dispatch_shop(runtime.db, runtime.box, shop, at, public_url=runtime.config.public_url)
    return TickReport(at, recovered, moved, planned.as_dict(), sent.as_dict())


def daily_tiers(runtime: Runtime, shop: Shop, at: datetime) -> dict[str, Any] | None:
    """Bring everybody to the level earned, once for each day in the shop's zone; None when that was done."""
    day = local_day(at, shop.timezone)
    with runtime.db.read() as connection:
        before = runs.last(connection, shop.shop_id, TIERS)
    if before is not None and before.through >= day.isoformat():
        return None
    report = tiers.apply(runtime.db, shop, as_of=day, now=at).as_dict()
    with runtime.db.write() as connection:
        runs.keep(connection, shop.shop_id, Run(TIERS, at, at, runs.plain(report), "", day.isoformat()))
    return report


def _tick(runtime: Runtime, shop: Shop, *, now: datetime, progress: Progress | None = None) -> dict[str, Any]:
    return tick(runtime, shop, now).as_dict()


JOBS: tuple[Job, ...] = (
    Job("sync", "Pull members, orders, refunds and products from the store.", 300, sync, can_be_pulled),
    Job("tick", "Recover, assign tiers once a day, plan what has fallen due, send what may leave.", 60, _tick),
    Job("import_file", "Load a CSV file that was uploaded on the page.", 0, import_file),
    Job("retry_problems", "Read again the records that could not be read.", 0, retry_problems),
)


def job_named(name: str) -> Job:
    """The job of that name. Raises: KeyError, for only our own code names jobs."""
    return next(job for job in JOBS if job.name == name)
