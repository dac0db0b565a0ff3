"""Commands about what journeys ask people to do, and the codes that they hand out: tasks, coupons."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
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
    row_id,
    shop_argument,
)
from crm_plugin.errors import InvalidInput
from crm_plugin.store import audit
from crm_plugin.touchpoints.steps import duties


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
        pools = duties.pools(connection, found)
    if as_json:
        answer([asdict(one) for one in pools], True)
        return
    told = [
        {"pool": one.key, "title": one.title, "codes": one.codes, "handed out": one.codes - one.left, "left": one.left}
        for one in pools
    ]
    answer(told, False, f"There are no pools; `crm-plugin coupons load {name} POOL FILE` makes one.")


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
            added = duties.load_codes(connection, found, pool, codes, now, title=title)
            audit.note(connection, found.shop_id, ACTOR, "coupons.loaded", {"pool": pool, "codes": added}, now)
    answer({"pool": pool, "added": added} if as_json else f"{added:,} codes were added to the pool {pool}.", as_json)
