"""A stored zone that this machine does not know is replaced by the next one in the chain, and keeps nobody waiting."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from crm_plugin.store import members
from crm_plugin.store.session import Database
from crm_plugin.sync import zones
from tests.factories import write
from tests.touchpoints.trigger_world import DAY, NOW, World, person

_BORN: dict[str, Any] = {"birth_month": 6, "birth_day": 2}


def _zones(db: Database) -> dict[str, str]:
    with db.read() as connection:
        return {row.external_id: row.zone for row in connection.execute(select(members))}


def test_members_in_unknown_zones_are_planned_by_the_next_known(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(db, NOW - DAY)
    told = {
        "own": {"timezone": "Asia/Tokyo"},
        "state": {"country": "US", "region": "CA"},
        "nothing": {},
        "other": {"timezone": "Europe/Lisbon"},
    }
    write(db, world.shop, [person(name, **_BORN, **more) for name, more in told.items()], NOW - DAY)
    with db.write() as connection:
        lost = members.c.external_id != "other"
        connection.execute(update(members).where(lost).values(zone="Mars/Base"))
        connection.execute(update(members).where(members.c.external_id == "state").values(zone="any:ZZ"))
    world.journey("birthday")
    world.plan(NOW + 2 * DAY)
    assert [row[0] for row in world.told()] == ["other"]
    monkeypatch.setattr(zones, "_PAGE", 2)
    assert [zones.replace_unknown(db, world.shop, NOW + 2 * DAY + timedelta(hours=n)) for n in (1, 2)] == [3, 0]
    assert _zones(db) == {
        "own": "Asia/Tokyo",
        "state": "America/Los_Angeles",
        "nothing": "Europe/Berlin",
        "other": "Europe/Lisbon",
    }
    world.plan(NOW + 2 * DAY + timedelta(hours=2))
    # At ten where each of them is.
    assert [(row[0], row[3]) for row in world.told()] == [
        ("own", "06-02 01:00"),
        ("nothing", "06-02 08:00"),
        ("other", "06-02 09:00"),
        ("state", "06-02 17:00"),
    ]
