"""Unsubscribing by a link: at once, twice without harm, also years later and after the guest has become an account."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select

from crm_plugin.records import ConsentRecord, ConsentState
from crm_plugin.store import consent, member_consents, members, touchpoints
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


def _members(db: Database) -> list[int]:
    with db.read() as connection:
        query = select(members.c.member_id).where(members.c.shop_id == 1).order_by(members.c.external_id)
        return list(connection.execute(query).scalars())


def test_mailbox_of_two_is_left_alone(db: Database, shop: Shop) -> None:
    yes = (ConsentRecord(channel="email", state=ConsentState.GRANTED, at=NOON),)
    shared = [member(number, email="fam@example.test", consents=yes) for number in ("1", "2")]
    write(db, shop, [*shared, member("3", email="other@example.test", consents=yes)])
    with db.write() as connection:
        other = make_shop(connection, 2)
    write(db, other, shared)
    about = Unsubscribe(1, _members(db)[0], "email", "marketing")
    with db.write() as connection:
        assert unsubscribe.apply(connection, about, LATER, source="one-click") is True
        assert unsubscribe.apply(connection, about, LATER) is False
        assert _granted(connection) == [(1, "3"), (2, "1"), (2, "2")]
        # A slip is undone for both of them.
        assert unsubscribe.resubscribe(connection, about, LATER + timedelta(seconds=1)) is True
        assert _granted(connection) == [(1, "1"), (1, "2"), (1, "3"), (2, "1"), (2, "2")]


def test_address_that_the_message_went_to_decides(db: Database, shop: Shop) -> None:
    write(db, shop, [member("1", email="new@example.test"), member("2", email="old@example.test")])
    first, second = _members(db)
    with db.write() as connection:
        # The message went to the old address, which is another member's now.
        connection.execute(insert(touchpoints).values(**_sent(first, "old@example.test")))
        assert unsubscribe.apply(connection, Unsubscribe(1, first, "email", "marketing", 7), LATER) is True
    assert (_state(db, first), _state(db, second)) == (ConsentState.WITHDRAWN, ConsentState.WITHDRAWN)


def _sent(member_id: int, address: str) -> dict[str, Any]:
    return {
        "shop_id": 1,
        "touchpoint_id": 7,
        "journey_key": "greet",
        "member_id": member_id,
        "occasion": "2026",
        "occasion_on": NOON.date(),
        "channel": "email",
        "adapter": "smtp",
        "address": address,
        "state": "accepted",
        **dict.fromkeys(("due_at", "next_try_at", "valid_until", "planned_at", "updated_at"), NOON),
    }


def _granted(connection: Connection) -> list[tuple[int, str]]:
    m, held = members.c, member_consents.c
    query = (
        select(m.shop_id, m.external_id)
        .join(member_consents, (held.shop_id == m.shop_id) & (held.member_id == m.member_id))
        .where(held.state == "granted")
        .order_by(m.shop_id, m.external_id)
    )
    return [tuple(row) for row in connection.execute(query)]


def test_undo_gives_nobody_what_they_never_had(db: Database, shop: Shop) -> None:
    write(db, shop, [member(n, email="fam@example.test") for n in ("1", "2")])
    first, second = _members(db)
    _say(db, first, ConsentState.GRANTED, "store")
    with db.write() as connection:
        unsubscribe.apply(connection, Unsubscribe(1, first, "email", "marketing"), LATER)
        later = LATER + timedelta(seconds=1)
        assert unsubscribe.resubscribe(connection, Unsubscribe(1, second, "email", "marketing"), later) is False
        assert unsubscribe.resubscribe(connection, Unsubscribe(1, first, "email", "marketing"), later) is True
    assert (_state(db, first), _state(db, second)) == (ConsentState.GRANTED, ConsentState.WITHDRAWN)


@pytest.mark.parametrize("topic", ["marketing", "birthdays"])
def test_refusal_by_link_is_taken_back(db: Database, shop: Shop, topic: str) -> None:
    write(db, shop, [member("1", email="a@example.test")])
    about = Unsubscribe(1, _only_member(db), "email", topic)
    _say(db, about.member_id, ConsentState.GRANTED, "store")
    with db.write() as connection:
        unsubscribe.apply(connection, about, LATER, source="one-click")
        assert unsubscribe.by_link(connection, about) is True
        assert unsubscribe.resubscribe(connection, about, LATER + timedelta(seconds=1)) is True
        assert consent.state_of(connection, 1, about.member_id, "email", topic) is ConsentState.GRANTED


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
