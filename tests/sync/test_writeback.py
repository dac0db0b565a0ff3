"""Levels written into a store over HTTP: once, in batches, through bad days and kills, and without hearing our own echo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select

from crm_plugin.adapters.storefronts.base import Allowance
from crm_plugin.adapters.storefronts.woocommerce import WooCommerceStorefront
from crm_plugin.demo.server import ServedShop, Trouble, serve
from crm_plugin.demo.shop import DemoShop, generate
from crm_plugin.errors import ActionRequired, InvalidInput
from crm_plugin.records import MemberRecord, Stream, TierWrite, TierWritten
from crm_plugin.rules import tiers
from crm_plugin.rules.tiers import Level
from crm_plugin.store import audit_log, member_tiers, members, tier_writebacks, writebacks
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import mark_claims, writeback, writeback_switch
from crm_plugin.sync.connect import add_shop, change_credentials, open_storefront
from crm_plugin.sync.pull import sync_shop
from crm_plugin.sync.writeback import write_shop
from tests.factories import make_shop

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)
BOX = SecretBox("A" * 43 + "=")
# Everybody who ever ordered holds silver, and the better half of a demo shop gold.
LADDER = [Level("silver", "orders() >= 1", {"en": "Silver"}), Level("gold", "spent() >= 150", {"en": "Gold"})]


class Killed(BaseException):
    """The process ends here."""


@dataclass(slots=True)
class Case:
    """A connected shop with what its store holds."""

    db: Database
    served: ServedShop
    shop: Shop
    storefront: WooCommerceStorefront
    now: datetime = NOW
    more: dict[str, Any] = field(default_factory=dict)

    def run(self, after: timedelta = timedelta(0)) -> dict[str, Any]:
        self.now += after
        return write_shop(self.db, self.shop, self.storefront, self.now).as_dict()

    def sync(self) -> dict[str, Any]:
        return sync_shop(self.db, self.shop, self.storefront, now=self.now, full=True).as_dict()

    def marks(self) -> dict[str, str]:
        """What the store holds, by account."""
        pages = self.storefront.pages(Stream.MEMBERS, "")
        told = (record for page in pages for record in page.records if isinstance(record, MemberRecord))
        return {one.external_id: one.marks["main"] for one in told if one.marks}

    def held(self) -> dict[str, str]:
        """What is held here, by account."""
        t, m = member_tiers.c, members.c
        query = select(m.external_id, t.level_key).join_from(
            members, member_tiers, (m.shop_id == t.shop_id) & (m.member_id == t.member_id)
        )
        with self.db.read() as connection:
            rows = connection.execute(query.where(m.shop_id == self.shop.shop_id, m.external_id.is_not(None)))
            return {row.external_id: row.level_key for row in rows}

    def states(self) -> dict[str, int]:
        with self.db.read() as connection:
            found = writeback_switch.standing(connection, self.shop).states
        return {state: count for state, count in found.items() if count}

    def queue(self, levels: dict[str, str]) -> None:
        """Give accounts a level, as a pass over the tiers does."""
        with self.db.write() as connection:
            m = members.c
            found = connection.execute(
                select(m.external_id, m.member_id).where(m.shop_id == self.shop.shop_id, m.external_id.in_(levels))
            )
            rows = [(row.member_id, levels[row.external_id]) for row in found]
            for member_id, level in rows:
                t = member_tiers.c
                connection.execute(
                    member_tiers.delete().where(t.shop_id == self.shop.shop_id, t.member_id == member_id)
                )
                key = {"shop_id": self.shop.shop_id, "program_key": "main", "member_id": member_id}
                if level:
                    values = {"level_key": level, "since_at": self.now, "since_on": self.now.date()}
                    connection.execute(insert(member_tiers).values(**key, **values))
            writebacks.queue_levels(connection, self.shop.shop_id, "main", rows, self.now)

    def change_in_store(self, external_id: str, level: str | None) -> None:
        """Somebody changes the mark by hand."""
        entry = {"key": "crm_tier_main", "value": level}
        self.storefront.client.bring(f"customers/{external_id}", {"meta_data": [entry]})

    def row(self, external_id: str) -> Any:
        w, m = tier_writebacks.c, members.c
        query = select(tier_writebacks).join_from(
            tier_writebacks, members, (m.shop_id == w.shop_id) & (m.member_id == w.member_id)
        )
        with self.db.read() as connection:
            return connection.execute(query.where(m.external_id == external_id)).one()


@pytest.fixture(scope="module")
def made() -> DemoShop:
    return generate(seed=4, members=40, years=1, until=date(2026, 11, 24))


@pytest.fixture
def case(db: Database, made: DemoShop) -> Iterator[Case]:
    """A shop that is in step, its write-back still off."""
    with serve(made) as served:
        keys = {"key": served.key, "secret": served.secret}
        shop = add_shop(db, BOX, name="demo", platform="woocommerce", credentials=keys, url=served.url, now=NOW)
        storefront = open_storefront(db, BOX, shop)
        assert isinstance(storefront, WooCommerceStorefront)
        sync_shop(db, shop, storefront, now=NOW)
        yield Case(db, served, shop, storefront)
        storefront.close()


@pytest.fixture
def on(case: Case) -> Case:
    """The same switched on, nobody holding a level."""
    writeback_switch.switch_on(case.db, BOX, case.shop, NOW, actor="cli")
    return case


def _ids(made: DemoShop, count: int) -> list[str]:
    return [str(row["id"]) for row in made.customers[:count]]


def test_pass_over_the_tiers_reaches_the_store(on: Case) -> None:
    with on.db.write() as connection:
        tiers.save_levels(connection, on.shop, LADDER, NOW)
    tiers.apply(on.db, on.shop, as_of=NOW.date(), now=NOW)
    held = on.held()
    assert {"silver", "gold"} == set(held.values())
    report = on.run()
    assert report["states"]["written"] == len(held)
    assert (report["calls"], on.served.calls["POST customers/batch"]) == (1, 2)
    assert on.marks() == held
    assert on.run() == {"states": {}, "recovered": 0, "calls": 0, "stopped": ""}


def test_off_is_off(case: Case, made: DemoShop) -> None:
    case.queue(dict.fromkeys(_ids(made, 3), "gold"))
    assert case.run() == {"states": {}, "recovered": 0, "calls": 0, "stopped": ""}
    assert case.served.calls["POST customers/batch"] == 0
    assert case.states() == {}


def test_turning_on_writes_what_is_held_already(case: Case, made: DemoShop) -> None:
    one, other = _ids(made, 2)
    case.queue({one: "gold", other: "silver"})
    writeback_switch.switch_on(case.db, BOX, case.shop, NOW, actor="page:x")
    case.run()
    assert case.marks() == {one: "gold", other: "silver"}
    writeback_switch.switch_off(case.db, case.shop, NOW, actor="page:x")
    case.queue({one: "", other: "gold"})
    case.run()
    assert case.marks() == {one: "gold", other: "silver"}
    writeback_switch.switch_on(case.db, BOX, case.shop, NOW, actor="page:x")
    case.run()
    assert case.marks() == {other: "gold"}
    with case.db.read() as connection:
        actions = connection.execute(select(audit_log.c.action).order_by(audit_log.c.audit_id)).scalars().all()
    assert [one for one in actions if "writeback" in one] == [
        "tiers.writeback.on",
        "tiers.writeback.off",
        "tiers.writeback.on",
    ]


def test_level_that_is_lost_is_taken_off(on: Case, made: DemoShop) -> None:
    (one,) = _ids(made, 1)
    on.queue({one: "gold"})
    on.run()
    on.queue({one: ""})
    on.run()
    assert on.marks() == {}
    assert on.row(one).store_level == ""


def test_only_the_newest_level_is_written(on: Case, made: DemoShop) -> None:
    (one,) = _ids(made, 1)
    for level in ("silver", "gold", "silver", "gold"):
        on.queue({one: level})
    assert on.run()["states"] == {"written": 1}
    assert on.marks() == {one: "gold"}


def test_sync_after_a_write_back_writes_no_row(on: Case, made: DemoShop) -> None:
    on.queue(dict.fromkeys(_ids(made, 30), "gold"))
    on.run()
    report = on.sync()
    assert report["rows"] == 0
    assert report["streams"]["members"]["same"] == len(made.customers)
    assert on.states() == {"written": 30}


@pytest.mark.parametrize("told", ["silver", None, ""])
def test_what_is_changed_in_the_store_is_put_back(on: Case, made: DemoShop, told: str | None) -> None:
    (one,) = _ids(made, 1)
    on.queue({one: "gold"})
    on.run()
    on.change_in_store(one, told)
    assert on.sync()["rows"] == 0
    row = on.row(one)
    assert (row.state, row.drifts, row.drifted_to, row.drifted_at) == ("waiting", 1, told or "", NOW)
    on.run()
    assert on.marks() == {one: "gold"}
    on.sync()
    assert on.states() == {"written": 1}


def test_mark_of_nobody_is_taken_off(on: Case, made: DemoShop) -> None:
    one, other = _ids(made, 2)
    on.change_in_store(one, "gold")
    on.storefront.client.bring(f"customers/{other}", {"meta_data": [{"key": "crm_tier_old", "value": "vip"}]})
    on.sync()
    assert on.run()["states"] == {"written": 2}
    assert all(record.marks == {} for record in _records(on))


def test_what_waits_is_no_drift(on: Case, made: DemoShop) -> None:
    (one,) = _ids(made, 1)
    on.queue({one: "gold"})
    on.run()
    on.queue({one: "silver"})
    on.sync()
    row = on.row(one)
    assert (row.state, row.drifts) == ("waiting", 0)


def test_page_read_before_the_write_is_no_drift(on: Case, made: DemoShop) -> None:
    (one,) = _ids(made, 1)
    before = on.storefront.reread(Stream.MEMBERS, one)
    assert isinstance(before, MemberRecord)
    on.queue({one: "gold"})
    on.run()
    with on.db.write() as connection:
        assert writeback_switch.drift.take(connection, on.shop.shop_id, [before], NOW) == 0
    assert on.states() == {"written": 1}


def test_checking_all_finds_what_was_changed(on: Case, made: DemoShop) -> None:
    one, other = _ids(made, 2)
    on.queue({one: "gold", other: "gold"})
    on.run()
    on.change_in_store(other, "silver")
    heard: list[int] = []
    found = writeback_switch.check_all(on.db, on.shop, on.storefront, NOW, lambda told: heard.append(told.done))
    assert (found, heard) == (1, [len(made.customers)])
    on.run()
    assert on.marks() == {one: "gold", other: "gold"}


@pytest.mark.parametrize(
    ("trouble", "pause"),
    [
        (Trouble(429, {"Retry-After": "90"}), timedelta(seconds=90)),
        (Trouble(503), timedelta(minutes=1)),
        (Trouble(0), timedelta(minutes=1)),
        (Trouble(0, after=True), timedelta(minutes=1)),
        (Trouble(200, after=True), timedelta(minutes=1)),
    ],
)
def test_what_passes_is_tried_again(on: Case, made: DemoShop, trouble: Trouble, pause: timedelta) -> None:
    wanted = dict.fromkeys(_ids(made, 5), "gold")
    on.queue(wanted)
    on.served.trouble = lambda _method, _path: trouble
    assert on.run()["states"] == {"waiting": 5}
    row = on.row(next(iter(wanted)))
    assert (row.reason, row.attempts, row.store_level) == ("transient", 1, None)
    assert row.detail
    on.served.trouble = None
    assert on.run(pause - timedelta(seconds=1))["calls"] == 0
    on.run(timedelta(seconds=1))
    while on.states() != {"written": 5}:
        on.run(timedelta(minutes=1))
    assert on.marks() == wanted


def test_no_more_than_may_be_written_a_day(on: Case, made: DemoShop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on.storefront, "tier_allowance", lambda: Allowance(3, "Asia/Shanghai"))
    wanted = dict.fromkeys(_ids(made, 5), "gold")
    on.queue(dict(list(wanted.items())[:2]))
    assert on.run()["states"] == {"written": 2}
    on.queue(wanted)
    # Another process knows what this one has written.
    assert on.run(timedelta(minutes=1))["states"] == {"written": 1}
    with on.db.read() as connection:
        told = writeback_switch.standing(connection, on.shop)
    assert told.resting_until == datetime(2026, 11, 24, 16, tzinfo=UTC)
    assert "in one day" in told.resting
    assert told.states["waiting"] == 2
    assert on.run(timedelta(hours=6))["calls"] == 0
    assert on.run(timedelta(hours=1))["states"] == {"written": 2}
    with on.db.read() as connection:
        assert writeback_switch.standing(connection, on.shop).states["waiting"] == 0
    assert on.marks() == wanted


def test_answer_that_was_lost_leaves_nothing_assumed(on: Case, made: DemoShop) -> None:
    (one,) = _ids(made, 1)
    on.queue({one: "silver"})
    on.run()
    on.queue({one: "gold"})
    on.served.trouble = lambda _method, _path: Trouble(0, after=True)
    on.run()
    on.served.trouble = None
    assert on.marks() == {one: "gold"}
    on.queue({one: "silver"})
    assert on.row(one).state == "waiting"
    on.run(timedelta(minutes=1))
    assert on.marks() == {one: "silver"}


@pytest.mark.slow
def test_store_that_is_away_for_days_loses_nothing(on: Case, made: DemoShop) -> None:
    wanted = dict.fromkeys(_ids(made, 12), "gold")
    on.queue(wanted)
    on.served.trouble = lambda _method, _path: Trouble(503)
    for _ in range(60):
        on.run(timedelta(hours=1))
    assert on.states() == {"waiting": 12}
    assert on.served.calls["POST customers/batch"] < 200
    on.served.trouble = None
    for _ in range(3):
        on.run(timedelta(hours=6))
    assert (on.states(), on.marks()) == ({"written": 12}, wanted)


@pytest.mark.slow
def test_account_the_store_falls_over_keeps_no_other_waiting(on: Case, made: DemoShop) -> None:
    wanted = dict.fromkeys(_ids(made, 20), "gold")
    poison = next(iter(wanted))
    on.queue(wanted)
    honest = on.storefront.write_tiers

    def fragile(writes: Sequence[TierWrite]) -> list[TierWritten]:
        if any(write.reference == poison for write in writes):
            on.served.trouble = lambda _method, _path: Trouble(500)
        try:
            return honest(writes)
        finally:
            on.served.trouble = None

    on.storefront.write_tiers = fragile  # type: ignore[method-assign]
    for _ in range(12):
        on.run(timedelta(hours=6))
    assert on.marks() == {one: "gold" for one in wanted if one != poison}
    assert on.row(poison).attempts > 3


def test_deleted_account_is_told_and_kept_from_no_other(on: Case, made: DemoShop) -> None:
    one, other, third = _ids(made, 3)
    on.queue({one: "gold", other: "gold", third: "gold"})
    on.storefront.client._authorised("DELETE", f"customers/{other}", {"force": "true"})
    assert on.run()["states"] == {"written": 2, "impossible": 1}
    row = on.row(other)
    assert (row.reason, row.detail) == ("gone", "This account is no longer in the store.")
    assert on.marks() == {one: "gold", third: "gold"}


def test_refusal_of_one_is_shown_and_tried_again_when_asked(on: Case, made: DemoShop) -> None:
    one, other = _ids(made, 2)
    on.queue({one: "gold", other: "gold"})
    honest = on.storefront.client.bring
    refusal = {"error": {"code": "woocommerce_rest_cannot_edit", "message": "Sorry, you cannot edit this resource."}}
    on.storefront.client.bring = (
        lambda path, payload: {  # type: ignore[method-assign]
            "update": [{"id": int(one), **refusal}, honest(path, {"update": payload["update"][1:]})["update"][0]]
        }
    )
    assert on.run()["states"] == {"written": 1, "failed": 1}
    with on.db.read() as connection:
        (refused,) = writeback_switch.standing(connection, on.shop).refused
    assert refused.level == "gold"
    assert "Sorry, you cannot edit this resource." in refused.detail
    on.storefront.client.bring = honest  # type: ignore[method-assign]
    assert on.run(timedelta(days=3))["states"] == {}
    assert writeback_switch.try_again(on.db, on.shop, on.now) == 1
    assert on.run()["states"] == {"written": 1}
    assert on.marks() == {one: "gold", other: "gold"}


def test_refused_mark_that_somebody_set_by_hand_is_well(on: Case, made: DemoShop) -> None:
    (one,) = _ids(made, 1)
    on.queue({one: "gold"})
    with on.db.write() as connection:
        connection.execute(tier_writebacks.update().values(state="failed", reason="refused", detail="no"))
    on.change_in_store(one, "gold")
    on.sync()
    row = on.row(one)
    assert (row.state, row.store_level, row.detail) == ("written", "gold", "")


def test_key_that_only_reads_stops_the_shop_with_one_notice(on: Case, made: DemoShop) -> None:
    wanted = dict.fromkeys(_ids(made, 5), "gold")
    on.queue(wanted)
    on.served.may_write = False
    report = on.run()
    assert "Read/Write" in report["stopped"]
    assert (report["calls"], on.states()) == (1, {"waiting": 5})
    with on.db.read() as connection:
        assert writeback_switch.standing(connection, on.shop).stopped == report["stopped"]
        assert not writebacks.is_due(connection, on.shop.shop_id, on.now + timedelta(minutes=59))
    asked = on.served.calls["POST customers/batch"]
    assert on.run(timedelta(minutes=59))["calls"] == 0
    assert on.served.calls["POST customers/batch"] == asked
    assert "Read/Write" in on.run(timedelta(minutes=1))["stopped"]
    assert on.served.calls["POST customers/batch"] == asked + 1
    on.served.may_write = True
    assert on.run(timedelta(hours=1))["states"] == {"written": 5}
    assert on.marks() == wanted
    with on.db.read() as connection:
        assert writeback_switch.standing(connection, on.shop).stopped == ""


def test_merchant_who_gave_the_right_need_not_wait(on: Case, made: DemoShop) -> None:
    on.queue(dict.fromkeys(_ids(made, 1), "gold"))
    on.served.may_write = False
    on.run()
    on.served.may_write = True
    writeback_switch.try_again(on.db, on.shop, on.now)
    assert on.run()["states"] == {"written": 1}


def test_new_keys_lift_the_stop(on: Case, made: DemoShop) -> None:
    on.queue(dict.fromkeys(_ids(made, 1), "gold"))
    on.served.may_write = False
    on.run()
    on.served.may_write = True
    change_credentials(on.db, BOX, on.shop, {"key": on.served.key, "secret": on.served.secret}, on.now)
    assert on.run()["states"] == {"written": 1}


def test_turning_on_without_the_right_to_write_changes_nothing(case: Case) -> None:
    case.served.may_write = False
    with pytest.raises(ActionRequired, match="Read/Write"):
        writeback_switch.switch_on(case.db, BOX, case.shop, NOW, actor="cli")
    with case.db.read() as connection:
        assert not writebacks.is_on(connection, case.shop.shop_id)


def test_shop_of_files_cannot(db: Database) -> None:
    with db.write() as connection:
        shop = make_shop(connection)
    with pytest.raises(InvalidInput, match="CSV files cannot hold"):
        writeback_switch.switch_on(db, BOX, shop, NOW, actor="cli")
    with db.read() as connection:
        found = writeback_switch.standing(connection, shop)
    assert (found.possible, found.enabled) == (False, False)


@pytest.mark.parametrize("point", ["before the call", "after the call", "while settling"])
def test_killed_at_any_point_it_goes_on(on: Case, made: DemoShop, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    wanted = dict.fromkeys(_ids(made, 3), "gold")
    on.queue(wanted)
    honest = on.storefront.write_tiers

    def call(writes: Sequence[TierWrite]) -> list[TierWritten]:
        if point == "before the call":
            raise Killed
        written = honest(writes)
        if point == "after the call":
            raise Killed
        return written

    def no_settling(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(on.storefront, "write_tiers", call)
        if point == "while settling":
            patched.setattr(writeback, "settle", no_settling)
        with pytest.raises(Killed):
            on.run()
    assert on.states() == {"in_flight": 3}
    assert on.run(mark_claims.LEASE)["calls"] == 0
    report = on.run(timedelta(seconds=1))
    assert (report["recovered"], report["states"]) == (3, {"written": 3})
    assert on.marks() == wanted


def test_level_that_changes_during_the_call_is_written_next(
    on: Case, made: DemoShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = _ids(made, 1)
    on.queue({one: "silver"})
    honest = on.storefront.write_tiers

    def call(writes: Sequence[TierWrite]) -> list[TierWritten]:
        if writes[0].mark.level == "silver":
            on.queue({one: "gold"})
        return honest(writes)

    monkeypatch.setattr(on.storefront, "write_tiers", call)
    assert on.run()["calls"] == 2
    assert (on.marks(), on.row(one).state) == ({one: "gold"}, "written")


def test_worker_that_comes_late_settles_nothing(on: Case, made: DemoShop) -> None:
    (one,) = _ids(made, 1)
    on.queue({one: "gold"})
    (late,) = mark_claims.claim(on.db, on.shop.shop_id, NOW, 100)
    on.run(mark_claims.LEASE + timedelta(seconds=1))
    refused = mark_claims.Outcome(late, writebacks.MarkState.FAILED, reason="refused", detail="too late")
    mark_claims.settle(on.db, on.shop.shop_id, [refused], on.now)
    row = on.row(one)
    assert (row.state, row.store_level, row.detail) == ("written", "gold", "")


def test_error_nobody_foresaw_is_kept_and_tried_again(
    on: Case, made: DemoShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = _ids(made, 1)
    on.queue({one: "gold"})
    with monkeypatch.context() as patched:
        patched.setattr(on.storefront, "write_tiers", lambda _writes: 1 / 0)
        assert on.run()["states"] == {"waiting": 1}
    assert "ZeroDivisionError" in on.row(one).detail
    assert on.run(timedelta(minutes=1))["states"] == {"written": 1}


def _records(case: Case) -> list[MemberRecord]:
    pages = case.storefront.pages(Stream.MEMBERS, "")
    return [record for page in pages for record in page.records if isinstance(record, MemberRecord)]
