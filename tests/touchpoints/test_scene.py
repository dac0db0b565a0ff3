"""What a text knows of its member, order and level, read from a real shop."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection, event, select

from crm_plugin.errors import RenderError
from crm_plugin.records import OrderLineRecord, ProductRecord
from crm_plugin.rules import tiers
from crm_plugin.rules.policy_read import read_policy
from crm_plugin.store import checkouts, member_dates, members, orders
from crm_plugin.store.events import raise_event
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import batch as batches
from crm_plugin.touchpoints import journeys, recipes, subjects, tokens
from crm_plugin.touchpoints.compose import compose, scene_of
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.render import Text, check, render
from crm_plugin.touchpoints.scene import GiftView, LineView, full_years
from crm_plugin.touchpoints.templates import _Made, preview, save_text
from tests.factories import NOON, make_shop, member, order, write

CLUB: dict[str, Any] = {
    "measure": "spent",
    "window": {"days": 365},
    "term": {"days": 100},
    "levels": [
        {"key": "silver", "title": {"en": "Silver", "zh-CN": "银卡"}, "entry": 100},
        {"key": "gold", "title": {"en": "Gold", "zh-CN": "金卡"}, "entry": 500},
    ],
}
LEVEL = (
    '{{ tier.title or "-" }}/{{ tier.next_title or "-" }}/{{ tier.missing or "-" }}/'
    '{% if tier.ends_on %}{{ tier.ends_on | date("short") }}{% else %}-{% endif %}'
)


def _shop(db: Database, club: dict[str, Any] = CLUB) -> Shop:
    """Four members: one who joined in 2023 and spent 120.50, one of 700, one of 10, and one who never ordered."""
    with db.write() as connection:
        shop = make_shop(connection)
        recipes.install(connection, shop, NOON)
        tiers.save_policy(connection, shop, read_policy(club), NOON, actor="test")
    first = member("1", joined_at=datetime(2023, 6, 1, tzinfo=UTC), first_name="Anna", locale="zh-CN")
    write(db, shop, [first, member("2"), member("3"), member("4")])
    write(db, shop, [ProductRecord(external_id="p1", title="Cup", url="https://shop.example/cup")])
    lines = (
        OrderLineRecord(title="Saucer", total_minor=2050),
        OrderLineRecord(title="Cup", product_external_id="p1", total_minor=10_000, quantity=2),
        OrderLineRecord(title="", total_minor=0),
    )
    told = [
        order("a", 12_050, member_external_id="1", placed_at=NOON - timedelta(days=3), lines=lines),
        order("b", 70_000, member_external_id="2"),
        order("c", 1_000, member_external_id="3"),
    ]
    write(db, shop, told)
    tiers.apply(db, shop, as_of=NOON.date(), now=NOON)
    return shop


def _read(db: Database, shop: Shop, source: str, who: int, locale: str = "en", key: str = "lapse") -> str:
    with db.read() as connection:
        journey = journeys.get(connection, 1, key)
        return preview(
            connection, shop, Text(key, "sms", locale, body_text=source), _ids(connection)[who], NOON, journey
        ).text


def _ids(connection: Connection) -> dict[int, int]:
    """Our id of each member by the store's."""
    rows = connection.execute(select(members.c.external_id, members.c.member_id))
    return {int(external): member_id for external, member_id in rows}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("who", "locale", "told"),
    [
        (1, "en", "Silver/Gold/€379.50/9/8/26"),
        (1, "zh-CN", "银卡/金卡/€379.50/2026/9/8"),
        (2, "en", "Gold/-/-/9/8/26"),
        (3, "en", "-/Silver/€90.00/-"),
        (4, "en", "-/Silver/€100.00/-"),
    ],
)
def test_level_the_next_one_and_what_is_missing(db: Database, who: int, locale: str, told: str) -> None:
    assert _read(db, _shop(db), LEVEL, who, locale) == told


@pytest.mark.parametrize(
    ("club", "english", "chinese"),
    [
        ({"measure": "orders", "levels": [{"key": "fan", "entry": 2}]}, "1 order", "1 单"),
        ({"measure": "orders", "levels": [{"key": "fan", "entry": 1200}]}, "1,199 orders", "1,199 单"),
        ({"measure": "items()", "levels": [{"key": "fan", "entry": 9}]}, "5", "5"),
        ({"measure": "orders", "levels": [{"key": "fan", "rule": "orders() >= 2"}]}, "-", "-"),
    ],
)
def test_what_is_missing_has_its_unit(sqlite_db: Database, club: dict[str, Any], english: str, chinese: str) -> None:
    shop = _shop(sqlite_db, club)
    assert _read(sqlite_db, shop, "{{ tier.missing or '-' }}", 1) == english
    assert _read(sqlite_db, shop, "{{ tier.missing or '-' }}", 1, "zh-CN") == chinese


