"""Fields: what the store keeps under keys of plugins, which key means what, and how its values are read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any, Never

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update

from crm_plugin.demo import server
from crm_plugin.demo import shop as demo
from crm_plugin.demo.server import ServedShop
from crm_plugin.errors import TransientError
from crm_plugin.jobs.queue import Queue
from crm_plugin.jobs.tasks import add_shop, sync
from crm_plugin.runtime import Runtime
from crm_plugin.store import audit_log, member_consents, members, order_lines, products, shops
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import anew, connect, lifecycle
from crm_plugin.sync.field_samples import shown
from crm_plugin.sync.keeper import keep_in
from crm_plugin.web.pages import fields as fields_page
from tests.factories import make_shop
from tests.web.conftest import fields, sign_in, words

DAYS = ["03/04/1990", "05/06/1985", "11/12/2001"]
WORDS = ["Ja", "Nein", "Ja, gerne"]
SECRET = "9f3a0c77d1e25b4480aa61fe"


@pytest.fixture(scope="module")
def store() -> Iterator[ServedShop]:
    """A store whose plugins keep everything under keys and in words of their own."""
    made = demo.generate(3, members=20, years=1, until=date(2026, 6, 1))
    for place, row in enumerate(made.customers):
        row["meta_data"] = [
            _meta("geburtsdatum", DAYS[place % 3]),
            _meta("werbung", WORDS[place % 3]),
            _meta("session_token", SECRET),
            _meta("contact_email", "ada.lovelace@example.com"),
        ]
    for row in [*made.products, *made.variations]:
        row["meta_data"], row["cost_of_goods_sold"] = [_meta("_wc_cog_cost", "4.20")], None
    for row in made.orders:
        row["line_items"] = [{**line, "cost_of_goods_sold": None} for line in row["line_items"]]
        row["cost_of_goods_sold"] = None
    with server.serve(made) as served:
        yield served


def _meta(key: str, value: Any) -> dict[str, Any]:
    return {"id": 1, "key": key, "value": value}


@pytest.fixture
def shop(runtime: Runtime, store: ServedShop) -> Shop:
    """That store, connected and not read yet."""
    told = {"url": store.url, "key": store.key, "secret": store.secret}
    return add_shop(runtime, name="lantern", platform="woocommerce", credentials=told)


@pytest.fixture
def browser(app: Flask, shop: Shop) -> FlaskClient:
    return sign_in(app)


PAGE = "/s/lantern/connections/fields"


def _post(browser: FlaskClient, told: dict[str, str], **more: str) -> Any:
    return browser.post(PAGE, data={**told, **more}, headers={"Sec-Fetch-Site": "same-origin"})


def test_keys_are_shown_with_values_and_nobody_is_named(browser: FlaskClient) -> None:
    html = browser.get(PAGE).text
    text = words(html)
    assert "geburtsdatum Members 15" in text
    assert "03/04/1990" in text
    assert "Your store has none of them." in text
    assert "a•••@example.com" in text
    assert "ada.lovelace" not in html
    assert SECRET not in html
    assert 'href="/s/lantern/connections/fields"' in browser.get("/s/lantern/connections").text


def test_store_that_is_disconnected_is_asked_nothing(browser: FlaskClient, runtime: Runtime, shop: Shop) -> None:
    lifecycle.leave(runtime.db, shop, "page:owner", runtime.clock.now())
    with runtime.db.write() as connection:
        connection.execute(update(shops).values(credentials=None))
    for html in (browser.get(PAGE).text, _post(browser, {"birthday": "x"}, do="save").text):
        text = words(html)
        assert "You have disconnected this store" in text
        assert "they are shown once it is connected again" in text
        assert "is missing" not in text
        assert "Connect it again" in text


def test_what_could_be_either_has_to_be_said(browser: FlaskClient, runtime: Runtime, shop: Shop) -> None:
    told = {**fields(browser.get(PAGE).text, "fields"), "birthday": "geburtsdatum", "consent": "werbung"}
    looked = _post(browser, told, do="look")
    assert looked.status_code == 200
    text = words(looked.text)
    assert "0 of the 3 different values of geburtsdatum are read" in text
    assert "3 values could be read either way." in text
    refused = _post(browser, {**fields(looked.text, "fields"), **told}, do="save")
    assert refused.status_code == 422
    assert "Say which comes first: none of the values shows it." in words(refused.text)
    # Words that nobody has looked at are not taken for anything.
    refused = _post(browser, {**told, "birthday_order": "day first"}, do="save")
    assert "Say below which of its values mean yes" in words(refused.text)
    assert "birthday_keys" not in connect.credentials_of(runtime.db, runtime.box, shop)


@pytest.mark.slow
def test_saved_keys_are_read_from_the_beginning(
    browser: FlaskClient, runtime: Runtime, queue: Queue, shop: Shop
) -> None:
    sync(runtime, shop)
    with runtime.db.read() as connection:
        assert set(
            connection.execute(select(members.c.birth_md).where(members.c.external_id.is_not(None))).scalars()
        ) == {None}
    told = {
        "birthday": "geburtsdatum",
        "birthday_order": "day first",
        "consent": "werbung",
        "sms": "",
        "cost": "_wc_cog_cost",
    }
    looked = _post(browser, told, do="look").text
    assert "April 3, 1990" in words(looked)
    assert "1 of the 1 different values of _wc_cog_cost are read" in words(looked)
    seen = fields(looked, "fields")
    says = {
        key.replace("word", "says"): {"Ja": "yes", "Nein": "no"}.get(value, "")
        for key, value in seen.items()
        if "-word-" in key
    }
    queue.close()
    assert _post(browser, {**seen, **told, **says}, do="save").headers["Location"] == "/s/lantern/connections"
    kept = connect.credentials_of(runtime.db, runtime.box, shop)
    assert (kept["birthday_keys"], kept["birthday_order"], kept["cost_keys"]) == (
        "geburtsdatum",
        "day first",
        "_wc_cog_cost",
    )
    assert kept["consent_words"] == {"consent": {"yes": ["Ja"], "no": ["Nein"]}}
    assert "What was chosen last is not read yet" in words(browser.get(PAGE).text)
    sync(runtime, shop)
    with runtime.db.read() as connection:
        own = members.c.external_id.is_not(None)
        assert set(connection.execute(select(members.c.birth_md).where(own)).scalars()) == {403, 605, 1211}
        said = connection.execute(
            select(member_consents.c.state).join(members, members.c.member_id == member_consents.c.member_id).where(own)
        ).scalars()
        assert sorted(set(said)) == ["granted", "withdrawn"]
        assert set(connection.execute(select(products.c.cost_minor)).scalars()) == {420}
        lines = connection.execute(select(order_lines.c.cost_minor, order_lines.c.quantity)).all()
        assert all(line.cost_minor == 420 * line.quantity for line in lines)
        assert not anew.is_asked(connection, shop.shop_id)
        assert "shop.fields" in connection.execute(select(audit_log.c.action)).scalars().all()
    # The page shows what is kept, and what it means.
    html = browser.get(PAGE).text
    assert fields(html, "fields")["birthday_order"] == "day first"
    assert 'name="birthday" value="geburtsdatum" checked' in html


def test_store_that_lets_us_in_no_longer_is_told(browser: FlaskClient, runtime: Runtime, shop: Shop) -> None:
    kept = connect.credentials_of(runtime.db, runtime.box, shop)
    with runtime.db.write() as connection:
        keep_in(connection, runtime.box, shop.shop_id, {**kept, "secret": "cs_wrong"})
    html = browser.get(PAGE).text
    assert "does not accept" in words(html)
    assert 'id="fields"' not in html
    refused = _post(browser, {"birthday": "geburtsdatum"}, do="save")
    assert refused.status_code == 422
    assert "birthday_keys" not in connect.credentials_of(runtime.db, runtime.box, shop)


def test_nothing_is_saved_by_a_page_that_could_not_be_shown(
    browser: FlaskClient, runtime: Runtime, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = connect.credentials_of(runtime.db, runtime.box, shop)

    def away(*_: object) -> Never:
        raise TransientError("It is away.", adapter="woocommerce", operation="fields")

    monkeypatch.setattr(fields_page.fields, "ask", away)
    refused = _post(browser, {"birthday": "geburtsdatum"}, do="save")
    assert refused.status_code == 422
    assert connect.credentials_of(runtime.db, runtime.box, shop) == kept


def test_shop_of_files_has_no_such_page(client: FlaskClient, runtime: Runtime) -> None:
    with runtime.db.write() as connection:
        make_shop(connection, 7, name="files")
    assert client.get("/s/files/connections/fields").status_code == 404


@pytest.mark.parametrize(
    ("key", "text", "told"),
    [
        ("wp_session", "abc", "••••"),
        ("note", "ada@example.com", "a•••@example.com"),
        ("x", "+49 151 2345678", "•••• 78"),
        ("x", "4.20", "4.20"),
        ("x", "1990-05-01", "1990-05-01"),
        ("nickname", "Ada", "A•••"),
        ("email_opt_in", "yes", "yes"),
        ("x", "0123456789abcdef01234567", "01234567…"),
        ("x", "London Bridge", "London Bridge"),
    ],
)
def test_values_are_shown_without_whose_they_are(key: str, text: str, told: str) -> None:
    assert shown(key, text) == told
