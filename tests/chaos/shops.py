"""Shops whose members all have their birthday today: `python -m tests.chaos.shops SHOPS MEMBERS SENDER SETTINGS`.

It fills what CRM_DATA_DIR names, and runs with the same environment as the workers, for only there the sender of `keyed.py` is known.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from typing import Any

from crm_plugin.clock import local_day
from crm_plugin.records import ConsentRecord, ConsentState
from crm_plugin.runtime import Runtime
from crm_plugin.store import journeys, migrate, templates
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints import senders
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.settings import save_settings
from tests.factories import make_shop, member, write

_BODY = "Hello {{ member.first_name }}! {{ unsubscribe_url }}"
_JOURNEY = {"key": "greet", "trigger": {"type": "birthday", "days": 0}, "channels": ["email"], "enabled": True}


def fill(
    runtime: Runtime,
    shops: int,
    members: int,
    sender: str,
    settings: dict[str, Any],
    *,
    first: int = 1,
    journey: dict[str, Any] = _JOURNEY,
) -> None:
    """Bring the tables and make shops from the number `first` on; what their `journey` means is due now, and nothing is planned yet."""
    migrate.upgrade(runtime.db.engine)
    now = runtime.clock.now()
    for shop_id in range(first, first + shops):
        with runtime.db.write() as connection:
            shop = make_shop(connection, shop_id, timezone=_late_morning(now))
        _greet(runtime, shop, members, sender, settings, journey, now)


def _late_morning(now: datetime) -> str:
    """A zone where it is between eleven and twelve, so that nobody's night begins before the messages have left."""
    ahead = 11 - now.hour if now.hour < 23 else 12
    return f"Etc/GMT{-ahead:+d}"


def _greet(
    runtime: Runtime,
    shop: Shop,
    members: int,
    sender: str,
    settings: dict[str, Any],
    journey: dict[str, Any],
    now: datetime,
) -> None:
    before, today = now - timedelta(days=30), local_day(now, shop.timezone)
    text = {"template_key": "greet", "channel": "email", "locale": "en", "updated_at": before}
    with runtime.db.write() as connection:
        connection.execute(
            templates.insert().values(shop_id=shop.shop_id, subject="Hi", body_text=_BODY, body_html="", **text)
        )
        # All of them at once are meant, and so are the refusals.
        save_settings(connection, shop, {"blast": {"above": 0, "bounces_pct": 0}}, before)
    yes = (ConsentRecord(channel="email", state=ConsentState.GRANTED, at=before),)
    day = {"birth_month": today.month, "birth_day": today.day, "consents": yes}
    people = [member(str(n), email=f"m{n}@shop{shop.shop_id}.test", first_name=f"N{n}", **day) for n in range(members)]
    write(runtime.db, shop, people, before)
    senders.save_connection(runtime.db, runtime.box, shop, sender, settings, before)
    with runtime.db.write() as connection:
        journey_store.save(connection, shop, read_draft(journey), before)
        own = journeys.c.shop_id == shop.shop_id
        connection.execute(
            journeys.update().where(own).values(enabled_at=before, planned_through=now - timedelta(days=1))
        )


if __name__ == "__main__":
    opened = Runtime.open()
    fill(opened, int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4]))
    opened.close()
