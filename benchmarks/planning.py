"""Planning: a tick costs what is due, not what is stored; many touchpoints at once against a loop of ORM objects over members."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, insert, select, update

from benchmarks import data
from benchmarks.harness import Options, Result, benchmark, seconds
from crm_plugin.ids import new_id
from crm_plugin.store import connections, journeys, member_consents, members, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.plan import coming, plan_shop

_SMALL = 10_000
_DUE = 5_000
# The 30th of October in Paris, from midnight to midnight: the day of `data.celebrants`.
DAWN = datetime(2026, 10, 29, 23, tzinfo=UTC)
_DAY = timedelta(days=1)
DUSK = DAWN + _DAY
_SAMPLE = 2_000


@benchmark("planning.tick")
def tick(options: Options) -> Iterator[Result]:
    """One round with five thousand birthdays due, in a large shop and in one of ten thousand; what one due row costs, found and written."""
    small, due = min(_SMALL, options.members), min(_DUE, options.members)
    times: dict[int, float] = {}
    for size in dict.fromkeys((small, options.members)):
        with data.stocked(size, options.seed) as (database, shop):
            data.load(database, shop, data.celebrants(due, size))
            _analyze(database)
            _switch_on(database, shop)
            times[size] = min(_round(database, shop) for _ in range(options.repeats))
            if size == options.members:
                parts = _parts(database, shop, options.repeats)
    detail = {"due": due, "small": small, "large": options.members, **parts}
    yield Result(
        "planning: a tick, by size of shop",
        times[options.members],
        times[small],
        "s",
        2.0,
        False,
        "a shop of 10,000",
        detail,
    )
    each = (times[options.members] - parts["idle_s"]) / due * 1e6
    found = (parts["find_s"] - parts["find_nothing_s"]) / due * 1e6
    yield Result("planning: a due row found", found, 3.0, "µs", 1.0, False, "the budget", detail)
    raw = parts["raw_insert_s"] / due * 1e6
    yield Result(
        "planning: a due row written", each, raw, "µs", None, False, "raw executemany of the same rows", detail
    )


def _parts(database: Database, shop: Shop, repeats: int) -> dict[str, float]:
    """Seconds of what a round is made of, and of other ways: nothing due, only finding, a scan, a raw insert of the same rows."""
    with database.read() as connection:
        rows = [tuple(row) for row in connection.exec_driver_sql("SELECT * FROM touchpoints")]
    return {
        # The 31st has no birthdays at all.
        "idle_s": min(_round(database, shop, DUSK, DUSK + _DAY) for _ in range(repeats)),
        "find_s": min(seconds(lambda: _find(database, shop, DAWN, DUSK)) for _ in range(repeats)),
        "find_nothing_s": min(seconds(lambda: _find(database, shop, DUSK, DUSK + _DAY)) for _ in range(repeats)),
        "scan_s": min(seconds(lambda: _scan(database)) for _ in range(repeats)),
        "raw_insert_s": min(_raw_insert(database, rows) for _ in range(repeats)),
    }


def _find(database: Database, shop: Shop, since: datetime, until: datetime) -> None:
    """Who is due, judged as a round judges them, without writing anything."""
    with database.read() as connection:
        found = coming(connection, shop, journey_store.get(connection, shop.shop_id, "greet"), since, until)
        assert found is not None
        connection.execute(select(func.count(), func.max(found.c.state))).one()


def _raw_insert(database: Database, rows: list[tuple[Any, ...]]) -> float:
    _forget(database)
    marks = ", ".join("?" * len(rows[0]))

    def work() -> None:
        with database.write() as connection:
            connection.exec_driver_sql(f"INSERT INTO touchpoints VALUES ({marks})", rows)

    return seconds(work)


@benchmark("planning.many")
def many(options: Options) -> Iterator[Result]:
    """A round that plans twice as many touchpoints as there are members, at most 200,000, against an ORM loop on a sample."""
    count = min(2 * options.members, 200_000)
    with data.stocked(min(options.members, 1_000), options.seed) as (database, shop):
        options.say(f"{count:,} members with a birthday on one day")
        data.load(database, shop, data.celebrants(count, 10_000_000))
        _analyze(database)
        _switch_on(database, shop)
        ours = count / min(_round(database, shop) for _ in range(options.repeats))
        sample = min(_SAMPLE, count)
        _forget(database)
        limit = sample / seconds(lambda: _orm_loop(database, shop, sample))
    yield Result(
        "planning: many at once",
        ours,
        limit,
        "touchpoints/s",
        100,
        True,
        "an ORM loop over members",
        {"planned": count},
    )


def _switch_on(database: Database, shop: Shop) -> None:
    told = {"key": "greet", "trigger": {"type": "birthday", "days": 0}, "channels": ["email"], "validity_days": 3}
    with database.write() as connection:
        connection.execute(
            insert(connections).values(
                shop_id=shop.shop_id, adapter="smtp", channel="email", settings=b"", enabled=True, status="ok",
                status_detail="", updated_at=DAWN,
            )
        )  # fmt: skip
        journey_store.save(connection, shop, read_draft(told), DAWN)


def _round(database: Database, shop: Shop, since: datetime = DAWN, until: datetime = DUSK) -> float:
    """One planning round over that span, in a shop where nothing has been planned."""
    _forget(database)
    with database.write() as connection:
        # Switched on at the span's begin, so that nothing that arrived late before is looked for.
        connection.execute(update(journeys).values(enabled=True, enabled_at=since, planned_through=since))
    took = seconds(lambda: plan_shop(database, shop, until))
    with database.read() as connection:
        planned = connection.execute(select(func.count()).select_from(touchpoints)).scalar_one()
    assert planned or since != DAWN, "the round planned nothing"
    return took


def _forget(database: Database) -> None:
    with database.write() as connection:
        connection.execute(delete(touchpoints))


def _analyze(database: Database) -> None:
    with database.engine.connect() as connection:
        connection.exec_driver_sql("ANALYZE")


def _scan(database: Database) -> None:
    """Who has a birthday, asked of every member."""
    with database.read() as connection:
        query = select(func.count()).where(func.abs(members.c.birth_md) == data.PARTY[0] * 100 + data.PARTY[1])
        connection.execute(query).scalar_one()


class _Touchpoint:
    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self, name, value)


class _Member:
    member_id: int
    email: str


def _orm_loop(database: Database, shop: Shop, count: int) -> None:
    """One member after the other: read, ask consent, look whether it is planned already, add, commit."""
    # Only here: what measures the memory of sending imports this module, and the program has no ORM.
    from sqlalchemy.orm import Session, registry

    mapped = registry()
    mapped.map_imperatively(_Touchpoint, touchpoints)
    mapped.map_imperatively(_Member, members)
    said = member_consents.c
    birthday = data.PARTY[0] * 100 + data.PARTY[1]
    with Session(database.engine) as session:
        chosen = session.scalars(select(_Member).where(members.c.birth_md == birthday).limit(count))
        for member in chosen.all():
            consent = session.execute(
                select(said.state).where(
                    said.shop_id == shop.shop_id, said.member_id == member.member_id, said.channel == "email"
                )
            ).scalar()
            key = {"journey_key": "greet", "member_id": member.member_id, "step": 0, "occasion": "2026"}
            there = session.query(_Touchpoint).filter_by(shop_id=shop.shop_id, **key).first()
            if there is not None or consent != "granted":
                continue
            session.add(
                _Touchpoint(
                    shop_id=shop.shop_id, touchpoint_id=new_id(), **key, state="planned", channel="email", adapter="smtp",
                    address=member.email, occasion_on=DUSK.date(), due_at=DUSK, next_try_at=DUSK,
                    valid_until=DUSK, planned_at=DUSK, updated_at=DUSK,
                )
            )  # fmt: skip
            session.commit()
    mapped.dispose()
