"""That a merchant says much is really gone from the store: who, when and how much, believed until it was looked for.

The word is kept as a document in one row of `job_runs`, by list, and in the audit log for good.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.store import audit, runs
from crm_plugin.store.runs import Run
from crm_plugin.store.tenants import Shop

# The name under which it is kept among the jobs.
BELIEVED = "believed"
# What a merchant knew of the store then says nothing of it a week later.
_GOOD_FOR = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Word:
    """Of one list at most `count` are gone, as `actor` said at `at`."""

    count: int
    actor: str
    at: datetime


def held_back(compared: Run | None) -> dict[str, int]:
    """What the last comparison would not believe gone, by list."""
    streams = compared.result.get("streams", {}) if compared is not None else {}
    return {name: one["held_back"] for name, one in streams.items() if one.get("held_back")}


def believe(
    connection: Connection, shop: Shop, compared: Run | None, stream: str, told: str, actor: str, now: datetime
) -> None:
    """Keep the word of `actor` for one list; `told` is how many they typed, which has to be as many as were not believed.

    Raises: InvalidInput, naming `count` where that is another.
    """
    count = held_back(compared).get(stream)
    if count is None:
        raise InvalidInput(
            phrase("Of this list nothing is left in doubt."),
            hint=phrase("Look again at what the last comparison found."),
        )
    if told != str(count):
        raise InvalidInput(phrase("Type the number exactly as it is shown."), field="count")
    said = {**words(connection, shop.shop_id, now), stream: Word(count, actor, now)}
    _keep(connection, shop.shop_id, said, now)
    audit.note(connection, shop.shop_id, actor, "store.believed", {"list": stream, "count": count}, now)


def words(connection: Connection, shop_id: int, now: datetime) -> dict[str, Word]:
    """What is believed, by list."""
    kept = runs.last(connection, shop_id, BELIEVED)
    told = kept.result if kept is not None else {}
    found = {name: Word(one["count"], one["actor"], datetime.fromisoformat(one["at"])) for name, one in told.items()}
    return {name: word for name, word in found.items() if word.at > now - _GOOD_FOR}


def spend(connection: Connection, shop_id: int, stream: str, now: datetime) -> None:
    """All that was meant has been looked for: what is missing another day is another matter."""
    left = words(connection, shop_id, now)
    if left.pop(stream, None) is not None:
        _keep(connection, shop_id, left, now)


def _keep(connection: Connection, shop_id: int, said: dict[str, Word], now: datetime) -> None:
    told = {name: {"count": one.count, "actor": one.actor, "at": one.at.isoformat()} for name, one in said.items()}
    runs.keep(connection, shop_id, Run(BELIEVED, now, now, told, ""))
