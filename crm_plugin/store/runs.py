"""How the last run of each job of a shop went, kept so that pages and commands can tell it, also after a restart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from crm_plugin.store import job_runs
from crm_plugin.store.upserts import insert_into


@dataclass(frozen=True, slots=True)
class Run:
    """One finished run; `error` is empty when it went well. `through` is the mark of a job that keeps one."""

    job: str
    started_at: datetime
    finished_at: datetime
    result: dict[str, Any]
    error: str
    through: str = ""

    @property
    def ok(self) -> bool:
        return not self.error


def last(connection: Connection, shop_id: int, job: str) -> Run | None:
    """The last run of a job; None before the first."""
    columns = job_runs.c
    row = connection.execute(select(job_runs).where(columns.shop_id == shop_id, columns.job == job)).first()
    if row is None:
        return None
    return Run(row.job, row.started_at, row.finished_at, row.result or {}, row.error, row.through)


def keep(connection: Connection, shop_id: int, run: Run) -> None:
    """Write how a run went in place of the one before; the mark stays unless this run has one."""
    values: dict[str, Any] = {
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "result": run.result,
        "error": run.error,
        **({"through": run.through} if run.through else {}),
    }
    statement = insert_into(connection, job_runs).values(shop_id=shop_id, job=run.job, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["shop_id", "job"], set_=values))


def plain(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result as it can be kept: what JSON has no word for becomes text."""
    return {str(key): _plain(value) for key, value in result.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return plain(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
