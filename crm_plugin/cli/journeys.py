"""Commands about journeys: which there are, pause, go on, put away, who is inside and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime

import click

from crm_plugin.analytics import members
from crm_plugin.cli import explained
from crm_plugin.cli.common import (
    ACTOR,
    answer,
    as_json_option,
    day_of,
    main,
    opened_shop,
    say,
    shop_argument,
)
from crm_plugin.clock import zone
from crm_plugin.rules.called import Called, called
from crm_plugin.rules.triggers import params_of
from crm_plugin.store import audit
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys, publishing
from crm_plugin.touchpoints import why as whys
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.program_yaml import to_yaml
from crm_plugin.touchpoints.publishing import Late
from crm_plugin.touchpoints.steps import moving
from crm_plugin.touchpoints.why import Why

key_argument = click.argument("key", metavar="JOURNEY")


@main.group("journey")
def journey_() -> None:
    """Look at journeys; publish, pause and switch them.

    What they say to whom and when is in the programme.
    """


@journey_.command("list")
@shop_argument
@as_json_option
def journey_list(name: str, as_json: bool) -> None:
    """The shop's journeys, and which are on."""
    with opened_shop(name) as (runtime, found), runtime.db.read() as connection:
        there = journeys.all_journeys(connection, found.shop_id)
    if as_json:
        answer([{**journey.as_dict(), "status": journey.status, "version": journey.version} for journey in there], True)
        return
    told = [
        {
            "journey": one.key,
            "title": one.title.get("en", ""),
            "status": one.status,
            "trigger": _trigger(one),
            "channels": ", ".join(one.channels),
            "at": one.send_at.strftime("%H:%M"),
            "audience": one.audience_text or "everyone who agreed",
        }
        for one in there
    ]
    answer(told, False, f"There are none; `crm-plugin recipe list {name}` shows what can be added.")


def _trigger(one: Journey) -> str:
    told = params_of(one.trigger)
    days = [f"{told.pop('days'):+d} days"] if "days" in told else []
    return " ".join([one.trigger.type, *days, *(f"{name}={value}" for name, value in told.items())])


@journey_.command("show")
@shop_argument
@key_argument
@as_json_option
def journey_show(name: str, key: str, as_json: bool) -> None:
    """One journey as a programme file has it, and who is inside."""
    with opened_shop(name) as (runtime, found), runtime.db.read() as connection:
        journey = journeys.get(connection, found.shop_id, key)
        inside = publishing.inside(connection, found, key)
    told = {"status": journey.status, "version": journey.version, "draft": journey.draft is not None}
    if as_json:
        answer({**told, "journey": journey.as_dict(), "inside": [asdict(one) for one in inside]}, True)
        return
    click.echo(to_yaml({"journeys": [journey.as_dict()]}), nl=False)
    click.echo(
        f"It is {journey.status}, at version {journey.version}{', with a draft beside it' if journey.draft else ''}."
    )
    for one in inside:
        click.echo(f"  {one.count:,} inside at {one.step_key} of version {one.version}")


@journey_.command("move")
@shop_argument
@key_argument
@click.option("--yes", is_flag=True, help="Move them; without it, only what would be.")
@as_json_option
def journey_move(name: str, key: str, yes: bool, as_json: bool) -> None:
    """Move those inside to the newest version, or look first.

    Whoever stands at a step that the newest version does not have stays on theirs.
    """
    with opened_shop(name) as (runtime, found):
        now = runtime.clock.now()
        with runtime.db.write() as connection:
            seen = moving.preview(connection, found, key)
            moved = moving.move(connection, found, key, now)[0] if yes else 0
            if moved:
                audit.note(connection, found.shop_id, ACTOR, "journey.moved", {"journey": key, "members": moved}, now)
    if as_json:
        answer({"moved": moved, "inside": [asdict(one) for one in seen]}, True)
        return
    told = [
        {
            "version": one.version,
            "step": one.step_key,
            "members": one.count,
            "goes on at": one.to_step or "stays: no such step",
        }
        for one in seen
    ]
    answer(told, False, "Nobody is inside on an older version.")
    click.echo(f"{moved:,} moved." if yes else "Nobody was moved; --yes does it.")


@journey_.command("pause")
@shop_argument
@key_argument
@as_json_option
def journey_pause(name: str, key: str, as_json: bool) -> None:
    """Let a journey rest; what waits is kept."""
    with opened_shop(name) as (runtime, found):
        now = runtime.clock.now()
        with runtime.db.write() as connection:
            journey = publishing.pause(connection, found, key, now)
            audit.note(connection, found.shop_id, ACTOR, "journey.paused", {"journey": key}, now)
    told = f"The journey {key} is paused: nothing of it is planned or sent. `crm-plugin journey resume {name} {key}` goes on."
    answer({"journey": key, "status": journey.status} if as_json else told, as_json)


