"""Commands about what happened to members: events that journeys follow, and days to be reminded of."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

from crm_plugin.analytics import members
from crm_plugin.birthdays import Birthday
from crm_plugin.cli.common import (
    ACTOR,
    answer,
    as_json_option,
    day_of,
    instant_of,
    limit_option,
    main,
    opened_shop,
    shop_argument,
)
from crm_plugin.cli.tiers import member_option
from crm_plugin.errors import InvalidInput
from crm_plugin.store import audit, events


@main.group("event")
def event_() -> None:
    """Events of members that journeys follow."""


@event_.command("raise")
@shop_argument
@click.argument("kind")
@member_option
@click.option("--subject", default="", help="Tells one from another of the same kind: a ticket, a lot of points.")
@click.option("--at", metavar="INSTANT", help="When it happened, in the shop's zone; else now.")
@click.option("--on", "on_day", metavar="DAY", help="The day it is about, such as the one on which points expire.")
@click.option(
    "--amount", type=click.IntRange(-(2**63), 2**63 - 1), help="An amount in minor units of the shop's currency."
)
@click.option("--payload", default="{}", help="More for the texts, as JSON: title, points, code, url.")
@as_json_option
def event_raise(
    name: str,
    kind: str,
    who: str,
    subject: str,
    at: str | None,
    on_day: str | None,
    amount: int | None,
    payload: str,
    as_json: bool,
) -> None:
    """Note that something happened to a member.

    KIND is complaint, points_expiring, coupon_expiring, or a word of your own that a journey follows.
    The same kind and subject again adds nothing, unless it was withdrawn meanwhile.
    """
    with opened_shop(name) as (runtime, found):
        now = runtime.clock.now()
        happened = instant_of(found, runtime, at)
        on = day_of(found, runtime, on_day, "on") if on_day else None
        with runtime.db.write() as connection:
            member_id = members.find(connection, found, who)
            told: dict[str, Any] = {"subject": subject, "at": happened, "on": on, "amount_minor": amount}
            added = events.raise_event(connection, found, kind, member_id, now, **told, payload=_payload(payload))
            if added:
                detail = {"kind": kind, "member": member_id, "subject": subject}
                audit.note(connection, found.shop_id, ACTOR, "event.raised", detail, now)
    answer({"kind": kind, "member": member_id, "added": added}, as_json)


@event_.command("withdraw")
@shop_argument
@click.argument("kind")
@member_option
@click.option("--subject", default="", help="As it was raised.")
@as_json_option
def event_withdraw(name: str, kind: str, who: str, subject: str, as_json: bool) -> None:
    """Take back what was raised: nothing more is sent about it."""
    with opened_shop(name) as (runtime, found):
        now = runtime.clock.now()
        with runtime.db.write() as connection:
            member_id = members.find(connection, found, who)
            done = events.withdraw_event(connection, found, kind, member_id, now, subject=subject)
            if done:
                detail = {"kind": kind, "member": member_id, "subject": subject}
                audit.note(connection, found.shop_id, ACTOR, "event.withdrawn", detail, now)
    answer({"kind": kind, "member": member_id, "withdrawn": done}, as_json)


@event_.command("list")
@shop_argument
@member_option
@limit_option(50)
@as_json_option
def event_list(name: str, who: str, limit: int, as_json: bool) -> None:
    """What was raised for a member, the newest first."""
    with opened_shop(name) as (runtime, found), runtime.db.read() as connection:
        rows = events.events_of(connection, found.shop_id, members.find(connection, found, who), limit)
    answer(rows, as_json)


def _day_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Whose day of the year it is, and which."""
    for option in (
        click.option("--lunar", is_flag=True, help="A day of the Chinese lunisolar calendar."),
        click.option("--day", type=click.IntRange(1, 31), required=True, help="Its day of the month."),
        click.option("--month", type=click.IntRange(1, 12), required=True, help="Its month."),
        click.option("--person", required=True, help="Whose day it is."),
    ):
        command = option(command)
    return command


@event_.command("remind")
@shop_argument
@member_option
@_day_options
@as_json_option
def event_remind(name: str, who: str, person: str, month: int, day: int, lunar: bool, as_json: bool) -> None:
    """Keep a day of the year that a member wants to be reminded of."""
    with opened_shop(name) as (runtime, found):
        now = runtime.clock.now()
        with runtime.db.write() as connection:
            member_id = members.find(connection, found, who)
            number = Birthday(month, day, lunar).number
            added = events.remember_date(connection, found, member_id, person, number, now)
            if added:
                audit.note(connection, found.shop_id, ACTOR, "date.kept", {"member": member_id}, now)
    answer({"member": member_id, "person": person, "added": added}, as_json)


@event_.command("forget")
@shop_argument
@member_option
@_day_options
@as_json_option
def event_forget(name: str, who: str, person: str, month: int, day: int, lunar: bool, as_json: bool) -> None:
    """Remind a member no more of a day that was kept."""
    with opened_shop(name) as (runtime, found):
        now = runtime.clock.now()
        with runtime.db.write() as connection:
            member_id = members.find(connection, found, who)
            number = Birthday(month, day, lunar).number
            gone = events.forget_date(connection, found, member_id, person, number)
            if gone:
                audit.note(connection, found.shop_id, ACTOR, "date.forgotten", {"member": member_id}, now)
    answer({"member": member_id, "person": person, "forgotten": gone}, as_json)


def _payload(told: str) -> dict[str, Any]:
    try:
        read = json.loads(told)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{told!r} is no JSON.", field="payload", hint='Write it as {"points": 500}.') from error
    if not isinstance(read, dict):
        raise InvalidInput("The payload is no JSON object.", field="payload", hint='Write it as {"points": 500}.')
    return read
