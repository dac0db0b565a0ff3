"""A shop whose touchpoints are put there by hand, and a sender that only counts: for what is asked of the guards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select

from crm_plugin.adapters.channels.base import ChannelAdapter
from crm_plugin.records import ConsentRecord, ConsentState, Message, SendResult
from crm_plugin.store import connections, journeys, members, touchpoints
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints.dispatch import DispatchReport, dispatch_shop
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.readying import Ways
from crm_plugin.touchpoints.render import Rendered
from crm_plugin.touchpoints.settings import save_settings
from tests.factories import make_shop, member, order, write

BOX = SecretBox("A" * 43 + "=")
START = datetime(2026, 6, 1, 0, 0, tzinfo=UTC)
# Noon in Berlin.
NOON = datetime(2026, 6, 2, 10, 0, tzinfo=UTC)
PUBLIC = "https://crm.example"


@dataclass
class Sent:
    """What left, in order: (address, instant) by the round's own clock."""

    rows: list[tuple[str, str]] = field(default_factory=list)

    def ways(self) -> Ways:
        """Ways that note what would leave."""
        sent = self.rows

        class Counting:
            """Takes everything."""

            parallel, most_a_minute, flow = 1, 0, staticmethod(lambda: None)

            def send(self, message: Message, *, idempotency_key: str) -> SendResult:
                sent.append((message.to, idempotency_key))
                return SendResult(provider_message_id=idempotency_key)

            def close(self) -> None: ...

        def compose(row: Any, *_: Any) -> tuple[Message, Rendered]:
            made = Rendered("en", "Hi", "Hello", "", "")
            return Message(row.channel, row.address, str(row.touchpoint_id), "Hello", "Hi"), made

        def open_channel(*_: Any, **__: Any) -> ChannelAdapter:
            return Counting()  # type: ignore[return-value]

        return Ways(compose, open_channel)


def shop_with(db: Database, people: int = 1, *, settings: dict[str, Any] | None = None, **person: Any) -> Shop:
    """Members who agreed to everything, each with an order they have just made, and a sender for mail and texts."""
    with db.write() as connection:
        shop = make_shop(connection)
        if settings:
            shop = save_settings(connection, shop, settings, START)
        for adapter, channel in (("smtp", "email"), ("twilio", "sms")):
            connection.execute(
                connections.insert().values(
                    shop_id=1, adapter=adapter, channel=channel, settings=b"", enabled=True, status="ok",
                    status_detail="", updated_at=START,
                )
            )  # fmt: skip
    yes = tuple(ConsentRecord(channel=name, state=ConsentState.GRANTED, at=START) for name in ("email", "sms"))
    told = {"birth_month": 6, "birth_day": 2, "consents": yes, **person}
    records = [
        member(str(n), **{"email": f"m{n}@x.test", "phone": f"+49 30 9018{n:03}", **told}) for n in range(people)
    ]
    write(db, shop, records, START)
    return shop


def journey(db: Database, shop: Shop, key: str, **told: Any) -> None:
    """A journey that is on, whatever texts there are."""
    document = {"key": key, "trigger": {"type": "birthday"}, "channels": ["email"], "validity_days": 7, **told}
    with db.write() as connection:
        journey_store.save(connection, shop, read_draft(document), START)
        connection.execute(
            journeys.update()
            .where(journeys.c.journey_key == key)
            .values(enabled=True, enabled_at=START, planned_through=START)
        )


def plant(db: Database, key: str, *, due: datetime = NOON, occasion: str = "2026", **values: Any) -> None:
    """A touchpoint of that journey for each member, as the planner leaves it."""
    with db.write() as connection:
        there = connection.execute(select(members)).all()
        first = connection.execute(select(touchpoints.c.touchpoint_id).order_by(-touchpoints.c.touchpoint_id)).scalar()
        for place, person in enumerate(there):
            row = {
                "shop_id": 1,
                "touchpoint_id": (first or 0) + place + 1,
                "journey_key": key,
                "member_id": person.member_id,
                "occasion": occasion,
                "state": "planned",
                "channel": "email",
                "adapter": "smtp",
                "address": person.email,
                "occasion_on": NOON.date(),
                "due_at": due,
                "next_try_at": due,
                "valid_until": due + timedelta(days=7),
                "planned_at": due,
                "updated_at": due,
                **values,
            }
            connection.execute(touchpoints.insert().values(**row))


def bought(db: Database, shop: Shop, people: int = 1) -> None:
    """An order of each member, for journeys about one."""
    write(db, shop, [order(f"o{n}", member_external_id=str(n), placed_at=START) for n in range(people)], START)


def send(db: Database, shop: Shop, at: datetime, sent: Sent | None = None, **more: Any) -> DispatchReport:
    """One round of sending."""
    ways = (sent or Sent()).ways()
    return dispatch_shop(db, BOX, shop, at, public_url=PUBLIC, ways=ways, **more)


def states(db: Database) -> dict[str, tuple[str, str]]:
    """What became of each journey's touchpoint of the first member: state and reason."""
    return {row.journey_key: (row.state, row.reason) for row in rows(db)}


def rows(db: Database) -> Sequence[Any]:
    """All touchpoints in the order they were put there."""
    with db.read() as connection:
        return connection.execute(select(touchpoints).order_by(touchpoints.c.touchpoint_id)).all()
