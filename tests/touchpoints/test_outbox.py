"""The outbox: pages of what was planned, and a merchant's acts on one message."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, func, insert, select, update

from crm_plugin.errors import InvalidInput, NotFound
from crm_plugin.ids import new_id
from crm_plugin.store import attempts, audit_log, delivery_events, journeys, members, touchpoint_contents, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import outbox
from crm_plugin.touchpoints.states import Reason, State
from tests.factories import make_shop, member, write

NOW = datetime(2026, 6, 2, 9, 0, tzinfo=UTC)
ENDS = NOW + timedelta(days=3)


@pytest.fixture
def shop(db: Database) -> Shop:
    with db.write() as connection:
        made = make_shop(connection)
        make_shop(connection, 2)
        connection.execute(
            insert(journeys).values(
                shop_id=1,
                journey_key="greet",
                title={"en": "Birthday"},
                trigger="birthday",
                template_key="greet",
                updated_at=NOW,
            )
        )
    write(db, made, [member("1", email="a@x.test", first_name="Ada", last_name="L"), member("2", email="b@x.test")])
    return made


@pytest.fixture
def put(db: Database, shop: Shop) -> Callable[..., int]:
    """Write one touchpoint; answers its id."""

    def make(state: str, external_id: str = "1", **more: Any) -> int:
        touchpoint_id = new_id()
        with db.write() as connection:
            owner = select(members.c.member_id).where(members.c.shop_id == 1, members.c.external_id == external_id)
            row = {
                "shop_id": 1,
                "touchpoint_id": touchpoint_id,
                "journey_key": "greet",
                "member_id": connection.execute(owner).scalar_one(),
                "occasion": str(touchpoint_id),
                "occasion_on": NOW.date(),
                "channel": "email",
                "adapter": "smtp",
                "address": "a@x.test",
                "due_at": NOW,
                "next_try_at": NOW,
                "valid_until": ENDS,
                "planned_at": NOW,
                "updated_at": NOW,
                "state": state,
                **more,
            }
            connection.execute(insert(touchpoints).values(**row))
        return touchpoint_id

    return make


def _row(db: Database, touchpoint_id: int) -> Any:
    with db.read() as connection:
        return connection.execute(select(touchpoints).where(touchpoints.c.touchpoint_id == touchpoint_id)).one()


def _acts(db: Database) -> list[tuple[str, str, dict[str, str]]]:
    columns = audit_log.c
    with db.read() as connection:
        rows = connection.execute(select(columns.actor, columns.action, columns.detail).order_by(columns.audit_id))
        return [(row.actor, row.action, row.detail) for row in rows]


def test_pages_go_from_newest_to_oldest(db: Database, shop: Shop, put: Callable[..., int]) -> None:
    ids = [put("planned") for _ in range(5)]
    with db.read() as connection:
        first = outbox.entries(connection, 1, limit=2)
        second = outbox.entries(connection, 1, limit=2, before=first[-1].touchpoint_id)
        last = outbox.entries(connection, 1, limit=2, before=second[-1].touchpoint_id)
        assert outbox.entries(connection, 2) == []
    assert [entry.touchpoint_id for page in (first, second, last) for entry in page] == ids[::-1]
    assert (first[0].journey_title, first[0].member_name, first[0].subject) == ({"en": "Birthday"}, "Ada L", "")


def test_filters_narrow_and_are_counted(db: Database, shop: Shop, put: Callable[..., int]) -> None:
    put("planned")
    refused = put("skipped", reason="no_consent")
    put("skipped", reason="suppressed")
    other = put("accepted", external_id="2")
    with db.read() as connection:
        found = outbox.entries(connection, 1, state="skipped", reason="no_consent")
        assert [entry.touchpoint_id for entry in found] == [refused]
        assert [entry.touchpoint_id for entry in outbox.entries(connection, 1, reason="no_consent")] == [refused]
        assert len(outbox.entries(connection, 1, journey="greet")) == 4
        by_member = outbox.entries(connection, 1, member_id=_row(db, other).member_id)
        assert [entry.touchpoint_id for entry in by_member] == [other]
        assert outbox.counts(connection, 1) == {"planned": 1, "skipped": 2, "accepted": 1}
        assert outbox.reasons(connection, 1) == {"no_consent": 1, "suppressed": 1}
        assert (outbox.counts(connection, 2), outbox.reasons(connection, 2)) == ({}, {})


def test_what_is_about_an_order_is_marked(db: Database, shop: Shop, put: Callable[..., int]) -> None:
    put("planned")
    with db.write() as connection:
        connection.execute(update(journeys).values(trigger="order_paid", trigger_params={}))
        assert [one.exempt for one in outbox.entries(connection, 1)] == [False]
        connection.execute(update(journeys).values(kind="transactional"))
        [entry] = outbox.entries(connection, 1)
        assert (entry.exempt, entry.as_dict()["exempt"]) == (True, True)
        assert outbox.show(connection, 1, entry.touchpoint_id).entry.exempt


def test_unknown_filter_is_named(db: Database, shop: Shop) -> None:
    with db.read() as connection:
        with pytest.raises(InvalidInput, match="no state 'sent'") as caught:
            outbox.entries(connection, 1, state="sent")
        assert "accepted" in caught.value.hint
        with pytest.raises(InvalidInput, match="no reason 'because'"):
            outbox.entries(connection, 1, reason="because")
        with pytest.raises(NotFound, match="no journey 'hello'") as missing:
            outbox.entries(connection, 1, journey="hello")
    assert missing.value.hint == "There are: greet."


def test_detail_holds_message_attempts_and_events(db: Database, shop: Shop, put: Callable[..., int]) -> None:
    touchpoint_id = put("bounced", attempts=1)
    of_it = {"shop_id": 1, "touchpoint_id": touchpoint_id}
    with db.write() as connection:
        connection.execute(
            insert(touchpoint_contents).values(
                **of_it, locale="en", subject="Hi", body_text="Hello", body_html="<p>", url="", rendered_at=NOW
            )
        )
        connection.execute(
            insert(attempts).values(**of_it, attempt_no=1, adapter="smtp", started_at=NOW, outcome="accepted")
        )
        for minute, kind in ((2, "bounced"), (1, "sent")):
            connection.execute(
                insert(delivery_events).values(
                    **of_it,
                    event_id=new_id(),
                    adapter="smtp",
                    provider_event_id=kind,
                    kind=kind,
                    at=NOW + timedelta(minutes=minute),
                    raw={"was": kind},
                    received_at=NOW,
                )
            )
    with db.read() as connection:
        found = outbox.show(connection, 1, touchpoint_id)
        with pytest.raises(NotFound):
            outbox.show(connection, 2, touchpoint_id)
    assert found.content is not None
    assert (found.entry.subject, found.content.text) == ("Hi", "Hello")
    assert [one.outcome for one in found.attempts] == ["accepted"]
    assert [(one.kind, one.raw) for one in found.events] == [("sent", {"was": "sent"}), ("bounced", {"was": "bounced"})]
    assert found.acts == ()


@pytest.mark.parametrize("state", ["failed", "unconfirmed"])
def test_sent_again_keeps_its_key(db: Database, shop: Shop, put: Callable[..., int], state: str) -> None:
    later = ENDS + timedelta(days=1)
    touchpoint_id = put(state, reason="permanent", reason_detail="no", attempts=1, settled_at=NOW, occasion="2026")
    with db.write() as connection:
        outbox.send_again(connection, shop, touchpoint_id, later, "page:me")
    row = _row(db, touchpoint_id)
    assert (row.state, row.reason, row.reason_detail, row.settled_at) == ("planned", "", "", None)
    assert (row.occasion, row.next_try_at, row.valid_until) == ("2026", later, later + timedelta(days=1))
    detail = {"touchpoint": str(touchpoint_id), "from": state, "to": "planned"}
    assert _acts(db) == [("page:me", "touchpoint.send_again", detail)]


def test_open_window_is_not_shortened(db: Database, shop: Shop, put: Callable[..., int]) -> None:
    touchpoint_id = put("failed")
    with db.write() as connection:
        outbox.send_again(connection, shop, touchpoint_id, NOW, "cli")
    assert _row(db, touchpoint_id).valid_until == ENDS


@pytest.mark.parametrize(("sent", "state", "accepted_at"), [(True, "accepted", NOW), (False, "failed", None)])
def test_merchant_settles_unknown_outcome(
    db: Database, shop: Shop, put: Callable[..., int], sent: bool, state: str, accepted_at: datetime | None
) -> None:
    touchpoint_id = put("unconfirmed", reason="crashed")
    with db.write() as connection:
        outbox.settle(connection, shop, touchpoint_id, sent, NOW, "cli")
    row = _row(db, touchpoint_id)
    assert (row.state, row.reason, row.accepted_at) == (state, Reason.BY_MERCHANT, accepted_at)


@pytest.mark.parametrize("state", ["planned", "retry_wait"])
def test_waiting_message_is_taken_back(db: Database, shop: Shop, put: Callable[..., int], state: str) -> None:
    touchpoint_id = put(state)
    with db.write() as connection:
        outbox.cancel(connection, shop, touchpoint_id, NOW, "cli")
    row = _row(db, touchpoint_id)
    assert (row.state, row.reason, row.settled_at) == ("cancelled", "by_merchant", NOW)


@pytest.mark.parametrize("act", outbox.ACTS)
@pytest.mark.parametrize("state", State)
def test_act_in_any_other_state_is_refused(
    db: Database, shop: Shop, put: Callable[..., int], act: str, state: State
) -> None:
    if state in outbox.ACTS[act]:
        return
    touchpoint_id = put(state.value)
    before = tuple(_row(db, touchpoint_id))
    done: dict[str, Callable[[Any], None]] = {
        "send_again": lambda connection: outbox.send_again(connection, shop, touchpoint_id, NOW, "cli"),
        "settle": lambda connection: outbox.settle(connection, shop, touchpoint_id, True, NOW, "cli"),
        "cancel": lambda connection: outbox.cancel(connection, shop, touchpoint_id, NOW, "cli"),
    }
    with pytest.raises(InvalidInput, match=state.value.replace("_", " ")), db.write() as connection:
        done[act](connection)
    assert tuple(_row(db, touchpoint_id)) == before
    assert _acts(db) == []


def test_act_lost_to_another_writes_nothing(db: Database, shop: Shop, put: Callable[..., int]) -> None:
    touchpoint_id = put("unconfirmed")
    with db.write() as connection:
        outbox.settle(connection, shop, touchpoint_id, True, NOW, "cli")
    with pytest.raises(InvalidInput, match="accepted"), db.write() as connection:
        outbox.send_again(connection, shop, touchpoint_id, NOW, "cli")
    with db.read() as connection:
        assert connection.execute(select(func.count()).select_from(audit_log)).scalar_one() == 1


def test_worker_with_an_old_claim_cannot_settle_it(db: Database, shop: Shop, put: Callable[..., int]) -> None:
    touchpoint_id = put("unconfirmed", fence=3)
    with db.write() as connection:
        outbox.send_again(connection, shop, touchpoint_id, NOW, "cli")
        mine = (touchpoints.c.touchpoint_id == touchpoint_id) & (touchpoints.c.fence == 3)
        assert connection.execute(update(touchpoints).where(mine).values(state="accepted")).rowcount == 0


def test_act_on_no_message_of_the_shop_is_refused(db: Database, shop: Shop, put: Callable[..., int]) -> None:
    touchpoint_id = put("failed")
    with db.write() as connection:
        other = make_shop(connection, 3)
    with pytest.raises(NotFound), db.write() as connection:
        outbox.send_again(connection, other, touchpoint_id, NOW, "cli")
    assert _row(db, touchpoint_id).state == "failed"


def test_all_that_failed_for_one_reason_go_again_and_nothing_else(
    db: Database, shop: Shop, put: Callable[..., int]
) -> None:
    mine = [put("failed", reason="permanent", fence=3, valid_until=NOW) for _ in range(3)]
    others = [
        put("failed", reason="render"),
        put("unconfirmed", reason="permanent"),
        put("skipped", reason="permanent"),
    ]
    with db.write() as connection:
        assert outbox.failed_reasons(connection, 1) == {"permanent": 3, "render": 1}
        assert outbox.send_again_all(connection, shop, "permanent", NOW, "cli") == 3
        assert outbox.send_again_all(connection, shop, "permanent", NOW, "cli") == 0
    for touchpoint_id in mine:
        row = _row(db, touchpoint_id)
        assert (row.state, row.reason, row.fence, row.valid_until) == ("planned", "", 4, NOW + timedelta(days=1))
    assert [_row(db, one).state for one in others] == ["failed", "unconfirmed", "skipped"]
    with db.read() as connection:
        told = connection.execute(select(audit_log.c.action, audit_log.c.detail)).all()
    assert told == [("touchpoint.send_again_all", {"reason": "permanent", "count": 3})]


@pytest.mark.parametrize("sent", [True, False])
def test_all_of_unknown_outcome_are_settled_in_few_statements(
    db: Database, shop: Shop, put: Callable[..., int], sent: bool
) -> None:
    mine = [put("unconfirmed", reason="crashed") for _ in range(4)]
    failed = put("failed", reason="render")
    asked: list[str] = []
    event.listen(db.engine, "before_cursor_execute", lambda *told: asked.append(told[2]))
    with db.write() as connection:
        assert outbox.settle_all(connection, shop, sent, NOW, "cli") == 4
    assert len([one for one in asked if not one.startswith("BEGIN")]) == 3
    wanted = ("accepted", NOW) if sent else ("failed", None)
    assert {(_row(db, one).state, _row(db, one).accepted_at) for one in mine} == {wanted}
    assert _row(db, failed).reason == "render"
