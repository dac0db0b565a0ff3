"""Who changed what: one line for every act of a person or a job that changes what happens to members."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert

from crm_plugin.ids import new_id
from crm_plugin.store.shops import audit_log


def note(
    connection: Connection, shop_id: int, actor: str, action: str, detail: Mapping[str, Any], now: datetime
) -> None:
    """Add a line in the transaction of the act itself. `actor` is "cli", "page:<who>" or "job:<name>"; no secret in `detail`."""
    connection.execute(
        insert(audit_log).values(
            shop_id=shop_id, audit_id=new_id(), at=now, actor=actor, action=action, detail=dict(detail)
        )
    )
