"""What every answer says about itself, which changes are refused, and that errors tell what to do and nothing more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError

import crm_plugin
from crm_plugin.runtime import Runtime
from crm_plugin.store.tenants import Shop
from crm_plugin.web.pages import today as today_page
from tests.web.conftest import words
from tests.web.test_auth import merchant_rules, rows

FOREIGN = (
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost.evil.example"},
)
OURS = ({"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://localhost"}, {})
TEMPLATES = Path(crm_plugin.__file__).parent / "templates" / "web"


@pytest.mark.parametrize(
    "path", ["/", "/s/shop-1/today", "/healthz", "/static/app.css", "/u/none", "/nothing", "/enter/x"]
)
def test_every_answer_carries_its_policy(client: FlaskClient, path: str) -> None:
    with client.get(path) as answer:
        headers = answer.headers
    policy = headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'self'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"


def test_pages_are_kept_by_nobody(client: FlaskClient) -> None:
    assert client.get("/s/shop-1/today").headers["Cache-Control"] == "no-store"
    with client.get("/static/app.css") as answer:
        assert "no-store" not in answer.headers.get("Cache-Control", "")


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_foreign_page_changes_nothing(
    app: Flask, client: FlaskClient, runtime: Runtime, headers: dict[str, str]
) -> None:
    before = rows(runtime)
    for method, path in merchant_rules(app):
        if method != "GET":
            assert (client.open(path, method=method, headers=headers).status_code, path) == (403, path)
    assert rows(runtime) == before


@pytest.mark.parametrize("headers", OURS, ids=str)
def test_own_page_may_change(client: FlaskClient, headers: dict[str, str]) -> None:
    data = {"title": "New name", "locale": "en", "quiet_hours": "21:00", "quiet_to": "08:00", "brand.color": "#123456"}
    assert client.post("/s/shop-1/connections/messages", data=data, headers=headers).status_code == 303


def test_reading_is_open_to_links_from_elsewhere(client: FlaskClient) -> None:
    assert client.get("/s/shop-1/today", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def _is_page(path: Path) -> bool:
    """Whether it is part of a page: a document of its own is shown in a frame under its own policy."""
    return path.name == "base.html" or not path.read_text(encoding="utf-8").lower().startswith("<!doctype")


def test_templates_hold_no_inline_code() -> None:
    inline = re.compile(r"""<style|\sstyle=|\son[a-z]+=["']|javascript:|<script(?![^>]*\ssrc=)""", re.IGNORECASE)
    found = {
        path.name: inline.findall(path.read_text(encoding="utf-8"))
        for path in filter(_is_page, TEMPLATES.glob("*.html"))
        if inline.search(path.read_text(encoding="utf-8"))
    }
    assert found == {}


def test_unknown_shop_names_those_there_are(client: FlaskClient) -> None:
    answer = client.get("/s/nobody/today")
    assert answer.status_code == 404
    assert "There is no shop named 'nobody'. There are: shop-1." in words(answer.text)


def test_unforeseen_error_shows_no_trace(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(today_page, "needs", breaks)
    answer = client.get("/s/shop-1/today")
    assert answer.status_code == 500
    assert "Something went wrong here" in words(answer.text)
    assert "secret detail" not in answer.text
    assert "Traceback" not in answer.text


def test_database_away_is_said(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> None:
        raise OperationalError("SELECT 1", {}, Exception("no such host: db-17"))

    monkeypatch.setattr(today_page, "needs", breaks)
    answer = client.get("/s/shop-1/today")
    assert answer.status_code == 503
    assert "The database does not answer Try again in a moment." in words(answer.text)
    assert "db-17" not in answer.text


def test_fragment_gets_error_as_notice(client: FlaskClient) -> None:
    answer = client.get("/s/nobody/reading", headers={"HX-Request": "true"})
    assert answer.status_code == 404
    assert "<html" not in answer.text
    assert 'role="alert"' in answer.text


def test_healthz_tells_strangers_nothing(stranger: FlaskClient, shop: Shop) -> None:
    answer = stranger.get("/healthz")
    assert (answer.status_code, answer.data) == (200, b"ok\n")


@pytest.mark.parametrize(
    ("accepted", "title"), [("zh-CN,zh;q=0.9,en;q=0.8", "今天"), ("en-GB", "Today"), ("fr", "Today"), ("zh-TW", "今天")]
)
def test_language_follows_the_browser(client: FlaskClient, accepted: str, title: str) -> None:
    assert f"<h1>{title}</h1>" in client.get("/s/shop-1/today", headers={"Accept-Language": accepted}).text


def test_chosen_language_stays(client: FlaskClient) -> None:
    assert "<h1>今天</h1>" in client.get("/s/shop-1/today?lang=zh").text
    assert "<h1>今天</h1>" in client.get("/s/shop-1/today").text
    assert "<h1>今天</h1>" in client.get("/s/shop-1/today?lang=xx").text
    assert "<h1>Today</h1>" in client.get("/s/shop-1/today?lang=en").text


def test_too_large_a_body_is_refused(stranger: FlaskClient, shop: Shop) -> None:
    body = b"x" * (5 * 2**20)
    assert stranger.post("/hooks/shop-1/twilio", data=body).status_code == 413
