"""Tiers: what the levels are, who holds them, and who moves if they are changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from flask import flash, g, render_template, request
from flask_babel import gettext as _
from flask_babel import ngettext
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from crm_plugin.analytics import tiers as reads
from crm_plugin.analytics.members import count as count_members
from crm_plugin.clock import local_day
from crm_plugin.rules import ladder
from crm_plugin.rules.asked import Asking, Rewritten, asking, book_then
from crm_plugin.rules.audit import LEVEL, audit
from crm_plugin.rules.policies import in_force, versions
from crm_plugin.rules.sql import PROGRAM_KEY
from crm_plugin.rules.tier_words import policy_words
from crm_plugin.rules.tiers import Level, apply, held, levels, preview, save_and_apply, save_levels
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.journeys import all_journeys
from crm_plugin.web import formats, tier_form
from crm_plugin.web.forms import Form
from crm_plugin.web.languages import sentences
from crm_plugin.web.pages import bp, go, tiers_store
from crm_plugin.web.rule_help import field_help
from crm_plugin.web.site import site, the_shop
from crm_plugin.web.tier_look import Rung, look, rung, tier_names
from crm_plugin.web.titles import chinese, named, share, who
from crm_plugin.web.why import sentence_of

YEAR_DAYS = 365
bp.add_app_template_filter(named, "named")
bp.add_app_template_filter(who, "who")
bp.add_app_template_filter(share, "percent")


@dataclass(frozen=True, slots=True)
class Offer:
    """A ladder that is ready to start from."""

    start: str
    spenders: int
    rungs: tuple[Rung, ...]


@bp.get("/s/<shop>/tiers")
def tiers() -> str:
    """The page; `start` opens the editor of a shop that has no levels yet."""
    shop, as_of = the_shop(), _today()
    with site().runtime.db.read() as connection:
        saved = levels(connection, shop.shop_id)
        form = tier_form.filled(saved)
        start = "" if saved else request.args.get("start", "")
        if start == "own":
            form = tier_form.changed(form, "add")
        elif start:
            proposed = ladder.propose(connection, shop, as_of, YEAR_DAYS if start == "year" else None)
            form = tier_form.filled(proposed.levels if proposed else (), saved=False)
        return _page(connection, form, saved, opened=bool(start))


@bp.post("/s/<shop>/tiers")
def tiers_change() -> Response | str | tuple[str, int]:
    """One of the form's buttons: arrange the rows, look, save, save and move."""
    shop, form, act = the_shop(), tier_form.posted(), request.form.get("do", "preview")
    with site().runtime.db.read() as connection:
        saved = levels(connection, shop.shop_id)
        if act not in ("preview", "save", "apply"):
            return _page(connection, tier_form.changed(form, act), saved)
        wanted = _read(connection, form, saved)
        if form.failed:
            return _page(connection, form, saved), 422
        if act == "preview":
            return _page(connection, form, saved)
        seen = look(connection, shop, wanted, saved, _today()).seen
        if not _was_seen(act, seen):
            form.errors[""] = _(
                "This has changed since you looked. Below is what it would do now: look again, then save."
            )
            return _page(connection, form, saved), 422
    _do(act, wanted, unchanged=wanted == saved)
    return go("tiers")


@bp.post("/s/<shop>/tiers/preview")
def tiers_preview() -> str | tuple[str, int]:
    """Who would move, while the form is being filled in."""
    shop, form = the_shop(), tier_form.posted()
    with site().runtime.db.read() as connection:
        saved = levels(connection, shop.shop_id)
        wanted = _read(connection, form, saved)
        if form.failed:
            return render_template("_tiers_preview.html", look=None, wrong=_wrong(form)), 422
        return render_template("_tiers_preview.html", look=look(connection, shop, wanted, saved, _today()), wrong=[])


_LEVELS = Rewritten(tiers=True)


def _read(connection: Connection, form: Form, saved: list[Level]) -> list[Level]:
    """The levels the form describes; what is wrong stands in the form then, such as a rule that still asks for one taken out."""
    shop, wanted = the_shop(), tier_form.read(form, saved)
    then = book_then(connection, shop, [level.key for level in wanted])
    kept = [] if form.failed else asking(connection, shop, then, _LEVELS)
    if kept:
        there = {level.key for level in wanted}
        gone = _(", ").join(named(level.title, level.key) for level in saved if level.key not in there)
        titles = {one.key: named(one.title, one.key) for one in all_journeys(connection, shop.shop_id)}
        form.errors[""] = sentences(_asked(one, gone, titles) for one in kept)
    return wanted


def _asked(one: Asking, gone: str, titles: Mapping[str, str]) -> str:
    """What keeps a level from being taken out, and what to do about it."""
    told = {"level": gone, "rule": sentence_of(one.rule), "name": titles.get(one.key, one.key)}
    text = (
        _(
            "%(level)s cannot go: the segment %(name)s is for %(rule)s. "
            "Keep the level, or give the segment another rule first.",
            **told,
        )
        if one.kind == "segment"
        else _(
            "%(level)s cannot go: the journey “%(name)s” is only for %(rule)s. "
            "Keep the level, or change under Journeys whom the journey is for.",
            **told,
        )
    )
    return str(text)


