"""Commands that do by hand what `serve` does by itself: tick, plan."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from crm_plugin import rounds
from crm_plugin.cli.common import (
    answer,
    as_json_option,
    instant_of,
    main,
    opened,
    opened_shop,
    progress,
    require_awake,
    shop_argument,
)
from crm_plugin.cli.root import stderr
from crm_plugin.errors import CrmError, InvalidInput
from crm_plugin.jobs import tasks
from crm_plugin.runtime import Runtime
from crm_plugin.store.tenants import Shop, all_shops, shop_named
from crm_plugin.touchpoints.journeys import all_journeys
from crm_plugin.touchpoints.plan import plan_shop
from crm_plugin.touchpoints.states import State


@main.command()
@click.argument("name", metavar="[SHOP]", required=False)
@click.option(
    "--at", metavar="INSTANT", help="Such as 2026-11-24T10:00, in the shop's zone unless it names an offset; else now."
)
@click.option("--yes", is_flag=True, help="Also for an instant still to come.")
@click.option("--sync", "pull", is_flag=True, help="Pull the store first, where it can be pulled.")
@as_json_option
def tick(name: str | None, at: str | None, yes: bool, pull: bool, as_json: bool) -> None:
    """One round by hand: plan and send what is due.

    Of one shop, or of all without a name: settle what a crash left, levels once a day, plan what has fallen due, send what may leave.

    It is a real round: messages leave, and what was due up to that instant counts as planned; an instant still to come takes `--yes`,
    and `rehearse` only looks. What goes wrong in one shop, or in one step, is told at the end with exit code 1; everything else is done
    all the same.
    """
    with opened() as runtime, progress() as note:
        with runtime.db.read() as connection:
            chosen = [shop_named(connection, name)] if name else [one for one in all_shops(connection) if one.is_awake]
        for shop in chosen:
            require_awake(shop)
        instants = {one.name: instant_of(one, runtime, at) for one in chosen}
        if not yes and any(instant > runtime.clock.now() for instant in instants.values()):
            raise InvalidInput(
                "This instant is still to come: messages would leave now, and none of them again when the day comes.",
                field="at",
                hint=f"See what would be with crm-plugin rehearse {name or 'SHOP'}; --yes sends it all the same.",
            )
        for early in chosen if at is not None else ():
            if _before_all(runtime, early, instants[early.name]):
                stderr.print(f"{early.name}: {_TOO_EARLY}", markup=False, highlight=False, soft_wrap=True)
        told = {one.name: _round(runtime, one, instants[one.name], at is None, pull, note) for one in chosen}
    if as_json:
        answer(told[name] if name else told, True)
    else:
        for shop_name, one in told.items():
            click.echo(f"{shop_name}: {_in_words(one)}")
    for shop_name, one in told.items():
        for step, error in one["errors"].items() if not as_json else ():
            stderr.print(f"{shop_name}, {step}: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
    if any(one["errors"] for one in told.values()):
        raise SystemExit(1)


# What can come of an occasion that has fallen due.
_PLANNED = (State.PLANNED.value, State.SKIPPED.value, State.MISSED.value)
_TOO_EARLY = "No journey was on at this instant yet, and none catches up what fell due before it was switched on."


def _before_all(runtime: Runtime, shop: Shop, at: datetime) -> bool:
    """Whether every journey that is on was switched on later than that; False while none is on."""
    with runtime.db.read() as connection:
        begun = [one.enabled_at or at for one in all_journeys(connection, shop.shop_id) if one.enabled]
    return bool(begun) and at < min(begun)


def _round(runtime: Runtime, shop: Shop, at: datetime, live: bool, pull: bool, note: rounds.Progress) -> dict[str, Any]:
    """One shop's round as a report; a store that cannot be pulled keeps no message waiting."""
    pulled: dict[str, Any] = {}
    errors: dict[str, str] = {}
    if pull and tasks.can_be_pulled(shop):
        try:
            pulled = {"sync": tasks.sync(runtime, shop, now=at, progress=note)}
        except CrmError as error:
            errors = {"sync": str(error)}
    report = rounds.tick(runtime, shop, at, live=live, progress=note).as_dict()
    still = {f"journey {key}": problem for key, problem in report["plan"].get("problems", {}).items()}
    return {**pulled, **report, "errors": {**errors, **report["errors"], **still}}


def _in_words(report: dict[str, Any]) -> str:
    parts = []
    if "sync" in report:
        parts.append(f"{report['sync']['rows']} rows synced")
    if report["recovered"]:
        parts.append(f"recovered {_counted(report['recovered'])}")
    if report["zones"]:
        parts.append(f"{report['zones']:,} members in an unknown zone given another")
    if report["tiers"] and report["tiers"]["changed"]:
        parts.append(f"{report['tiers']['changed']} changed tier")
    for key, moved in report["segments"].items():
        parts.append(f"segment {key}: {moved['entered']} came, {moved['left']} left")
    planned = {state: report["plan"].get(state, 0) for state in _PLANNED}
    parts.append(_counted({state: count for state, count in planned.items() if count}) or "nothing to plan")
    sent, why = report["dispatch"].get("states", {}), report["dispatch"].get("reasons", {})
    waits = {"waiting" if state == State.PLANNED else state: count for state, count in sent.items()}
    parts.append((_counted(waits) or "nothing to send") + (f" ({_counted(why)})" if why else ""))
    return "; ".join(parts)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())


@main.command("plan")
@shop_argument
@click.option(
    "--at", metavar="INSTANT", help="Such as 2026-11-24T10:00, in the shop's zone unless it names an offset; else now."
)
@click.option("--yes", is_flag=True, help="Also for an instant still to come.")
@as_json_option
def plan_(name: str, at: str | None, yes: bool, as_json: bool) -> None:
    """Plan what has fallen due, and send nothing.

    Steps of journeys are taken too. `tick` sends it. What is planned stays planned: of a time to come, all that would be due by then
    is, and what could no longer be read then is missed for good. It takes
    `--yes`; `rehearse` only looks.
    """
    with opened_shop(name) as (runtime, found):
        require_awake(found)
        instant = instant_of(found, runtime, at)
        if instant > runtime.clock.now() and not yes:
            raise InvalidInput(
                "This instant is still to come, and what is planned or missed by then stays so for good.",
                field="at",
                hint=f"See what would be with crm-plugin rehearse {name}; --yes plans it all the same.",
            )
        report = plan_shop(runtime.db, found, instant).as_dict()
    if as_json:
        answer(report, True)
    else:
        _say_planned(name, report)
    if report["problems"]:
        raise SystemExit(1)


def _say_planned(name: str, report: dict[str, Any]) -> None:
    """What was planned, by journey; those that stand still, with why."""
    states = ("enrolled", *_PLANNED)
    rows = [
        {"journey": key, **{state: counts.get(state, 0) for state in states}}
        for key, counts in report["journeys"].items()
    ]
    answer(rows, False, "Nothing has fallen due.")
    if report[State.PLANNED]:
        click.echo(f"`crm-plugin tick {name}` sends what is planned; `crm-plugin outbox {name}` lists it.")
    for key, problem in report["problems"].items():
        stderr.print(f"{key} stands still: {problem}", style="red", markup=False, highlight=False, soft_wrap=True)
