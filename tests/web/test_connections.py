"""Connecting a store, seeing that store and senders are well, mending them, handing in files, and how messages look."""

from __future__ import annotations

import gzip
import io
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from crm_plugin.adapters.base import Capability
from crm_plugin.adapters.storefronts.csv import CsvStorefront
from crm_plugin.demo import server
from crm_plugin.demo import shop as demo
from crm_plugin.demo.server import ServedShop
from crm_plugin.jobs import queue as queues
from crm_plugin.jobs import tasks, uploads
from crm_plugin.jobs.clock import Clock
from crm_plugin.jobs.following import RECONCILE, UNTOLD
from crm_plugin.jobs.queue import Queue
from crm_plugin.jobs.tasks import job_named
from crm_plugin.phrases import joined, packed, phrase
from crm_plugin.records import OrderStatus, RecordProblem, Stream
from crm_plugin.runtime import Runtime
from crm_plugin.store import (
    audit_log,
    connections,
    inapp_messages,
    journeys,
    member_facts,
    members,
    orders,
    problems,
    runs,
    shops,
)
from crm_plugin.store.runs import Run
from crm_plugin.store.tenants import Shop, all_shops, shop_by_id, shop_named
from crm_plugin.sync import problems as broken
from crm_plugin.touchpoints import health, senders
from tests.adapters.channels.smtp_server import Script, SmtpServer
from tests.factories import NOON, make_shop, member, order, write
from tests.web.conftest import Page, Post, sign_in, words

FILE = "Order,Date,Total,Email\n1,2026-05-01 10:00,12.50,a@x.test\n2,2026-05-02 10:00,7.00,b@x.test\n"
MAPPING = {"kind": "orders", "order_id": "Order", "placed_at": "Date", "total": "Total", "email": "Email"}


@pytest.fixture(scope="module")
def store() -> Iterator[ServedShop]:
    """A small store with WooCommerce's REST form, at home on this machine."""
    made = demo.generate(3, members=20, years=1, until=date(2026, 6, 1))
    with server.serve(made) as served:
        yield served


@pytest.fixture
def browser(app: Flask) -> FlaskClient:
    """A signed-in browser of an installation without a shop."""
    return sign_in(app)


def _shops(runtime: Runtime) -> list[Shop]:
    with runtime.db.read() as connection:
        return all_shops(connection)


def _acts(runtime: Runtime, shop_id: int) -> list[tuple[str, str]]:
    columns = audit_log.c
    with runtime.db.read() as connection:
        query = select(columns.actor, columns.action).where(columns.shop_id == shop_id).order_by(columns.audit_id)
        return [(actor, action) for actor, action in connection.execute(query)]


def _error(html: str, field: str) -> str:
    """What stands at a field that was refused."""
    return words(html.partition(f'id="e-{field}">')[2].partition("</p>")[0])


def _woo(store: ServedShop, **more: str) -> dict[str, str]:
    return {"platform": "woocommerce", "url": store.url, "key": store.key, "secret": store.secret, **more}


def test_store_that_is_told_by_hand_shows_its_address(page: Page, runtime: Runtime, shop: Shop) -> None:
    assert "/hooks/shop-1/" not in page("connections")
    with runtime.db.write() as connection:
        connection.execute(update(shops).values(platform="medusa"))
        told = phrase("The store said %(what)s.", what="no")
        result = {UNTOLD: [packed(joined(told, "Do this."))]}
        runs.keep(connection, shop.shop_id, Run("sync", NOON, NOON, result, ""))
    text = words(page("connections"))
    assert "https://crm.example/hooks/shop-1/medusa Write it into the options" in text
    assert "The store said no. Do this." in text
    # Asked again later, it would.
    with runtime.db.write() as connection:
        runs.keep(connection, shop.shop_id, Run(RECONCILE, NOON, NOON + timedelta(hours=1), {UNTOLD: []}, ""))
    assert "The store said no." not in page("connections")


def test_without_shop_leads_to_connecting(browser: FlaskClient) -> None:
    assert browser.get("/").headers["Location"] == "/connect"
    text = words(browser.get("/connect").text)
    assert "Connect your store" in text
    assert "WooCommerce > Settings > Advanced > REST API and choose “Add key”" in text


