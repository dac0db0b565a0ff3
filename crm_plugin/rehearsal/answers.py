"""What came back of messages, told again when it came: of those that leave in the rehearsal too."""

from __future__ import annotations

from sqlalchemy import Connection

from crm_plugin.store.bulk import execute
from crm_plugin.touchpoints.states import EVENTS, State, may_go

LATER = "later_answers"
_EVENT = "event_id, adapter, provider_event_id, provider_message_id, kind, at, reason, machine, raw, received_at"
# Changes of level and segment are made anew, with other ids in the occasion.
_SAME = (
    "t.shop_id = a.shop_id AND t.journey_key = a.journey_key AND t.member_id = a.member_id AND t.step = a.step "
    "AND (t.occasion = a.occasion OR t.due_at = a.due_at)"
)


def take_back(connection: Connection, shop_id: int, since: int) -> None:
    """Set aside what came after `since`, each with the message that it speaks of."""
    execute(
        connection,
        f"CREATE TABLE {LATER} AS SELECT d.shop_id, {', '.join(f'd.{name.strip()}' for name in _EVENT.split(','))}, "  # noqa: S608
        "t.journey_key, t.member_id, t.step, t.occasion, t.due_at, d.received_at AS comes_at "
        "FROM delivery_events AS d JOIN touchpoints AS t ON t.shop_id = d.shop_id AND t.touchpoint_id = d.touchpoint_id "
        "WHERE d.shop_id = ? AND d.received_at > ?",
        (shop_id, since),
    )
    execute(connection, f"CREATE INDEX ix_{LATER} ON {LATER} (comes_at)")
    execute(connection, "DELETE FROM delivery_events WHERE shop_id = ? AND received_at > ?", (shop_id, since))


def turn(connection: Connection, low: int, high: int) -> None:
    """Tell what came between two instants, and move the messages that it speaks of."""
    execute(
        connection,
        f"INSERT OR IGNORE INTO delivery_events (shop_id, touchpoint_id, {_EVENT}) "  # noqa: S608
        f"SELECT a.shop_id, t.touchpoint_id, {', '.join(f'a.{name.strip()}' for name in _EVENT.split(','))} "
        f"FROM {LATER} AS a JOIN touchpoints AS t ON {_SAME} WHERE a.comes_at > ? AND a.comes_at <= ? AND t.accepted_at <= a.comes_at",
        (low, high),
    )
    for kind, state in EVENTS.items():
        if state is State.ACCEPTED:
            continue
        before = ", ".join(f"'{one}'" for one in State if may_go(one, state))
        execute(
            connection,
            f"UPDATE touchpoints SET state = ?, settled_at = d.received_at, updated_at = d.received_at FROM delivery_events AS d "  # noqa: S608
            f"WHERE d.received_at > ? AND d.received_at <= ? AND d.kind = ? AND touchpoints.shop_id = d.shop_id "
            f"AND touchpoints.touchpoint_id = d.touchpoint_id AND touchpoints.state IN ({before})",
            (state.value, low, high, kind.value),
        )
