"""Tags of journeys and consent said here come into the store: the newest word, once, and not what the store said itself."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar

import pytest
from sqlalchemy import delete, insert, select, update

from crm_plugin.adapters import registry
from crm_plugin.adapters.base import Capability
from crm_plugin.errors import ActionRequired, AdapterError, PermanentError, TransientError
from crm_plugin.records import ConsentRecord, ConsentState
from crm_plugin.store import consent, member_tags, members, shops
from crm_plugin.store import store_writes as rows
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop, shop_by_id
from crm_plugin.sync import store_writes
from tests.factories import NOON, make_shop, member, write
from tests.sync.plain_store import PlainStore

LONG_AGO = NOON - timedelta(days=9)


class Writable(PlainStore):
    """Keeps what it is told; `fails` are raised in turn."""

    name = "plain"
    capabilities: ClassVar[frozenset[Capability]] = PlainStore.capabilities | {
        Capability.WRITE_TAGS,
        Capability.WRITE_CONSENT,
    }

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []
        self.fails: list[AdapterError] = []

    def write_tags(self, reference: str, add: Any, remove: Any) -> None:
        self._call((reference, list(add), list(remove)))

    def write_consent(self, reference: str, consent: ConsentRecord) -> None:
        self._call((reference, consent.channel, consent.state.value, consent.at))

    def _call(self, told: Any) -> None:
        if self.fails:
            raise self.fails.pop(0)
        self.calls.append(told)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Writable:
    monkeypatch.setattr(registry, "_foreign", lambda: {"plain": Writable})
    return Writable()


def _shop(db: Database, *kinds: str) -> Shop:
    with db.write() as connection:
        shop = make_shop(connection, platform="plain", settings={"write_back": list(kinds)})
    write(db, shop, [member("7", tags=("theirs",)), member("8")])
    return shop


def _id(db: Database, name: str) -> int:
    with db.read() as connection:
        return int(connection.execute(select(members.c.member_id).where(members.c.external_id == name)).scalar_one())


def _tag(db: Database, shop: Shop, name: str, tag: str, at: datetime) -> None:
    with db.write() as connection:
        row = {"shop_id": shop.shop_id, "member_id": _id(db, name), "tag": tag, "own": True}
        connection.execute(insert(member_tags).values(**row))
        connection.execute(update(members).where(members.c.external_id == name).values(touched_at=at))


def _run(db: Database, shop: Shop, store: Writable, since: datetime, now: datetime) -> store_writes.WrittenReport:
    report = store_writes.WrittenReport()
    with db.write() as connection:
        report.gathered = store_writes.gather(connection, shop, since, now)
    return store_writes.write(db, shop, store, now, report)


def test_tags_of_ours_come_and_go(db: Database, store: Writable) -> None:
    shop = _shop(db, "tags")
    _tag(db, shop, "7", "vip", NOON)
    _tag(db, shop, "7", "autumn", NOON)
    assert _run(db, shop, store, LONG_AGO, NOON).states == {"written": 2}
    assert store.calls == [("7", ["autumn", "vip"], [])]
    later = NOON + timedelta(hours=1)
    assert _run(db, shop, store, NOON, later).gathered == 0
    with db.write() as connection:
        connection.execute(delete(member_tags).where(member_tags.c.tag == "vip"))
        connection.execute(update(members).where(members.c.external_id == "7").values(touched_at=later))
    _run(db, shop, store, NOON, later)
    assert store.calls[1:] == [("7", [], ["vip"])]


def test_consent_said_here_is_told_with_its_moment(db: Database, store: Writable) -> None:
    shop = _shop(db, "consent")
    said = {"channel": "email", "topic": "marketing", "state": ConsentState.WITHDRAWN, "recorded_at": NOON}
    with db.write() as connection:
        consent.record(connection, shop.shop_id, _id(db, "7"), at=NOON - timedelta(hours=2), source="link", **said)
        # What the store told itself is no news to it.
        consent.record(connection, shop.shop_id, _id(db, "8"), at=NOON, source="plain:checkout", **said)
    _run(db, shop, store, LONG_AGO, NOON)
    assert store.calls == [("7", "email", "withdrawn", NOON - timedelta(hours=2))]


def test_nothing_is_written_unless_it_is_wanted(sqlite_db: Database, store: Writable) -> None:
    shop = _shop(sqlite_db)
    _tag(sqlite_db, shop, "7", "vip", NOON)
    assert _run(sqlite_db, shop, store, LONG_AGO, NOON).gathered == 0
    assert store.calls == []


def test_store_that_is_away_is_told_later_and_one_that_refuses_one_account_goes_on(
    sqlite_db: Database, store: Writable
) -> None:
    shop = _shop(sqlite_db, "tags")
    for name in ("7", "8"):
        _tag(sqlite_db, shop, name, "vip", NOON)
    store.fails = [TransientError("away", retry_after=300)]
    assert _run(sqlite_db, shop, store, LONG_AGO, NOON).states == {}
    assert _run(sqlite_db, shop, store, NOON, NOON + timedelta(minutes=4)).states == {}
    store.fails = [PermanentError("no such account", code="gone")]
    assert _run(sqlite_db, shop, store, NOON, NOON + timedelta(minutes=6)).states == {"impossible": 1, "written": 1}


@pytest.mark.parametrize(
    ("code", "status", "detail"),
    [("scope_missing", "connected", ""), ("unauthorised", "action_required", "it only reads")],
)
def test_key_that_may_not_write_keeps_what_waits_and_stops_the_shop_where_it_opens_nothing(
    sqlite_db: Database, store: Writable, code: str, status: str, detail: str
) -> None:
    shop = _shop(sqlite_db, "tags")
    _tag(sqlite_db, shop, "7", "vip", NOON)
    for tries, minutes in enumerate((0, 1, 5)):
        with sqlite_db.read() as connection:
            assert store_writes.stuck(connection, shop.shop_id) == (0, ""), tries
        store.fails = [ActionRequired("it only reads", code=code)]
        with pytest.raises(ActionRequired):
            _run(sqlite_db, shop, store, LONG_AGO, NOON + timedelta(minutes=minutes))
    with sqlite_db.read() as connection:
        assert connection.execute(select(shops.c.status)).scalar() == status
        assert shop_by_id(connection, shop.shop_id).status_detail == detail
        assert connection.execute(select(rows.c.state)).scalars().all() == ["waiting"]
        assert store_writes.stuck(connection, shop.shop_id) == (1, "it only reads")


def test_word_said_again_is_told_again(sqlite_db: Database, store: Writable) -> None:
    shop = _shop(sqlite_db, "consent")
    whose = {"channel": "email", "topic": "marketing", "recorded_at": NOON}
    later = NOON + timedelta(hours=2)
    for at, state, source in (
        (NOON - timedelta(hours=3), ConsentState.WITHDRAWN, "link"),
        (NOON + timedelta(hours=1), ConsentState.GRANTED, "plain:account"),
        (later, ConsentState.WITHDRAWN, "link"),
    ):
        with sqlite_db.write() as connection:
            told = {**whose, "recorded_at": max(at, NOON)}
            consent.record(connection, shop.shop_id, _id(sqlite_db, "7"), at=at, source=source, state=state, **told)
        _run(sqlite_db, shop, store, LONG_AGO, later)
    assert [call[2:] for call in store.calls] == [("withdrawn", NOON - timedelta(hours=3)), ("withdrawn", later)]