@pytest.mark.slow
def test_connected_store_is_read_at_once(
    browser: FlaskClient, runtime: Runtime, queue: Queue, store: ServedShop
) -> None:
    answer = browser.post("/connect", data=_woo(store, name="lantern", locale="zh-CN"))
    assert (answer.status_code, answer.headers["Location"]) == (303, "/s/lantern/today")
    assert queue.wait(60)
    (shop,) = _shops(runtime)
    assert (shop.title, shop.currency, shop.timezone, shop.locale) == (
        "Lantern and Leaf",
        "GBP",
        "Europe/London",
        "zh-CN",
    )
    with runtime.db.read() as connection:
        assert len(connection.execute(select(members.c.member_id)).all()) == 20
        assert connection.execute(select(journeys.c.enabled)).scalars().all() == [False] * 3
    assert _acts(runtime, shop.shop_id)[-1] == ("page:owner", "shop.connect")
    text = words(browser.get("/s/lantern/today").text)
    assert "Done: Read your store" in text
    text = words(browser.get("/s/lantern/connections").text)
    assert "Connected List Last looked at Records read State Products Jun 1, 2026 13:00" in text
    assert text.count("Up to date") == 4
    assert "Members Jun 1, 2026 13:00 15 Up to date" in text
    browser.post("/s/lantern/connections/sync")
    assert queue.wait(60)
    text = words(browser.get("/s/lantern/connections").text)
    assert "Members Jun 1, 2026 13:00 nothing new Up to date" in text
    assert "Your store is connected; last looked at Jun 1, 2026 13:00." in text


def test_store_that_is_connected_already_leads_to_its_shop(
    browser: FlaskClient, runtime: Runtime, store: ServedShop, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "enqueue", lambda *_args, **_more: True)
    assert browser.post("/connect", data=_woo(store, name="lantern")).status_code == 303
    again = _woo(store, name="another", title="Another", url=f"{store.url}/")
    refused = browser.post("/connect", data=again)
    assert refused.status_code == 422
    # What everybody is told names nobody; who may see the other shop is led there.
    assert "lantern" not in _error(refused.text, "url").lower()
    assert "Another shop here holds this store." in _error(refused.text, "url")
    assert 'href="/s/lantern/connections"' in refused.text
    assert [shop.name for shop in _shops(runtime)] == ["lantern"]
    # Keys that do not open the store are not told that it is here.
    guessed = browser.post("/connect", data={**again, "secret": "cs_wrong"})
    assert "Another shop" not in guessed.text
    # New keys for the shop itself are no other store.
    again = {"url": f"{store.url}/", "key": store.key, "secret": store.secret}
    assert browser.post("/s/lantern/connections/store", data=again).status_code == 303


def test_second_shop_gets_another_name(browser: FlaskClient, runtime: Runtime) -> None:
    for _ in range(2):
        told = {"platform": "csv", "title": "Corner Shop", "currency": "gbp", "timezone": "Europe/London", "name": ""}
        assert browser.post("/connect", data=told).status_code == 303
    assert [(shop.name, shop.currency) for shop in _shops(runtime)] == [
        ("corner-shop", "GBP"),
        ("corner-shop-2", "GBP"),
    ]


@pytest.mark.parametrize(
    ("change", "field", "told"),
    [
        ({"secret": "cs_wrong"}, "secret", "the secret is wrong"),
        ({"key": ""}, "key", "Consumer key is missing."),
        ({"url": ""}, "url", "Store address is missing."),
        ({"url": "http://127.0.0.1:9"}, "url", "127.0.0.1:9 cannot be reached"),
        ({"name": "Not A Name"}, "name", "cannot be a shop's name"),
    ],
)
def test_refused_store_is_told_at_its_field(
    browser: FlaskClient, runtime: Runtime, store: ServedShop, change: dict[str, str], field: str, told: str
) -> None:
    answer = browser.post("/connect", data=_woo(store, **change))
    assert answer.status_code == 422
    assert told in _error(answer.text, field)
    assert store.secret not in answer.text
    assert _shops(runtime) == []


@pytest.mark.parametrize(
    ("change", "field"), [({"currency": "pounds"}, "currency"), ({"timezone": "London"}, "timezone")]
)
def test_refused_files_shop_is_told_at_its_field(
    browser: FlaskClient, runtime: Runtime, change: dict[str, str], field: str
) -> None:
    told = {"platform": "csv", "title": "X", "currency": "GBP", "timezone": "Europe/London", "name": "x", **change}
    answer = browser.post("/connect", data=told)
    assert (answer.status_code, f'id="e-{field}"' in answer.text) == (422, True)
    assert _shops(runtime) == []


# A store that is pulled.


@pytest.fixture
def pulled(browser: FlaskClient, runtime: Runtime, queue: Queue, store: ServedShop) -> Shop:
    """The served store, connected and read."""
    browser.post("/connect", data=_woo(store, name="lantern"))
    assert queue.wait(60)
    return _shops(runtime)[0]


