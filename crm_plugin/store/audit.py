"""Who changed what: one line for every act of a person or a job that changes what happens to members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert

from crm_plugin.ids import new_id
from crm_plugin.store.shops import audit_log


def note(
    connection: Connection, shop_id: int, actor: str, action: str, detail: Mapping[str, Any], now: datetime
) -> None:
    """Add a line in the transaction of the act itself. `actor` is "cli", "page:<who>" or "job:<name>"; no secret in `detail`."""
    note_all(connection, shop_id, actor, [(action, detail)], now)


def note_all(
    connection: Connection, shop_id: int, actor: str, acts: Sequence[tuple[str, Mapping[str, Any]]], now: datetime
) -> None:
    """The same for several acts, each with its detail."""
    own = {"shop_id": shop_id, "at": now, "actor": actor}
    rows = [{**own, "audit_id": new_id(), "action": action, "detail": dict(detail)} for action, detail in acts]
    if rows:
        connection.execute(insert(audit_log), rows)
