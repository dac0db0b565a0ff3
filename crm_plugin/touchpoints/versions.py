"""Published versions of journeys: each saved once and never changed, so that whoever is inside stays on the version they came in by."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Row, select

from crm_plugin.rules.document import from_json
from crm_plugin.rules.triggers import read_time
from crm_plugin.store import journey_versions
from crm_plugin.store.base import to_json
from crm_plugin.touchpoints.journeys import Draft, Journey, read_draft
from crm_plugin.touchpoints.steps.flow import voice_of

# What a draft keeps in another form than a journey, and what is the journey's whatever its version.
_OTHERWISE = frozenset({"audience", "send_at", "enabled"})


@dataclass(frozen=True, slots=True)
class Version:
    """One published version: the journey as it was published, switched as it is now, and the numbers of its steps."""

    journey: Journey
    numbers: dict[str, int]
    published_at: datetime
    actor: str

    @property
    def version(self) -> int:
        return self.journey.version

    def voice(self, step_key: str) -> Journey:
        """The journey as it speaks in that step, which sends."""
        step = self.journey.flow.path[step_key].step
        return replace(self.journey, **voice_of(step, self.journey), step=self.numbers[step_key])

    def step_of(self, number: int) -> str:
        """The key of the step of that number; empty when this version has none."""
        return next((key for key, one in self.numbers.items() if one == number and key in self.journey.flow.path), "")


def versions(
    connection: Connection, shop_id: int, journey: Journey, only: Iterable[int] | None = None
) -> dict[int, Version]:
    """The published versions of a journey, the oldest first; `only` those of these numbers."""
    columns = journey_versions.c
    query = select(journey_versions).where(columns.shop_id == shop_id, columns.journey_key == journey.key)
    if only is not None:
        query = query.where(columns.version.in_(sorted(set(only))))
    return {row.version: _version(row, journey) for row in connection.execute(query.order_by(columns.version))}


def _version(row: Row[Any], journey: Journey) -> Version:
    draft = _draft_of(to_json(row.document))
    told = {field.name: getattr(draft, field.name) for field in fields(Draft) if field.name not in _OTHERWISE}
    told |= {
        "audience": from_json(draft.audience) if draft.audience is not None else None,
        "send_at": read_time(draft.send_at),
        "version": row.version,
    }
    return Version(replace(journey, **told), dict(row.numbers), row.published_at, row.actor)


@lru_cache(maxsize=256)
def _draft_of(document: str) -> Draft:
    return read_draft(json.loads(document))
