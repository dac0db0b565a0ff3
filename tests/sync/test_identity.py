"""Who is meant by an order, as `sync/identity.py` states it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from crm_plugin.records import ConsentRecord, ConsentState, MemberRecord
from crm_plugin.store import consents, identities, member_consents, member_facts, members, orders
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import facts
from tests.factories import NOON, make_shop, member, order, write


@pytest.fixture
def shop(db: Database) -> Shop:
    with db.write() as connection:
        return make_shop(connection)


def _guest(**values: object) -> MemberRecord:
    return MemberRecord(external_id="", **values)  # type: ignore[arg-type]


def _owners(db: Database) -> dict[str, str | None]:
    """Order → account id, or the guest's e-mail or phone, None for nobody."""
    query = select(orders.c.external_id, members.c.external_id, members.c.email, members.c.phone).select_from(
        orders.outerjoin(members, (members.c.shop_id == orders.c.shop_id) & (members.c.member_id == orders.c.member_id))
    )
    with db.read() as connection:
        return {o: account or email or phone for o, account, email, phone in connection.execute(query)}


def _row(db: Database) -> Any:
    with db.read() as connection:
        return connection.execute(select(members)).one()


def _count(db: Database) -> int:
    with db.read() as connection:
        return connection.execute(select(func.count()).select_from(members)).scalar_one()


def test_guest_order_goes_to_account_with_its_email(db: Database, shop: Shop) -> None:
    write(db, shop, [member("1", email="Anna@X.test")])
    write(db, shop, [order("o1", contact=_guest(email="anna@x.test "))])
    assert _owners(db) == {"o1": "1"}


def test_account_only_pointed_at_is_known_whole_where_it_matters(db: Database, shop: Shop) -> None:
    write(db, shop, [member("1", email="a@x.test"), member("2", email="b@x.test")])
    by_guest = order("o2", contact=_guest(email="a@x.test"))
    by_account = order("o4", member_external_id="2", contact=MemberRecord(external_id="2", first_name="Bo"))
    write(db, shop, [order("o1", member_external_id="1"), by_guest, order("o3", member_external_id="2"), by_account])
    assert _owners(db) == {"o1": "1", "o2": "1", "o3": "2", "o4": "2"}
    with db.read() as connection:
        assert connection.execute(select(members.c.email, members.c.first_name).order_by(members.c.email)).all() == [
            ("a@x.test", ""),
            ("b@x.test", "Bo"),
        ]


def test_own_address_wins_over_billing_address(db: Database, shop: Shop) -> None:
    write(db, shop, [member("1", email="a@x.test", other_emails=("b@x.test",)), member("2", email="b@x.test")])
    write(db, shop, [order("o1", contact=_guest(email="b@x.test"))])
    assert _owners(db) == {"o1": "2"}


def test_two_guest_orders_are_one_member(db: Database, shop: Shop) -> None:
    write(db, shop, [order("o1", contact=_guest(email="g@x.test")), order("o2", contact=_guest(email="G@x.test"))])
    assert _owners(db) == {"o1": "g@x.test", "o2": "g@x.test"}
    assert _count(db) == 1


def test_order_without_an_email_leaves_the_guests_own(db: Database, shop: Shop) -> None:
    first = order("o1", contact=_guest(email="g@x.test", phone="030 23125001", country="DE"), updated_at=NOON)
    write(db, shop, [first])
    later = NOON + timedelta(days=1)
    write(db, shop, [order("o2", contact=_guest(phone="+49 30 23125001", first_name="Eva"), updated_at=later)])
    assert _owners(db) == {"o1": "g@x.test", "o2": "g@x.test"}
    with db.read() as connection:
        row = connection.execute(select(members)).one()
    assert (row.email, row.phone, row.first_name, row.country) == ("g@x.test", "+493023125001", "Eva", "DE")


def test_guest_goes_to_one_of_two_accounts_alone(db: Database, shop: Shop) -> None:
    write(db, shop, [member("1")])
    write(db, shop, [order("o1", contact=_guest(email="g@x.test"))])
    write(db, shop, [member("1", email="g@x.test"), member("2", email="g@x.test")])
    assert _owners(db) == {"o1": "1"}
    assert _count(db) == 2
    with db.read() as connection:
        assert facts.recount(connection, shop.shop_id) == []


def test_new_account_takes_over_the_guest(db: Database, shop: Shop) -> None:
    write(db, shop, [order("o1", 500, contact=_guest(email="g@x.test", birth_month=3, birth_day=9))])
    write(db, shop, [member("1", email="g@x.test", first_name="Gül")])
    assert _owners(db) == {"o1": "1"}
    with db.read() as connection:
        row = connection.execute(select(members)).one()
        assert (row.first_name, row.birth_md, row.external_id) == ("Gül", 309, "1")
        assert connection.execute(select(member_facts.c.spent_minor)).scalars().all() == [500]


