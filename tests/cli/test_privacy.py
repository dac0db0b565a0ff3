"""What customers ask for by law, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from crm_plugin.runtime import Runtime
from crm_plugin.store import inbox, members, privacy_requests, runs
from crm_plugin.store.tenants import shop_named
from crm_plugin.sync import heard, privacy
from tests.cli.conftest import Run
from tests.factories import NOON, member, write
from tests.sync.plain_store import event


def test_doctor_tells_what_of_the_store_was_given_up_or_not_believed(run: Run) -> None:
    assert run("shop", "add", "shop", "--platform", "csv", "--currency", "EUR", "--timezone", "Europe/Berlin")[0] == 0
    runtime = Runtime.open()
    with runtime.db.read() as connection:
        shop = shop_named(connection, "shop")
    heard.keep(runtime.db, shop, [event("7")], NOON)
    with runtime.db.write() as connection:
        connection.execute(update(inbox).values(state=heard.FAILED, detail="The store was away."))
        compared = {"streams": {"members": {"held_back": 99}}}
        runs.keep(connection, shop.shop_id, runs.Run("reconcile", NOON, NOON, compared, ""))
    runtime.close()
    said = [one["problem"] for one in run("doctor")[1]["problems"]]
    assert "1 changes that the store told were given up: The store was away." in said
    assert any(one.startswith("99 members are here") for one in said)
    assert run("shop", "gone", "shop", "orders", "--confirm", "99")[0] == 1
    assert run("shop", "gone", "shop", "members")[0] == 1
    assert run("shop", "gone", "shop", "members", "--confirm", "99") == (
        0,
        {"name": "shop", "list": "members", "believed": 99},
    )


def test_data_is_handed_over_and_then_forgotten(run: Run, tmp_path: Path) -> None:
    assert run("shop", "add", "shop", "--platform", "csv", "--currency", "EUR", "--timezone", "Europe/Berlin")[0] == 0
    runtime = Runtime.open()
    with runtime.db.read() as connection:
        shop = shop_named(connection, "shop")
    write(runtime.db, shop, [member("7", email="ada@b.test", first_name="Ada")])
    with runtime.db.write() as connection:
        told = {"email": "ada@b.test"}
        asked = privacy.ask(connection, shop, privacy.EXPORT, "7", told, "store:csv", NOON)
    found = run("doctor")[1]["problems"]
    assert any("--request" in one["hint"] and str(asked) in one["hint"] for one in found)
    file = tmp_path / "ada.json"
    assert run("privacy", "export", "shop", "--request", str(asked), "--to", str(file)) == (
        0,
        {"file": str(file), "members": 1},
    )
    assert json.loads(file.read_text(encoding="utf-8"))["tables"]["members"][0]["first_name"] == "Ada"
    assert file.stat().st_mode & 0o077 == 0
    assert not any("--request" in one["hint"] for one in run("doctor")[1]["problems"])
    assert run("privacy", "erase", "shop", "--member", "7")[0] == 1
    assert run("privacy", "erase", "shop", "--member", "7", "--yes")[0] == 0
    listed: Any = run("privacy", "list", "shop")[1]
    assert sorted(one["kind"] for one in listed) == ["erase", "export"]
    with runtime.db.read() as connection:
        assert connection.execute(select(members.c.email, members.c.state)).one() == ("", "erased")
        told = connection.execute(
            select(privacy_requests.c.told).where(privacy_requests.c.kind == "erase")
        ).scalar_one()
    assert told == {}
    runtime.close()
