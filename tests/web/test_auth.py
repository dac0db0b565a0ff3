"""Signing in by a link that works once; without it none of the merchant's pages shows or changes anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from flask import Flask
from flask.testing import FlaskClient
from itsdangerous import timed
from sqlalchemy import func, select

from crm_plugin.runtime import Runtime
from crm_plugin.store import metadata
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.tenants import Shop
from crm_plugin.web import auth
from tests.web.conftest import words

EVERY_PLACE = {
    "shop": "shop-1",
    "adapter": "smtp",
    "key": "birthday",
    "channel": "email",
    "locale": "en",
    "what": "read",
}


def merchant_rules(app: Flask) -> list[tuple[str, str]]:
    """Method and address of every page of the merchant, with something in each place of the address."""
    with app.test_request_context():
        adapter = app.url_map.bind("localhost")
        found = []
        for rule in app.url_map.iter_rules():
            if not rule.endpoint.startswith("pages."):
                continue
            places = {name: EVERY_PLACE.get(name, "1") for name in rule.arguments}
            path = adapter.build(rule.endpoint, places, method=next(iter(rule.methods or {"GET"})))
            found += [(method, path) for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})]
    return found


def rows(runtime: Runtime) -> dict[str, int]:
    """How many rows each table holds."""
    with runtime.db.read() as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in metadata.sorted_tables
        }


def test_link_opens_once(app: Flask, runtime: Runtime, shop: Shop) -> None:
    path = auth.sign_in_path(runtime)
    first, second = app.test_client(), app.test_client()
    answer = first.post(path)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    assert first.get("/s/shop-1/today").status_code == 200
    assert second.get(path).status_code == 403
    again = second.post(path)
    assert again.status_code == 403
    assert "This link has been used or has run out" in words(again.text)
    assert "crm-plugin link" in again.text
    assert second.get("/s/shop-1/today").status_code == 401
    assert first.get("/s/shop-1/today").status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_looking_at_a_link_does_not_use_it(app: Flask, runtime: Runtime, shop: Shop, method: str) -> None:
    path, looker = auth.sign_in_path(runtime), app.test_client()
    for _ in range(2):
        answer = looker.open(path, method=method)
        assert answer.status_code == 200
        assert "Set-Cookie" not in answer.headers
    assert looker.get("/s/shop-1/today").status_code == 401
    assert "Open the pages" in words(looker.get(path).text)
    assert app.test_client().post(path).status_code == 303


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}])
def test_other_sites_use_no_link(app: Flask, runtime: Runtime, headers: dict[str, str]) -> None:
    path = auth.sign_in_path(runtime)
    assert app.test_client().post(path, headers=headers).status_code == 403
    assert app.test_client().post(path, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 303


def test_link_runs_out(stranger: FlaskClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    path = auth.sign_in_path(runtime)
    later = timed.time.time() + auth.LINK_SECONDS + 2
    monkeypatch.setattr(timed.time, "time", lambda: later)
    assert (stranger.get(path).status_code, stranger.post(path).status_code) == (403, 403)
    assert not (runtime.config.data_dir / "used-links").exists()


def test_link_of_another_installation_is_worthless(stranger: FlaskClient, runtime: Runtime) -> None:
    other = Runtime(runtime.config, runtime.db, SecretBox(Fernet.generate_key()), runtime.clock)
    assert stranger.post(auth.sign_in_path(other)).status_code == 403
    assert stranger.get("/enter/nonsense").status_code == 403


@pytest.mark.slow
def test_sign_in_outlives_a_new_key(runtime: Runtime, queue: Any, shop: Shop) -> None:
    from crm_plugin.app import create_app

    old, new = Fernet.generate_key(), Fernet.generate_key()
    before = replace(runtime, box=SecretBox(old))
    browser = create_app(before, queue).test_client()
    assert browser.post(auth.sign_in_path(before)).status_code == 303
    browser.application = create_app(replace(runtime, box=SecretBox(new, old)), queue)
    assert browser.get("/s/shop-1/today").status_code == 200
    # Each page signs the session anew, so that the old key can go.
    browser.application = create_app(replace(runtime, box=SecretBox(new)), queue)
    assert browser.get("/s/shop-1/today").status_code == 200


def test_used_link_stays_used_after_restart(app: Flask, runtime: Runtime, queue: Any) -> None:
    from crm_plugin.app import create_app

    path = auth.sign_in_path(runtime)
    assert app.test_client().post(path).status_code == 303
    assert create_app(runtime, queue).test_client().post(path).status_code == 403


def test_old_markers_are_forgotten(stranger: FlaskClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    folder: Path = runtime.config.data_dir / "used-links"
    stranger.post(auth.sign_in_path(runtime))
    (before,) = folder.iterdir()
    later = before.stat().st_mtime + 2 * auth.LINK_SECONDS + 1
    monkeypatch.setattr(auth.time, "time", lambda: later)
    stranger.post(auth.sign_in_path(runtime))
    assert before not in list(folder.iterdir())


def test_leaving_closes_the_pages(client: FlaskClient) -> None:
    assert client.get("/s/shop-1/today").status_code == 200
    assert client.post("/leave").status_code == 303
    assert client.get("/s/shop-1/today").status_code == 401


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}])
def test_other_sites_send_nobody_away(client: FlaskClient, headers: dict[str, str]) -> None:
    assert client.post("/leave", headers=headers).status_code == 403
    assert client.get("/s/shop-1/today").status_code == 200


def test_signing_in_keeps_only_the_language(app: Flask, runtime: Runtime, shop: Shop) -> None:
    browser = app.test_client()
    browser.get("/?lang=zh")
    with browser.session_transaction() as session:
        session["planted"] = "x"
    browser.post(auth.sign_in_path(runtime))
    with browser.session_transaction() as session:
        assert {key: session[key] for key in session if not key.startswith("_")} == {"lang": "zh", "who": "owner"}


def test_cookie_is_out_of_reach(app: Flask, runtime: Runtime) -> None:
    cookie = app.test_client().post(auth.sign_in_path(runtime)).headers["Set-Cookie"]
    for flag in ("HttpOnly", "SameSite=Lax", "Path=/", "Expires="):
        assert flag in cookie


@pytest.mark.parametrize(
    ("base_url", "secure"),
    [
        ("http://127.0.0.1:8000", False),
        ("http://localhost:8000", False),
        ("http://[::1]:8000", False),
        ("https://127.0.0.1:8000", True),
        ("http://crm.example", True),
        ("http://192.0.2.7:8000", True),
        ("http://127.0.0.1.evil.example", True),
    ],
)
def test_cookie_goes_by_http_on_this_machine_alone(app: Flask, runtime: Runtime, base_url: str, secure: bool) -> None:
    answer = app.test_client().post(auth.sign_in_path(runtime), base_url=base_url)
    assert (answer.status_code, "; Secure" in answer.headers["Set-Cookie"]) == (303, secure)


def test_cookie_by_way_of_a_proxy_stays_with_https(app: Flask, runtime: Runtime) -> None:
    path, forwarded = auth.sign_in_path(runtime), {"X-Forwarded-For": "192.0.2.7"}
    answer = app.test_client().post(path, base_url="http://127.0.0.1:8000", headers=forwarded)
    assert (answer.status_code, "; Secure" in answer.headers["Set-Cookie"]) == (303, True)


@pytest.mark.parametrize(("base_url", "secure"), [("http://192.0.2.7:8000", False), ("https://192.0.2.7", True)])
def test_cookie_without_public_https_follows_the_request(
    runtime: Runtime, queue: Any, base_url: str, secure: bool
) -> None:
    from crm_plugin.app import create_app

    plain = replace(runtime, config=replace(runtime.config, public_url=""))
    answer = create_app(plain, queue).test_client().post(auth.sign_in_path(plain), base_url=base_url)
    assert (answer.status_code, "; Secure" in answer.headers["Set-Cookie"]) == (303, secure)


@pytest.mark.slow
def test_stranger_sees_and_changes_nothing(app: Flask, runtime: Runtime, shop: Shop, stranger: FlaskClient) -> None:
    before = rows(runtime)
    asked = merchant_rules(app)
    assert ("GET", "/s/shop-1/today") in asked
    assert ("POST", "/s/shop-1/connections/senders/smtp") in asked
    for method, path in asked:
        answer = stranger.open(path, method=method, data={"full": "1"})
        assert (answer.status_code, path) == (401, path)
        assert "Shop 1" not in answer.text
    assert rows(runtime) == before


def test_fragment_for_stranger_is_empty(stranger: FlaskClient, shop: Shop) -> None:
    answer = stranger.get("/s/shop-1/reading", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.data) == (401, b"")


def test_forged_cookie_is_no_sign_in(app: Flask, shop: Shop) -> None:
    browser = app.test_client()
    browser.set_cookie("crm_session", "eyJ3aG8iOiJvd25lciJ9.aaaa.bbbb")
    assert browser.get("/s/shop-1/today").status_code == 401
