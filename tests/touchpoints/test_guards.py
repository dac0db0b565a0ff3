"""Planning and sending ask the same of consent: one in SQL, one in Python, over every combination."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from sqlalchemy import select

from crm_plugin.records import ConsentRecord, ConsentState, MemberRecord
from crm_plugin.store import journeys as journeys_table
from crm_plugin.store import members, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.touchpoints import batch, gate, senders
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints.journey import MARKETING
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.plan import plan_shop
from crm_plugin.touchpoints.reach import CONSENT_CHANNEL
from crm_plugin.touchpoints.states import TRANSITIONS, State, may_go
from tests.factories import make_shop, order, write
from tests.touchpoints.test_dispatch import BOX, DUE, START

_SAID = (None, ConsentState.GRANTED, ConsentState.WITHDRAWN)


@pytest.mark.parametrize("channel", ["email", "sms", "inapp"])
@pytest.mark.parametrize(
    ("kind", "topic"), list(itertools.product(["marketing", "transactional"], ["marketing", "news"]))
)
def test_sql_and_python_agree(db: Database, channel: str, kind: str, topic: str) -> None:
    with db.write() as connection:
        shop = make_shop(connection)
    people = []
    for number, (own, everything) in enumerate(itertools.product(_SAID, _SAID)):
        told = {MARKETING: everything, topic: own}
        people.append(
            MemberRecord(
                external_id=str(number),
                email=f"m{number}@x.test",
                phone=f"+49 30 90182{number}",
                birth_month=6,
                birth_day=2,
                consents=tuple(
                    ConsentRecord(channel=CONSENT_CHANNEL[channel], topic=name, state=state, at=START)
                    for name, state in told.items()
                    if state is not None
                ),
            )
        )
    write(db, shop, people, START)
    trigger: dict[str, Any] = {"type": "birthday"}
    if kind == "transactional":
        # Only what follows a purchase can do without consent.
        trigger = {"type": "post_purchase", "days": 1}
        bought = [order(one.external_id, member_external_id=one.external_id, placed_at=START) for one in people]
        write(db, shop, bought, START)
    for name, values in (("smtp", _SMTP), ("twilio", _TWILIO)):
        senders.save_connection(db, BOX, shop, name, values, START, probe=False)
    draft = read_draft({"key": "k", "trigger": trigger, "channels": [channel], "kind": kind, "topic": topic})
    with db.write() as connection:
        journey_store.save(connection, shop, draft, START)
        connection.execute(journeys_table.update().values(enabled=True, enabled_at=START, planned_through=START))
    plan_shop(db, shop, DUE)
    with db.read() as connection:
        rows = connection.execute(select(touchpoints)).all()
        known = batch.load(connection, shop, rows, DUE)
        number_of = {row.member_id: row.external_id for row in connection.execute(select(members))}
    planned = {number_of[row.member_id] for row in rows if row.state == "planned"}
    agreed = {
        number_of[row.member_id]
        for row in rows
        if gate.agreed(known.journeys["k"], channel, known.consents[row.member_id])
    }
    assert len(rows) == 9
    assert planned == agreed


_SMTP = {"host": "127.0.0.1", "port": 9, "security": "none", "from_address": "shop@x.test"}
_TWILIO = {"account_sid": "AC" + "0" * 32, "auth_token": "t", "from_number": "+15550100123"}


def test_every_state_has_its_row_and_none_leads_back_from_an_end() -> None:
    assert set(TRANSITIONS) == set(State)
    assert not may_go(State.ACCEPTED, State.PLANNED)
    assert not may_go(State.SKIPPED, State.PLANNED)
    assert may_go(State.IN_FLIGHT, State.UNCONFIRMED)
