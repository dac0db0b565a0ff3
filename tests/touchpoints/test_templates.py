"""Saving, taking away and previewing texts: checked with what their journeys can offer, and never under a journey that runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crm_plugin.adapters.channels.base import sms_size
from crm_plugin.errors import InvalidInput, NotFound, RenderError
from crm_plugin.records import OrderLineRecord
from crm_plugin.store import member_dates, members
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.render import Text
from crm_plugin.touchpoints.templates import preview, remove_text, save_text
from crm_plugin.touchpoints.texts import get_text, texts
from tests.factories import NOON, make_shop, member, order, write


@pytest.fixture
def shop(db: Database) -> Shop:
    with db.write() as connection:
        return make_shop(connection, url="https://shop.example", title="Lantern & Leaf")


def _text(channel: str = "email", locale: str = "en", key: str = "greet", **parts: str) -> Text:
    usual = {"subject": "Hello", "body_text": "Hello {{ member.name }}"}
    return Text(key, channel, locale, **{**usual, **parts})  # type: ignore[arg-type]


def _journey(db: Database, shop: Shop, **told: Any) -> None:
    usual = {"key": "greet", "trigger": {"type": "birthday", "days": 0}, "channels": ["email"]}
    with db.write() as connection:
        journey_store.save(connection, shop, read_draft({**usual, **told}), NOON)


def _save(db: Database, shop: Shop, text: Text) -> Text:
    with db.write() as connection:
        return save_text(connection, shop, text, NOON)


def _stored(db: Database, key: str | None = None) -> list[tuple[str, str, str, int]]:
    with db.read() as connection:
        return [(one.template_key, one.channel, one.locale, one.version) for one in texts(connection, 1, key)]


def test_version_moves_only_with_a_change(db: Database, shop: Shop) -> None:
    assert _save(db, shop, _text()).version == 1
    assert _save(db, shop, _text(body_text="\r\nHello {{ member.name }}\r\n", subject=" Hello ")).version == 1
    assert _save(db, shop, _text(subject="Hi")).version == 2
    _save(db, shop, _text(locale="zh_CN"))
    _save(db, shop, _text(key="other"))
    # A text message has neither subject nor HTML: what a form sent of them is not kept.
    sms = _save(db, shop, _text(channel="sms", key="short", subject="S", body_html="<p>", url="/x"))
    assert (sms.subject, sms.body_html, sms.url) == ("", "", "")
    assert _save(db, shop, _text(channel="sms", key="short", subject="T")).version == 1
    with db.write() as connection:
        remove_text(connection, shop, "short", "sms", "en")
    assert _stored(db) == [("greet", "email", "en", 2), ("greet", "email", "zh-CN", 1), ("other", "email", "en", 1)]
    assert _stored(db, "other") == [("other", "email", "en", 1)]
    with db.read() as connection:
        assert get_text(connection, 1, "greet", "email", "en") == _text(subject="Hi", version=2)  # type: ignore[arg-type]
        assert get_text(connection, 2, "greet", "email", "en") is None


@pytest.mark.parametrize(
    ("parts", "field", "line"),
    [
        ({"body_text": "one\ntwo {{ membr.name }}"}, "body_text", 2),
        ({"body_html": "<p>\n\n{% if days %}"}, "body_html", 3),
        ({"subject": ""}, "subject", 0),
    ],
)
def test_mistake_is_named_and_nothing_kept(
    db: Database, shop: Shop, parts: dict[str, str], field: str, line: int
) -> None:
    with pytest.raises(InvalidInput) as caught:
        _save(db, shop, _text(**parts))
    assert (caught.value.field, caught.value.line) == (field, line)
    assert _stored(db) == []


def test_unknown_channel_and_language_are_refused(db: Database, shop: Shop) -> None:
    for text in (_text(channel="fax"), _text(locale="no such")):
        with pytest.raises(InvalidInput):
            _save(db, shop, text)
    assert _stored(db) == []


def test_order_may_be_named_only_where_there_is_one(db: Database, shop: Shop) -> None:
    speaks = _text(body_text="Your order {{ order.number }}")
    _save(db, shop, speaks)
    _journey(db, shop, key="after", trigger={"type": "post_purchase", "days": 3}, template="greet")
    assert _save(db, shop, speaks).version == 1
    _journey(db, shop, key="sleepy", trigger={"type": "lapse", "days": 90}, template="greet")
    with pytest.raises(InvalidInput, match="number"):
        _save(db, shop, _text(body_text="Order {{ order.number }}"))
    _save(db, shop, _text(body_text="Hello{% if order %} {{ order.number }}{% endif %}"))


def test_journey_starts_only_with_texts_that_do(db: Database, shop: Shop) -> None:
    _save(db, shop, _text(body_text="Your order {{ order.number }}"))
    with pytest.raises(InvalidInput, match="number"):
        _journey(db, shop, enabled=True)
    _journey(db, shop, trigger={"type": "post_purchase", "days": 3}, enabled=True)
    with pytest.raises(InvalidInput, match="number"):
        _journey(db, shop, trigger={"type": "lapse", "days": 90})
    with pytest.raises(InvalidInput, match="no text for sms"):
        _journey(db, shop, trigger={"type": "post_purchase", "days": 3}, channels=["email", "sms"])
    with db.read() as connection:
        kept = journey_store.get(connection, 1, "greet")
    assert (kept.trigger.type, kept.channels, kept.enabled) == ("post_purchase", ("email",), True)


def test_last_text_of_a_running_journey_stays(db: Database, shop: Shop) -> None:
    for text in (_text(), _text(locale="zh-CN"), _text(channel="sms")):
        _save(db, shop, text)
    _journey(db, shop, enabled=True)
    with db.write() as connection:
        remove_text(connection, shop, "greet", "email", "en")
        remove_text(connection, shop, "greet", "sms", "en")
        with pytest.raises(InvalidInput, match="no other email text"):
            remove_text(connection, shop, "greet", "email", "zh-CN")
        with pytest.raises(NotFound):
            remove_text(connection, shop, "greet", "email", "en")
    assert _stored(db) == [("greet", "email", "zh-CN", 1)]
    _journey(db, shop, enabled=False)
    with db.write() as connection:
        remove_text(connection, shop, "greet", "email", "zh-CN")
    assert _stored(db) == []


NOW = datetime(2026, 6, 10, 12, tzinfo=UTC)


@pytest.fixture
def people(db: Database, shop: Shop) -> dict[str, int]:
    """Ann with two orders and a birthday, Bo without anything; by name."""
    write(db, shop, [member("1", first_name="Ann", birth_month=12, birth_day=24), member("2", first_name="Bo")], NOW)
    lines = (OrderLineRecord(title="Mug", quantity=2, total_minor=3150),)
    at = {"member_external_id": "1", "lines": lines}
    write(
        db,
        shop,
        [
            order("o1", 100, number="1041", placed_at=NOW - timedelta(days=40), **at),
            order("o2", 3150, number="1042", placed_at=NOW - timedelta(days=20), **at),
        ],
        NOW,
    )
    with db.read() as connection:
        return {row.first_name: row.member_id for row in connection.execute(members.select())}


def _preview(db: Database, shop: Shop, text: Text, member_id: int | None) -> str:
    with db.read() as connection:
        return preview(connection, shop, text, member_id, NOW).text


def test_marketing_note_needs_a_way_out(db: Database, shop: Shop) -> None:
    after = {"key": "greet", "trigger": {"type": "post_purchase", "days": 7}, "channels": ["note"]}
    without = _text(channel="note", body_text="Thank you!{% if days > 90 %}{{ unsubscribe_url }}{% endif %}")
    _journey(db, shop, **after, kind="transactional")
    assert _save(db, shop, without).version == 1
    _journey(db, shop, **after, enabled=True, kind="transactional")
    # The same words as marketing: neither the journey that is on may become it, nor the text be saved for it.
    with pytest.raises(InvalidInput, match="has no way to stop it"):
        _journey(db, shop, **after, kind="marketing")
    _journey(db, shop, **after, enabled=False, kind="transactional")
    _journey(db, shop, **after, kind="marketing")
    for refused in (lambda: _journey(db, shop, **after, enabled=True), lambda: _save(db, shop, without)):
        with pytest.raises(InvalidInput) as caught:
            refused()
        assert (caught.value.field, caught.value.hint) == ("body_text", "Put {{ unsubscribe_url }} into it.")
    assert _stored(db) == [("greet", "note", "en", 1)]
    _save(db, shop, _text(channel="note", body_text="Thank you!{% if marketing %} {{ unsubscribe_url }}{% endif %}"))
    _journey(db, shop, **after, enabled=True)


def test_preview_speaks_of_the_last_order(db: Database, shop: Shop, people: dict[str, int]) -> None:
    _journey(db, shop, trigger={"type": "post_purchase", "days": 14})
    source = "{{ member.name }} {{ order.number }} {{ order.total }} {{ order.lines[0].title }} {{ occasion | date }} {{ days }}"
    text = _text(channel="sms", body_text=source)
    assert _preview(db, shop, text, people["Ann"]) == "Ann 1042 €31.50 Mug May 21, 2026 14"
    assert _preview(db, shop, text, None) == "Ada Lovelace 1042 €59.00 Linen shirt March 14, 2026 14"
    with pytest.raises(InvalidInput) as caught:
        _preview(db, shop, text, people["Bo"])
    assert caught.value.field == "member_id"


def test_preview_of_a_birthday_and_a_lapse(db: Database, shop: Shop, people: dict[str, int]) -> None:
    text = _text(channel="sms", body_text="{{ occasion.isoformat() }} {{ unsubscribe_url[:8] }}{{ marketing }}")
    _journey(db, shop, trigger={"type": "birthday", "days": -7})
    assert _preview(db, shop, text, people["Ann"]) == "2026-12-24 https://True"
    assert _preview(db, shop, text, people["Bo"]) == "2026-06-17 https://True"
    _journey(db, shop, trigger={"type": "lapse", "days": 15})
    assert _preview(db, shop, text, people["Ann"]) == "2026-05-21 https://True"
    _journey(db, shop, trigger={"type": "post_purchase", "days": 14}, kind="transactional")
    assert _preview(db, shop, text, people["Ann"]) == "2026-05-21 False"


def test_preview_of_a_gift_reminder_shows_the_day_that_was_named(
    db: Database, shop: Shop, people: dict[str, int]
) -> None:
    with db.write() as connection:
        row = {"shop_id": shop.shop_id, "date_id": 1, "member_id": people["Ann"], "person": "Grace"}
        connection.execute(member_dates.insert().values(**row, month_day=620, recorded_at=NOON))
    _journey(db, shop, trigger={"type": "gift_reminder", "days": -14})
    text = _text(
        channel="sms", body_text="{% if gift %}{{ gift.person }} {{ gift.on.isoformat() }}{% else %}-{% endif %}"
    )
    assert _preview(db, shop, text, people["Ann"]) == "Grace 2026-06-20"


def test_preview_of_a_text_without_journey(db: Database, shop: Shop, people: dict[str, int]) -> None:
    text = _text(
        channel="sms", locale="zh-CN", body_text="{{ member.name }}{% if order %}{{ order.number }}{% endif %}"
    )
    assert _preview(db, shop, text, people["Ann"]) == "Ann1042"
    assert _preview(db, shop, text, people["Bo"]) == "Bo"
    assert _preview(db, shop, text, None) == "林小雅1042"


def test_preview_refuses_what_cannot_be_shown(db: Database, shop: Shop, people: dict[str, int]) -> None:
    with pytest.raises(InvalidInput):
        _preview(db, shop, _text(body_text="{{ membr }}"), None)
    with pytest.raises(NotFound):
        _preview(db, shop, _text(), 404)
    with pytest.raises(RenderError):
        _preview(db, shop, _text(body_text="{{ order.number }}"), people["Bo"])
    with db.write() as connection:
        other = make_shop(connection, 2)
    with pytest.raises(NotFound):
        _preview(db, other, _text(), people["Ann"])


def test_parts_of_a_text_message_are_counted() -> None:
    assert (sms_size("a" * 161).parts, sms_size("会" * 70).parts) == (2, 1)
