"""A store is installed from its platform's side, and our pages are shown inside its admin: for that store alone, framed by nobody else."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select, update

from crm_plugin.adapters import registry
from crm_plugin.adapters.base import Setting, SettingType
from crm_plugin.adapters.storefronts.installing import AppFacts, Frame, Installed, Installer, Visitor
from crm_plugin.errors import ActionRequired, WebhookRejected
from crm_plugin.jobs import tasks
from crm_plugin.jobs.queue import Queue
from crm_plugin.records import RawRequest
from crm_plugin.runtime import Runtime
from crm_plugin.store import audit_log, installs, members, pending, shops
from crm_plugin.store.tenants import UNINSTALLED, Shop
from crm_plugin.web import embedded
from tests.factories import make_shop, member, write
from tests.sync.plain_store import PlainStore

ADMIN = "https://admin.plain.example"


def _sign(told: str) -> str:
    return f"{told}.{hmac.new(b'hush', told.encode(), hashlib.sha256).hexdigest()}"


class PlainInstaller(Installer):
    """Vouches for who shows `<store>.<signature>`, and hands over keys by a post or by a code."""

    platform = "plain"

    def manifest_files(self, facts: AppFacts) -> dict[str, str]:
        return {"manifest.json": json.dumps({"name": facts.title, "page": f"{self.public_url}/install/plain/page"})}

    def begin(self, told: Mapping[str, str], state: str, back: str) -> str:
        return f"{ADMIN}/agree?state={state}&back={back}"

    def finish(self, request: RawRequest, told: Mapping[str, str], back: str) -> Installed:
        if b"forged" in request.body or "code=forged" in request.url:
            raise WebhookRejected("forged")
        if "code=denied" in request.url:
            raise ActionRequired("You did not agree.")
        return Installed("new.example", "https://new.example", {}, "New", frozenset({"read"}))

    @classmethod
    def reference_of(cls, url: str) -> str:
        return urlsplit(url).netloc

    def named(self, request: RawRequest) -> str:
        return "plain.example"

    def visit(self, request: RawRequest) -> Visitor | None:
        told = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not told:
            return None
        store = told.rpartition(".")[0]
        if not hmac.compare_digest(told, _sign(store)):
            raise WebhookRejected("forged")
        return Visitor(store, "ada", exchange="code" if store == "new.example" else "")

    def exchange(self, visitor: Visitor) -> Installed:
        return Installed(visitor.reference, f"https://{visitor.reference}", {})

    def frame(self, reference: str) -> Frame:
        return Frame(
            (ADMIN,), ("https://cdn.plain.example/bridge.js",), {"plain-key": "k1"}, ("https://cdn.plain.example",)
        )


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch, runtime: Runtime, shop: Shop, queue: Queue) -> list[tuple[str, int]]:
    """The shop is one of the plain platform; answers the jobs that were asked for."""

    class Installed_(PlainStore):
        installer = PlainInstaller

    monkeypatch.setattr(registry, "_foreign", lambda: {"plain": Installed_})
    jobs: list[tuple[str, int]] = []
    monkeypatch.setattr(queue, "enqueue", lambda job, shop_id, **_more: jobs.append((job, shop_id)) or True)
    with runtime.db.write() as connection:
        connection.execute(update(shops).values(platform="plain", reference="plain.example"))
        make_shop(connection, 2)
    return jobs


@pytest.fixture
def client(app: Flask, shop: Shop) -> FlaskClient:
    """A browser that has no cookie of ours, as inside another site's frame."""
    return app.test_client(use_cookies=False)


def _enter(client: FlaskClient, store: str = "plain.example", to: str = "") -> str:
    answer = client.post(f"/install/plain/enter?to={to}", headers={"Authorization": f"Bearer {_sign(store)}"})
    assert answer.status_code == 200
    return str(answer.get_json()["address"])


def test_store_whose_keys_were_typed_in_is_known_by_its_address(client: FlaskClient, runtime: Runtime) -> None:
    with runtime.db.write() as connection:
        values = {"reference": "", "url": "https://typed.example"}
        connection.execute(update(shops).where(shops.c.name == "shop-1").values(**values))
    page = client.get(_enter(client, "typed.example"))
    assert page.status_code == 200
    assert ADMIN in page.headers["Content-Security-Policy"]


