"""Who was inside a journey of several steps at an instant, and where, by the events that were kept of each."""

from __future__ import annotations

from sqlalchemy import Connection

from crm_plugin.store.bulk import execute

# What the engine made, and when: it makes it anew.
_MADE = (("tasks", "created_at"), ("enrolments", "enrolled_at"), ("enrolment_events", "at"), ("journey_waves", "since"))
# The last event of each enrolment that is left says where it stands.
_BACK = """
UPDATE enrolments SET
    state = CASE WHEN e.what = 'ended' THEN 'ended' ELSE 'active' END,
    end_reason = CASE WHEN e.what = 'ended' THEN e.reason ELSE '' END,
    ended_at = CASE WHEN e.what = 'ended' THEN e.at END,
    version = e.version, step_key = e.to_step, phase = e.phase, seq = e.seq, base_at = e.base_at, due_at = e.due_at, updated_at = e.at
FROM (
    SELECT shop_id, enrolment_id, MAX(seq) AS seq, at, what, version, to_step, phase, base_at, due_at, reason
    FROM enrolment_events WHERE shop_id = ? GROUP BY shop_id, enrolment_id
) AS e
WHERE e.shop_id = enrolments.shop_id AND e.enrolment_id = enrolments.enrolment_id AND enrolments.updated_at > ?
"""
# What they wait for again is to be taken up again.
_AWAITED = """
UPDATE touchpoints SET taken_up = FALSE WHERE shop_id = ? AND step > 0 AND taken_up AND EXISTS (
    SELECT 1 FROM enrolments AS e WHERE e.shop_id = touchpoints.shop_id AND e.journey_key = touchpoints.journey_key
    AND e.member_id = touchpoints.member_id AND e.occasion = touchpoints.occasion AND e.state = 'active' AND e.phase = 'sent'
)
"""


def take_back(connection: Connection, shop_id: int, since: int) -> None:
    """Take out who came in later; put the others back to where they stood, and codes handed out later into their pools."""
    for table, column in _MADE:
        execute(connection, f"DELETE FROM {table} WHERE shop_id = ? AND {column} > ?", (shop_id, since))  # noqa: S608
    execute(connection, _BACK, (shop_id, since))
    execute(connection, _AWAITED, (shop_id,))
    execute(
        connection,
        "UPDATE coupon_codes SET enrolment_id = NULL, step_key = NULL, member_id = NULL, handed_at = NULL "
        "WHERE shop_id = ? AND handed_at > ?",
        (shop_id, since),
    )
