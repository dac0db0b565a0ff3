"""The command that plays journeys over days past or to come: rehearse."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from functools import partial

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
    terminable,
)
from crm_plugin.cli.root import INTERRUPTED, stderr
from crm_plugin.errors import InvalidInput
from crm_plugin.rehearsal import Ask, in_words
from crm_plugin.rehearsal import rehearse as play
from crm_plugin.rehearsal.ask import USUAL_DAYS, days_of, read_day


@main.command()
@shop_argument
@click.argument("journey", metavar="[JOURNEY]", required=False)
@click.option("--from", "first", metavar="DAY", help="The first day, such as 2026-11-24; else today.")
@click.option("--to", "last", metavar="DAY", help=f"The last day; else {USUAL_DAYS} days in all, or up to yesterday.")
@click.option("--member", "who", metavar="ID", multiple=True, help="Tell too what this member would get, or why not.")
@click.option(
    "--sms-price",
    metavar="AMOUNT",
    help="What one part of a text message costs, such as 0.05; else as the sender's settings say.",
)
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
        with terminable(), opened_shop(name) as (runtime, shop), progress() as note:
            told = (read_day(first, "from") if first else None, read_day(last, "to") if last else None)
            days = days_of(day_of(shop, runtime, None), *told)
            with runtime.db.read() as connection:
                ids = tuple(members.find(connection, shop, one) for one in who)
            instant = partial(instant_of, shop, runtime, field="outage")
            ask = Ask(
                *days,
                journey=journey or "",
                member_ids=ids,
                all_channels=all_channels,
                outages=[(instant(begins), instant(ends)) for begins, ends in outage],
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