def test_keys_are_never_shown_and_kept(browser: FlaskClient, runtime: Runtime, pulled: Shop, store: ServedShop) -> None:
    html = browser.get("/s/lantern/connections/store").text
    assert store.key in html
    assert store.secret not in html
    answer = browser.post("/s/lantern/connections/store", data={"url": store.url, "key": store.key, "secret": ""})
    assert answer.status_code == 303
    assert _acts(runtime, pulled.shop_id)[-1] == ("page:owner", "shop.credentials")


def test_wrong_keys_leave_the_old(
    browser: FlaskClient, runtime: Runtime, queue: Queue, pulled: Shop, store: ServedShop
) -> None:
    data = {"url": store.url, "key": store.key, "secret": "cs_other"}
    answer = browser.post("/s/lantern/connections/store", data=data)
    assert answer.status_code == 422
    assert "cs_other" not in answer.text
    assert "shop.credentials" not in [action for _, action in _acts(runtime, pulled.shop_id)]
    browser.post("/s/lantern/connections/sync", data={"full": "1"})
    assert queue.wait(60)
    run = queue.last(pulled.shop_id, "sync")
    assert run is not None
    assert (run.error, run.result["rows"]) == ("", 0)


def test_note_sender_cannot_be_tried_without_order(browser: FlaskClient, pulled: Shop) -> None:
    text = words(browser.get("/s/lantern/connections/senders/woocommerce_note").text)
    assert "It goes through the connection to your store" in text
    assert "Send a test message" not in text
    answer = browser.post("/s/lantern/connections/senders/woocommerce_note/test", data={"to": "7"})
    assert answer.status_code == 422


# Files.


def _upload(post: Post, content: bytes, mapping: Any = MAPPING, name: str = "orders.csv", **more: Any) -> Any:
    text = mapping if isinstance(mapping, str) else yaml.safe_dump(mapping)
    data = {"file": (io.BytesIO(content), name), "mapping": text, **more}
    return _send(post, "connections/import", data)


def _send(post: Post, path: str, data: Mapping[str, Any]) -> Any:
    """A form with files as one body: the test client would leave a temporary file open for a large one."""
    told = {key: FileStorage(*value) if isinstance(value, tuple) else value for key, value in data.items()}
    boundary, body = encode_multipart(told)
    return post(path, body, content_type=f'multipart/form-data; boundary="{boundary}"')


def _left(runtime: Runtime) -> list[Path]:
    return list((runtime.config.data_dir / "uploads").iterdir())


@pytest.mark.parametrize("content", [FILE.encode(), gzip.compress(FILE.encode())], ids=["plain", "gzip"])
def test_file_is_loaded_and_removed(
    page: Page, post: Post, runtime: Runtime, queue: Queue, shop: Shop, content: bytes
) -> None:
    assert _upload(post, content).status_code == 303
    assert queue.wait(60)
    assert _left(runtime) == []
    text = words(page("connections"))
    assert "The file loaded at Jun 1, 2026 14:00 held: members 2, orders 2." in text
    assert "New here: 2, changed: 0." in text
    with runtime.db.read() as connection:
        assert connection.execute(select(orders.c.total_minor).order_by(orders.c.external_id)).scalars().all() == [
            1250,
            700,
        ]
    assert _acts(runtime, shop.shop_id) == [("page:owner", "file.import")]


def test_accepted_file_outlives_the_process(post: Post, runtime: Runtime, queue: Queue, shop: Shop) -> None:
    gate = threading.Event()
    busy = replace(queues._JOBS["sync"], run=lambda *_, **__: {"rows": int(gate.wait(10))})
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(queues._JOBS, "sync", busy)
        queue.enqueue("sync", shop.shop_id)
        assert _upload(post, FILE.encode()).status_code == 303
        assert sorted(path.suffix for path in _left(runtime)) == [".json", ".part"]
        # A second one is refused and leaves nothing, also not in the audit.
        assert "Another file is being loaded." in _error(_upload(post, FILE.encode()).text, "file")
        assert sorted(path.suffix for path in _left(runtime)) == [".json", ".part"]
        queue.close(wait=False)
        gate.set()
        queue.close()
    assert _acts(runtime, shop.shop_id) == [("page:owner", "file.import")]
    following = Queue(runtime, workers=1)
    assert uploads.resume(runtime, following.enqueue) == 1
    assert following.wait(60)
    following.close()
    with runtime.db.read() as connection:
        assert len(connection.execute(select(orders.c.order_id)).all()) == 2
    assert _left(runtime) == []