@journey_.command("resume")
@shop_argument
@key_argument
@click.option(
    "--yes", is_flag=True, help="Go on; without it, only how many are late, and how many of them are still valid."
)
@as_json_option
def journey_resume(name: str, key: str, yes: bool, as_json: bool) -> None:
    """Look at what became late in a pause, and go on."""
    with opened_shop(name) as (runtime, found):
        now = runtime.clock.now()
        with runtime.db.write() as connection:
            if yes:
                journey, late = publishing.resume(connection, found, key, now)
                audit.note(connection, found.shop_id, ACTOR, "journey.resumed", {"journey": key, **late.as_dict()}, now)
            else:
                journey, late = (
                    journeys.get(connection, found.shop_id, key),
                    publishing.late(connection, found, key, now),
                )
    if as_json:
        answer({"journey": key, "status": journey.status, **late.as_dict()}, True)
        return
    say(_late_lines(late))
    click.echo(f"The journey {key} is {journey.status}." if yes else "Nothing has changed; --yes goes on.")


def _late_lines(late: Late) -> Iterator[str]:
    """What became due meanwhile, and what comes of it."""
    if not late.valid + late.missed:
        yield "Nothing became due meanwhile."
        return
    yield f"Became due meanwhile: {late.valid:,} still worth sending, {late.missed:,} too late for it."
    for what, valid, missed in (
        ("messages that wait", late.messages_valid, late.messages_missed),
        ("occasions not planned yet", late.occasions_valid, late.occasions_missed),
        ("members at a step", late.inside_valid, late.inside_missed),
    ):
        if valid + missed:
            yield f"  {what}: {valid:,} go on, {missed:,} are missed"


@journey_.command("archive")
@shop_argument
@key_argument
@as_json_option
def journey_archive(name: str, key: str, as_json: bool) -> None:
    """Put a journey away; whoever is inside ends."""
    with opened_shop(name) as (runtime, found):
        now = runtime.clock.now()
        with runtime.db.write() as connection:
            journey, ended = publishing.archive(connection, found, key, now)
            audit.note(connection, found.shop_id, ACTOR, "journey.archived", {"journey": key, "ended": ended}, now)
    told = f"The journey {key} is put away; {ended:,} who were inside have ended, and what waited is cancelled."
    answer({"journey": key, "status": journey.status, "ended": ended} if as_json else told, as_json)


@main.command("why")
@shop_argument
@click.option("--member", "who", metavar="ID", required=True, help="As in `member`.")
@click.option("--journey", "key", metavar="KEY", required=True, help="As in `journey list`.")
@click.option("--on", "day", metavar="DAY", help="Why they did not come in on that day, such as 2026-11-24.")
@as_json_option
def why_(name: str, who: str, key: str, day: str | None, as_json: bool) -> None:
    """What a journey did with a member, and what comes next."""
    with opened_shop(name) as (runtime, found), runtime.db.read() as connection:
        on = None if day is None else day_of(found, runtime, day, "on")
        told = whys.why(connection, found, members.find(connection, found, who), key, runtime.clock.now(), on)
        names = called(connection, found)
    if as_json:
        answer(told.as_dict(), True)
        return
    say([*_lines(told, found), *_kept_out(told, names, day)])


def _kept_out(told: Why, names: Called, day: str | None) -> Iterator[str]:
    """Why somebody did not come in."""
    since = f"on {day}" if day else "since it is on, at most a year back"
    if told.outside:
        yield f"Not taken in {since}:" if told.stays or told.messages or day else f"Never in it {since}:"
    elif day:
        yield f"Every occasion {since} led to what is told above."
    for one in told.outside:
        yield f"  {one.text}"
        if one.explained is not None and one.rule is not None:
            yield from (f"    {line}" for line in explained.lines(one.explained, one.rule, "en", names))


def _lines(told: Why, shop: Shop) -> list[str]:
    def when(at: datetime) -> str:
        own, ours = (at.astimezone(zone(name)) for name in (told.zone, shop.timezone))
        return f"{own:%Y-%m-%d %H:%M} {told.zone}" + (
            "" if own.utcoffset() == ours.utcoffset() else f" ({ours:%m-%d %H:%M} at the shop)"
        )

    lines = [f"The journey {told.journey.key} is {told.journey.status}, at version {told.journey.version}."]
    for stay in told.stays:
        cause = "being in the audience already" if stay.cause.startswith("inside:") else stay.cause
        lines.append(f"Inside since {when(stay.enrolled_at)} for {cause}, on version {stay.version}:")
        for one in stay.happenings:
            why = f": {one.reason}" if one.reason else ""
            more = f" ({one.detail})" if one.detail and one.detail != stay.cause else ""
            lines.append(f"  {when(one.at)}  {f'{one.what} {one.step_key}'.rstrip()}{why}{more}")
        if stay.ended_at is not None:
            lines.append(f"  ended: {stay.end_reason}")
        elif stay.next_at is None:
            lines.append(f"  at {stay.step_key}, until its message is settled")
        else:
            lines.append(f"  at {stay.step_key}, next on {when(stay.next_at)}")
    for sent in told.messages:
        reason = f": {sent.reason}" if sent.reason else ""
        lines.append(
            f"Message {sent.touchpoint_id} of {sent.step_key or sent.occasion}, due {when(sent.due_at)}: {sent.state}{reason}"
        )
    return lines