def test_account_moves_to_the_guests_country(db: Database, shop: Shop) -> None:
    write(db, shop, [member("1", email="old@x.test")])
    write(db, shop, [order("o1", contact=_guest(email="new@x.test", country="JP", birth_month=3, birth_day=9))])
    later = NOON + timedelta(days=1)
    # The store tells nothing new of the account but its address: what moves it, is the guest.
    write(db, shop, [member("1", email="new@x.test")], later)
    with db.read() as connection:
        row = connection.execute(select(members)).one()
    assert (row.country, row.zone, row.birth_md, row.changed_at) == ("JP", "Asia/Tokyo", 309, later)


@pytest.mark.parametrize(
    ("told", "zone"),
    [
        ({"country": "US"}, "any:US"),
        ({"country": "US", "region": "CA"}, "America/Los_Angeles"),
        ({"country": "US", "region": "CA", "phone": "+1 212 555 0123"}, "America/Los_Angeles"),
        ({"country": "US", "region": "TX"}, "any:US-TX"),
        ({"country": "US", "region": "TX", "phone": "+1 915 555 0123"}, "America/Denver"),
        ({"country": "US", "phone": "+1 212 555 0123"}, "America/New_York"),
        ({"country": "US", "phone": "+1 800 555 0123"}, "any:US"),
        ({"country": "US", "phone": "+44 20 7946 0123"}, "any:US"),
        ({"country": "US", "region": "CA", "timezone": "Asia/Tokyo"}, "Asia/Tokyo"),
        ({"phone": "+44 7400 123456"}, "Europe/London"),
        ({"phone": "+7 916 123-45-67"}, "any:RU"),
        ({}, "Europe/Berlin"),
    ],
)
def test_zone_is_the_narrowest_that_is_known(db: Database, shop: Shop, told: dict[str, str], zone: str) -> None:
    write(db, shop, [member("1", **told)])
    with db.read() as connection:
        assert connection.execute(select(members.c.zone)).scalar_one() == zone


def test_state_goes_with_its_country(db: Database, shop: Shop) -> None:
    def lives() -> tuple[str, ...]:
        with db.read() as connection:
            row = connection.execute(select(members.c.country, members.c.region, members.c.zone)).one()
        return tuple(row)

    write(db, shop, [member("1", email="a@x.test", country="US")])
    write(db, shop, [order("o1", member_external_id="1", contact=_guest(country="CA", region="AB"))])
    assert lives() == ("US", "", "any:US")
    write(db, shop, [order("o2", member_external_id="1", contact=_guest(country="US", region="OH"))])
    assert lives() == ("US", "OH", "America/New_York")
    write(db, shop, [member("1", email="a@x.test", country="US", first_name="Ann")])
    assert lives() == ("US", "OH", "America/New_York")
    write(db, shop, [member("1", email="a@x.test", country="DE")])
    assert lives() == ("DE", "", "Europe/Berlin")


@pytest.mark.parametrize(
    ("own", "lives"),
    [
        ("", ("US", "CA", "America/Los_Angeles")),
        ("US", ("US", "CA", "America/Los_Angeles")),
        ("DE", ("DE", "", "Europe/Berlin")),
    ],
)
def test_account_takes_over_the_guests_state(db: Database, shop: Shop, own: str, lives: tuple[str, ...]) -> None:
    write(db, shop, [member("1", email="old@x.test", country=own)])
    write(db, shop, [order("o1", contact=_guest(email="new@x.test", country="US", region="CA"))])
    write(db, shop, [member("1", email="new@x.test", country=own)])
    with db.read() as connection:
        row = connection.execute(select(members.c.country, members.c.region, members.c.zone)).one()
    assert tuple(row) == lives


def test_known_account_and_guest_become_one(db: Database, shop: Shop) -> None:
    write(db, shop, [member("1", email="old@x.test")])
    said = ConsentRecord(channel="email", state=ConsentState.WITHDRAWN, at=NOON)
    write(db, shop, [order("o1", 500, contact=_guest(email="new@x.test", consents=(said,)))])
    write(db, shop, [order("o2", 300, member_external_id="1")])
    write(db, shop, [member("1", email="new@x.test")])
    assert _owners(db) == {"o1": "1", "o2": "1"}
    with db.read() as connection:
        assert connection.execute(select(member_facts.c.spent_minor)).scalars().all() == [800]
        assert connection.execute(select(member_consents.c.state)).scalars().all() == ["withdrawn"]
        assert facts.recount(connection, shop.shop_id) == []
        found = connection.execute(select(identities.c.value).where(identities.c.kind == "email")).scalars().all()
        assert sorted(found) == ["new@x.test", "old@x.test"]
    assert _count(db) == 1


def test_phone_finds_only_a_single_holder(db: Database, shop: Shop) -> None:
    write(
        db,
        shop,
        [member("1", phone="+49 30 901820"), member("2", phone="+49 30 901821"), member("3", phone="+49 30 901821")],
    )
    write(
        db,
        shop,
        [
            order("o1", contact=_guest(phone="030 901820", country="DE")),
            order("o2", contact=_guest(phone="030 901821", country="DE")),
        ],
    )
    assert _owners(db) == {"o1": "1", "o2": "+4930901821"}
    assert _count(db) == 4


