"""Commands about what goes out now and what became of it: tick, outbox."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

import click

from crm_plugin import rounds
from crm_plugin.cli.common import (
    answer,
    as_json_option,
    instant_of,
    limit_option,
    main,
    opened,
    opened_shop,
    progress,
    row_id,
    shop_argument,
)
from crm_plugin.cli.root import stderr
from crm_plugin.errors import CrmError, InvalidInput
from crm_plugin.jobs import tasks
from crm_plugin.runtime import Runtime
from crm_plugin.store.tenants import Shop, all_shops, shop_named
from crm_plugin.touchpoints import backlog, outbox
from crm_plugin.touchpoints.journeys import all_journeys
from crm_plugin.touchpoints.states import Reason, State


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
            chosen = [shop_named(connection, name)] if name else all_shops(connection)
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
    planned = {state: report["plan"].get(state, 0) for state in (State.PLANNED, State.SKIPPED, State.MISSED)}
    parts.append(_counted({state.value: count for state, count in planned.items() if count}) or "nothing to plan")
    sent, why = report["dispatch"].get("states", {}), report["dispatch"].get("reasons", {})
    waits = {"waiting" if state == State.PLANNED else state: count for state, count in sent.items()}
    parts.append((_counted(waits) or "nothing to send") + (f" ({_counted(why)})" if why else ""))
    return "; ".join(parts)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())


@main.command("outbox")
@shop_argument
@click.option("--state", metavar="STATE", default="", help=f"Only these: {', '.join(State)}.")
@click.option("--reason", metavar="REASON", default="", help=f"Only these: {', '.join(Reason)}.")
@click.option("--journey", metavar="KEY", default="", help="Only of this journey; `journey list` names them.")
@click.option("--before", metavar="ID", type=row_id, help="Go on after this message, the last of the page before.")
@click.option("--count", "only_counts", is_flag=True, help="Only how many there are in each state and for each reason.")
@click.option(
    "--waiting", "only_waiting", is_flag=True, help="Only how many are due and wait, by sender, and until when."
)
@limit_option(50)
@as_json_option
def outbox_(name: str, only_counts: bool, only_waiting: bool, as_json: bool, **asked: Any) -> None:
    """What went, what waits, what was held back, and why.

    The newest first.
    """
    with opened_shop(name) as (runtime, found), runtime.db.read() as connection:
        if only_counts:
            counts = {
                "states": outbox.counts(connection, found.shop_id),
                "reasons": outbox.reasons(connection, found.shop_id),
            }
            answer(counts, as_json)
            return
        if only_waiting:
            there = backlog.estimates(connection, runtime.box, found.shop_id, runtime.clock.now())
            waiting = sum(one.waiting for one in there)
            told = {"waiting": waiting, "until": backlog.all_gone(there), "senders": [asdict(one) for one in there]}
            answer(told, as_json)
            return
        rows = outbox.entries(connection, found.shop_id, **asked)
    if as_json:
        answer([row.as_dict() for row in rows], True)
        return
    shown = [
        {
            "id": row.touchpoint_id,
            "due": f"{row.due_at:%Y-%m-%d %H:%M}Z",
            "member": row.member_name or row.member_email or row.member_id,
            "journey": row.journey_key,
            "channel": row.channel,
            "state": row.state,
            "reason": row.reason,
            "exempt": "exempt" if row.exempt else "",
            "subject": row.subject,
        }
        for row in rows
    ]
    answer(shown, False)
