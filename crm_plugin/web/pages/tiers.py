"""Tiers: what the levels are, who holds them, and who moves if they are changed."""

from __future__ import annotations

from collections.abc import Sequence
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
from crm_plugin.rules.asked import Rewritten, asking, book_then
from crm_plugin.rules.audit import LEVEL, audit
from crm_plugin.rules.policies import Kept, every_version, is_bare_ladder, of_day, plans
from crm_plugin.rules.sql import PROGRAM_KEY
from crm_plugin.rules.tier_holds import holds
from crm_plugin.rules.tier_words import policy_words
from crm_plugin.rules.tiers import Level, apply, held, levels, preview, save_and_apply, save_levels
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.journeys import all_journeys
from crm_plugin.web import formats, tier_form
from crm_plugin.web.forms import Form
from crm_plugin.web.languages import sentences
from crm_plugin.web.pages import bp, go, tiers_store
from crm_plugin.web.policy_form import measure_words
from crm_plugin.web.rule_help import field_help
from crm_plugin.web.site import site, the_shop
from crm_plugin.web.tier_look import Rung, asked_words, look, moved_words, names_ever, rung, tier_names, wrong_levels
from crm_plugin.web.titles import chinese, named, share, who

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


@bp.post("/s/<shop>/tiers/go-on")
def tiers_go_on() -> Response:
    """Let programmes that stand still since a run was undone go on, and do at once what waits."""
    runtime = site().runtime
    moved = apply(runtime.db, the_shop(), as_of=_today(), now=runtime.clock.now(), actor=g.actor).changed
    told = ngettext("%(count)s member has moved.", "%(count)s members have moved.", moved, count=formats.number(moved))
    flash(sentences([_("Members move by themselves again, once a day."), *([told] if moved else [])]), "good")
    return go("tiers")


@bp.post("/s/<shop>/tiers/preview")
def tiers_preview() -> str | tuple[str, int]:
    """Who would move, while the form is being filled in."""
    shop, form = the_shop(), tier_form.posted()
    with site().runtime.db.read() as connection:
        saved = levels(connection, shop.shop_id)
        wanted = _read(connection, form, saved)
        if form.failed:
            return render_template("_tiers_preview.html", look=None, wrong=wrong_levels(form)), 422
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
        form.errors[""] = sentences(asked_words(one, gone, titles) for one in kept)
    return wanted


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
    flash(moved_words(moved), "good")


def _page(connection: Connection, form: Form, saved: list[Level], *, opened: bool = False) -> str:
    """The page around a form. It shows who would move as soon as the form is complete."""
    shop, holders = the_shop(), reads.holders(connection, the_shop().shop_id)
    trial = Form(dict(form.values))
    wanted = _read(connection, trial, saved)
    numbers = range(form.values["rows"])
    every = every_version(connection, shop.shop_id)
    main = every.get(PROGRAM_KEY, [])
    simple = request.method == "POST" or _is_simple(main)
    seen = look(connection, shop, wanted, saved, _today()) if simple and not trial.failed else None
    editing = bool(saved or opened or numbers)
    return render_template(
        "tiers.html",
        form=form,
        numbers=numbers,
        saved=saved,
        editing=editing and simple,
        simple=simple,
        offers=[] if editing else _offers(connection, shop),
        fewest=ladder.FEWEST,
        look=seen,
        # A row that is not filled in yet is no mistake before anybody asks; a level that cannot go is.
        wrong=wrong_levels(trial) if form.failed or "" in trial.errors else [],
        fields=field_help("tier", "days_in_tier"),
        history=reads.history(connection, shop.shop_id),
        names=tier_names(connection, shop),
        still=list(holds(connection, shop.shop_id).values()),
        **tiers_store.told(connection, shop),
        promises=_promises(main),
        called={key: _called(key, kept) for key, kept in every.items()},
        names_of={key: names_ever(kept) for key, kept in every.items()},
        programmes=[_programme(key, kept, holders.get(key, 0)) for key, kept in every.items()],
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


def _is_simple(kept: Sequence[Kept]) -> bool:
    """Whether names and rules are all there is to change; what promises more is changed where all of that stands."""
    policy = of_day(kept, _today()).policy if kept else None
    return policy is None or not policy.levels or is_bare_ladder(policy)


def _promises(kept: Sequence[Kept]) -> list[str]:
    """What the policy in force says of terms, grace and going down, and of one for a day to come; nothing for a plain ladder."""
    if not kept:
        return []
    policy = of_day(kept, _today()).policy
    told = [] if policy.plain else policy_words(policy, "zh" if chinese() else "en")
    return told + [
        _("A new policy takes effect on %(day)s.", day=formats.day(one.effective_on)) for one in plans(kept, _today())
    ]


def _called(key: str, kept: Sequence[Kept]) -> str:
    """What a programme is called; one that is retired or waits for its day as it is in its last version with a name."""
    titles = [of_day(kept, _today()).policy.title, *(one.policy.title for one in reversed(kept))]
    title = next((title for title in titles if title), {})
    return named(title, "" if key == PROGRAM_KEY else key) or str(_("Main programme"))


def _programme(key: str, kept: Sequence[Kept], members: int) -> Programme:
    policy = of_day(kept, _today()).policy
    waiting = plans(kept, _today())
    levels = str(_(", ")).join(named(one.title, one.key) for one in policy.levels)
    return Programme(
        key, _called(key, kept), measure_words(policy), levels, members, waiting[0].effective_on if waiting else None
    )


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
