"""Commands about ready-made journeys: recipe list, recipe install."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click

from crm_plugin.cli.common import ACTOR, answer, as_json_option, main, opened_shop, say, shop_argument
from crm_plugin.store import audit
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import recipes as shipped
from crm_plugin.touchpoints.lifecycle import OFF, ON, READY, STAGES, Coverage, lifecycle, missing
from crm_plugin.touchpoints.senders import available


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
        answer([_told(one) for one in shipped.recipes()], as_json)
        return
    with opened_shop(name) as (runtime, shop), runtime.db.read() as connection:
        found = lifecycle(connection, shop.shop_id)
    if as_json:
        answer([one.as_dict() for one in found], True)
        return
    answer([_stage(one) for one in found], False)
    say(_summary(name, found))


def _stage(one: Coverage) -> dict[str, Any]:
    def keys(state: str) -> list[str]:
        return [means.recipe.key for means in one.means if means.state == state]

    return {"stage": one.stage.title, "on": keys(ON), "switched off": keys(OFF), "can be added": keys(READY)}


def _summary(name: str, found: Sequence[Coverage]) -> Iterator[str]:
    silent = [stage.title for stage in missing(found)]
    told = f"; nothing speaks to: {', '.join(silent)}" if silent else ""
    yield f"{len(found) - len(silent)} of {len(found)} stages are spoken to{told}."
    yield f"`crm-plugin recipe install {name} RECIPE` adds one, switched off; `crm-plugin recipe list` says what each does."


@recipe.command("install")
@shop_argument
@click.argument("key", metavar="RECIPE")
@as_json_option
def recipe_install(name: str, key: str, as_json: bool) -> None:
    """Add one to a shop, switched off.

    RECIPE is its name or title, as `recipe list` has them. Its texts come with it, where the shop has none of its own. See them on the
    Journeys page before switching it on.
    """
    wanted = shipped.recipe_called(key)
    with opened_shop(name) as (runtime, shop), runtime.db.write() as connection:
        now = runtime.clock.now()
        templates = shipped.install_one(connection, shop, wanted.key, now)
        audit.note(connection, shop.shop_id, ACTOR, "journey.added", {"journey": wanted.key}, now)
        there = available(connection, shop)
    if as_json:
        answer({"journey": wanted.key, "enabled": False, "templates": templates}, True)
    else:
        say(_next(shop, wanted, templates, [one for one in _channels(wanted) if one not in there]))


def _channels(wanted: shipped.Recipe) -> list[str]:
    return list(dict.fromkeys(channel for channels in wanted.templates.values() for channel in channels))


def _next(shop: Shop, wanted: shipped.Recipe, templates: Sequence[str], unsent: Sequence[str]) -> Iterator[str]:
    """What was added, and what to do before it speaks."""
    yield f"“{wanted.title.get('en', wanted.key)}” was added as the journey {wanted.key}, switched off. What comes next:"
    texts = f"its texts ({', '.join(templates)})" if templates else "your own texts, which were kept"
    steps = [
        f"Read {texts} on the Journeys page, or with `crm-plugin program dump {shop.name}`.",
        *(
            [f"Set a sender up for {', '.join(unsent)}: `crm-plugin sender set --help`, or leave that way out."]
            if unsent
            else []
        ),
        f"See what it would send: `crm-plugin rehearse {shop.name} {wanted.key}`.",
        f"See what it lacks: `crm-plugin journey check {shop.name} {wanted.key}`.",
        f"Switch it on: `crm-plugin journey on {shop.name} {wanted.key}`.",
    ]
    yield from (f"  {number}. {step}" for number, step in enumerate(steps, 1))


def _told(one: shipped.Recipe) -> dict[str, Any]:
    return {
        "recipe": one.key,
        "title": one.title.get("en", one.key),
        "stages": [stage.key for stage in STAGES if stage.key in one.stages],
        "what": one.description.get("en", ""),
    }
