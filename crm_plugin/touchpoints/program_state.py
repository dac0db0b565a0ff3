"""The programme that a shop has, and what became of it section by section between one moment and another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Connection

from crm_plugin.rules import segments, tiers
from crm_plugin.rules.policies import newest_policies
from crm_plugin.rules.policy import Policy
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import texts
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.journeys import all_journeys
from crm_plugin.touchpoints.program_file import Place, Program, place_of
from crm_plugin.touchpoints.render import Text
from crm_plugin.touchpoints.settings import told_settings


@dataclass(frozen=True, slots=True)
class ProgramState:
    """The programme as it is kept."""

    settings: dict[str, Any]
    levels: list[tiers.Level]
    # By programme, the main one only where it promises more than its levels.
    policies: dict[str, Policy]
    segments: list[segments.Segment]
    journeys: dict[str, Journey]
    texts: dict[Place, Text]

    @classmethod
    def of(cls, connection: Connection, shop: Shop) -> ProgramState:
        """A shop's, of this moment."""
        return cls(
            told_settings(shop),
            tiers.levels(connection, shop.shop_id),
            newest_policies(connection, shop),
            # Sorted here: the databases do not agree on the order of letters.
            sorted(segments.list(connection, shop.shop_id), key=lambda one: one.key),
            {one.key: one for one in sorted(all_journeys(connection, shop.shop_id), key=lambda one: one.key)},
            {place_of(text): text for text in texts.texts(connection, shop.shop_id)},
        )


@dataclass(slots=True)
class SectionReport:
    """How many entries of a section were added, changed, removed, and found to be the same."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    same: int = 0

    @classmethod
    def of(cls, before: Mapping[Any, Any], after: Mapping[Any, Any]) -> SectionReport:
        """What became of the entries: by key, as they were and as they are."""
        changed = sum(1 for key, value in after.items() if key in before and before[key] != value)
        added = len(after.keys() - before.keys())
        return cls(added, changed, len(before.keys() - after.keys()), len(after) - added - changed)


@dataclass(frozen=True, slots=True)
class ProgramReport:
    """What loading a programme did: the sections that were in it, and which journeys it switched.

    After `rates_changed` the caller has the sums counted anew (`sync.facts.rebuild`).
    """

    sections: dict[str, SectionReport] = field(default_factory=dict)
    switched_on: tuple[str, ...] = ()
    switched_off: tuple[str, ...] = ()
    rates_changed: bool = False

    def as_dict(self) -> dict[str, Any]:
        counts: dict[str, Any] = {name: asdict(section) for name, section in self.sections.items()}
        return {
            **counts,
            "switched_on": list(self.switched_on),
            "switched_off": list(self.switched_off),
            "rates_changed": self.rates_changed,
        }


def report_of(program: Program, before: ProgramState, after: ProgramState) -> ProgramReport:
    """What became of the sections that the file has."""
    sections: dict[str, SectionReport] = {}
    if program.settings is not None:
        sections["settings"] = _among(set(program.settings), before.settings, after.settings)
    if program.tiers is not None:
        sections["tiers"] = SectionReport.of(*_ladders(before.levels, after.levels))
    if program.policies is not None:
        policies = ({key: one.as_dict() for key, one in state.policies.items()} for state in (before, after))
        sections["tier_programs"] = _among({policy.program for policy in program.policies}, *policies)
    if program.segments is not None:
        sections["segments"] = SectionReport.of(
            *({segment.key: segment.as_dict() for segment in state.segments} for state in (before, after))
        )
    if program.journeys is not None:
        journeys = ({key: one.as_dict() for key, one in state.journeys.items()} for state in (before, after))
        sections["journeys"] = _among({draft.key for draft in program.journeys}, *journeys)
    if program.templates is not None or program.offered:
        written = ({place: text.parts() for place, text in state.texts.items()} for state in (before, after))
        sections["templates"] = _among(
            {place_of(text) for text in (*(program.templates or ()), *program.offered)}, *written
        )
    ran, runs = ({key for key, one in state.journeys.items() if one.enabled} for state in (before, after))
    return ProgramReport(
        sections,
        tuple(sorted(runs - ran)),
        tuple(sorted(ran - runs)),
        before.settings.get("rates") != after.settings.get("rates"),
    )


def _ladders(before: list[tiers.Level], after: list[tiers.Level]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Levels by key with their place among those that are in both: a level that moved has changed."""
    common = {level.key for level in before} & {level.key for level in after}

    def placed(levels: Iterable[tiers.Level]) -> dict[str, Any]:
        kept = [level.key for level in levels if level.key in common]
        return {one.key: (one.as_dict(), kept.index(one.key) if one.key in kept else None) for one in levels}

    return placed(before), placed(after)


def _among(keys: set[Any], before: Mapping[Any, Any], after: Mapping[Any, Any]) -> SectionReport:
    """What became of the entries that the file names."""
    return SectionReport.of(*({key: told[key] for key in told.keys() & keys} for told in (before, after)))