def test_mapping_file_goes_before_the_box(post: Post, runtime: Runtime, queue: Queue, shop: Shop) -> None:
    mapping = (io.BytesIO(yaml.safe_dump(MAPPING).encode()), "mapping.yaml")
    assert _upload(post, FILE.encode(), "kind: members", mapping_file=mapping).status_code == 303
    assert queue.wait(60)
    assert _left(runtime) == []


@pytest.mark.parametrize(
    ("content", "mapping", "field", "told"),
    [
        (
            FILE,
            {**MAPPING, "total": "Sum"},
            "mapping",
            "The file has no column Sum (for total). Its columns are: Order",
        ),
        (FILE, "kind: [", "mapping", "The mapping is not valid YAML"),
        (FILE, "", "mapping", "The mapping holds no mapping."),
        (FILE, {**MAPPING, "kind": "lines"}, "mapping", "`kind` is 'lines'."),
        ("", MAPPING, "file", "The file is empty."),
        ("Ordér\n".encode("cp1252"), MAPPING, "file", "The file is not in the encoding utf-8."),
    ],
)
def test_unusable_file_is_told_and_dropped(
    post: Post, runtime: Runtime, shop: Shop, content: str | bytes, mapping: Any, field: str, told: str
) -> None:
    answer = _upload(post, content if isinstance(content, bytes) else content.encode(), mapping)
    assert answer.status_code == 422
    assert told in _error(answer.text, field)
    assert _left(runtime) == []
    assert _acts(runtime, shop.shop_id) == []


def test_no_file_is_told(post: Post, runtime: Runtime) -> None:
    answer = _send(post, "connections/import", {"file": (io.BytesIO(b""), "")})
    assert answer.status_code == 422
    assert "No file was chosen." in words(answer.text)
    assert _left(runtime) == []


def test_large_file_is_not_taken_elsewhere(post: Post, runtime: Runtime, shop: Shop) -> None:
    data = {"file": (io.BytesIO(b"x" * 5 * 2**20), "big.csv"), "title": "New"}
    assert _send(post, "connections/messages", data).status_code == 413
    with runtime.db.read() as connection:
        assert shop_by_id(connection, shop.shop_id).title == "Shop 1"


def test_large_file_goes_through(post: Post, runtime: Runtime, queue: Queue, shop: Shop) -> None:
    note = "#" * 100_000
    rows = "".join(f"{number},2026-05-01,1.00,a@x.test,{note}\n" for number in range(50))
    content = f"Order,Date,Total,Email,Note\n{rows}".encode()
    assert _upload(post, content).status_code == 303
    assert queue.wait(60)
    with runtime.db.read() as connection:
        assert len(connection.execute(select(orders.c.order_id)).all()) == 50


def test_error_while_loading_is_told(page: Page, post: Post, queue: Queue, shop: Shop) -> None:
    assert _upload(post, gzip.compress(FILE.encode() * 3000)[:-12]).status_code == 303
    assert queue.wait(60)
    assert "The last file was not loaded: The file breaks off" in words(page("connections"))


def test_example_follows_the_kind(page: Page) -> None:
    assert "kind: order_lines" in page("connections")
    html = page("connections?kind=members")
    assert "kind: members" in html
    assert "birthday: Birthday" in html


# Exchange rates.


def _foreign(runtime: Runtime, shop: Shop) -> None:
    """Ada ordered for 10 euros and 100 dollars, Bo for 50 pounds; Cy's draft in yen counts nowhere."""
    write(runtime.db, shop, [member(str(number)) for number in (1, 2, 3)])
    paid, draft = OrderStatus.PAID, OrderStatus.DRAFT
    told = [(1, 1000, "EUR", paid), (1, 10_000, "USD", paid), (2, 5_000, "GBP", paid), (3, 900, "JPY", draft)]
    made = [
        order(f"o{place}", minor, member_external_id=str(who), currency=currency, status=status)
        for place, (who, minor, currency, status) in enumerate(told)
    ]
    write(runtime.db, shop, made)


def _spent(runtime: Runtime) -> list[tuple[int, int]]:
    f = member_facts.c
    with runtime.db.read() as connection:
        rows = connection.execute(select(f.spent_minor, f.unconverted_orders).order_by(f.member_id))
        return [(row.spent_minor, row.unconverted_orders) for row in rows]


