"""Pulling: resumed at the last page written, told where it stops, nothing twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from sqlalchemy import func, select

from crm_plugin.adapters.base import Problem
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.errors import ActionRequired, AdapterError, InvalidInput, MalformedResponse, TransientError
from crm_plugin.records import Page, Record, RecordProblem, ShopInfo, Stream
from crm_plugin.store import orders, problems, shops, sync_state
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop, shop_by_id
from crm_plugin.sync import problems as kept_problems
from crm_plugin.sync.connect import add_shop, open_storefront
from crm_plugin.sync.pull import Progress, sync_shop
from tests.factories import NOON, make_shop, order

BOX = SecretBox("A" * 43 + "=")


class Paged(StorefrontAdapter):
    """Five pages of one order each; breaks with `error` before page `breaks_at`."""

    name = "paged"
    label = "Paged"
    streams: ClassVar[tuple[Stream, ...]] = (Stream.ORDERS,)

    def __init__(self, breaks_at: int = 99, error: AdapterError | None = None) -> None:
        super().__init__({})
        self.breaks_at = breaks_at
        self.error = error or TransientError("The store is busy.")
        self.served: list[int] = []
        self.problem: RecordProblem | None = None
        self.again: Record | None = None

    def check(self) -> list[Problem]:
        return []

    def shop_info(self) -> ShopInfo:
        return ShopInfo("Paged", "EUR", "Europe/Berlin")

    def pages(self, stream: Stream, cursor: str) -> Iterator[Page]:
        for number in range(int(cursor or 0), 5):
            if number == self.breaks_at:
                raise self.error
            self.served.append(number)
            bad = (self.problem,) if self.problem and number == 0 else ()
            yield Page(
                stream, (order(f"o{number}", member_external_id="1"),), str(number + 1), bad, total=5, last=number == 4
            )

    def parse(self, stream: Stream, raw: str) -> Record:
        if raw == "bad":
            raise MalformedResponse("Still bad.", path="$.total")
        return order(raw)

    def reread(self, stream: Stream, external_id: str) -> Record | None:
        return self.again


@pytest.fixture
def shop(db: Database) -> Shop:
    with db.write() as connection:
        return make_shop(connection)


def _orders(db: Database) -> int:
    with db.read() as connection:
        return connection.execute(select(func.count()).select_from(orders)).scalar_one()


def test_broken_sync_goes_on_after_the_last_page(db: Database, shop: Shop) -> None:
    with pytest.raises(TransientError):
        sync_shop(db, shop, Paged(breaks_at=3), now=NOON)
    assert _orders(db) == 3
    with db.read() as connection:
        row = connection.execute(select(sync_state)).one()
    assert (row.cursor, row.phase, row.detail) == ("3", "stopped", "The store is busy.")
    rest = Paged()
    report = sync_shop(db, shop, rest, now=NOON)
    assert (rest.served, report.streams["orders"].written.new, _orders(db)) == ([3, 4], 2, 5)


def test_full_sync_again_changes_nothing(db: Database, shop: Shop) -> None:
    seen: list[Progress] = []
    assert sync_shop(db, shop, Paged(), now=NOON, progress=seen.append).rows == 10
    assert seen[-1] == Progress("orders", 5, 5)
    again = sync_shop(db, shop, Paged(), now=NOON, full=True)
    assert (again.rows, again.streams["orders"].written.same) == (0, 5)


def test_rows_say_when_they_were_written(db: Database, shop: Shop) -> None:
    late = NOON + timedelta(hours=7)
    sync_shop(db, shop, Paged(), now=NOON, clock=lambda: late)
    with db.read() as connection:
        assert set(connection.execute(select(orders.c.first_seen_at)).scalars()) == {late}
        assert connection.execute(select(sync_state.c.started_at)).scalar_one() == NOON


def test_refused_key_marks_the_shop(db: Database, shop: Shop) -> None:
    with pytest.raises(ActionRequired):
        sync_shop(db, shop, Paged(0, ActionRequired("The key is gone.", hint="Make a new one.")), now=NOON)
    with db.read() as connection:
        stopped = shop_by_id(connection, shop.shop_id)
    assert (stopped.status, stopped.status_detail) == ("action_required", "The key is gone. Make a new one.")
    sync_shop(db, stopped, Paged(), now=NOON)
    with db.read() as connection:
        assert shop_by_id(connection, shop.shop_id).status == "connected"


def test_problem_is_kept_once_and_retried(db: Database, shop: Shop) -> None:
    storefront = Paged()
    storefront.problem = RecordProblem(Stream.ORDERS, "77", "No total.", "bad", "$.total")
    sync_shop(db, shop, storefront, now=NOON)
    sync_shop(db, shop, storefront, now=NOON, full=True)
    with db.read() as connection:
        row = connection.execute(select(problems)).one()
    assert (row.external_id, row.reason, row.raw, row.state) == ("77", "No total.", "bad", "open")
    assert kept_problems.retry(db, shop, storefront, NOON).as_dict() == {"resolved": 0, "open": 1}
    with db.read() as connection:
        assert connection.execute(select(problems.c.reason)).scalar_one() == "Still bad."
    storefront.again = order("77")
    assert kept_problems.retry(db, shop, storefront, NOON).as_dict() == {"resolved": 1, "open": 0}
    assert _orders(db) == 6


def test_record_read_later_closes_its_problem(db: Database, shop: Shop) -> None:
    broken = Paged(breaks_at=3)
    broken.problem = RecordProblem(Stream.ORDERS, "o4", "No total.", "bad")
    with pytest.raises(TransientError):
        sync_shop(db, shop, broken, now=NOON)
    sync_shop(db, shop, Paged(), now=NOON)
    with db.read() as connection:
        assert connection.execute(select(problems.c.state)).scalar_one() == "resolved"


def test_last_telling_of_a_group_decides(db: Database, shop: Shop) -> None:
    storefront = Paged()
    storefront.problem = RecordProblem(Stream.ORDERS, "o4", "No total.", "bad")
    assert sync_shop(db, shop, storefront, now=NOON).problems == 1
    with db.read() as connection:
        assert connection.execute(select(problems)).all() == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "No Good"}, "'No Good' cannot be a shop's name."),
        ({"currency": "pounds"}, "'pounds' is not a currency."),
        ({"timezone": "Mars/Base"}, "'Mars/Base' is not a time zone."),
        ({"timezone": ""}, "The time zone is missing."),
    ],
)
def test_unusable_shop_is_not_written(db: Database, values: dict[str, Any], message: str) -> None:
    given = {
        "name": "a",
        "platform": "csv",
        "currency": "GBP",
        "timezone": "Europe/London",
        "credentials": {},
        **values,
    }
    with pytest.raises(InvalidInput) as caught:
        add_shop(db, BOX, now=NOON, **given)
    assert message in str(caught.value)
    with db.read() as connection:
        assert connection.execute(select(shops)).all() == []


def test_second_shop_of_a_name_is_refused(db: Database) -> None:
    given: dict[str, Any] = {
        "platform": "csv",
        "currency": "GBP",
        "timezone": "Europe/London",
        "credentials": {"k": "v"},
    }
    shop = add_shop(db, BOX, name="a", now=NOON, **given)
    with pytest.raises(InvalidInput, match="already"):
        add_shop(db, BOX, name="a", now=NOON, **given)
    with db.read() as connection:
        sealed = connection.execute(select(shops.c.credentials)).scalar_one()
    assert BOX.open(sealed) == {"k": "v"}
    assert b'"v"' not in sealed
    assert open_storefront(db, BOX, shop).name == "csv"
