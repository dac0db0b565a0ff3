"""In which journeys of several steps a member is or was: at which step, what comes next and when, what stopped it; in words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flask_babel import gettext as _
from sqlalchemy import Connection

from crm_plugin.rules.called import Called
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.journeys import all_journeys
from crm_plugin.touchpoints.steps import ending
from crm_plugin.touchpoints.steps.document import Place
from crm_plugin.touchpoints.versions import Version, versions
from crm_plugin.touchpoints.why import Happening, Stay, stays
from crm_plugin.web.step_texts import texts_of
from crm_plugin.web.step_words import ENDINGS, Outline, into
from crm_plugin.web.titles import chinese

SHOWN = 12


@dataclass(frozen=True, slots=True)
class Told:
    """One stay: `at` what they stand at, `after` what follows it where that is certain, `next_at` when; `why` how it ended."""

    key: str
    name: str
    inside: bool
    paused: bool
    since: datetime
    at: str
    next_at: datetime | None
    after: str
    ended_at: datetime | None
    why: str
    happened: tuple[tuple[datetime, str], ...]


def of(connection: Connection, shop: Shop, member_id: int, by: Called) -> list[Told]:
    """The member's newest stays, those inside first."""
    found = stays(connection, shop, member_id, limit=SHOWN)
    if not found:
        return []
    journeys = {journey.key: journey for journey in all_journeys(connection, shop.shop_id)}
    known: dict[tuple[str, int], Version] = {}
    for key in {key for key, _stay in found if key in journeys}:
        numbers = {stay.version for other, stay in found if other == key}
        for number, version in versions(connection, shop.shop_id, journeys[key], numbers).items():
            known[key, number] = version
    sends = [step for version in known.values() for step in version.journey.flow.sends]
    outline = Outline(by, texts_of(connection, shop, sends).begins)
    told = []
    for key, stay in found:
        path = known[key, stay.version].journey.flow.path if (key, stay.version) in known else {}
        paused = key in journeys and journeys[key].paused_at is not None
        told.append(_told(key, stay, path, outline, paused))
    return sorted(told, key=lambda one: not one.inside)


def _told(key: str, stay: Stay, path: dict[str, Place], outline: Outline, paused: bool) -> Told:
    inside = stay.state == ending.ACTIVE
    return Told(
        key=key,
        name=outline.called.journey(key, chinese()),
        inside=inside,
        paused=paused,
        since=stay.enrolled_at,
        at=_step(stay.step_key, path, outline),
        next_at=stay.next_at,
        after=_after(stay, path, outline) if inside else "",
        ended_at=stay.ended_at,
        why=str(ENDINGS.get(stay.end_reason, stay.end_reason)),
        happened=tuple((one.at, _happened(one, path, outline)) for one in stay.happenings),
    )


def _step(key: str, path: dict[str, Place], outline: Outline) -> str:
    return outline.text(path[key].step) if key in path else key


def _after(stay: Stay, path: dict[str, Place], outline: Outline) -> str:
    """What follows the step they wait in; empty where it depends on what happens."""
    goes = list(path[stay.step_key].goes.values()) if stay.step_key in path else []
    if stay.phase == ending.DUE or len(goes) != 1:
        return ""
    return _step(goes[0], path, outline) if goes[0] else str(_("It ends here"))


def _happened(one: Happening, path: dict[str, Place], outline: Outline) -> str:
    step = _step(one.step_key, path, outline)
    if one.what == ending.ENROLLED:
        return str(_("Came in"))
    if one.what == ending.MOVED:
        return str(_("Moved to a newer version"))
    if one.what == ending.ENDED:
        return str(_("Left: %(why)s (%(step)s)", step=step, why=ENDINGS.get(one.reason, one.reason)))
    if one.what == ending.BEGUN:
        return str(_("Began: %(step)s", step=step))
    if one.reason == "no_stock":
        return str(_("No code was left: %(step)s", step=step))
    if one.reason:
        return str(_("It could not be done: %(step)s (%(why)s)", step=step, why=one.detail or one.reason))
    place = path.get(one.step_key)
    if place is not None and one.detail in place.step.lists:
        return str(_("%(step)s: %(answer)s", step=step, answer=into(place.step, one.detail)))
    return str(_("Done: %(step)s", step=step))