def test_visitor_sees_their_own_shop_and_no_other(client: FlaskClient, runtime: Runtime) -> None:
    address = _enter(client, to="/s/shop-1/members")
    assert re.fullmatch(r"/e/[^/]+/s/shop-1/members", address)
    page = client.get(address)
    text = page.get_data(as_text=True)
    assert page.status_code == 200
    visit = address.removesuffix("/s/shop-1/members")
    # All addresses of the page stay inside the visit, but files that are the same for everybody.
    ways = {way for way in re.findall(r'(?:href|action)="(/[^"]*)"', text) if not way.startswith("/static/")}
    assert ways
    assert all(way.startswith(visit) for way in ways), ways
    told = page.headers["Content-Security-Policy"]
    assert f"frame-ancestors 'self' {ADMIN};" in f"{told};"
    assert "script-src 'self' https://cdn.plain.example;" in told
    assert text.index("bridge.js") < text.index("app.js")
    assert client.get(f"{visit}/s/shop-2/members").status_code == 404
    assert client.get(f"{visit}/?all=1").headers["Location"] == f"{visit}/s/shop-1/today"
    assert client.get(f"{visit}/connect").status_code == 404
    assert client.post(f"{visit}/connect").status_code == 404
    # Outside of the visit nothing is open.
    assert client.get("/s/shop-1/members").status_code == 401


