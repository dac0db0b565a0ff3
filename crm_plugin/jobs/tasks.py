"""One function a job. Each does one thing for one shop, and what it has done is in the rows when it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from crm_plugin.adapters.registry import storefront_class
from crm_plugin.analytics.named import named
from crm_plugin.errors import InvalidInput
from crm_plugin.jobs import coupons, following, leaving, levels, prune, uploads, write_back
from crm_plugin.jobs.turns import FEWEST, Turn
from crm_plugin.phrases import phrase
from crm_plugin.rehearsal import Ask, rehearse
from crm_plugin.rounds import Progress, tick
from crm_plugin.rules import kept, segments
from crm_plugin.runtime import Runtime
from crm_plugin.store import runs
from crm_plugin.store.runs import Run
from crm_plugin.store.tenants import Shop, shop_by_id
from crm_plugin.sync import anew, connect, facts, imports, problems, pull
from crm_plugin.touchpoints import program, recipes
from crm_plugin.touchpoints.settings import keep_days, read_locale
from crm_plugin.touchpoints.steps import stock

RECOUNT = "recount"
FOLLOW = "follow"


@dataclass(frozen=True, slots=True)
class Job:
    """A job by name. `every_seconds` is how often the clock asks for it; 0 means only when somebody does.

    A result whose `again` is true asks for the same job once more, when the other shops have had their turn.
    """

    name: str
    help: str
    every_seconds: int
    run: Callable[..., dict[str, Any]]
    # Whether the clock asks for it for this shop.
    wanted: Callable[[Shop], bool] = lambda _shop: True
    # Whether there is anything to do for it now, for a job that most of the time has nothing.
    due: Callable[[Connection, Shop, datetime], bool] = lambda _connection, _shop, _now: True
    # How often the clock asks while the store waits for the merchant, such as for new keys; 0 makes no difference.
    when_stuck_seconds: int = 0
    # It may take hours, so that it must not keep every worker from the short ones.
    is_long: bool = False
    # It is done for a shop whose app was taken away as well.
    of_asleep: bool = False
    # It goes on where it stopped, so a process that ends need not wait for it.
    can_stop: bool = False


def add_shop(runtime: Runtime, *, name: str, platform: str, credentials: Mapping[str, Any], **told: str) -> Shop:
    """Connect a store and give it the recipes, switched off. Raises: as `sync.connect.add_shop`."""
    now = runtime.clock.now()
    if "locale" in told:
        told["locale"] = read_locale(told["locale"])
    return connect.add_shop(
        runtime.db,
        runtime.box,
        name=name,
        platform=platform,
        credentials=credentials,
        now=now,
        furnish=lambda connection, shop: recipes.install(connection, shop, now),
        **told,
    )


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
    """Pull what is new; time stands still at `now` when it is given. Raises: InvalidInput for a shop of files, as the storefront does."""
    if not can_be_pulled(shop):
        raise InvalidInput(
            phrase("%(name)s takes files.", name=shop.name),
            hint=phrase("crm-plugin import %(name)s FILE --mapping mapping.yaml", name=shop.name),
        )
    storefront = connect.open_storefront(runtime.db, runtime.box, shop)
    clock = None if now else runtime.clock.now
    at = now or runtime.clock.now()
    try:
        with runtime.db.read() as connection:
            is_asked = anew.is_asked(connection, shop.shop_id)
        if is_asked:
            with runtime.db.write() as connection:
                anew.begin(connection, shop.shop_id, at)
        report = pull.sync_shop(runtime.db, shop, storefront, now=at, clock=clock, full=full, progress=progress)
        return {**report.as_dict(), **following.listen_at_first(runtime, shop, storefront)}
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
        clock = runtime.clock.now
        return imports.import_file(runtime.db, shop, file, mapping, now=now, clock=clock, progress=progress).as_dict()
    finally:
        uploads.remove(file)


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


def load_program(
    runtime: Runtime, shop: Shop, document: Mapping[str, Any], *, actor: str, typed: str = ""
) -> dict[str, Any]:
    """Make a shop's programme what the document says; with new exchange rates all sums are counted anew.

    Raises: InvalidInput, RuleError; nothing is written then.
    """
    now = runtime.clock.now()
    with runtime.db.write() as connection:
        report = program.load(connection, shop, document, now, actor=actor, typed=typed)
        if report.rates_changed:
            _recount(connection, shop_by_id(connection, shop.shop_id), now)
    return report.as_dict()


def recount(runtime: Runtime, shop: Shop, *, now: datetime, progress: Progress | None = None) -> dict[str, Any]:
    """Count all sums anew by the present exchange rates, unless they are counted by them."""
    del progress  # It is one transaction: sums of two rates side by side would be worse than old ones.
    with runtime.db.read() as connection:
        if is_counted(connection, shop_by_id(connection, shop.shop_id)):
            return {}
    with runtime.db.write() as connection:
        rows = _recount(connection, shop_by_id(connection, shop.shop_id), now)
    with runtime.db.read() as connection:
        # Rates that were saved meanwhile have asked for this job in vain: it was at it.
        return {"members": rows, "again": not is_counted(connection, shop_by_id(connection, shop.shop_id))}


def is_counted(connection: Connection, shop: Shop) -> bool:
    """Whether the sums are by the present exchange rates."""
    before = runs.last(connection, shop.shop_id, RECOUNT)
    return (before.through if before else "") == _rates_mark(shop)


def _recount(connection: Connection, shop: Shop, now: datetime) -> int:
    rows = facts.rebuild(connection, shop, now)
    runs.keep(connection, shop.shop_id, Run(RECOUNT, now, now, {"members": rows}, "", _rates_mark(shop)))
    return rows


def _rates_mark(shop: Shop) -> str:
    return " ".join(f"{code}={rate}" for code, rate in sorted(shop.rates.items()))


def save_segment(
    runtime: Runtime, shop: Shop, key: str, text: str, *, title: str = "", now: datetime, actor: str = ""
) -> dict[str, Any]:
    """Save a rule as a segment and list whom it holds, both or neither. An `actor` goes into the audit log.

    Raises: InvalidInput, RuleError.
    """
    with runtime.db.write() as connection:
        segments.save(connection, shop, key, text, now, title=title, actor=actor)
        return kept.keep(connection, shop, now, [key]).as_dict()


def save_list(
    runtime: Runtime,
    shop: Shop,
    key: str,
    rows: Iterable[tuple[int, str]],
    *,
    title: str = "",
    add: bool = False,
    now: datetime,
    actor: str = "",
) -> dict[str, Any]:
    """Save a segment of these members (names with their lines), in place of those it had or, with `add`, beside them.

    Names that are no one's are told of, and the rest is saved. Raises: InvalidInput for a key that is a rule's.
    """
    with runtime.db.write() as connection:
        segments.save_list(connection, shop, key, now, title=title, actor=actor)
        wanted = named(connection, shop, rows)
        turnover = kept.write_list(connection, shop, key, wanted.member_ids, now, add=add)
    unknown = [asdict(one) for one in wanted.unknown]
    return {"members": len(wanted.member_ids), **asdict(turnover), "unknown": len(unknown), "lines": unknown}


def _tick(runtime: Runtime, shop: Shop, *, now: datetime, progress: Progress | None = None) -> dict[str, Any]:
    report = tick(runtime, shop, now, live=True, progress=Turn(runtime.clock, progress))
    again = "turn_over" in report.dispatch and report.dispatch["settled"] >= FEWEST
    return {**report.as_dict(), "again": again}


def _sync(
    runtime: Runtime, shop: Shop, *, now: datetime, full: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    del now  # A reading may take hours, and time goes on.
    return sync(runtime, shop, full=full, progress=progress)


def rehearsal(
    runtime: Runtime,
    shop: Shop,
    *,
    now: datetime,
    journey: str,
    first: str,
    last: str,
    price: str = "",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Play days past or to come; the days as ISO text, the price of one part of a text message as one."""
    del now  # It is the runtime's.
    cost = Decimal(price) if price else None
    ask = Ask(date.fromisoformat(first), date.fromisoformat(last), journey, part_price=cost)
    return {"rehearsal": rehearse(runtime, shop, ask, progress=progress).as_dict()}