def _was_seen(act: str, seen: str) -> bool:
    """Whether the merchant looked at exactly these levels, and where members move, at this number of them."""
    told = request.form.get("seen", "")
    return told == seen if act == "apply" else told.partition(".")[0] == seen.partition(".")[0]


def _do(act: str, wanted: list[Level], *, unchanged: bool) -> None:
    runtime, shop = site().runtime, the_shop()
    now, as_of = runtime.clock.now(), _today()
    if act == "save":
        with runtime.db.write() as connection:
            save_levels(connection, shop, wanted, now, actor=g.actor)
        flash(_("Saved. Nobody has moved yet: that happens by itself with the next daily run."), "good")
        return
    if unchanged:
        moved = apply(runtime.db, shop, as_of=as_of, now=now, actor=g.actor).changed
    else:
        moved = save_and_apply(runtime.db, shop, wanted, as_of=as_of, now=now, actor=g.actor).changed
    if moved:
        told = ngettext(
            "%(count)s member has moved.", "%(count)s members have moved.", moved, count=formats.number(moved)
        )
        flash(sentences([_("Saved."), told]), "good")
    else:
        flash(_("Saved. Everybody already held the right level."), "good")


def _page(connection: Connection, form: Form, saved: list[Level], *, opened: bool = False) -> str:
    """The page around a form. It shows who would move as soon as the form is complete."""
    shop = the_shop()
    trial = Form(dict(form.values))
    wanted = _read(connection, trial, saved)
    seen = None if trial.failed else look(connection, shop, wanted, saved, _today())
    numbers = range(form.values["rows"])
    editing = bool(saved or opened or numbers)
    return render_template(
        "tiers.html",
        form=form,
        numbers=numbers,
        saved=saved,
        editing=editing,
        offers=[] if editing else _offers(connection, shop),
        fewest=ladder.FEWEST,
        look=seen,
        # A row that is not filled in yet is no mistake before anybody asks; a level that cannot go is.
        wrong=_wrong(trial) if form.failed or "" in trial.errors else [],
        fields=field_help("tier", "days_in_tier"),
        history=reads.history(connection, shop.shop_id),
        names=tier_names(connection, shop),
        **tiers_store.told(connection, shop),
        promises=_promises(connection, shop),
        findings=audit(connection, shop, _today(), (LEVEL,)),
        **_standing(connection, shop, saved),
    )


def _standing(connection: Connection, shop: Shop, saved: list[Level]) -> dict[str, Any]:
    """Who holds what now, the highest level first."""
    holders = held(connection, shop.shop_id)
    everybody = count_members(connection, shop)
    rungs = [rung(level, holders.get(level.key, 0)) for level in reversed(saved)]
    return {
        "rungs": rungs,
        "everybody": everybody,
        "in_a_level": sum(one.members for one in rungs),
        "without": max(everybody - sum(holders.values()), 0),
        "leftover": sum(holders.values()) - sum(one.members for one in rungs),
    }


def _promises(connection: Connection, shop: Shop) -> list[str]:
    """What the policy in force says of terms, grace and going down, and of one for a day to come; nothing for a plain ladder."""
    today, lang = _today(), "zh" if chinese() else "en"
    kept = in_force(connection, shop.shop_id, PROGRAM_KEY, today)
    told = [] if kept.policy.plain else policy_words(kept.policy, lang)
    for one in versions(connection, shop.shop_id, PROGRAM_KEY):
        if one.effective_on > today and one.version > kept.version:
            told.append(_("A new policy takes effect on %(day)s.", day=formats.day(one.effective_on)))
    return told


def _wrong(form: Form) -> list[tuple[str, str]]:
    """Each mistake with the level it stands at."""
    found = []
    for place, what in form.errors.items():
        number = place.rpartition("-")[2]
        name = (
            form.text(f"{'zh' if chinese() else 'en'}-{number}")
            or form.text(f"en-{number}")
            or form.text(f"zh-{number}")
        )
        found.append((name or (_("A level without a name") if place else _("The level that was taken out")), what))
    return found


def _offers(connection: Connection, shop: Shop) -> list[Offer]:
    """Ladders to start from: by what was spent in a year, and by all that ever was."""
    found = []
    for start, days in (("year", YEAR_DAYS), ("ever", None)):
        proposed = ladder.propose(connection, shop, _today(), days)
        if proposed is not None:
            counted = preview(connection, shop, proposed.levels, _today()).levels
            rungs = tuple(rung(level, counted[level.key]) for level in reversed(proposed.levels))
            found.append(Offer(start, proposed.spenders, rungs))
    return found


def _today() -> date:
    return local_day(site().runtime.clock.now(), the_shop().timezone)