@pytest.mark.slow
def test_rates_are_asked_for_where_orders_lack_them(page: Page, runtime: Runtime, shop: Shop) -> None:
    assert 'id="rates"' not in page("connections")
    _foreign(runtime, shop)
    html = page("connections")
    assert re.findall(r'name="(rate-\w+)"', html) == ["rate-GBP", "rate-USD"]
    told = words(html)
    assert "1 GBP (British Pound) in EUR optional 1 order in it is in no sum yet." in told
    html = page("today")
    assert "2 orders are in no sum There is no exchange rate for GBP, USD. Enter the rates" in words(html)
    assert 'href="/s/shop-1/connections#rates"' in html
    assert "没有 GBP，USD 的汇率" in words(page("today?lang=zh"))


def test_new_rates_are_counted_by(page: Page, post: Post, runtime: Runtime, queue: Queue, shop: Shop) -> None:
    _foreign(runtime, shop)
    assert _spent(runtime) == [(1000, 1), (0, 1)]
    answer = post("connections/rates", {"rate-USD": "0,9", "rate-GBP": ""})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/s/shop-1/connections#rates")
    assert queue.wait(60)
    assert "Saved. All sums are being counted anew by these rates" in words(page("connections"))
    assert _spent(runtime) == [(10_000, 0), (0, 1)]
    html = page("connections")
    assert re.findall(r'name="(rate-\w+)"[^>]* value="([^"]*)"', html) == [("rate-GBP", ""), ("rate-USD", "0.9")]
    assert "counted anew" not in words(html)
    assert "1 order is in no sum There is no exchange rate for GBP." in words(page("today"))
    assert _acts(runtime, shop.shop_id) == [("page:owner", "settings.saved")]
    post("connections/rates", {"rate-USD": "0.90", "rate-GBP": ""})
    assert "Saved. Nothing has changed." in words(page("connections"))
    # Taken out again, its orders leave the sums.
    post("connections/rates", {"rate-USD": "", "rate-GBP": "1.2"})
    assert queue.wait(60)
    assert _spent(runtime) == [(1000, 1), (6000, 0)]


def test_recount_that_was_lost_is_made_up_for(
    page: Page, post: Post, runtime: Runtime, queue: Queue, shop: Shop
) -> None:
    _foreign(runtime, shop)
    queue.close()
    post("connections/rates", {"rate-USD": "0.9"})
    assert _spent(runtime) == [(1000, 1), (0, 1)]
    told = words(page("connections"))
    assert "Sums are being counted anew" in told
    assert "in no sum yet" not in told
    assert "2 orders are in no sum There is no exchange rate for GBP." in words(page("today"))
    following = Queue(runtime, workers=1)
    assert Clock(runtime, following).ask(job_named("recount")) == 1
    assert following.wait(60)
    following.close()
    assert _spent(runtime) == [(10_000, 0), (0, 1)]
    with runtime.db.read() as connection:
        now = shop_by_id(connection, shop.shop_id)
    assert tasks.recount(runtime, now, now=NOON) == {}


@pytest.mark.parametrize("rate", ["much", "-1", "0", "1e12", "1,234,5"])
def test_rate_that_is_none_is_told_at_its_field(
    post: Post, runtime: Runtime, queue: Queue, shop: Shop, rate: str
) -> None:
    _foreign(runtime, shop)
    answer = post("connections/rates", {"rate-USD": rate, "rate-GBP": "1.2"})
    assert answer.status_code == 422
    assert "is not an exchange rate. Write a number such as 0.92." in _error(answer.text, "rate-USD")
    assert 'value="1.2"' in answer.text
    assert post("connections/rates", {"rate-EUR": "1"}).status_code == 422
    assert queue.wait(60)
    assert _spent(runtime) == [(1000, 1), (0, 1)]
    assert _acts(runtime, shop.shop_id) == []


# Senders.


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def mail(script: Script) -> Iterator[SmtpServer]:
    """A mail server on this machine."""
    with SmtpServer(script) as running:
        yield running


def _connection(runtime: Runtime, adapter: str) -> Any:
    with runtime.db.read() as connection:
        return connection.execute(select(connections).where(connections.c.adapter == adapter)).first()


def _smtp(mail: SmtpServer, **more: str) -> dict[str, str]:
    told = {"host": "127.0.0.1", "port": str(mail.port), "security": "none", "from_address": "shop@x.test"}
    return {**told, "username": "u", "password": "secret-word", **more}


SMTP = "connections/senders/smtp"


