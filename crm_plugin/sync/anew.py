"""That a store is to be read from the beginning once more; in the rows, so that no reading under way and no kill forgets it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, update

from crm_plugin.store import runs, sync_state
from crm_plugin.store.runs import Run
from crm_plugin.sync.turn import lock

_ASKED = "read_anew"


def ask(connection: Connection, shop_id: int, now: datetime) -> None:
    """The next reading is to begin anew."""
    runs.keep(connection, shop_id, Run(_ASKED, now, now, {"asked": True}, ""))


def is_asked(connection: Connection, shop_id: int) -> bool:
    """Whether that was asked for and has not begun yet."""
    asked = runs.last(connection, shop_id, _ASKED)
    return asked is not None and bool(asked.result.get("asked"))


def begin(connection: Connection, shop_id: int, now: datetime) -> None:
    """Forget how far every list was read, in the one transaction in which it is asked for no longer."""
    lock(connection, shop_id)
    connection.execute(update(sync_state).where(sync_state.c.shop_id == shop_id).values(cursor=""))
    runs.keep(connection, shop_id, Run(_ASKED, now, now, {"asked": False}, ""))
