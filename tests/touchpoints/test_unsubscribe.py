"""Unsubscribing by a link: at once, twice without harm, also years later and after the guest has become an account."""

from __future__ import annotations

from datetime import timedelta

import pytest

from crm_plugin.records import ConsentState
from crm_plugin.store import consent
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import unsubscribe
from crm_plugin.touchpoints.tokens import Unsubscribe
from tests.factories import NOON, make_shop, member, order, write

LATER = NOON + timedelta(days=400)


@pytest.fixture
def shop(db: Database) -> Shop:
    with db.write() as connection:
        return make_shop(connection)


def _only_member(db: Database) -> int:
    with db.read() as connection:
        return int(connection.exec_driver_sql("SELECT member_id FROM members").scalar_one())


def _say(db: Database, member_id: int, state: ConsentState, source: str) -> None:
    with db.write() as connection:
        consent.record(
            connection,
            1,
            member_id,
            channel="email",
            topic="marketing",
            state=state,
            at=NOON,
            source=source,
            recorded_at=NOON,
        )


def _state(db: Database, member_id: int) -> ConsentState | None:
    with db.read() as connection:
        return consent.state_of(connection, 1, member_id, "email", "marketing")


def test_link_of_a_guest_stops_the_account(db: Database, shop: Shop) -> None:
    write(db, shop, [order(contact=member("", email="ann@example.test"))])
    guest = _only_member(db)
    write(db, shop, [member("7", email="ann@example.test")])
    write(db, shop, [order(contact=member("", email="ann@example.test"))])
    account = _only_member(db)
    _say(db, account, ConsentState.GRANTED, "store")
    with db.write() as connection:
        assert unsubscribe.apply(connection, Unsubscribe(1, guest, "email", "marketing"), LATER) is True
        assert unsubscribe.apply(connection, Unsubscribe(1, guest, "email", "marketing"), LATER) is False
    assert _state(db, account) is ConsentState.WITHDRAWN


def test_two_accounts_links_stay_apart(db: Database, shop: Shop) -> None:
    write(db, shop, [member("1", email="a@example.test"), member("2", email="b@example.test")])
    with db.read() as connection:
        first, second = connection.exec_driver_sql("SELECT member_id FROM members ORDER BY external_id").scalars()
    with db.write() as connection:
        unsubscribe.apply(connection, Unsubscribe(1, first, "email", "marketing"), LATER)
    assert (_state(db, first), _state(db, second)) == (ConsentState.WITHDRAWN, None)


def test_refusal_by_link_is_taken_back(db: Database, shop: Shop) -> None:
    write(db, shop, [member("1", email="a@example.test")])
    about = Unsubscribe(1, _only_member(db), "email", "marketing")
    with db.write() as connection:
        unsubscribe.apply(connection, about, LATER, source="one-click")
        assert unsubscribe.resubscribe(connection, about, LATER + timedelta(seconds=1)) is True
    assert _state(db, about.member_id) is ConsentState.GRANTED


@pytest.mark.parametrize("source", ["store", "twilio", ""])
def test_link_gives_no_consent_of_its_own(db: Database, shop: Shop, source: str) -> None:
    write(db, shop, [member("1", email="a@example.test")])
    about = Unsubscribe(1, _only_member(db), "email", "marketing")
    if source:
        _say(db, about.member_id, ConsentState.WITHDRAWN, source)
    before = _state(db, about.member_id)
    with db.write() as connection:
        assert unsubscribe.resubscribe(connection, about, LATER) is False
    assert _state(db, about.member_id) is before


def test_member_who_is_gone_is_no_error(db: Database, shop: Shop) -> None:
    with db.write() as connection:
        assert unsubscribe.apply(connection, Unsubscribe(1, 999, "email", "marketing"), LATER) is False