def test_sender_is_tried_kept_and_hidden(
    page: Page, post: Post, runtime: Runtime, shop: Shop, script: Script, mail: SmtpServer
) -> None:
    script.login = ("u", "secret-word")
    assert "Not set up" in words(page(SMTP))
    answer = post(SMTP, _smtp(mail))
    assert (answer.status_code, answer.headers["Location"]) == (303, "/s/shop-1/connections/senders/smtp")
    html = page(SMTP)
    assert "SMTP is connected. Now send yourself a test message." in words(html)
    assert "secret-word" not in html
    assert 'value="shop@x.test"' in html
    kept = _connection(runtime, "smtp")
    assert runtime.box.open(kept.settings)["password"] == "secret-word"
    assert b"secret-word" not in bytes(kept.settings)
    # An empty secret keeps the present one.
    assert post(SMTP, _smtp(mail, password="", from_name="Shop")).status_code == 303
    kept = runtime.box.open(_connection(runtime, "smtp").settings)
    assert (kept["password"], kept["from_name"]) == ("secret-word", "Shop")
    assert _acts(runtime, shop.shop_id) == [("page:owner", "sender.save")] * 2


@pytest.mark.parametrize(
    ("change", "field", "told"),
    [
        ({"host": ""}, "host", "Mail server is missing. For example smtp.example.com."),
        ({"port": "many"}, "port", "Port must be a whole number"),
        ({"from_address": "nobody"}, "from_address", "cannot be used"),
        ({"security": "rot13"}, "security", "Encryption must be one of starttls, tls, none."),
    ],
)
def test_wrong_setting_is_told_at_its_field(
    post: Post, runtime: Runtime, shop: Shop, mail: SmtpServer, change: dict[str, str], field: str, told: str
) -> None:
    answer = post(SMTP, _smtp(mail, **change))
    assert answer.status_code == 422
    assert told in _error(answer.text, field)
    assert "secret-word" not in answer.text
    assert _connection(runtime, "smtp") is None
    assert _acts(runtime, shop.shop_id) == []


def test_refusing_server_keeps_nothing(post: Post, runtime: Runtime, script: Script, mail: SmtpServer) -> None:
    script.login = ("u", "other")
    answer = post(SMTP, _smtp(mail))
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert _connection(runtime, "smtp") is None


def test_test_message_arrives(page: Page, post: Post, script: Script, mail: SmtpServer) -> None:
    post(SMTP, _smtp(mail, username="", password=""))
    assert post(f"{SMTP}/test", {"to": "me@x.test"}).status_code == 303
    (received,) = script.mails
    assert (received.sender, received.recipient) == ("shop@x.test", "me@x.test")
    assert b"Test message from Shop 1" in received.data
    assert "The test message to me@x.test was handed over." in words(page(SMTP))


def test_test_message_says_why_not(post: Post, script: Script, mail: SmtpServer) -> None:
    post(SMTP, _smtp(mail, username="", password=""))
    script.refused = {"me@x.test": "550 5.1.1 no such user"}
    for to, told in (("nobody", "'nobody' is not an e-mail address."), ("me@x.test", "no such user")):
        answer = post(f"{SMTP}/test", {"to": to})
        assert answer.status_code == 422
        assert told in _error(answer.text, "to")
    assert script.mails == []


def test_switched_off_and_on_again(page: Page, post: Post, runtime: Runtime, shop: Shop, mail: SmtpServer) -> None:
    post(SMTP, _smtp(mail, username="", password=""))
    for enabled, state in ((False, "Switched off"), (True, "Works")):
        assert post(f"{SMTP}/switch").status_code == 303
        assert bool(_connection(runtime, "smtp").enabled) is enabled
        assert state in words(page(SMTP))
    assert [action for _, action in _acts(runtime, shop.shop_id)] == [
        "sender.save",
        "sender.off",
        "sender.on",
    ]


def test_checked_sender_is_no_longer_paused(
    page: Page, post: Post, runtime: Runtime, shop: Shop, script: Script, mail: SmtpServer
) -> None:
    post(SMTP, _smtp(mail, username="", password=""))
    with runtime.db.write() as connection:
        senders.pause(connection, shop.shop_id, "smtp", "The server wants another password.", NOON)
    assert "1 sender is paused." in words(page("connections"))
    assert "Paused" in words(page(SMTP))
    script.replies["EHLO"] = "421 too many"
    script.replies["HELO"] = "421 too many"
    assert post(f"{SMTP}/check").status_code == 303
    assert _connection(runtime, "smtp").status == senders.PAUSED
    script.replies.clear()
    post(f"{SMTP}/check")
    assert _connection(runtime, "smtp").status == "ok"
    assert "SMTP answers: all is well." in words(page(SMTP))


