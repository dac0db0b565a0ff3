"""Asking a provider for what nobody knows: what it names is accepted once, and what it does not name stays as it was."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select

from crm_plugin.errors import TransientError
from crm_plugin.records import Message, SendResult
from crm_plugin.store import attempts, touchpoint_contents, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.inquiry import inquire_shop
from tests.touchpoints.guarding import BOX, NOON, journey, plant, rows, shop_with

LATER = NOON + timedelta(minutes=6)


class Asked:
    """A provider that names these messages for whatever it is asked, and notes what that was."""

    def __init__(self, *names: str, error: Exception | None = None) -> None:
        self.names, self.error = names, error
        self.asked: list[tuple[str, str, datetime]] = []

    def open(self, *_: Any, **__: Any) -> Any:
        return self

    def find(self, message: Message, *, since: datetime) -> Sequence[SendResult]:
        self.asked.append((message.to, message.text, since))
        if self.error is not None:
            raise self.error
        return [SendResult(name) for name in self.names]

    def close(self) -> None: ...


@pytest.fixture
def shop(db: Database) -> Shop:
    """Two texts that were called for at noon, and nobody knows what became of them."""
    made = shop_with(db, 2)
    journey(db, made, "hello")
    doubtful = {"state": "unconfirmed", "settled_at": NOON, "attempts": 1, "channel": "sms", "adapter": "twilio"}
    plant(db, "hello", **doubtful)
    with db.write() as connection:
        for one in connection.execute(select(touchpoints.c.touchpoint_id)).scalars().all():
            own = {"shop_id": 1, "touchpoint_id": one}
            connection.execute(insert(attempts).values(**own, attempt_no=1, adapter="twilio", started_at=NOON))
            connection.execute(insert(touchpoint_contents).values(**own, body_text="Hello", rendered_at=NOON))
    return made


def _ends(db: Database) -> list[tuple[str, str | None]]:
    return [(row.state, row.provider_message_id) for row in rows(db)]


def test_each_is_accepted_by_a_name_of_its_own(db: Database, shop: Shop) -> None:
    provider = Asked("SM1", "SM2")
    assert inquire_shop(db, BOX, shop, NOON + timedelta(minutes=4), provider.open) == {}
    assert provider.asked == []
    assert inquire_shop(db, BOX, shop, LATER, provider.open) == {"accepted": 2}
    assert _ends(db) == [("accepted", "SM1"), ("accepted", "SM2")]
    assert [(text, since) for _, text, since in provider.asked] == [("Hello", NOON)] * 2
    assert rows(db)[0].accepted_at == NOON
    assert inquire_shop(db, BOX, shop, LATER + timedelta(hours=2), provider.open) == {}
    assert len(provider.asked) == 2


def test_one_name_is_not_given_twice(db: Database, shop: Shop) -> None:
    assert inquire_shop(db, BOX, shop, LATER, Asked("SM1").open) == {"accepted": 1}
    assert _ends(db) == [("accepted", "SM1"), ("unconfirmed", None)]


@pytest.mark.parametrize(
    ("provider", "calls"),
    [(Asked(), 2), (Asked(error=TransientError("no connection", adapter="twilio", operation="find")), 1)],
)
def test_what_is_not_told_stays_and_is_asked_hourly(db: Database, shop: Shop, provider: Asked, calls: int) -> None:
    provider.asked.clear()
    for minutes in (0, 59):
        assert inquire_shop(db, BOX, shop, LATER + timedelta(minutes=minutes), provider.open) == {}
    assert len(provider.asked) == calls
    inquire_shop(db, BOX, shop, LATER + timedelta(minutes=60), provider.open)
    assert len(provider.asked) == 2 * calls
    # After a day it is the merchant's alone.
    inquire_shop(db, BOX, shop, NOON + timedelta(days=1), provider.open)
    assert len(provider.asked) == 2 * calls
    assert _ends(db) == [("unconfirmed", None)] * 2
