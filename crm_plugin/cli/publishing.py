"""Commands that make a journey live: look at what it and its audience lack, publish, switch on and off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

import click
from sqlalchemy import Connection

from crm_plugin.cli.common import ACTOR, answer, as_json_option, confirm_option, opened_shop, say, shop_argument
from crm_plugin.cli.journeys import journey_, key_argument
from crm_plugin.errors import RuleError
from crm_plugin.store import audit
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import confirming, journeys, publishing
from crm_plugin.touchpoints.alike import doubled
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.lacking import audience_check
from crm_plugin.touchpoints.steps import checks, insiders


def _switch(name: str, key: str, on: bool, as_json: bool, confirm: str = "") -> None:
    with opened_shop(name) as (runtime, found):
        now = runtime.clock.now()
        with runtime.db.write() as connection:
            if on:
                changed = publishing.switch_on(connection, found, key, now, typed=confirm)
            else:
                changed = journeys.switch(connection, found, key, False, now)
            audit.note(connection, found.shop_id, ACTOR, "journey.on" if on else "journey.off", {"journey": key}, now)
            looked = _looked(connection, found, changed, now) if on else {}
    if as_json:
        answer({"journey": changed.key, "enabled": changed.enabled, **looked}, True)
        return
    click.echo(
        f"The journey {key} is on, and speaks of what falls due from now on."
        if on
        else f"The journey {key} is off; what waited of it is cancelled, and whoever was inside has ended."
    )
    say(_looked_lines(looked))


@journey_.command("on")
@shop_argument
@click.argument("key")
@confirm_option
@as_json_option
def journey_on(name: str, key: str, confirm: str, as_json: bool) -> None:
    """Switch a journey on; it speaks from now on.

    KEY as in `journey list`. Nothing of the past is caught up. What its audience lacks is told; `journey check` tells it before.
    """
    _switch(name, key, True, as_json, confirm)


@journey_.command("off")
@shop_argument
@click.argument("key")
@as_json_option
def journey_off(name: str, key: str, as_json: bool) -> None:
    """Switch a journey off; what waits is cancelled.

    KEY as in `journey list`. Whoever is inside ends.
    """
    _switch(name, key, False, as_json)


@journey_.command("check")
@shop_argument
@key_argument
@as_json_option
def journey_check(name: str, key: str, as_json: bool) -> None:
    """What publishing would refuse, and what its audience lacks.

    Nothing is written. Who lacks something that the texts, steps or trigger use is counted, with what holds for them. Ends with 1 where
    publishing would be refused.
    """
    with opened_shop(name) as (runtime, found), runtime.db.read() as connection:
        told = _checked(
            connection, found, publishing.edited(journeys.get(connection, found.shop_id, key)), runtime.clock.now()
        )
    if as_json:
        answer(told, True)
    else:
        say(_check_lines(told))
    if told["faults"]:
        raise SystemExit(1)


def _checked(connection: Connection, shop: Shop, journey: Journey, now: datetime) -> dict[str, Any]:
    """Faults with their places, warnings, the audience and what it lacks, and how many people a campaign reaches."""
    faults = list(checks.faults(connection, shop, journey, now))
    told: dict[str, Any] = {
        "journey": journey.key,
        "faults": [one.as_dict() for one in faults],
        "warnings": _warnings(connection, shop, journey, now),
        "audience": None,
        "people": 0,
    }
    with suppress(RuleError):
        # That it cannot be asked is among the faults.
        told["audience"] = audience_check(connection, shop, journey, now).as_dict()
        told["people"] = confirming.people(connection, shop, journey, now)
    return told


def _warnings(connection: Connection, shop: Shop, journey: Journey, now: datetime) -> list[str]:
    return [*checks.warnings(connection, shop, journey), *doubled(connection, shop, journey, now)]


def _looked(connection: Connection, shop: Shop, journey: Journey, now: datetime) -> dict[str, Any]:
    """Warnings, and what the audience lacks, of a journey that is on."""
    return {
        "warnings": _warnings(connection, shop, journey, now),
        "audience": audience_check(connection, shop, journey, now).as_dict(),
    }


def _check_lines(told: dict[str, Any]) -> Iterator[str]:
    for one in told["faults"]:
        yield f"refused: {one.get('field') or one.get('path')}: {one['message']} {one.get('hint', '')}".rstrip()
    if told["people"]:
        yield f"It reaches {told['people']:,} people at once."
    yield from _looked_lines(told)
    if not told["faults"]:
        yield "Nothing stands against publishing it."


def _looked_lines(told: dict[str, Any]) -> Iterator[str]:
    """Warnings, then how many the audience has, what some of them lack, and the rules by which the others are served."""
    yield from (f"warning: {one}" for one in told.get("warnings", ()))
    audience = told.get("audience")
    if audience is None:
        return
    yield f"Its audience now: {audience['members']:,} members."
    for one in audience["gaps"]:
        yield f"  {one['members']:,} ({one['share_pct']} %): {one['told']}"
    if audience["rules"]:
        yield "How the hour of a message is found:"
    for one in audience["rules"]:
        yield f"  {one['members']:,} ({one['share_pct']} %): {one['told']}"


@journey_.command("publish")
@shop_argument
@key_argument
@click.option("--inside", "most", type=int, metavar="N", help="Also take in at most N whom the audience holds already.")
@confirm_option
@as_json_option
def journey_publish(name: str, key: str, most: int | None, confirm: str, as_json: bool) -> None:
    """Make the draft the next version, and switch it on.

    What it lacks is told with its place, and nothing is published. Whoever is inside stays on the version they came in by; `journey move`
    moves them. What its audience lacks is told too; `journey check` tells it before.
    """
    with opened_shop(name) as (runtime, found):
        now = runtime.clock.now()
        with runtime.db.write() as connection:
            journey = publishing.publish(connection, found, key, now, actor=ACTOR, typed=confirm)
            told: dict[str, Any] = {"journey": key, "version": journey.version, "status": journey.status}
            if most is not None:
                told["taken_in"] = publishing.take_in(connection, found, journey, most, now, typed=confirm)
            elif insiders.wanted(journey):
                told["could_be_taken_in"] = insiders.count(connection, found, journey, now)
            told |= _looked(connection, found, journey, now)
            audit.note(
                connection, found.shop_id, ACTOR, "journey.published", {"journey": key, "version": journey.version}, now
            )
    if as_json:
        answer(told, True)
        return
    click.echo(f"The journey {key} is published as version {journey.version}, and is {journey.status}.")
    if most is not None:
        click.echo(f"{told['taken_in']:,} whom its audience held already were taken in.")
    elif told.get("could_be_taken_in"):
        could = told["could_be_taken_in"]
        click.echo(
            f"{could:,} members are in its audience already and come in only when it starts for them again; "
            f"`crm-plugin journey publish {name} {key} --inside {could}` takes them in now."
        )
    say(_looked_lines(told))