@pytest.mark.slow
def test_level_is_of_the_programme_that_the_trigger_names(sqlite_db: Database) -> None:
    shop = _shop(sqlite_db)
    levels = [
        {"key": key, "title": {"en": key.title()}, "entry": entry} for key, entry in (("taster", 1), ("cellar", 4))
    ]
    with sqlite_db.write() as connection:
        tiers.save_policy(
            connection,
            shop,
            read_policy({"program": "wine", "measure": "orders", "levels": levels}),
            NOON,
            actor="test",
        )
        trigger = {"type": "tier_up", "program": "wine"}
        journeys.save(connection, shop, read_draft({"key": "up", "trigger": trigger, "channels": ["sms"]}), NOON)
    tiers.apply(sqlite_db, shop, as_of=NOON.date(), now=NOON)
    assert _read(sqlite_db, shop, LEVEL, 1, key="up") == "Taster/Cellar/3 orders/-"
    assert _read(sqlite_db, shop, LEVEL, 1) == "Silver/Gold/€379.50/9/8/26"


def test_shop_without_levels(sqlite_db: Database) -> None:
    with sqlite_db.write() as connection:
        shop = make_shop(connection)
        recipes.install(connection, shop, NOON)
    write(sqlite_db, shop, [member("1")])
    assert _read(sqlite_db, shop, LEVEL, 1) == "-/-/-/-"


def test_member_s_own_days(db: Database) -> None:
    shop = _shop(db)
    source = "{{ member.days_since_order }} {{ member.joined_on }} {{ member.years }}"
    assert [_read(db, shop, source, who) for who in (1, 2, 4)] == ["3 2023-06-01 2", "0 None 0", "None None 0"]


def test_product_is_the_dearest_with_a_name(db: Database) -> None:
    shop = _shop(db)
    source = "{{ product.title }} × {{ product.quantity }} {{ product.url }} {% for line in order.lines %}[{{ line.url }}]{% endfor %}"
    told = "Cup × 2 https://shop.example/cup [][https://shop.example/cup][]"
    assert _read(db, shop, source, 1, key="post_purchase") == told
    assert _read(db, shop, "{% if product %}?{% else %}none{% endif %}", 1) == "none"


