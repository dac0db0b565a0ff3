"""What tests of pages need: an application on a database of its own, one shop, and a browser that is signed in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from crm_plugin.app import create_app
from crm_plugin.clock import FixedClock
from crm_plugin.config import Config
from crm_plugin.jobs.queue import Queue
from crm_plugin.runtime import Runtime
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.web import auth, site
from tests.factories import make_shop

PUBLIC_URL = "https://crm.example"
Post = Callable[..., TestResponse]
Page = Callable[..., str]


@pytest.fixture
def runtime(sqlite_db: Database, clock: FixedClock, tmp_path: Path) -> Runtime:
    """A runtime of its own at noon UTC on 1 June 2026, with a public address."""
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    config = Config(str(sqlite_db.engine.url), data_dir, public_url=PUBLIC_URL)
    return Runtime(config=config, db=sqlite_db, box=SecretBox(Fernet.generate_key()), clock=clock)


@pytest.fixture
def queue(runtime: Runtime) -> Iterator[Queue]:
    """A queue with one worker, stopped at the end of the test."""
    jobs = Queue(runtime, workers=1)
    yield jobs
    jobs.close(wait=True)


@pytest.fixture(scope="session")
def kept_app() -> list[Flask]:
    """The application once it was made: its addresses and templates are compiled once for all tests."""
    return []


@pytest.fixture
def app(runtime: Runtime, queue: Queue, kept_app: list[Flask]) -> Flask:
    """The application, with a site and keys of the test's own; it has no shop unless a test asks for `shop`."""
    if not kept_app:
        kept_app.append(create_app(runtime, queue))
    (made,) = kept_app
    site.install(made, site.Site(runtime, queue))
    auth.use_keys(made, runtime)
    return made


@pytest.fixture
def shop(runtime: Runtime) -> Shop:
    """The one shop: shop-1, in Berlin, in euros, fed by files."""
    with runtime.db.write() as connection:
        return make_shop(connection)


@pytest.fixture
def stranger(app: Flask) -> FlaskClient:
    """A browser that has not signed in."""
    return app.test_client()


@pytest.fixture
def client(app: Flask, shop: Shop) -> FlaskClient:
    """A browser that has signed in; there is one shop."""
    return sign_in(app)


@pytest.fixture
def page(client: FlaskClient, shop: Shop) -> Page:
    """`page("outbox")` is the HTML of that page of the shop; `status=` expects another answer than 200."""

    def read(path: str, status: int = 200, **options: Any) -> str:
        answer = client.get(f"/s/{shop.name}/{path.lstrip('/')}", **options)
        assert answer.status_code == status, answer.text
        return answer.text

    return read


@pytest.fixture
def post(client: FlaskClient, shop: Shop) -> Post:
    """`post("tiers", {…})` sends a form to that page of the shop, as a browser on our own page does."""

    def send(path: str, data: Any = None, **options: Any) -> TestResponse:
        headers = {"Sec-Fetch-Site": "same-origin", **options.pop("headers", {})}
        return client.post(f"/s/{shop.name}/{path.lstrip('/')}", data=data, headers=headers, **options)

    return send


def sign_in(app: Flask) -> FlaskClient:
    """A browser that has signed in."""
    browser = app.test_client()
    with browser.session_transaction() as session:
        session["who"] = "owner"
    return browser


def fields(html: str, form_id: str) -> dict[str, str]:
    """What a browser would send of a form as the page shows it."""
    form = html.partition(f'id="{form_id}"')[2].partition("</form>")[0]
    values: dict[str, str] = {}
    for tag in re.findall(r"<input[^>]*>", form):
        name, value = re.search(r' name="([^"]+)"', tag), re.search(r' value="([^"]*)"', tag)
        if name and ('type="checkbox"' not in tag or " checked" in tag):
            values[name[1]] = unescape(value[1]) if value else ""
    for name, text in re.findall(r'<textarea[^>]* name="([^"]+)"[^>]*>(.*?)</textarea>', form, re.DOTALL):
        values[name] = unescape(text)
    for name, inner in re.findall(r'<select[^>]* name="([^"]+)"[^>]*>(.*?)</select>', form, re.DOTALL):
        chosen = re.search(r'value="([^"]*)" selected', inner)
        values[name] = chosen[1] if chosen else ""
    return values


def seen_in(html: str) -> str:
    """The mark of what a preview showed."""
    found = re.search(r'name="seen" value="([^"]+)"', html)
    assert found is not None, words(html)
    return found[1]


def words(html: str) -> str:
    """What a reader sees of a page: its text without tags, spaces run together."""
    body = re.sub(r"<(script|style|head)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())