def test_built_in_sender_is_ready(page: Page, post: Post, runtime: Runtime, shop: Shop) -> None:
    assert "In-app Ready" in words(page("connections"))
    html = page("connections/senders/inapp")
    assert "https://crm.example/static/inapp.js" in html
    write(runtime.db, shop, [member("77")])
    assert post("connections/senders/inapp/test", {"to": "77"}).status_code == 303
    with runtime.db.read() as connection:
        assert connection.execute(select(inapp_messages.c.title)).scalars().all() == ["Test message from Shop 1"]
    answer = post("connections/senders/inapp/test", {"to": "78"})
    assert "The member has no account" in _error(answer.text, "to")


@pytest.mark.parametrize("adapter", ["fax", "woocommerce_note"])
def test_sender_of_others_is_not_there(page: Page, post: Post, runtime: Runtime, adapter: str) -> None:
    assert "This shop has no such sender." in words(page(f"connections/senders/{adapter}", status=404))
    for act in ("", "/switch", "/check", "/test"):
        assert post(f"connections/senders/{adapter}{act}", {"to": "x"}).status_code == 404
    assert _connection(runtime, adapter) is None


# Records that could not be read.


def _set_aside(runtime: Runtime, shop: Shop) -> None:
    told = [
        RecordProblem(Stream.ORDERS, "812", "the total is no number", '{"total": "<b>twelve</b>"}', "$.total"),
        RecordProblem(Stream.MEMBERS, "7", "the e-mail is no text", "{}"),
    ]
    with runtime.db.write() as connection:
        broken.keep(connection, shop.shop_id, told, NOON)


def test_problems_show_reason_and_text(page: Page, runtime: Runtime, shop: Shop) -> None:
    _set_aside(runtime, shop)
    html = page("connections")
    assert "Orders 812 the total is no number $.total" in words(html)
    assert "&lt;b&gt;twelve&lt;/b&gt;" in html
    assert "<b>twelve" not in html
    assert "Read 2 records again" in html


def test_problem_let_be_is_gone(page: Page, post: Post, runtime: Runtime, shop: Shop) -> None:
    _set_aside(runtime, shop)
    with runtime.db.read() as connection:
        first = connection.execute(select(problems.c.problem_id).where(problems.c.external_id == "812")).scalar()
    assert post(f"connections/problems/{first}").status_code == 303
    assert post(f"connections/problems/{first}").status_code == 404
    text = words(page("connections"))
    assert "812" not in text
    assert "Read 1 record again" in text
    assert _acts(runtime, shop.shop_id) == [("page:owner", "problem.dismiss")]


def test_problems_are_read_again(page: Page, post: Post, runtime: Runtime, queue: Queue, shop: Shop) -> None:
    mapping = {**MAPPING, "date_format": "%Y"}
    content = "Order,Date,Total,Email\n1,2026,oops,a@x.test\n"
    assert _upload(post, content.encode(), mapping).status_code == 303
    assert queue.wait(60)
    assert "Read 1 record again" in page("connections")
    with runtime.db.write() as connection:
        raw = str(connection.execute(select(problems.c.raw)).scalar()).replace("oops", "5")
        connection.execute(update(problems).values(raw=raw))
    assert post("connections/problems").status_code == 303
    assert queue.wait(60)
    assert "Everything could be read." in words(page("connections"))
    with runtime.db.read() as connection:
        assert connection.execute(select(orders.c.total_minor)).scalars().all() == [500]


# How messages look and when they go.

LOOK = {
    "title": "Lantern",
    "locale": "zh-CN",
    "sender_name": "Lena",
    "address": "1 Mill Lane\nYork",
    "cta_url": "https://x.test/new",
    "brand.color": "#123456",
    "brand.logo_url": "https://x.test/logo.png",
    "quiet_hours": "22:00",
    "quiet_to": "07:30",
    "tracking.opens": "1",
    "keep_days": "400",
}


def test_messages_settings_are_kept_and_shown(page: Page, post: Post, runtime: Runtime, shop: Shop) -> None:
    assert post("connections/messages", LOOK).status_code == 303
    with runtime.db.read() as connection:
        kept = shop_by_id(connection, shop.shop_id)
    assert (kept.title, kept.locale) == ("Lantern", "zh-CN")
    assert kept.settings == {
        "quiet_hours": {"from": "22:00", "to": "07:30"},
        "brand": {"color": "#123456", "logo_url": "https://x.test/logo.png"},
        "address": "1 Mill Lane\nYork",
        "cta_url": "https://x.test/new",
        "sender_name": "Lena",
        "keep_days": "400",
        "tracking": {"clicks": False, "opens": True},
    }
    html = page("connections")
    for value in ("Lantern", "#123456", "22:00", "07:30", "https://x.test/new"):
        assert f'value="{value}"' in html
    assert _acts(runtime, shop.shop_id) == [("page:owner", "settings.saved")]


