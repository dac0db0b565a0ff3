"""The command that plays journeys over days past or to come: rehearse."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation

import click

from crm_plugin.analytics import members
from crm_plugin.cli.common import (
    answer,
    as_json_option,
    day_of,
    instant_of,
    main,
    opened_shop,
    progress,
    shop_argument,
)
from crm_plugin.cli.root import INTERRUPTED, stderr
from crm_plugin.errors import InvalidInput
from crm_plugin.rehearsal import Ask, in_words
from crm_plugin.rehearsal import rehearse as play
from crm_plugin.runtime import Runtime
from crm_plugin.store.tenants import Shop

USUAL_DAYS = 30


@main.command()
@shop_argument
@click.argument("journey", metavar="[JOURNEY]", required=False)
@click.option("--from", "first", metavar="DAY", help="The first day, such as 2026-11-24; else today.")
@click.option("--to", "last", metavar="DAY", help=f"The last day; else {USUAL_DAYS} days in all, or up to yesterday.")
@click.option("--member", "who", metavar="ID", multiple=True, help="Tell too what this member would get, or why not.")
@click.option("--sms-price", metavar="AMOUNT", help="What one part of a text message costs, such as 0.05.")
@click.option("--rate", metavar="CHANNEL=N", multiple=True, help="How many messages an hour a sender takes.")
@click.option("--outage", metavar="FROM TO", nargs=2, multiple=True, help="Two instants between which nothing runs.")
@click.option("--all-channels", is_flag=True, help="As if every channel had a sender.")
@as_json_option
def rehearse(
    name: str,
    journey: str | None,
    first: str | None,
    last: str | None,
    who: Sequence[str],
    sms_price: str | None,
    rate: Sequence[str],
    outage: Sequence[tuple[str, str]],
    all_channels: bool,
    as_json: bool,
) -> None:
    """Play journeys over past or coming days; nothing is sent.

    One JOURNEY as if it had been on all the time, or all that are on. The real planner and guards run on a copy, with a clock that moves:
    past days with what was known on each, coming days as things stand now.
    """
    try:
        with opened_shop(name) as (runtime, shop), progress() as note:
            days = _days(shop, runtime, first, last)
            with runtime.db.read() as connection:
                ids = tuple(members.find(connection, shop, one) for one in who)
            ask = Ask(
                *days,
                journey=journey or "",
                member_ids=ids,
                all_channels=all_channels,
                outages=[
                    (instant_of(shop, runtime, begins), instant_of(shop, runtime, ends)) for begins, ends in outage
                ],
                part_price=_price(sms_price),
                per_hour=dict(_rate(one) for one in rate),
            )
            result = play(runtime, shop, ask, progress=note)
    except KeyboardInterrupt:
        stderr.print("Stopped. A rehearsal leaves nothing behind.")
        raise SystemExit(INTERRUPTED) from None
    if as_json:
        answer(result.as_dict(), True)
        return
    for line in in_words(result, ids):
        click.echo(line)


def _days(shop: Shop, runtime: Runtime, first: str | None, last: str | None) -> tuple[date, date]:
    """The span, as far as it was told. Raises: InvalidInput."""
    today = day_of(shop, runtime, None)
    begins = _day(first, "from") if first else min(today, _day(last, "to")) if last else today
    if last:
        return begins, _day(last, "to")
    usual = begins + timedelta(days=USUAL_DAYS - 1)
    return begins, usual if begins >= today else min(usual, today - timedelta(days=1))


def _day(told: str, field: str) -> date:
    try:
        return date.fromisoformat(told)
    except ValueError as error:
        raise InvalidInput(f"{told!r} is not a day.", field=field, hint="Write it as 2026-11-24.") from error


def _price(told: str | None) -> Decimal | None:
    if told is None:
        return None
    try:
        return Decimal(told)
    except InvalidOperation as error:
        raise InvalidInput(f"{told!r} is no amount.", field="sms_price", hint="Write it as 0.05.") from error


def _rate(told: str) -> tuple[str, int]:
    channel, _, number = told.partition("=")
    if not number.isdecimal() or len(number) > 9:
        raise InvalidInput(f"{told!r} is no rate.", field="rate", hint="Write it as email=3000, messages an hour.")
    return channel, int(number)