JOBS: tuple[Job, ...] = (
    Job(
        "sync",
        "Pull members, orders, refunds and products from the store.",
        300,
        _sync,
        can_be_pulled,
        when_stuck_seconds=3600,
        is_long=True,
        can_stop=True,
    ),
    Job(
        FOLLOW,
        "Read again what the store said has changed.",
        60,
        following.run,
        following.hears,
        following.is_due,
        when_stuck_seconds=3600,
        can_stop=True,
        of_asleep=True,
    ),
    Job(
        following.RECONCILE,
        "Once a night compare what the store holds with what is here, and mend the difference.",
        900,
        following.compare,
        following.can_compare,
        following.is_night,
        when_stuck_seconds=3600,
        is_long=True,
        can_stop=True,
    ),
    Job(
        "tick",
        "Recover, assign tiers once a day, keep segments, plan what has fallen due, send what may leave.",
        60,
        _tick,
        can_stop=True,
    ),
    Job(
        "write_levels",
        "Write levels that have changed into the store, where the merchant has switched that on.",
        60,
        levels.write,
        levels.can_hold,
        levels.is_due,
        can_stop=True,
    ),
    Job(
        write_back.WRITE_BACK,
        "Write tags that journeys gave, and consent that was said here, into the store, where the merchant has switched that on.",
        60,
        write_back.run,
        write_back.is_on,
        when_stuck_seconds=3600,
        can_stop=True,
    ),
    Job(
        coupons.COUPONS,
        "Ask the store for coupon codes that were ordered, and for what is missing of pools that are kept in stock.",
        600,
        coupons.run,
        stock.can_make,
        coupons.is_due,
        when_stuck_seconds=3600,
        is_long=True,
        can_stop=True,
    ),
    Job(
        leaving.LEAVE,
        "Take leave of a store that was disconnected, and erase what is to go.",
        300,
        leaving.run,
        leaving.is_left,
        leaving.is_due,
        is_long=True,
        of_asleep=True,
    ),
    Job("import_file", "Load a CSV file that was uploaded on the page.", 0, import_file, is_long=True),
    Job("retry_problems", "Read again the records that could not be read.", 0, retry_problems, is_long=True),
    Job("rehearse", "Play journeys over days past or to come, on a copy.", 0, rehearsal, is_long=True, can_stop=True),
    Job(
        prune.PRUNE,
        "Once a day take away the words of messages and what providers told us, past the days they are kept.",
        3600,
        prune.prune,
        lambda shop: keep_days(shop) > 0,
        prune.is_due,
        is_long=True,
        can_stop=True,
    ),
    Job(
        RECOUNT,
        "Count all sums anew after a change of exchange rates.",
        3600,
        recount,
        lambda shop: bool(shop.rates),
        is_long=True,
    ),
)


def job_named(name: str) -> Job:
    """The job of that name. Raises: KeyError, for only our own code names jobs."""
    return next(job for job in JOBS if job.name == name)
