"""What a merchant reads on Today: what goes out, what needs them, what happened, and for a new shop what is still to do."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import insert, select, update

from crm_plugin.records import ConsentRecord, ConsentState, RecordProblem, Stream
from crm_plugin.rules.tiers import Level, save_levels
from crm_plugin.runtime import Runtime
from crm_plugin.store import connections, journeys, members, runs, shops, sync_state, touchpoints
from crm_plugin.store.runs import Run
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import problems
from crm_plugin.touchpoints import journeys as journey_acts
from crm_plugin.touchpoints import recipes, senders
from crm_plugin.touchpoints.settings import save_settings
from crm_plugin.web import kept
from tests.factories import NOON, make_shop, member, order, write
from tests.web.conftest import Page, words

YES = (ConsentRecord(channel="email", state=ConsentState.GRANTED, at=NOON),)


def _sender(runtime: Runtime, shop: Shop, adapter: str = "smtp", channel: str = "email", **more: Any) -> None:
    row = {"settings": runtime.box.seal({}), "enabled": True, "status": "ok", "updated_at": NOON, **more}
    with runtime.db.write() as connection:
        connection.execute(insert(connections).values(shop_id=shop.shop_id, adapter=adapter, channel=channel, **row))


def _switch_on(runtime: Runtime, shop: Shop, key: str) -> None:
    with runtime.db.write() as connection:
        recipes.install(connection, shop, NOON)
        journey_acts.switch(connection, shop, key, True, NOON - timedelta(days=1))


def _birthday(external_id: str, day: int, **more: Any) -> Any:
    return member(external_id, email=f"m{external_id}@x.test", birth_month=6, birth_day=day, consents=YES, **more)


def _put(runtime: Runtime, shop: Shop, state: str, reason: str = "", days: int = 0, place: int = 1) -> None:
    at = NOON - timedelta(days=days, minutes=place)
    with runtime.db.write() as connection:
        who = connection.execute(select(members.c.member_id).where(members.c.shop_id == shop.shop_id)).scalar()
        connection.execute(
            insert(touchpoints).values(
                shop_id=shop.shop_id,
                touchpoint_id=place,
                journey_key="birthday",
                member_id=who,
                occasion=str(place),
                occasion_on=at.date(),
                state=state,
                reason=reason,
                due_at=at,
                next_try_at=at,
                valid_until=at,
                planned_at=at,
                updated_at=at,
            )
        )


def _key(runtime: Runtime, shop: Shop, word: str) -> str:
    """The key of the first recipe with that trigger."""
    with runtime.db.write() as connection:
        recipes.install(connection, shop, NOON)
        found = connection.execute(
            select(journeys.c.journey_key).where(journeys.c.shop_id == shop.shop_id, journeys.c.trigger == word)
        )
        return str(found.scalars().first())


def test_new_shop_sees_what_is_to_do(page: Page) -> None:
    html = page("today")
    text = words(html)
    assert "Getting started 2 of 6 done" in text
    assert "Nothing goes out today. Nothing needs you." in text
    assert "No journey is on, so nothing goes out" in text
    for href in ("connections#files", "connections#senders", "tiers", "journeys"):
        assert f'href="/s/shop-1/{href}"' in html


@pytest.mark.slow
def test_steps_tick_themselves_off(page: Page, runtime: Runtime, shop: Shop) -> None:
    write(runtime.db, shop, [member("1")])
    assert "Done: Upload your first file" in words(page("today"))
    _sender(runtime, shop)
    assert "Done: Set up who sends your messages" in words(page("today"))
    with runtime.db.write() as connection:
        save_levels(connection, shop, [Level("gold", "spent() >= 100")], NOON)
    assert "Done: Set up levels for your members" in words(page("today"))
    _switch_on(runtime, shop, _key(runtime, shop, "birthday"))
    text = words(page("today"))
    # The fixture's server has a public address, so nothing is left.
    assert "Getting started" not in text


def test_outlook_counts_waiting_and_coming(page: Page, runtime: Runtime, shop: Shop) -> None:
    _sender(runtime, shop)
    key = _key(runtime, shop, "birthday")
    _switch_on(runtime, shop, key)
    write(runtime.db, shop, [_birthday("1", 3), _birthday("2", 3), _birthday("3", 5), _birthday("4", 20)])
    no = tuple(ConsentRecord(channel=name, state=ConsentState.WITHDRAWN, at=NOON) for name in ("email", "inapp", "sms"))
    write(runtime.db, shop, [member("5", email="no@x.test", birth_month=6, birth_day=4, consents=no)])
    _put(runtime, shop, "planned")
    html = page("today")
    text = words(html)
    assert "1 message will go out today." in text
    days = re.findall(r'<span class="figure">([\d,]+)</span>', html)
    assert [int(number) for number in days] == [1, 0, 2, 0, 1, 0, 0, 0]
    assert "Mon, Jun 1 today 1" in text
    assert "1 more member would match and gets nothing: no consent, no address, or blocked." in text
    assert 'width="100" height="10"' in html


def test_kept_outlook_follows_the_language(
    page: Page, runtime: Runtime, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "SLOW_SECONDS", 0.0)
    _sender(runtime, shop)
    write(runtime.db, shop, [_birthday("1", 3)])
    _switch_on(runtime, shop, _key(runtime, shop, "birthday"))
    assert "Wed, Jun 3" in words(page("today"))
    assert "6月3日周三" in words(page("today?lang=zh"))


def test_needs_stand_still_first(page: Page, runtime: Runtime, shop: Shop) -> None:
    write(runtime.db, shop, [member("1")])
    _put(runtime, shop, "unconfirmed", "crashed")
    with runtime.db.write() as connection:
        problems.keep(connection, shop.shop_id, [RecordProblem(Stream.ORDERS, "9", "no total", "{}")], NOON)
    _sender(runtime, shop, status=senders.PAUSED, status_detail="The password is wrong. Enter it anew.")
    html = page("today")
    text = words(html)
    assert "3 things need you." in text
    first = text.index("SMTP is paused The password is wrong. Enter it anew. Fix it")
    assert first < text.index("1 message may have gone out or not") < text.index("1 record could not be read")
    assert 'href="/s/shop-1/outbox?state=unconfirmed"' in html
    assert 'href="/s/shop-1/connections/senders/smtp"' in html


def test_missing_sender_of_a_journey_is_told(page: Page, runtime: Runtime, shop: Shop) -> None:
    _switch_on(runtime, shop, _key(runtime, shop, "birthday"))
    assert "Nothing goes out by e-mail" in words(page("today"))
    _sender(runtime, shop)
    assert "Nothing goes out by e-mail" not in words(page("today"))


def test_sender_that_is_off_is_not_told_as_missing(page: Page, runtime: Runtime, shop: Shop) -> None:
    _sender(runtime, shop, enabled=False)
    assert "SMTP is set up and switched off. Switch it on" in words(page("today"))
    told = "Those who send e-mail and text messages for you are switched off."
    assert told in words(page("connections"))
    _switch_on(runtime, shop, "birthday")
    html = page("today")
    assert "Nothing goes out by e-mail A journey that is on uses it, and SMTP is switched off. Switch it on" in words(
        html
    )
    assert html.count('href="/s/shop-1/connections/senders/smtp"') == 2
    # Another sender of the same channel would do.
    _sender(runtime, shop, "twilio", "sms")
    assert "Switch it on" in words(page("today"))
    assert told not in words(page("connections"))
    senders.switch(runtime.db, shop, "smtp", True, NOON)
    assert "Nothing goes out by e-mail" not in words(page("today"))


def test_missing_postal_address_is_told(page: Page, runtime: Runtime, shop: Shop) -> None:
    _sender(runtime, shop)
    assert "Your postal address is missing" not in words(page("today"))
    _switch_on(runtime, shop, "birthday")
    assert "Your postal address is missing" in words(page("today"))
    with runtime.db.write() as connection:
        save_settings(connection, shop, {"address": "1 Road, Town"}, NOON)
    assert "Your postal address is missing" not in words(page("today"))


def test_store_that_refuses_is_told(page: Page, runtime: Runtime, shop: Shop) -> None:
    with runtime.db.write() as connection:
        told = {"status": "action_required", "status_detail": "The store does not know this key. Make a new one."}
        connection.execute(update(shops).where(shops.c.shop_id == shop.shop_id).values(**told))
    text = words(page("today"))
    assert (
        "Your store no longer lets us in The store does not know this key. Make a new one. Nothing is lost: it goes on"
        in text
    )
    assert "once this is put right. Enter new keys" in text


def test_failed_import_is_told(page: Page, runtime: Runtime, shop: Shop) -> None:
    with runtime.db.write() as connection:
        runs.keep(connection, shop.shop_id, Run("import_file", NOON, NOON, {}, "The file breaks off after row 7."))
    assert "The last file was not loaded The file breaks off after row 7." in words(page("today"))


def test_last_days_name_main_reasons(page: Page, runtime: Runtime, shop: Shop) -> None:
    write(runtime.db, shop, [member("1", joined_at=NOON)])
    for place, (state, reason) in enumerate(
        [
            ("accepted", ""),
            ("delivered", ""),
            ("skipped", "no_consent"),
            ("skipped", "no_consent"),
            ("failed", "render"),
        ],
        1,
    ):
        _put(runtime, shop, state, reason, days=2, place=place)
    _put(runtime, shop, "accepted", days=9, place=90)
    html = page("today")
    text = words(html)
    assert "Messages sent 2 1 in the 7 days before" in text
    assert "Held back 3 0 in the 7 days before" in text
    assert "Members 1 1 new in 7 days" in text
    assert "Held back most often: No permission 2 · Text has a mistake 1" in text
    assert 'href="/s/shop-1/outbox?reason=no_consent"' in html
    # No space follows a colon in Chinese.
    assert "未发送的主要原因：<a" in page("today?lang=zh")


def test_orders_carry_their_worth(page: Page, runtime: Runtime, shop: Shop) -> None:
    write(runtime.db, shop, [order("o1", 12_345), order("o2", 5_000, placed_at=NOON - timedelta(days=8))])
    assert "New orders 1 €123.45 · 1 in the 7 days before" in words(page("today"))


def _pulled(runtime: Runtime) -> Shop:
    with runtime.db.write() as connection:
        return make_shop(connection, 2, platform="woocommerce", url="https://woo.example")


def _stream(runtime: Runtime, shop: Shop, stream: str, phase: str, **more: Any) -> None:
    row = {"cursor": "c", "done": 0, "started_at": NOON, "updated_at": NOON, "detail": "", **more}
    with runtime.db.write() as connection:
        connection.execute(insert(sync_state).values(shop_id=shop.shop_id, stream=stream, phase=phase, **row))


def test_first_reading_shows_how_far(client: FlaskClient, runtime: Runtime) -> None:
    shop = _pulled(runtime)
    _stream(runtime, shop, "products", "idle", done=76)
    _stream(runtime, shop, "members", "stopped", done=20, detail="The store is busy. It is tried again later.")
    text = words(client.get(f"/s/{shop.name}/today").text)
    assert "Products 76 ✓ Members stopped Orders waits Refunds waits" in text
    assert "Reading your store stopped at: Members" in text
    assert "Done: Read your store" not in text


def test_progress_asks_again_only_while_reading(client: FlaskClient, runtime: Runtime) -> None:
    shop = _pulled(runtime)
    _stream(runtime, shop, "products", "backfill", done=40, total=76)
    answer = client.get(f"/s/{shop.name}/reading")
    assert answer.status_code == 200
    assert "data-poll" not in answer.text
    assert "<html" not in answer.text


def test_members_name_stays_text(page: Page, runtime: Runtime, shop: Shop) -> None:
    with runtime.db.write() as connection:
        connection.execute(update(shops).where(shops.c.shop_id == shop.shop_id).values(title="<script>x</script>"))
    html = page("today")
    assert "<script>x" not in html
    assert "&lt;script&gt;x" in html


@pytest.mark.parametrize("path", ["/", "/s/shop-1/"])
def test_first_address_leads_to_today(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/s/shop-1/today")


@pytest.mark.slow
def test_what_stands_still_and_how_long_what_waits_takes(page: Page, runtime: Runtime, shop: Shop) -> None:
    write(runtime.db, shop, [_birthday("1", 1)])
    _sender(runtime, shop)
    _switch_on(runtime, shop, "birthday")
    for place in range(1, 101):
        _put(runtime, shop, "planned", place=place)
    told = words(page("today"))
    assert "100 are due and wait." in told
    assert "100 messages are due since Jun 1, 2026 12:20 and do not leave" in told
    assert "100 are due and wait." in words(page("outbox"))
