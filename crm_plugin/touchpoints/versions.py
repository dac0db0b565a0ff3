"""Published versions of journeys: each saved once and never changed, so that whoever is inside stays on the version they came in by."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import Any, Protocol

from sqlalchemy import Connection, Select, select, text

from crm_plugin.errors import CrmError
from crm_plugin.store import journey_versions
from crm_plugin.store.base import to_json
from crm_plugin.touchpoints.journey import Draft, Journey, as_drafted
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.journeys import all_journeys
from crm_plugin.touchpoints.steps.flow import NEVER, voice_of
from crm_plugin.touchpoints.steps.kinds import EVENTS, KINDS

_log = logging.getLogger(__name__)


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
        told = voice_of(step, self.journey)
        if self.journey.flow.exit == NEVER:
            # Whom the audience holds no longer is written to all the same.
            told |= {"audience": None, "audience_text": ""}
        return replace(self.journey, **told, step=self.numbers[step_key], step_key=step_key)

    def step_of(self, number: int) -> str:
        """The key of the step of that number; empty when this version has none."""
        return next((key for key, one in self.numbers.items() if one == number and key in self.journey.flow.path), "")


def versions(
    connection: Connection, shop_id: int, journey: Journey, only: Iterable[int] | None = None
) -> dict[int, Version]:
    """The published versions of a journey, the oldest first; `only` those of these numbers.

    Raises: InvalidInput, RuleError when one cannot be read.
    """
    return versions_of(connection.execute(stored(shop_id, journey, only)), journey)


def versions_of(found: Iterable[Any], journey: Journey) -> dict[int, Version]:
    """The same out of the rows of `stored`. Raises: InvalidInput, RuleError."""
    return {row.version: _version(row, journey) for row in found}


def readable(
    connection: Connection, shop_id: int, journey: Journey, only: Iterable[int] | None = None
) -> dict[int, Version]:
    """The same without those that cannot be read, which the log tells: what they planned is refused, and stops nothing else."""
    found = {}
    for row in connection.execute(stored(shop_id, journey, only)).all():
        try:
            found[row.version] = _version(row, journey)
        except (CrmError, LookupError, TypeError, ValueError) as error:
            _log.warning("version %s of journey %s in shop %s: %s", row.version, journey.key, shop_id, error)
    return found


def stored(shop_id: int, journey: Journey, only: Iterable[int] | None) -> Select[Any]:
    """The published versions of a journey as a query, the oldest first; `only` those of these numbers."""
    columns = journey_versions.c
    query = select(journey_versions).where(columns.shop_id == shop_id, columns.journey_key == journey.key)
    if only is not None:
        query = query.where(columns.version.in_(sorted(set(only))))
    return query.order_by(columns.version)


class Spoken(Protocol):
    """What a touchpoint says of the step and the version that it was planned by."""

    @property
    def journey_key(self) -> str: ...


@dataclass(slots=True)
class Voices:
    """The journeys of a shop as they speak in touchpoints: those of a step by the version they were planned by, all others as they are."""

    journeys: dict[str, Journey]
    _published: dict[tuple[str, int], Version] = field(default_factory=dict)
    _made: dict[tuple[str, int, int], Journey | None] = field(default_factory=dict)

    def of(self, row: Spoken) -> Journey | None:
        """The journey of a touchpoint; None when it, or the step, is not there. On, off and paused is the journey's, not the version's."""
        number = getattr(row, "step", 0)
        if not number:
            return self.journeys.get(row.journey_key)
        place = (row.journey_key, row.journey_version, number)  # type: ignore[attr-defined]
        if place not in self._made:
            version = self._published.get(place[:2])
            key = version.step_of(number) if version is not None else ""
            self._made[place] = version.voice(key) if version is not None and key else None
        return self._made[place]

    def learn(self, connection: Connection, shop_id: int, rows: Iterable[Spoken]) -> None:
        """Read the versions that these touchpoints were planned by."""
        asked: dict[str, set[int]] = defaultdict(set)
        for row in rows:
            if getattr(row, "step", 0) and row.journey_key in self.journeys:
                asked[row.journey_key].add(row.journey_version)  # type: ignore[attr-defined]
        for key, numbers in asked.items():
            missing = {number for number in numbers if (key, number) not in self._published}
            for number, version in (
                readable(connection, shop_id, self.journeys[key], missing).items() if missing else ()
            ):
                self._published[key, number] = version


def voices(connection: Connection, shop_id: int, rows: Iterable[Spoken]) -> Voices:
    """The journeys of a shop, with the versions that these touchpoints were planned by."""
    found = Voices({journey.key: journey for journey in all_journeys(connection, shop_id)})
    found.learn(connection, shop_id, rows)
    return found


# Those with steps, or of which it is not known; answered by an index alone, without their documents.
_STEPPED = "FROM journey_versions WHERE shop_id = :shop_id AND (kinds <> '[]' OR kinds IS NULL)"
_KINDS = text(
    "SELECT DISTINCT journey_key, kinds FROM journey_versions WHERE shop_id = :shop_id AND (kinds <> '[]' OR kinds IS NULL)"
)
_WRITES = frozenset({"tag", "tier"})
_ANYTHING = frozenset({*KINDS, *(f"wait:{event}" for event in EVENTS)})


def with_steps(connection: Connection, shop_id: int) -> dict[str, frozenset[str]]:
    """The journeys with several steps in any of their versions, so that somebody may be inside → what these do, by `document.kinds`."""
    found: dict[str, frozenset[str]] = {}
    for key, told in connection.execute(_KINDS, {"shop_id": shop_id}):
        found[key] = found.get(key, frozenset()) | _kinds(told)
    return found


def writes_members(kinds: frozenset[str]) -> bool:
    """Whether steps that do this write members."""
    return not _WRITES.isdisjoint(kinds)


def _kinds(told: str | None) -> frozenset[str]:
    return _ANYTHING if told is None else frozenset(json.loads(told))


def _version(row: Any, journey: Journey) -> Version:
    draft = _draft_of(to_json(row.document))
    made = replace(as_drafted(journey, draft), version=row.version)
    return Version(made, dict(row.numbers), row.published_at, row.actor)


@lru_cache(maxsize=256)
def _draft_of(document: str) -> Draft:
    return read_draft(json.loads(document))
