"""Commands about ready-made journeys: recipe list, recipe install."""

from __future__ import annotations

from typing import Any

import click

from crm_plugin.cli.common import ACTOR, answer, as_json_option, main, opened_shop, shop_argument
from crm_plugin.store import audit
from crm_plugin.touchpoints import recipes as shipped
from crm_plugin.touchpoints.lifecycle import STAGES, lifecycle


@main.group()
def recipe() -> None:
    """Ready-made journeys with texts in English and Chinese.

    Each speaks to some stage of a customer's life, from the first look to winning back.
    """


@recipe.command("list")
@click.argument("name", metavar="[SHOP]", required=False)
@as_json_option
def recipe_list(name: str | None, as_json: bool) -> None:
    """What there is, by stage of a customer's life.

    With a SHOP also what it has switched on, and which stages nothing speaks to yet.
    """
    if name is None:
        answer(_rows([_told(one) for one in shipped.recipes()], as_json), as_json)
        return
    with opened_shop(name) as (runtime, shop), runtime.db.read() as connection:
        answer(_rows([one.as_dict() for one in lifecycle(connection, shop.shop_id)], as_json), as_json)


@recipe.command("install")
@shop_argument
@click.argument("key", metavar="RECIPE")
@as_json_option
def recipe_install(name: str, key: str, as_json: bool) -> None:
    """Add one to a shop, switched off.

    Its texts come with it, where the shop has none of its own. See them on the Journeys page before switching it on.
    """
    with opened_shop(name) as (runtime, shop), runtime.db.write() as connection:
        now = runtime.clock.now()
        templates = shipped.install_one(connection, shop, key, now)
        audit.note(connection, shop.shop_id, ACTOR, "journey.added", {"journey": key}, now)
        answer({"journey": key, "enabled": False, "templates": templates}, as_json)


def _told(one: shipped.Recipe) -> dict[str, Any]:
    return {
        "recipe": one.key,
        "title": one.title.get("en", one.key),
        "stages": [stage.key for stage in STAGES if stage.key in one.stages],
        "what": one.description.get("en", ""),
    }


def _rows(rows: list[dict[str, Any]], as_json: bool) -> list[dict[str, Any]]:
    """For people a list is words with commas between them."""
    if as_json:
        return rows
    return [{name: ", ".join(told) if isinstance(told, list) else told for name, told in row.items()} for row in rows]
