"""Commands about what journeys ask people to do, and the codes that they hand out: tasks, coupons."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path

import click

from crm_plugin.cli.common import (
    ACTOR,
    answer,
    as_json_option,
    day_of,
    limit_option,
    main,
    opened_shop,
    progress,
    row_id,
    shop_argument,
)
from crm_plugin.errors import InvalidInput
from crm_plugin.jobs import coupons
from crm_plugin.money import parse_minor
from crm_plugin.phrases import unpacked
from crm_plugin.runtime import Runtime
from crm_plugin.store import audit
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.steps import duties, stock


@main.command("tasks")
@shop_argument
@click.option("--due", metavar="DAY", help="Only what is due by that day, such as 2026-11-24.")
@click.option("--done", type=row_id, metavar="ID", help="This one is done.")
@click.option("--outcome", metavar="TEXT", default="", help="What came of it.")
@limit_option(100)
@as_json_option
def tasks_(name: str, due: str | None, done: int | None, outcome: str, limit: int, as_json: bool) -> None:
    """What journeys ask people to do, such as calls."""
    with opened_shop(name) as (runtime, found):
        if done is not None:
            now = runtime.clock.now()
            with runtime.db.write() as connection:
                duties.finish(connection, found, done, outcome, ACTOR, now)
                audit.note(connection, found.shop_id, ACTOR, "task.done", {"task": str(done), "outcome": outcome}, now)
            answer({"task": str(done), "outcome": outcome} if as_json else "The task is done.", as_json)
            return
        day: date | None = day_of(found, runtime, due, "due") if due is not None else None
        with runtime.db.read() as connection:
            rows = duties.open_tasks(connection, found, day, limit)
    told = [
        {
            "id": str(one.task_id),
            "due": one.due_on.isoformat(),
            "title": one.title.get(found.locale) or one.title.get("en") or next(iter(one.title.values())),
            "owner": one.owner,
            "member_id": str(one.member_id),
            "member": one.member_name or one.email,
            "phone": one.phone,
            "journey": one.journey_key,
        }
        for one in rows
    ]
    answer(told, as_json, "There is nothing to do.")


@main.group("coupons")
def coupons_() -> None:
    """Pools of codes that journeys hand out."""


@coupons_.command("list")
@shop_argument
@as_json_option
def coupons_list(name: str, as_json: bool) -> None:
    """The pools, and how many codes are left."""
    with opened_shop(name) as (runtime, found), runtime.db.read() as connection:
        pools, stocks = duties.pools(connection, found), stock.all_stocks(connection, found.shop_id)
    told = [
        {
            "pool": one.key,
            "title": one.title,
            "codes": one.codes,
            "handed out": one.codes - one.left,
            "left": one.left,
            "kept": stocks[one.key].keep if one.key in stocks else 0,
        }
        for one in pools
    ]
    if as_json:
        answer([{**asdict(one), "kept": row["kept"]} for one, row in zip(pools, told, strict=True)], True)
        return
    answer(told, False, f"There are no pools; `crm-plugin coupons ask {name} POOL` or `coupons load` makes one.")


@coupons_.command("ask")
@shop_argument
@click.argument("pool")
@click.option("--count", type=click.IntRange(1, stock.MOST), default=100, show_default=True, help="How many codes.")
@click.option(
    "--segment", metavar="KEY", default="", help="One for each of its members instead, of use to nobody else."
)
@click.option("--percent", metavar="SHARE", help="What comes off an order, in per cent, such as 10.")
@click.option("--amount", metavar="AMOUNT", help="Or the amount that comes off, in the shop's currency, such as 5.00.")
@click.option("--least", metavar="AMOUNT", default="0", help="For an order of at least so much.")
@click.option(
    "--days", type=click.IntRange(1, stock.LONGEST_DAYS), help="Good for so many days after being made; else for ever."
)
@click.option("--title", default="", help="What pool and coupon are called.")
@click.option("--prefix", default="", help="What each code begins with, such as WELCOME-.")
@click.option("--keep", is_flag=True, help="Keep so many in stock from now on.")
@click.option("--confirm", metavar="N", default="", help="How many codes that is; needed for many at once.")
@as_json_option
def coupons_ask(
    name: str,
    pool: str,
    count: int,
    segment: str,
    percent: str | None,
    amount: str | None,
    least: str,
    days: int | None,
    title: str,
    prefix: str,
    keep: bool,
    confirm: str,
    as_json: bool,
) -> None:
    """Have the store make codes for a pool, each good once.

    It waits until they are made; what is broken off goes on with the clock, or with `coupons again`.
    """
    if (percent is None) == (amount is None):
        raise InvalidInput("Say what comes off.", hint="Give --percent or --amount, one of them.")
    with opened_shop(name) as (runtime, found):
        terms = stock.Terms(
            percent=None if percent is None else _number(percent, "percent"),
            amount_minor=None if amount is None else _amount(amount, "amount", found),
            least_minor=_amount(least, "least", found),
            days=days or 0,
            title=title,
            prefix=prefix,
        )
        now = runtime.clock.now()
        with runtime.db.write() as connection:
            order = stock.ask(connection, found, pool, terms, count, now, keep=keep, segment=segment, typed=confirm)
            codes = 0 if order is None else order.count
            detail = {"pool": pool, "codes": codes, "keep": count if keep else 0, "segment": segment}
            audit.note(connection, found.shop_id, ACTOR, "coupons.asked", detail, now)
        _make(runtime, found, pool, as_json)


@coupons_.command("again")
@shop_argument
@click.argument("pool")
@as_json_option
def coupons_again(name: str, pool: str, as_json: bool) -> None:
    """Ask the store once more for what it refused."""
    with opened_shop(name) as (runtime, found):
        with runtime.db.write() as connection:
            stock.again(connection, found, pool, runtime.clock.now())
        _make(runtime, found, pool, as_json)


@coupons_.command("end")
@shop_argument
@click.argument("pool")
@as_json_option
def coupons_end(name: str, pool: str, as_json: bool) -> None:
    """Ask for no more codes; those that were made stay."""
    with opened_shop(name) as (runtime, found):
        now = runtime.clock.now()
        with runtime.db.write() as connection:
            stock.give_up(connection, found, pool, now)
            audit.note(connection, found.shop_id, ACTOR, "coupons.ended", {"pool": pool}, now)
    answer({"pool": pool} if as_json else f"No more codes are asked for the pool {pool}.", as_json)


def _make(runtime: Runtime, shop: Shop, pool: str, as_json: bool) -> None:
    with progress() as note:
        told = coupons.run(runtime, shop, now=runtime.clock.now(), progress=note)
    with runtime.db.read() as connection:
        order = stock.stock_of(connection, shop.shop_id, pool).order
    made = told["made"].get(pool, 0)
    if order is not None:
        why = unpacked(order.why)
        raise InvalidInput(
            f"{made:,} codes were made, then the store stopped: {why}",
            hint=f"`crm-plugin coupons again {shop.name} {pool}` goes on.",
        )
    answer({"pool": pool, "made": made} if as_json else f"{made:,} codes were made for the pool {pool}.", as_json)


def _number(text: str, field: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise InvalidInput(f"{text!r} is no number.", field=field, hint="Write it as 7.5.") from error


def _amount(text: str, field: str, shop: Shop) -> int:
    try:
        return parse_minor(text, shop.currency)
    except ValueError as error:
        raise InvalidInput(f"{text!r} is no amount.", field=field, hint="Write it as 5.00.") from error


@coupons_.command("load")
@shop_argument
@click.argument("pool")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--title", default="", help="What the pool is called.")
@as_json_option
def coupons_load(name: str, pool: str, file: Path, title: str, as_json: bool) -> None:
    """Put the codes of a file into a pool, one a line.

    The store must know them already. Those that are there are left as they are.
    """
    try:
        codes = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{file} is no text in UTF-8.", field="file", hint="Save it as plain text, UTF-8."
        ) from error
    if not any(code.strip() for code in codes):
        raise InvalidInput(f"{file} holds no codes.", field="file", hint="One code a line.")
    with opened_shop(name) as (runtime, found):
        now = runtime.clock.now()
        with runtime.db.write() as connection:
            loaded = duties.load_codes(connection, found, pool, codes, now, title=title)
            audit.note(connection, found.shop_id, ACTOR, "coupons.loaded", {"pool": pool, "codes": loaded.added}, now)
    told = f"Codes added to the pool {pool}: {loaded.added:,}."
    if loaded.there:
        told = f"{told} There already: {loaded.there:,}."
    if loaded.alike:
        told = f"{told} Left out, for they differ from another only in small or large letters: {loaded.alike:,}."
    answer({"pool": pool, **asdict(loaded)} if as_json else told, as_json)