def test_change_inside_a_visit_is_noted_with_its_person(client: FlaskClient, runtime: Runtime) -> None:
    page = f"{_enter(client).split('/s/')[0]}/s/shop-1/segments/new"
    told = {"key": "all", "title": "All", "rule": "orders() >= 0"}
    # Another's page that frames ours knows no visit, and may not write by one either.
    assert client.post(page, data=told, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    done = client.post(page, data=told, headers={"Sec-Fetch-Site": "same-origin"})
    assert done.status_code == 303, done.get_data(as_text=True)
    with runtime.db.read() as connection:
        assert "plain:ada" in set(connection.execute(select(audit_log.c.actor)).scalars())


@pytest.mark.parametrize("token", ["", "plain.example.guess"])
def test_nobody_enters_unvouched_for(client: FlaskClient, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = client.post("/install/plain/enter", headers=headers)
    assert answer.status_code == 401
    assert answer.get_data() == b""


def test_forged_visit_opens_nothing(client: FlaskClient, runtime: Runtime, shop: Shop) -> None:
    address = _enter(client)
    assert client.get(address.replace("/e/", "/e/x")).status_code == 401
    assert client.get(f"/e/{'a' * 40}/s/shop-1/").status_code == 401


def test_visit_that_has_run_out_is_renewed_on_the_same_page(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = _enter(client, to="/s/shop-1/members")
    monkeypatch.setattr(embedded, "SECONDS", -1)
    page = client.get(f"{address}?q=ada")
    text = page.get_data(as_text=True)
    assert 'data-enter="/install/plain/enter"' in text
    assert 'data-onward="/s/shop-1/members?q=ada"' in text
    assert "frame-ancestors 'self' " + ADMIN in page.headers["Content-Security-Policy"]
    assert client.post(f"{address.split('/s/')[0]}/connect").status_code == 401


def test_page_in_the_admin_asks_the_platform_first(client: FlaskClient) -> None:
    page = client.get("/install/plain/page?store=plain.example")
    assert page.status_code == 200
    assert "embedded.js" in page.get_data(as_text=True)
    assert ADMIN in page.headers["Content-Security-Policy"]
    assert client.get("/install/nothing/page").status_code == 404
    assert client.get("/install/plain/manifest.json").get_json()["page"] == "https://crm.example/install/plain/page"


def test_store_is_installed_by_a_visit_and_its_first_reading_begins(
    client: FlaskClient, runtime: Runtime, asked: list[tuple[str, int]]
) -> None:
    address = _enter(client, "new.example")
    assert "/s/new/" in address
    with runtime.db.read() as connection:
        row = connection.execute(select(shops).where(shops.c.reference == "new.example")).one()
        actors = set(connection.execute(select(audit_log.c.actor)).scalars())
    assert (row.status, row.platform, row.currency) == ("connected", "plain", "EUR")
    assert asked == [("sync", row.shop_id)]
    assert "store:plain" in actors
    # The next visit installs nothing anew.
    assert _enter(client, "new.example").split("/s/")[1] == address.split("/s/")[1]
    assert len(asked) == 1


def test_store_that_somebody_quicker_installed_is_the_same(runtime: Runtime) -> None:
    told: dict[str, Any] = {"platform": "plain", "credentials": {}, "reference": "new.example"}
    first = tasks.add_shop(runtime, name="one", **told)
    assert tasks.add_shop(runtime, name="two", **told).shop_id == first.shop_id


def test_store_that_comes_back_is_the_one_it_was(client: FlaskClient, runtime: Runtime) -> None:
    _enter(client, "new.example")
    with runtime.db.write() as connection:
        connection.execute(
            update(shops).where(shops.c.reference == "new.example").values(status=UNINSTALLED, credentials=None)
        )
        shop_id = connection.execute(select(shops.c.shop_id).where(shops.c.reference == "new.example")).scalar_one()
    told = client.post("/install/plain/token", data=b"{}")
    assert told.get_json() == {"success": True}
    with runtime.db.read() as connection:
        rows = connection.execute(select(shops).where(shops.c.reference == "new.example")).all()
    assert [(row.shop_id, row.status) for row in rows] == [(shop_id, "connected")]


def test_store_that_comes_back_keeps_what_was_decided(
    client: FlaskClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token and what came with it are handed over anew; the zone, which nobody but the merchant knows, is not."""
    settings = (
        Setting("zone", "Zone", required=False),
        Setting("token", "Token", SettingType.SECRET, required=False),
        Setting("app", "App", required=False, hidden=True, beside="token"),
    )
    monkeypatch.setattr(registry._foreign()["plain"], "settings", settings)
    _enter(client, "new.example")
    kept = runtime.box.seal({"zone": "Asia/Taipei", "token": "old", "app": "old"})
    new = shops.c.reference == "new.example"
    with runtime.db.write() as connection:
        connection.execute(update(shops).where(new).values(credentials=kept))
    assert client.post("/install/plain/token", data=b"{}").status_code == 200
    with runtime.db.read() as connection:
        sealed = connection.execute(select(shops.c.credentials).where(new)).scalar_one()
    assert runtime.box.open(sealed) == {"zone": "Asia/Taipei"}


def test_store_that_was_taken_away_lets_nobody_in(client: FlaskClient, runtime: Runtime) -> None:
    with runtime.db.write() as connection:
        connection.execute(update(shops).where(shops.c.shop_id == 1).values(status=UNINSTALLED))
    answer = client.post("/install/plain/enter", headers={"Authorization": f"Bearer {_sign('plain.example')}"})
    assert answer.status_code == 403


def test_way_in_by_agreeing_is_good_once_and_for_an_hour(client: FlaskClient, runtime: Runtime, clock: Any) -> None:
    sent = client.get("/install/plain?store=new.example").headers["Location"]
    assert urlsplit(sent).netloc == "admin.plain.example"
    state = re.search(r"state=([^&]+)", sent)[1]  # type: ignore[index]
    assert client.get(f"/install/plain/back?state={state}&code=forged").status_code == 401
    # A forged answer takes nothing from the merchant, who may still agree.
    assert client.get(f"/install/plain/back?state={state}&code=1").headers["Location"] == "/s/new/today"
    assert client.get(f"/install/plain/back?state={state}&code=1").status_code == 403
    state = re.search(r"state=([^&]+)", client.get("/install/plain").headers["Location"])[1]  # type: ignore[index]
    runtime.clock.at += timedelta(hours=2)  # type: ignore[attr-defined]
    assert client.get(f"/install/plain/back?state={state}&code=1").status_code == 403
    runtime.clock.at -= timedelta(hours=2)  # type: ignore[attr-defined]
    state = re.search(r"state=([^&]+)", client.get("/install/plain").headers["Location"])[1]  # type: ignore[index]
    refused = client.get(f"/install/plain/back?state={state}&code=denied")
    assert refused.status_code == 422
    assert "You did not agree." in refused.get_data(as_text=True)


def test_strangers_who_begin_leave_nothing_behind(client: FlaskClient, runtime: Runtime) -> None:
    """Anybody may ask for the way in, as often as they like."""
    begun = "/install/saleor?dashboard=https://elsewhere.example/dashboard"
    for path in ("/install/plain?store=new.example", begun, "/install/saleor?dashboard=none"):
        assert client.get(path).status_code in (200, 303, 422)
    assert client.get("/install/plain/back?state=guessed&code=1").status_code == 403
    # What is sealed for something else is no way in.
    other = runtime.box.seal({"token": "t"}).decode()
    assert client.get(f"/install/plain/back?state={other}&code=1").status_code == 403
    with runtime.db.read() as connection:
        assert connection.execute(select(func.count()).select_from(installs)).scalar() == 0


def test_state_of_another_platform_is_none(client: FlaskClient, runtime: Runtime) -> None:
    state = pending.carried(runtime.box, "saleor", {}, runtime.clock.now())
    assert client.get(f"/install/plain/back?state={state}&code=1").status_code == 403


def test_forged_keys_are_refused_and_leave_no_shop(client: FlaskClient, runtime: Runtime, shop: Shop) -> None:
    write(runtime.db, shop, [member("1")])
    assert client.post("/install/plain/token", data=b"forged").status_code == 401
    with runtime.db.read() as connection:
        assert connection.execute(select(func.count()).select_from(shops)).scalar() == 2
        assert connection.execute(select(func.count()).select_from(members)).scalar() == 1


def test_nobody_is_sent_where_a_link_says(client: FlaskClient) -> None:
    """A dashboard is wherever whoever made the link says it is: it is shown first."""
    page = client.get("/install/saleor?dashboard=https://elsewhere.example/dashboard")
    assert (page.status_code, "Location" in page.headers, "Refresh" in page.headers) == (200, False, False)
    assert "Go on to elsewhere.example" in page.text
    assert client.get("/install/saleor?dashboard=javascript:x").status_code == 422
