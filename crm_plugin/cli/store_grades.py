"""Commands about the grades that a store has of its own: tiers grades."""

from __future__ import annotations

from typing import Any

import click

from crm_plugin.adapters.storefronts.base import StoreGrade
from crm_plugin.cli.common import ACTOR, answer, as_json_option, aside, opened_shop, shop_argument
from crm_plugin.cli.tiers import tiers_
from crm_plugin.errors import InvalidInput
from crm_plugin.money import to_major
from crm_plugin.sync import connect, grades


@tiers_.command("grades")
@shop_argument
@click.option("--amounts", metavar="A,B,…", help="What raises a member to grade 1, 2 and so on, such as 100,200,300.")
@click.option("--orders", metavar="A,B,…", help="The same in numbers of orders, such as 1,5,10.")
@click.option("--off", metavar="A,B,…", default="", help="Percent off for each grade; else it stays as it is.")
@click.option("--set", "set_", is_flag=True, help="Do it; else only what would change is shown.")
@as_json_option
def tiers_grades(name: str, amounts: str | None, orders: str | None, off: str, set_: bool, as_json: bool) -> None:
    """The store's own grades, and setting them (Taobao).

    They are shown with what raises members to each by itself, and with what it takes off. Grades that are not named are no longer used.
    """
    if amounts is not None and orders is not None:
        raise InvalidInput("Give --amounts or --orders.", field="orders")
    least = amounts if amounts is not None else orders
    by = grades.ORDERS if orders is not None else grades.AMOUNT
    with opened_shop(name) as (runtime, shop):
        wanted = [] if least is None else grades.read(by, least.split(","), off.split(","), shop.currency)
        storefront = connect.open_storefront(runtime.db, runtime.box, shop)
        try:
            if not wanted:
                answer(
                    [_row(one, shop.currency) for one in grades.there(shop, storefront)], as_json, "No grade is set."
                )
                return
            if set_:
                changes = grades.change(runtime.db, shop, storefront, wanted, runtime.clock.now(), actor=ACTOR)
            else:
                changes = grades.compare(grades.there(shop, storefront), wanted)
        finally:
            storefront.close()
    answer([_change(one, shop.currency) for one in changes], as_json)
    if not set_:
        aside("Nothing is changed yet; --set does it.")


def _change(one: grades.GradeChange, currency: str) -> dict[str, Any]:
    before, after = (None if it is None else _row(it, currency) for it in (one.before, one.after))
    known = before or after or {}
    told = {name: known.get(name, "") for name in ("grade", "name", "level")}
    for name in ("from", "off"):
        told |= {f"{name}_now": (before or {}).get(name, ""), f"{name}_then": (after or {}).get(name, "not used")}
    return told


def _row(grade: StoreGrade, currency: str) -> dict[str, Any]:
    least = "" if grade.least_minor is None else f"{to_major(grade.least_minor, currency)} {currency}"
    if grade.least_orders is not None:
        least = f"{grade.least_orders:,} orders"
    off = "" if grade.percent_off is None else f"{grade.percent_off.normalize():f} %"
    return {"grade": grade.number, "name": grade.name, "level": grade.level, "from": least, "off": off}