def test_shared_phone_guest_finds_itself_again(db: Database, shop: Shop) -> None:
    write(db, shop, [member("2", phone="+49 30 901821"), member("3", phone="+49 30 901821")])
    guest = _guest(phone="030 901821", country="DE")
    write(db, shop, [order("o2", 100, contact=guest)])
    write(db, shop, [order("o2", 200, contact=guest)])
    assert _count(db) == 3


def test_nobody_is_made_of_nothing(db: Database, shop: Shop) -> None:
    write(db, shop, [order("o1"), order("o2", contact=_guest(first_name="X"))])
    assert _owners(db) == {"o1": None, "o2": None}
    assert _count(db) == 0


def test_order_of_unknown_account_makes_it(db: Database, shop: Shop) -> None:
    write(db, shop, [order("o1", member_external_id="9", contact=member("9", email="n@x.test", country="FR"))])
    write(db, shop, [member("9", email="n@x.test", first_name="Nora")])
    with db.read() as connection:
        row = connection.execute(select(members)).one()
    assert (row.external_id, row.first_name, row.zone) == ("9", "Nora", "Europe/Paris")


def test_older_account_record_is_left_out(db: Database, shop: Shop) -> None:
    write(db, shop, [member("1", first_name="New", updated_at=NOON)])
    written = write(db, shop, [member("1", first_name="Old", updated_at=NOON - timedelta(days=1))])
    with db.read() as connection:
        assert connection.execute(select(members.c.first_name)).scalar_one() == "New"
    assert (written.stale, written.rows) == (1, 0)


def test_late_record_between_two_equal_ones_is_left_out(db: Database, shop: Shop) -> None:
    first, last = member("1", first_name="Ann", updated_at=NOON), NOON + timedelta(hours=2)
    write(db, shop, [first])
    touched = _row(db).touched_at
    later = NOON + timedelta(days=1)
    written = write(db, shop, [member("1", first_name="Ann", updated_at=last)], now=later)
    assert (written.same, written.rows) == (1, 0)
    # Nobody who goes by what happened to the member is told of it.
    assert _row(db).touched_at == touched
    written = write(db, shop, [member("1", first_name="Eve", updated_at=NOON + timedelta(hours=1))], now=later)
    assert (written.stale, written.rows) == (1, 0)
    assert (_row(db).first_name, _row(db).updated_at) == ("Ann", last)


def test_same_page_twice_writes_nothing(db: Database, shop: Shop) -> None:
    people = [member("1", email="a@x.test", tags=("vip",)), member("2", email="b@x.test")]
    bought = [order("o1", member_external_id="1"), order("o2", contact=_guest(email="c@x.test"))]
    assert write(db, shop, people).rows == 2
    assert write(db, shop, bought).rows == 4
    assert write(db, shop, people).rows == 0
    assert write(db, shop, bought).rows == 0


def test_undated_consent_never_undoes_a_refusal(db: Database, shop: Shop) -> None:
    write(
        db,
        shop,
        [member("1", consents=(ConsentRecord(channel="email", state=ConsentState.WITHDRAWN, at=NOON, source="link"),))],
    )
    yes = ConsentRecord(channel="email", state=ConsentState.GRANTED, source="platform")
    write(db, shop, [member("1", first_name="A", consents=(yes,))], NOON + timedelta(days=1))
    with db.read() as connection:
        assert connection.execute(select(member_consents.c.state)).scalar_one() == "withdrawn"
        assert connection.execute(select(func.count()).select_from(consents)).scalar_one() == 2


def test_undated_consent_that_turns_decides(db: Database, shop: Shop) -> None:
    for day, state in enumerate((ConsentState.GRANTED, ConsentState.WITHDRAWN, ConsentState.GRANTED)):
        said = ConsentRecord(channel="email", state=state, source="platform")
        write(db, shop, [member("1", first_name=str(day), consents=(said,))], NOON + timedelta(days=day))
    with db.read() as connection:
        row = connection.execute(select(member_consents)).one()
        assert (row.state, row.at) == ("granted", NOON + timedelta(days=2))


def test_deleted_account_keeps_its_orders(db: Database, shop: Shop) -> None:
    write(db, shop, [member("1", email="a@x.test")])
    write(db, shop, [order("o1", member_external_id="1")])
    write(db, shop, [member("1", deleted=True)])
    with db.read() as connection:
        assert connection.execute(select(members.c.state)).scalar_one() == "deleted"
    assert _owners(db) == {"o1": "1"}


def test_shops_do_not_touch(db: Database, shop: Shop) -> None:
    with db.write() as connection:
        other = make_shop(connection, 2)
    write(db, shop, [member("1", email="a@x.test")])
    write(db, other, [order("o1", contact=_guest(email="a@x.test"))])
    with db.read() as connection:
        rows = connection.execute(select(members.c.shop_id, members.c.external_id)).all()
    assert sorted(tuple(row) for row in rows) == [(1, "1"), (2, None)]
