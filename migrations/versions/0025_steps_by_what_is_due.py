"""Journeys of several steps by what is due: which touchpoints are settled and not taken up, what the steps of each version do.

Touchpoints of before are looked at once by the first round. Claims walk by (instant, id).

Revision: 0025
"""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_WAITING = sa.text("state IN ('planned', 'retry_wait')")
_TO_TAKE_UP = sa.text("step > 0 AND NOT taken_up AND state NOT IN ('planned', 'in_flight', 'retry_wait')")
_KINDS = ("send", "wait", "branch", "split", "coupon", "tag", "tier", "task", "webhook", "end")


def upgrade() -> None:
    op.add_column("touchpoints", sa.Column("taken_up", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_index(
        "ix_touchpoints_taken_up",
        "touchpoints",
        ["shop_id", "journey_key"],
        sqlite_where=_TO_TAKE_UP,
        postgresql_where=_TO_TAKE_UP,
    )
    _index_what_is_due(["shop_id", "next_try_at", "touchpoint_id"])
    op.add_column("journey_versions", sa.Column("kinds", sa.Text))
    _tell_kinds()
    op.create_index("ix_journey_versions_kinds", "journey_versions", ["shop_id", "journey_key", "kinds"])


def downgrade() -> None:
    # Nobody wakes those who wait for a message any more: they look for themselves.
    op.execute("UPDATE enrolments SET due_at = base_at WHERE state = 'active' AND phase = 'sent'")
    op.drop_index("ix_journey_versions_kinds", table_name="journey_versions")
    op.drop_column("journey_versions", "kinds")
    _index_what_is_due(["shop_id", "next_try_at"])
    op.drop_index("ix_touchpoints_taken_up", table_name="touchpoints")
    op.drop_column("touchpoints", "taken_up")


def _index_what_is_due(columns: list[str]) -> None:
    op.drop_index("ix_touchpoints_due", table_name="touchpoints")
    op.create_index("ix_touchpoints_due", "touchpoints", columns, sqlite_where=_WAITING, postgresql_where=_WAITING)


def _tell_kinds() -> None:
    connection = op.get_bind()
    stored = connection.execute(
        sa.text("SELECT shop_id, journey_key, version, document FROM journey_versions")
    ).all()
    told = sa.text(
        "UPDATE journey_versions SET kinds = :kinds WHERE shop_id = :shop_id AND journey_key = :journey_key AND version = :version"
    )
    for row in stored:
        try:
            kinds = _kinds(json.loads(row.document).get("steps"))
        except (AttributeError, TypeError, ValueError):
            # It may do anything, until somebody can read it.
            continue
        ours = {"shop_id": row.shop_id, "journey_key": row.journey_key, "version": row.version}
        connection.execute(told, {**ours, "kinds": json.dumps(sorted(kinds), separators=(",", ":"))})


def _kinds(steps: Any) -> set[str]:
    """What these steps and those within them do; a wait for an event also as `wait:` and the event."""
    found: set[str] = set()
    for step in steps or ():
        found |= {name for name in _KINDS if name in step}
        wait = step.get("wait")
        if isinstance(wait, dict) and "event" in wait:
            found.add(f"wait:{wait['event']}")
        for inner in (step.get("then"), step.get("else"), *(step.get("arms") or {}).values()):
            found |= _kinds(inner)
    return found
