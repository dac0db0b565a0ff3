"""A shop in which journeys of one trigger are tried: people who agreed, a sender for e-mail, and what was planned for whom."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, insert, select, update

from crm_plugin.records import ConsentRecord, ConsentState, MemberRecord
from crm_plugin.store import connections, journeys, members, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import batch, gate
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.plan import plan_shop
from crm_plugin.touchpoints.policy import policy_of
from tests.factories import make_shop, member

# Noon of a Monday in summer, when Berlin is two hours ahead.
NOW = datetime(2026, 6, 1, 10, 0, tzinfo=UTC)
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
YES = (ConsentRecord(channel="email", state=ConsentState.GRANTED, at=NOW - 90 * DAY),)


def person(name: str, **values: Any) -> MemberRecord:
    """A member called so, who agreed."""
    return member(name, email=f"{name}@x.test", **{"consents": YES, **values})


class World:
    """One shop and one journey; `begun` is when it was switched on."""

    def __init__(self, db: Database, begun: datetime, **shop: Any) -> None:
        self.db, self.begun = db, begun
        with db.write() as connection:
            self.shop: Shop = make_shop(connection, **shop)
            row = {"adapter": "smtp", "channel": "email", "settings": b"", "enabled": True, "status": "ok"}
            connection.execute(insert(connections).values(shop_id=1, updated_at=NOW, **row))

    def journey(self, kind: str, **told: Any) -> None:
        """Switch the journey on; what is no parameter of the trigger is told by name behind an underscore."""
        own = {name[1:]: value for name, value in told.items() if name.startswith("_")}
        params = {name: value for name, value in told.items() if not name.startswith("_")}
        draft = {"key": "it", "trigger": {"type": kind, **params}, "channels": ["email"], "validity_days": 3, **own}
        with self.db.write() as connection:
            connection.execute(update(journeys).values(enabled=False))
            journey_store.save(connection, self.shop, read_draft(draft), self.begun)
            values = {"enabled": True, "enabled_at": self.begun, "planned_through": self.begun}
            connection.execute(update(journeys).where(journeys.c.journey_key == "it").values(**values))

    def plan(self, at: datetime) -> dict[str, Any]:
        """One round."""
        return plan_shop(self.db, self.shop, at).as_dict()

    def rows(self) -> list[Row[Any]]:
        """All touchpoints, oldest first."""
        t = touchpoints.c
        with self.db.read() as connection:
            return list(connection.execute(select(touchpoints).order_by(t.due_at, t.touchpoint_id)))

    def told(self) -> list[tuple[str, str, str, str]]:
        """For whom (the name before the @), state, reason, when it is due in UTC."""
        return [
            (row.address.split("@")[0], row.state, row.reason, row.due_at.strftime("%m-%d %H:%M"))
            for row in self.rows()
        ]

    def verdicts(self, at: datetime) -> list[tuple[str, str | None, str]]:
        """What the guards say of what waits: for whom, state, reason; None is open."""
        rows = [row for row in self.rows() if row.state == "planned"]
        with self.db.read() as connection:
            known = batch.load(connection, self.shop, rows, at)
        judged = [(row, gate.judge(row, known, policy_of(self.shop), at)) for row in rows]
        return [(row.address.split("@")[0], verdict.state, str(verdict.reason)) for row, verdict in judged]

    def sent(self) -> None:
        """All that waits has left."""
        with self.db.write() as connection:
            connection.execute(update(touchpoints).where(touchpoints.c.state == "planned").values(state="accepted"))

    def id_of(self, name: str) -> int:
        """The id of a member."""
        with self.db.read() as connection:
            return connection.execute(select(members.c.member_id).where(members.c.external_id == name)).scalar_one()
