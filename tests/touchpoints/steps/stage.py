"""A shop with a sender, members who agreed, and journeys of several steps that are on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import event, select, update

from crm_plugin.records import ConsentRecord, ConsentState, MemberRecord
from crm_plugin.rules import tiers
from crm_plugin.store import bulk, enrolment_events, enrolments, journeys, members, touchpoints
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints import senders, texts
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.plan import plan_shop
from crm_plugin.touchpoints.render import Text
from tests.factories import make_shop, member

BOX = SecretBox("A" * 43 + "=")
# Eight in the morning in Berlin.
START = datetime(2026, 6, 1, 6, 0, tzinfo=UTC)
YES = (ConsentRecord(channel="email", state=ConsentState.GRANTED, at=START - timedelta(days=900)),)
SEND = {"key": "hello", "send": {"template": "hello", "channels": ["email"]}}


def stage(db: Database, **told: Any) -> Shop:
    """A shop that can mail."""
    with db.write() as connection:
        shop = make_shop(connection, **told)
    values = {"host": "127.0.0.1", "port": 9, "security": "none", "from_address": "shop@x.test"}
    senders.save_connection(db, BOX, shop, "smtp", values, START, probe=False)
    with db.write() as connection:
        for key in ("hello", "other"):
            texts.put(connection, shop.shop_id, Text(key, "email", "en", subject="Hello", body_text="Hello."), START)
    return shop


def put_levels(db: Database, shop: Shop) -> None:
    """Two levels of the main programme, silver and gold."""
    rules = {"silver": "spent() >= 100", "gold": "spent() >= 1000"}
    levels = [tiers.read_level({"key": key, "title": {"en": key}, "rule": rule}) for key, rule in rules.items()]
    with db.write() as connection:
        tiers.put_main_levels(connection, shop, levels, START)


def person(number: int, **values: Any) -> MemberRecord:
    """Somebody who agreed, born on 1 June."""
    return member(
        str(number), email=f"m{number}@x.test", **{"consents": YES, "birth_month": 6, "birth_day": 1, **values}
    )


def turn_on(db: Database, shop: Shop, *steps: dict[str, Any], at: datetime = START, **told: Any) -> Journey:
    """Save a journey of these steps and let it run, without texts."""
    draft = read_draft({"key": "j", "trigger": {"type": "birthday", "days": 0}, "steps": list(steps), **told})
    with db.write() as connection:
        saved = journey_store.save(connection, shop, draft, at)
        if not saved.enabled:
            mine = (journeys.c.shop_id == shop.shop_id) & (journeys.c.journey_key == draft.key)
            connection.execute(update(journeys).where(mine).values(enabled=True, enabled_at=at, planned_through=at))
        return journey_store.get(connection, shop.shop_id, draft.key)


def plan(db: Database, shop: Shop, at: datetime) -> dict[str, int]:
    """One round of planning; the counts of the only journey. A problem fails the test."""
    report = plan_shop(db, shop, at)
    assert report.problems == {}
    return report.journeys.get("j", {})


def inside(db: Database) -> dict[str, tuple[str, str, str]]:
    """Member's address without its end → where they are: (state or how it ended, step, phase)."""
    e, m = enrolments.c, members.c
    query = select(m.email, e.state, e.end_reason, e.step_key, e.phase).join_from(
        enrolments, members, (m.shop_id == e.shop_id) & (m.member_id == e.member_id)
    )
    with db.read() as connection:
        rows = connection.execute(query.order_by(e.enrolment_id)).all()
    return {row.email.split("@")[0]: (row.end_reason or row.state, row.step_key, row.phase) for row in rows}


def story(db: Database, who: int = 1) -> list[tuple[str, ...]]:
    """What happened to a member's enrolments: (what, step, to step, reason, detail)."""
    v, e, m = enrolment_events.c, enrolments.c, members.c
    query = (
        select(v.what, v.step_key, v.to_step, v.reason, v.detail)
        .join_from(enrolment_events, enrolments, (e.shop_id == v.shop_id) & (e.enrolment_id == v.enrolment_id))
        .join(members, (m.shop_id == e.shop_id) & (m.member_id == e.member_id))
        .where(m.external_id == str(who))
        .order_by(e.enrolment_id, v.seq)
    )
    with db.read() as connection:
        return [tuple(row) for row in connection.execute(query)]


def planned(db: Database) -> list[tuple[int, str, str, str]]:
    """Every touchpoint: step, state, reason, due instant."""
    t = touchpoints.c
    query = select(t.step, t.state, t.reason, t.due_at).order_by(t.due_at, t.step, t.touchpoint_id)
    with db.read() as connection:
        return [(row.step, row.state, row.reason, f"{row.due_at:%m-%d %H:%M}") for row in connection.execute(query)]


def settle(db: Database, at: datetime, state: str = "accepted") -> None:
    """What waits to be sent left at that instant, or came to another end."""
    values = {"state": state, "settled_at": at, "updated_at": at, "accepted_at": at if state == "accepted" else None}
    with db.write() as connection:
        connection.execute(update(touchpoints).where(touchpoints.c.state == "planned").values(**values))


class Counting:
    """How many statements a block ran: `with Counting(db) as ran: ...; ran.count`; `own` are those of the last transaction alone.

    Those that go to the driver as they are (`store.bulk`) count as well.
    """

    def __init__(self, db: Database) -> None:
        self._cursor = bulk._cursor
        self._engine = db.engine
        self.statements: list[str] = []
        self.own: list[str] = []

    @property
    def count(self) -> int:
        return len(self.statements)

    def _note(self, _connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        self.statements.append(statement)
        if not statement.startswith("BEGIN"):
            self.own.append(statement)

    def _note_bare(self, connection: Any, statement: str) -> Any:
        self._note(connection, None, statement)
        return self._cursor(connection, statement)

    def _begin(self, _connection: Any) -> None:
        self.own.clear()

    def __enter__(self) -> Counting:
        event.listen(self._engine, "before_cursor_execute", self._note)
        event.listen(self._engine, "begin", self._begin)
        bulk._cursor = self._note_bare
        return self

    def __exit__(self, *_error: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._note)
        event.remove(self._engine, "begin", self._begin)
        bulk._cursor = self._cursor
