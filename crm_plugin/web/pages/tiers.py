"""Tiers: what the levels are, who holds them, and who moves if they are changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from flask import flash, g, render_template
from flask_babel import gettext as _
from flask_babel import ngettext
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from crm_plugin.analytics import tiers as reads
from crm_plugin.analytics.members import count as count_members
from crm_plugin.rules import ladder
from crm_plugin.rules.audit import LEVEL, audit
from crm_plugin.rules.called import Called, called
from crm_plugin.rules.policies import Kept, every_version, of_day, plans
from crm_plugin.rules.sql import PROGRAM_KEY
from crm_plugin.rules.tier_holds import holds
from crm_plugin.rules.tier_words import policy_words
from crm_plugin.rules.tiers import Level, apply, held, levels, preview
from crm_plugin.store.tenants import Shop
from crm_plugin.web import formats
from crm_plugin.web.languages import sentences
from crm_plugin.web.pages import bp, go, tiers_store
from crm_plugin.web.policy_form import measure_words
from crm_plugin.web.site import site, the_shop, today
from crm_plugin.web.tier_look import Rung, rung
from crm_plugin.web.titles import level_name, named, program_name, share, who
from crm_plugin.web.why import lang

bp.add_app_template_filter(named, "named")
bp.add_app_template_filter(who, "who")
bp.add_app_template_filter(share, "percent")
bp.add_app_template_global(level_name)
bp.add_app_template_global(program_name)


@dataclass(frozen=True, slots=True)
class Offer:
    """A ladder that is ready to start from."""

    start: str
    spenders: int
    rungs: tuple[Rung, ...]


@dataclass(frozen=True, slots=True)
class Programme:
    """One line of the list of programmes; `levels` is empty for one that is retired or has not begun, `plan` the next day with a change."""

    key: str
    name: str
    counts: str
    levels: str
    members: int
    plan: date | None


@bp.get("/s/<shop>/tiers")
def tiers() -> str:
    """The page."""
    shop, as_of = the_shop(), today(the_shop())
    with site().runtime.db.read() as connection:
        saved, every, by = (
            levels(connection, shop.shop_id),
            every_version(connection, shop.shop_id),
            called(connection, shop),
        )
        holders = reads.holders(connection, shop.shop_id)
        return render_template(
            "tiers.html",
            by=by,
            saved=saved,
            offers=[] if saved else _offers(connection, shop, by),
            fewest=ladder.FEWEST,
            history=reads.history(connection, shop.shop_id),
            still=list(holds(connection, shop.shop_id).values()),
            **tiers_store.told(connection, shop),
            promises=_promises(every.get(PROGRAM_KEY, []), as_of),
            programmes=[_programme(key, kept, holders.get(key, 0), by, as_of) for key, kept in every.items()],
            findings=audit(connection, shop, as_of, (LEVEL,), lang=lang()),
            **_standing(connection, shop, saved, by),
        )


@bp.post("/s/<shop>/tiers/go-on")
def tiers_go_on() -> Response:
    """Let programmes that stand still since a run was undone go on, and do at once what waits."""
    runtime = site().runtime
    moved = apply(runtime.db, the_shop(), as_of=today(the_shop()), now=runtime.clock.now(), actor=g.actor).changed
    told = ngettext("%(count)s member has moved.", "%(count)s members have moved.", moved, count=formats.number(moved))
    flash(sentences([_("Members move by themselves again, once a day."), *([told] if moved else [])]), "good")
    return go("tiers")


def _standing(connection: Connection, shop: Shop, saved: list[Level], by: Called) -> dict[str, Any]:
    """Who holds what now, the highest level first."""
    holders = held(connection, shop.shop_id)
    everybody = count_members(connection, shop)
    rungs = [rung(level, holders.get(level.key, 0), by) for level in reversed(saved)]
    return {
        "rungs": rungs,
        "everybody": everybody,
        "in_a_level": sum(one.members for one in rungs),
        "without": max(everybody - sum(holders.values()), 0),
        "leftover": sum(holders.values()) - sum(one.members for one in rungs),
    }


def _promises(kept: Sequence[Kept], as_of: date) -> list[str]:
    """What the policy in force says of terms, grace and going down, and of one for a day to come; nothing for a plain ladder."""
    if not kept:
        return []
    policy = of_day(kept, as_of).policy
    told = [] if policy.plain else policy_words(policy, lang())
    return told + [
        _("A new policy takes effect on %(day)s.", day=formats.day(one.effective_on)) for one in plans(kept, as_of)
    ]


def _programme(key: str, kept: Sequence[Kept], members: int, by: Called, as_of: date) -> Programme:
    policy, waiting = of_day(kept, as_of).policy, plans(kept, as_of)
    told = str(_(", ")).join(named(one.title, one.key) for one in policy.levels)
    begins = waiting[0].effective_on if waiting else None
    return Programme(key, program_name(by, key), measure_words(policy), told, members, begins)


def _offers(connection: Connection, shop: Shop, by: Called) -> list[Offer]:
    """Ladders to start from: by what was spent in a year, and by all that ever was."""
    found, as_of = [], today(shop)
    for start, days in ladder.STARTS.items():
        proposed = ladder.propose(connection, shop, as_of, days)
        if proposed is not None:
            counted = preview(connection, shop, proposed.levels, as_of).levels
            rungs = tuple(rung(level, counted[level.key], by) for level in reversed(proposed.levels))
            found.append(Offer(start, proposed.spenders, rungs))
    return found