@pytest.mark.parametrize(
    ("change", "field", "told"),
    [
        ({"title": ""}, "title", "cannot be empty"),
        ({"cta_url": "my shop"}, "cta_url", "is not a web address"),
        ({"brand.color": "green"}, "brand.color", "is not a colour"),
        ({"brand.logo_url": "http://x.test/l.png"}, "brand.logo_url", "must begin with https://"),
        ({"quiet_hours": "late"}, "quiet_hours", "Write both times, such as 21:00 and 08:00."),
        ({"locale": "klingon"}, "locale", "is not a language"),
    ],
)
def test_wrong_messages_setting_is_told(
    post: Post, runtime: Runtime, shop: Shop, change: dict[str, str], field: str, told: str
) -> None:
    answer = post("connections/messages", {**LOOK, **change})
    assert answer.status_code == 422
    assert f'id="e-{field}"' in answer.text
    assert told in _error(answer.text, field)
    assert 'value="Lena"' in answer.text
    with runtime.db.read() as connection:
        assert shop_by_id(connection, shop.shop_id) == shop
    assert _acts(runtime, shop.shop_id) == []


def test_sync_asked_again_says_so(
    browser: FlaskClient, pulled: Shop, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "enqueue", lambda *_, **__: False)
    assert browser.post("/s/lantern/connections/sync").status_code == 303
    assert "Your store is being read already." in words(browser.get("/s/lantern/connections").text)


def test_sender_that_rests_is_shown_and_tried_at_once(
    runtime: Runtime, shop: Shop, page: Page, post: Post, queue: Queue
) -> None:
    now = runtime.clock.now()
    with runtime.db.write() as connection:
        health.rest(connection, shop.shop_id, "inapp", now, "451 come again")
    for place in ("connections", "connections/senders/inapp"):
        assert "Left alone until Jun 1, 2026 14:01: 451 come again" in words(page(place))
    answer = post("connections/senders/inapp/try", follow_redirects=True)
    assert "is tried now" in words(answer.text)
    assert "451" not in answer.text
    with runtime.db.read() as connection:
        assert health.rests(connection, shop.shop_id, now) == {}
        assert connection.execute(select(audit_log.c.action)).scalars().all() == ["sender.try"]


def test_store_that_can_hold_them_is_asked_to_hold_tags_and_consent(
    monkeypatch: pytest.MonkeyPatch, runtime: Runtime, page: Page, post: Post
) -> None:
    assert "write_back" not in page("connections")
    able = CsvStorefront.capabilities | {Capability.WRITE_TAGS, Capability.WRITE_CONSENT}
    monkeypatch.setattr(CsvStorefront, "capabilities", able)
    assert 'name="write_back.tags" value="1">' in page("connections")
    told = {"title": "Shop 1", "locale": "en", "quiet_hours": "21:00", "quiet_to": "08:00", "write_back.consent": "1"}
    assert post("connections/messages", told).status_code == 303
    with runtime.db.read() as connection:
        assert shop_named(connection, "shop-1").settings["write_back"] == ["consent"]
    assert 'name="write_back.consent" value="1" checked>' in page("connections")


def test_what_a_platform_handed_over_is_no_field(browser: FlaskClient, runtime: Runtime) -> None:
    html = browser.get("/connect?platform=shopify").text
    assert 'name="access_token"' in html
    assert "refresh_token" not in html
    assert "expires_at" not in html
    kept = {"shop": "flower.myshopify.com", "access_token": "shpat_1", "refresh_token": "shprt_2", "expires_at": 1}
    with runtime.db.write() as connection:
        shop = make_shop(connection, name="flower", platform="shopify")
        connection.execute(
            update(shops).where(shops.c.shop_id == shop.shop_id).values(credentials=runtime.box.seal(kept))
        )
    html = browser.get("/s/flower/connections/store").text
    assert 'name="birthday_metafield"' in html
    assert not any(f'name="{key}"' in html for key in ("access_token", "refresh_token", "expires_at"))
    assert "shp" not in html.replace("myshopify", "").replace("shop", "")
