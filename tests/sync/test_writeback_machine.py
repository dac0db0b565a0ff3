"""Whatever happens to levels, to the store and to us, in any order: in the end the store holds the level that is held."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from sqlalchemy import insert, select

from crm_plugin.adapters.base import Capability, Problem
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.errors import ActionRequired, PermanentError, TransientError
from crm_plugin.records import MemberRecord, OrderRecord, OrderStatus, Page, Record, ShopInfo, Stream, TierMark
from crm_plugin.store import member_tiers, members, tier_writebacks, writebacks
from crm_plugin.store.members import lock
from crm_plugin.store.session import Database
from crm_plugin.sync import writeback, writeback_switch
from crm_plugin.sync.upsert import write_page
from crm_plugin.sync.writeback import write_shop
from tests.factories import NOON, make_shop

_SHOP_IDS = itertools.count(1000)
ACCOUNTS = ("1", "2", "3")
GUEST = "guest@example.test"
LEVELS = ("", "silver", "gold")
# How a call goes wrong: at the n-th account of a batch, or as a whole.
TROUBLES = (
    "none",
    "busy",
    "down",
    "silent",
    "refused",
    "read_only",
    "killed before",
    "killed after",
    "killed settling",
)


class Killed(BaseException):
    """The process ends here."""


class MadeStore(StorefrontAdapter):
    """A store in memory that holds marks one by one; each change moves its own clock, by less than it can tell now and then."""

    name = "made"
    label = "Made"
    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.TIER_TAG})
    streams: ClassVar[tuple[Stream, ...]] = ()
    tiers_at_once: ClassVar[int] = 2

    def __init__(self) -> None:
        super().__init__({})
        self.accounts: dict[str, dict[str, str]] = {one: {} for one in ACCOUNTS}
        self.emails: dict[str, str] = {}
        self.changed: dict[str, datetime] = dict.fromkeys(ACCOUNTS, NOON)
        self.trouble = "none"
        self.ticks = 0
        # What happens here while the first call is under way.
        self.meanwhile: Callable[[], None] | None = None

    def check(self) -> list[Problem]:
        return []

    def check_tiers(self) -> list[Problem]:
        return [Problem("read_only", "The key only reads.", "Get another.")] if self.trouble == "read_only" else []

    def shop_info(self) -> ShopInfo:
        return ShopInfo("", "EUR", "UTC")

    def pages(self, stream: Stream, cursor: str) -> Iterator[Page]:
        yield Page(stream, self.told(), "", last=True)

    def parse(self, stream: Stream, raw: str) -> Record:
        raise NotImplementedError

    def told(self) -> tuple[MemberRecord, ...]:
        return tuple(
            MemberRecord(
                external_id=one, email=self.emails.get(one, ""), marks=dict(marks), updated_at=self.changed[one]
            )
            for one, marks in self.accounts.items()
        )

    def put(self, reference: str, level: str) -> datetime:
        marks = self.accounts[reference]
        if level:
            marks["main"] = level
        else:
            marks.pop("main", None)
        self.ticks += 1
        self.changed[reference] = NOON + timedelta(seconds=self.ticks // 2)
        return self.changed[reference]

    def write_tier(self, reference: str, mark: TierMark) -> datetime | None:
        if self.meanwhile is not None:
            happens, self.meanwhile = self.meanwhile, None
            happens()
        if reference not in self.accounts:
            raise PermanentError("Gone.", code="gone")
        if self.trouble == "refused":
            raise PermanentError("This one is not to be changed.")
        if self.trouble == "busy":
            raise TransientError("Later.", retry_after=300)
        if self.trouble == "down":
            raise TransientError("Away.")
        if self.trouble == "read_only":
            raise ActionRequired("The key only reads.", hint="Get another.")
        if self.trouble == "killed before":
            raise Killed
        changed_at = self.put(reference, mark.level)
        if self.trouble == "killed after":
            raise Killed
        if self.trouble == "silent":
            raise TransientError("No answer.")
        return changed_at


class Machine(RuleBasedStateMachine):
    """A shop of three accounts and a guest, one of a fresh id each time."""

    db: ClassVar[Database]

    @initialize(sheltered=st.booleans())
    def begin(self, sheltered: bool) -> None:
        self.now = NOON
        self.store = MadeStore()
        # Where nobody changes the store and we are never off, nothing but the queue itself may be needed.
        self.sheltered = sheltered
        self.snapshot: tuple[MemberRecord, ...] = ()
        order = OrderRecord(
            external_id="o",
            status=OrderStatus.COMPLETED,
            currency="EUR",
            total_minor=100,
            placed_at=NOON,
            contact=MemberRecord(external_id="", email=GUEST),
        )
        with self.db.write() as connection:
            self.shop = make_shop(connection, next(_SHOP_IDS), platform="woocommerce")
            write_page(connection, self.shop, Page(Stream.MEMBERS, self.store.told(), ""), NOON)
            write_page(connection, self.shop, Page(Stream.ORDERS, (order,), ""), NOON)
            writebacks.turn(connection, self.shop.shop_id, NOON, on=True)

    def _people(self) -> dict[int, str | None]:
        m = members.c
        with self.db.read() as connection:
            rows = connection.execute(
                select(m.member_id, m.external_id).where(m.shop_id == self.shop.shop_id).order_by(m.member_id)
            )
            return {row.member_id: row.external_id for row in rows}

    @rule(place=st.integers(0, 3), level=st.sampled_from(LEVELS))
    def change_level(self, place: int, level: str) -> None:
        people = list(self._people())
        member_id = people[place % len(people)]
        t, shop_id = member_tiers.c, self.shop.shop_id
        with self.db.write() as connection:
            lock(connection, shop_id)
            connection.execute(member_tiers.delete().where(t.shop_id == shop_id, t.member_id == member_id))
            if level:
                key = {"shop_id": shop_id, "program_key": "main", "member_id": member_id}
                values = {"level_key": level, "since_at": self.now, "since_on": self.now.date()}
                connection.execute(insert(member_tiers).values(**key, **values))
            writebacks.queue_levels(connection, shop_id, "main", [(member_id, level)], self.now)

    @precondition(lambda self: not self.sheltered)
    @rule(place=st.integers(0, 2), level=st.sampled_from(LEVELS))
    def somebody_changes_the_store(self, place: int, level: str) -> None:
        self.store.put(ACCOUNTS[place], level)

    @rule(
        trouble=st.sampled_from(TROUBLES),
        meanwhile=st.none() | st.tuples(st.integers(0, 3), st.sampled_from(LEVELS)),
    )
    def run(self, trouble: str, meanwhile: tuple[int, str] | None) -> None:
        self.store.trouble = trouble
        self.store.meanwhile = None if meanwhile is None else lambda: self.change_level(*meanwhile)
        honest = writeback.settle

        def killed(*_: Any) -> None:
            raise Killed

        if trouble == "killed settling":
            writeback.settle = killed
        try:
            with suppress(Killed):
                write_shop(self.db, self.shop, self.store, self.now)
        finally:
            writeback.settle = honest
            self.store.trouble, self.store.meanwhile = "none", None

    @rule(place=st.integers(0, 3), level=st.sampled_from(LEVELS), meanwhile=st.sampled_from(LEVELS))
    def change_level_and_write_it(self, place: int, level: str, meanwhile: str) -> None:
        """The usual day, so that most runs have something in the store to go wrong with."""
        self.change_level(place, level)
        self.run("none", (place, meanwhile))

    @rule(minutes=st.sampled_from([1, 4, 11, 61, 400]))
    def time_goes_by(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule()
    def read(self) -> None:
        self._sync(self.store.told())

    @rule()
    def read_a_page_for_later(self) -> None:
        self.snapshot = self.store.told()

    @precondition(lambda self: self.snapshot)
    @rule()
    def write_the_page_that_was_read(self) -> None:
        self._sync(self.snapshot)
        self.snapshot = ()

    @rule()
    def guest_becomes_an_account(self) -> None:
        self.store.accounts.setdefault("4", {})
        self.store.changed.setdefault("4", NOON)
        self.store.emails["4"] = GUEST

    @rule()
    def account_takes_over_the_guest(self) -> None:
        if "4" not in self.store.accounts:
            self.store.emails["1"] = GUEST

    @precondition(lambda self: not self.sheltered)
    @rule(on=st.booleans())
    def switch(self, on: bool) -> None:
        with self.db.write() as connection:
            lock(connection, self.shop.shop_id)
            writebacks.turn(connection, self.shop.shop_id, self.now, on=on)

    def _sync(self, records: Sequence[MemberRecord]) -> int:
        with self.db.write() as connection:
            return write_page(connection, self.shop, Page(Stream.MEMBERS, tuple(records), ""), self.now).rows

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        if not self.sheltered:
            with self.db.write() as connection:
                lock(connection, self.shop.shop_id)
                writebacks.turn(connection, self.shop.shop_id, self.now, on=True)
        for _ in range(4):
            self.now += timedelta(days=2)
            if not self.sheltered:
                self._sync(self.store.told())
            writeback_switch.try_again(self.db, self.shop, self.now)
            write_shop(self.db, self.shop, self.store, self.now)
        t, people = member_tiers.c, self._people()
        with self.db.read() as connection:
            rows = connection.execute(select(t.member_id, t.level_key).where(t.shop_id == self.shop.shop_id)).all()
            w = tier_writebacks.c
            states = connection.execute(
                select(w.member_id, w.state, w.wanted_level).where(w.shop_id == self.shop.shop_id)
            ).all()
        held = {people[row.member_id]: {"main": row.level_key} for row in rows if people[row.member_id] is not None}
        assert self.store.accounts == {one: held.get(one, {}) for one in self.store.accounts}
        for row in states:
            assert row.state == ("impossible" if people[row.member_id] is None else "written")
        # Once all accounts are known, nothing is news, and nothing is left to do.
        self._sync(self.store.told())
        write_shop(self.db, self.shop, self.store, self.now)
        assert self._sync(self.store.told()) == 0
        assert write_shop(self.db, self.shop, self.store, self.now).calls == 0


@pytest.mark.slow
def test_the_store_ends_with_the_level_held(db: Database) -> None:
    Machine.db = db
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=60 if db.is_sqlite else 20,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