def test_levels_of_many_are_one_statement_and_only_where_a_text_speaks_of_them(sqlite_db: Database) -> None:
    shop = _shop(sqlite_db)

    def statements(source: str) -> int:
        with sqlite_db.write() as connection:
            save_text(connection, shop, Text("lapse", "sms", "en", body_text=source), NOON)
        counted: list[str] = []
        with sqlite_db.read() as connection:

            def note(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
                counted.append(statement)

            subjects = [_Made("lapse", member_id, date(2026, 6, 1)) for member_id in _ids(connection).values()]
            event.listen(connection, "before_cursor_execute", note)
            found = batches.load(connection, shop, subjects, NOON)
            event.remove(connection, "before_cursor_execute", note)
            for one in subjects:
                scene_of(one, found, shop, policy_of(shop), "en")
        return len(counted)

    without = statements("Hello")
    # The book of names is one, the members' standing another.
    assert statements("{{ tier.missing }}Hello") - without == 2


def test_what_was_raised_is_told_and_bounded(db: Database) -> None:
    shop = _shop(db)
    told = {
        "points": 500,
        "title": "T" * 5_000,
        "code": 12,
        "url": "javascript:alert(1)",
        "expires_on": "2026-13-01",
        "member": {"email": "x"},
    }
    with db.write() as connection:
        ids = _ids(connection)
        until = date(2026, 6, 30)
        raise_event(connection, shop, "points_expiring", ids[1], NOON, on=until, amount_minor=1_250, payload=told)
        raise_event(connection, shop, "complaint", ids[1], NOON, payload={"points": -5, "expires_on": "2026-07-01"})
        for key, trigger in (("points", {"type": "points_expiring"}), ("complaint", {"type": "complaint", "days": 1})):
            draft = {"key": key, "trigger": trigger, "channels": ["sms"]}
            journeys.save(connection, shop, read_draft(draft), NOON)
    source = (
        "{% if event %}{{ event.kind }} {{ event.points }} {{ event.amount }} {{ event.title | length }} "
        "{{ event.code }} {{ event.url }} {{ event.on }} {{ event.expires_on }}{% else %}nothing{% endif %}"
    )
    assert _read(db, shop, source, 1, key="points") == "points_expiring 500 €12.50 2000 12  2026-06-30 2026-06-30"
    assert _read(db, shop, source, 1, key="complaint") == "complaint 0  0   2026-06-01 2026-07-01"
    assert _read(db, shop, source, 2, key="points") == "nothing"
    assert _read(db, shop, source, 1) == "nothing"


def _row(who: int, **about: Any) -> Any:
    """A touchpoint of a mail about a lapse, unless it is said otherwise."""
    usual = {
        "shop_id": 1,
        "member_id": who,
        "journey_key": "lapse",
        "journey_version": 1,
        "step": 0,
        "channel": "email",
        "occasion": "lapse:2026-06-01",
        "occasion_on": date(2026, 6, 1),
        "subject_order_id": None,
        "touchpoint_id": 77,
        "address": "b@x.test",
        "valid_until": NOON,
    }
    return SimpleNamespace(**usual | about)


@pytest.mark.parametrize("enough", [0, 50])
@pytest.mark.parametrize(("public_url", "links"), [("https://crm.test", 6), ("", 0)])
def test_answers_are_links_of_the_member_s_own(
    sqlite_db: Database, monkeypatch: pytest.MonkeyPatch, public_url: str, links: int, enough: int
) -> None:
    monkeypatch.setattr("crm_plugin.touchpoints.compose.ENOUGH", enough)
    shop, box = _shop(sqlite_db), SecretBox("A" * 43 + "=")
    source = "Hello {% for answer in answers.why_left %}{{ answer.url }} {% endfor %}"
    with sqlite_db.write() as connection:
        save_text(connection, shop, Text("lapse", "email", "en", subject="Why", body_text=source), NOON)
        who = _ids(connection)[2]
    row = _row(who)
    with sqlite_db.read() as connection:
        known = batches.load(connection, shop, [row], NOON)
    message, _made = compose(row, known, shop, policy_of(shop), box, public_url)
    found = message.text.split()[1:]
    assert len(found) == links
    told = [tokens.read_answer(box, link.removeprefix("https://crm.test/a/")) for link in found]
    assert [one.answer for one in told] == ["unhappy", "price", "variety", "rival", "moved", "no_need"][:links]
    assert {(one.shop_id, one.member_id, one.question, one.touchpoint_id) for one in told} <= {(1, who, "why_left", 77)}


def test_text_for_many_is_that_for_few(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every text of a shop for every member and order there is, filled in from the start and with what all have alike known before."""
    shop, box = _shop(db), SecretBox("A" * 43 + "=")
    with db.write() as connection:
        for number, channel in enumerate(("email", "sms")):
            source = (
                f"{{{{ member.tier_title }}}} {LEVEL} {{% if product %}}{{{{ product.title }}}}{{% endif %}} {number}"
            )
            text = Text("lapse", channel, "en", subject="Hi" if channel == "email" else "", body_text=source)
            save_text(connection, shop, text, NOON)
        bought = {one.member_id: one.order_id for one in connection.execute(select(orders))}
        rows = [
            _row(who, journey_key=key, channel=channel, subject_order_id=bought.get(who))
            for who in _ids(connection).values()
            for key in ("lapse", "post_purchase")
            for channel in ("email", "sms")
        ]

    def composed(enough: int) -> list[Any]:
        monkeypatch.setattr("crm_plugin.touchpoints.compose.ENOUGH", enough)
        with db.read() as connection:
            known = batches.load(connection, shop, rows, NOON)
        made: list[Any] = []
        for row in rows:
            try:
                made.append(compose(row, known, shop, policy_of(shop), box, "https://crm.test"))
            except RenderError as error:
                made.append(str(error))
        assert {bool(one.parts) for one in known.words.values()} == {enough == 0}
        return made

    few, many = composed(1_000), composed(0)
    assert many == few
    # Of whoever has ordered nothing none can be told about an order.
    assert {isinstance(one, tuple) for one in few} == {True, False}


def test_checkout_and_reminder_are_told_by_their_occasion(db: Database) -> None:
    shop = _shop(db)
    lines = [{"title": "Cup", "quantity": 2.0, "url": "https://x.test/cup"}, {"quantity": 1}, "odd"]
    with db.write() as connection:
        ids = _ids(connection)
        basket = {"external_id": "c", "currency": "GBP", "total_minor": 990, "url": "https://x.test/c", "lines": lines}
        days = {"started_at": NOON, "touched_at": NOON, "touched_on": NOON.date(), "seen_at": NOON}
        connection.execute(checkouts.insert().values(shop_id=1, checkout_id=7, member_id=ids[1], **basket, **days))
        mum = {"person": "Mum", "month_day": 612, "recorded_at": NOON}
        connection.execute(member_dates.insert().values(shop_id=1, date_id=8, member_id=ids[1], **mum))
    with db.read() as connection:
        found = subjects.load(connection, 1, ["checkout:7", "date:8:2026", "event:1", "checkout:x", "2026", ""])
        other = subjects.load(connection, 2, ["checkout:7", "date:8:2026"])
    told = found.checkout("checkout:7", shop, "en")
    assert told is not None
    assert (told.url, told.started_on, told.total) == ("https://x.test/c", date(2026, 6, 1), "£9.90")
    assert told.lines == (LineView("Cup", "2", "https://x.test/cup"),)
    assert found.gift("date:8:2026", date(2026, 6, 12)) == GiftView("Mum", date(2026, 6, 12))
    assert found.checkout("date:8:2026", shop, "en") is None
    assert found.event("event:1", shop, "en") is None
    assert other.rows == {}


@pytest.mark.parametrize(
    ("since", "on", "years"),
    [
        (date(2023, 6, 1), date(2026, 6, 1), 3),
        (date(2023, 6, 1), date(2026, 5, 31), 2),
        (date(2024, 2, 29), date(2027, 2, 28), 3),
        (date(2024, 2, 29), date(2028, 2, 28), 3),
        (date(2024, 2, 29), date(2028, 2, 29), 4),
        (date(2026, 6, 2), date(2026, 6, 1), 0),
        (None, date(2026, 6, 1), 0),
    ],
)
def test_full_years(since: date | None, on: date, years: int) -> None:
    assert full_years(since, on) == years


@pytest.mark.parametrize(
    ("source", "mistake"),
    [
        ("{{ tier.mising }}", "there is no `tier.mising`; did you mean `tier.missing`?"),
        ("{{ product.titel }}", "there is no `product.titel`; did you mean `product.title`?"),
        ("{% for a in answers.why_left %}{{ a.link }}{% endfor %}", "there is no `a.link`; there are a.title, a.url."),
        ("{% for one in checkout.lines[:2] %}{{ one.titel }}{% endfor %}", "did you mean `one.title`?"),
    ],
)
def test_unknown_parts_are_named(source: str, mistake: str) -> None:
    with pytest.raises(Exception, match=mistake.replace("?", r"\?")):
        check(Text("t", "sms", "en", body_text=source), [], policy_of(SHOP).brand)


def test_what_not_every_message_has_is_asked_for_first(sqlite_db: Database) -> None:
    shop = _shop(sqlite_db)
    with sqlite_db.read() as connection:
        made = _Made("lapse", _ids(connection)[1], date(2026, 6, 1))
        scene = scene_of(made, batches.load(connection, shop, [made], NOON), shop, policy_of(shop), "en")
    for source, told in (
        ("{{ coupon.code }}", r"`code` is asked of what not every message has \(event, coupon\)"),
        ("{{ gift.person }}", r"`person` is asked of what not every message has \(gift\): put it between {% if … %}"),
    ):
        with pytest.raises(RenderError, match=told):
            render(Text("t", "sms", "en", body_text=source), scene, policy_of(shop).brand)


SHOP = Shop(1, "s", "Lantern & Leaf", "csv", "https://shop.example", "EUR", "Europe/Berlin", "en")


def test_parcel_of_an_order_is_told_where_the_store_told_it(sqlite_db: Database) -> None:
    shop = _shop(sqlite_db)
    source = '{{ order.tracking_carrier or "-" }}/{{ order.tracking_number or "-" }}/{{ order.tracking_url or "-" }}'
    assert _read(sqlite_db, shop, source, 2, key="post_purchase") == "-/-/-"
    parcel = {"tracking_number": "77", "tracking_carrier": "Post", "tracking_url": ["no text"]}
    write(sqlite_db, shop, [order("b", 70_000, member_external_id="2", attributes=parcel, number="b2")])
    assert _read(sqlite_db, shop, source, 2, key="post_purchase") == "Post/77/-"
