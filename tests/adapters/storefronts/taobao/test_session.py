"""The life of a session: had for a code, renewed where that is allowed, warned of where only a person can."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from crm_plugin.adapters.storefronts.taobao import TaobaoStorefront
from crm_plugin.adapters.storefronts.taobao.install import TaobaoInstaller
from crm_plugin.adapters.storefronts.taobao.session import granted
from crm_plugin.clock import FixedClock
from crm_plugin.config import Config
from crm_plugin.errors import ActionRequired, CrmError, InvalidInput, MalformedResponse
from crm_plugin.jobs import installing
from crm_plugin.records import RawRequest, Stream
from crm_plugin.runtime import Runtime
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.sync.connect import change_credentials, credentials_of
from tests.adapters.storefronts.taobao.fake_top import KEY, NOW, OAUTH, SECRET, SESSION, URL, VALUES, Top

BACK = "https://crm.example/install/taobao/done"
SUBSCRIBED = {**VALUES, "app_kind": "subscription", "refresh_token": "refresh-1"}


class Kept:
    """Keys in a place that several processes share."""

    def __init__(self, keys: Mapping[str, Any]) -> None:
        self.keys = dict(keys)
        self.renewals = 0

    @contextmanager
    def alone(self) -> Iterator[dict[str, Any]]:
        yield dict(self.keys)

    def keep(self, renewed: Mapping[str, Any]) -> None:
        self.keys |= renewed
        self.renewals += 1


def installer() -> TaobaoInstaller:
    app = {"app_key": KEY, "app_secret": SECRET, "oauth_url": OAUTH, "base_url": URL}
    return TaobaoInstaller(app, "https://crm.example")


def answer(query: str) -> RawRequest:
    return RawRequest("GET", f"{BACK}?{query}", {}, b"")


def test_owner_is_sent_to_the_login() -> None:
    address = urlsplit(installer().begin({"view": "tmall"}, "state-1", BACK))
    assert f"{address.scheme}://{address.netloc}{address.path}" == f"{OAUTH}/authorize"
    assert dict(parse_qsl(address.query)) == {
        "response_type": "code",
        "client_id": KEY,
        "redirect_uri": BACK,
        "state": "state-1",
        "view": "tmall",
    }
    with pytest.raises(InvalidInput):
        installer().begin({"view": "fax"}, "state-1", BACK)


def test_code_is_exchanged_and_its_session_works(top: Top) -> None:
    done = installer().finish(answer("code=code-1&state=state-1"), {}, BACK)
    assert (done.reference, done.title, done.scopes) == (VALUES["user_id"], "灯笼小铺", None)
    store = TaobaoStorefront({**done.credentials, "app_key": KEY, "app_secret": SECRET, "base_url": URL}, now=top.clock)
    assert store.shop_info().name == "灯笼小铺"
    assert store.reread(Stream.MEMBERS, "AAE1") is None


def test_agreeing_again_keeps_what_was_set(
    top: Top, sqlite_db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top.now = datetime.now(UTC)
    app = {"APP_KEY": KEY, "APP_SECRET": SECRET, "OAUTH_URL": OAUTH, "BASE_URL": URL}
    for name, value in app.items():
        monkeypatch.setenv(f"CRM_TAOBAO_{name}", value)
    config = Config(database_url="", data_dir=tmp_path, public_url="https://crm.example")
    runtime = Runtime(config=config, db=sqlite_db, box=SecretBox("A" * 43 + "="), clock=FixedClock(top.now))

    def agreed() -> Shop:
        done = installing.installer_of(runtime, "taobao").finish(answer("code=code-1"), {}, BACK)
        return installing.install(runtime, "taobao", done, actor="taobao")

    shop = agreed()
    assert (shop.reference, shop.title, shop.currency, shop.timezone) == (
        VALUES["user_id"],
        "灯笼小铺",
        "CNY",
        "Asia/Shanghai",
    )
    change_credentials(sqlite_db, runtime.box, shop, {"grades": "silver=2", "sms_signature": "灯笼"}, datetime.now(UTC))
    top.session = "the-next"
    assert agreed().shop_id == shop.shop_id
    kept = credentials_of(sqlite_db, runtime.box, shop)
    assert (kept["session"], kept["grades"], kept["sms_signature"]) == ("the-next", "silver=2", "灯笼")
    # What is the app's stays out of what is kept for a shop.
    assert "app_secret" not in kept


@pytest.mark.usefixtures("top")
@pytest.mark.parametrize(
    ("query", "kind", "code"),
    [
        ("error=access_denied&error_description=no", ActionRequired, "not_agreed"),
        ("code=code-2", ActionRequired, "not_agreed"),
        ("state=only", InvalidInput, "invalid_input"),
    ],
)
def test_no_session_without_a_good_code(query: str, kind: type[CrmError], code: str) -> None:
    with pytest.raises(kind) as caught:
        installer().finish(answer(query), {}, BACK)
    assert caught.value.code == code


def test_smallest_life_counts(top: Top) -> None:
    told = granted(top.grant(), NOW.timestamp())
    # The writing level ends after a day; one that is not granted tells 0.
    assert told["session_ends_at"] == "2026-11-02T04:00:00+00:00"
    assert told["seller_nick"] == "灯笼小铺"
    assert granted({"access_token": "s"}, 0.0)["session_ends_at"] == ""
    with pytest.raises(MalformedResponse):
        granted({"error": "x"}, 0.0)


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (timedelta(days=20), []),
        (timedelta(days=14), [("session_ends", 14)]),
        (timedelta(days=10), [("session_ends", 14)]),
        (timedelta(days=6), [("session_ends", 7)]),
        (timedelta(days=2, hours=5), [("session_ends", 3)]),
        (timedelta(hours=20), [("session_ends", 1)]),
        (timedelta(0), [("reauth_needed", None)]),
    ],
)
def test_warns_before_the_end(top: Top, left: timedelta, expected: list[tuple[str, int | None]]) -> None:
    values = {**VALUES, "session_ends_at": (NOW + left).isoformat()}
    told = TaobaoStorefront(values, now=top.clock).check()
    assert [(one.code, one.context.get("days")) for one in told] == expected
    # One that renews itself needs nobody.
    assert TaobaoStorefront({**SUBSCRIBED, "session_ends_at": values["session_ends_at"]}, now=top.clock).check() == []


def test_renewed_before_it_ends(top: Top) -> None:
    kept = Kept({"session": SESSION, "refresh_token": "refresh-1"})
    store = TaobaoStorefront({**SUBSCRIBED, "session_ends_at": (NOW + timedelta(hours=5)).isoformat()}, now=top.clock)
    store.keeper = kept
    for _ in range(2):
        assert store.reread(Stream.MEMBERS, "AAE1") is None
    assert (kept.renewals, top.calls["taobao.top.auth.token.refresh"]) == (1, 1)
    assert (kept.keys["session"], kept.keys["refresh_token"]) == (f"{SESSION}+", "refresh-1+")


def test_session_of_half_an_hour_is_renewed_once_in_it(top: Top, monkeypatch: pytest.MonkeyPatch) -> None:
    grant = top.grant
    monkeypatch.setattr(top, "grant", lambda: {**grant(), "w1_expires_in": 1800})
    kept = Kept({"session": SESSION, "refresh_token": "refresh-1"})
    store = TaobaoStorefront({**SUBSCRIBED, "session_ends_at": (NOW + timedelta(hours=5)).isoformat()}, now=top.clock)
    store.keeper = kept
    for _ in range(5):
        store.reread(Stream.MEMBERS, "AAE1")
        top.now += timedelta(minutes=5)
    assert kept.renewals == 1
    store.reread(Stream.MEMBERS, "AAE1")
    assert kept.renewals == 2


def test_session_that_another_process_renewed_is_taken(top: Top) -> None:
    top.session = "newer"
    store = TaobaoStorefront(SUBSCRIBED, now=top.clock)
    store.keeper = kept = Kept({"session": "newer", "refresh_token": "refresh-2"})
    assert store.reread(Stream.MEMBERS, "AAE1") is None
    assert (kept.renewals, top.calls["taobao.top.auth.token.refresh"]) == (0, 0)


@pytest.mark.parametrize("values", [VALUES, {**SUBSCRIBED, "refresh_token": "old"}])
def test_ended_session_asks_for_the_owner_and_does_not_loop(top: Top, values: dict[str, str]) -> None:
    top.session = "another"
    store = TaobaoStorefront(values, sleep=top.sleep, now=top.clock)
    with pytest.raises(ActionRequired) as caught:
        store.reread(Stream.MEMBERS, "AAE1")
    assert caught.value.code == "reauth_needed"
    assert top.calls.total() <= 2
    assert top.slept == []
