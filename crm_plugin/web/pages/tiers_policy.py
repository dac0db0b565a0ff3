"""One tier programme with everything its policy says: looked at before it is saved, from today or from a day to come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

from flask import flash, g, render_template, request
from flask_babel import gettext as _
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from crm_plugin.analytics import tiers as reads
from crm_plugin.errors import CrmError, NotFound
from crm_plugin.rules import ladder, read_book
from crm_plugin.rules.asked import Rewritten, asking
from crm_plugin.rules.called import called
from crm_plugin.rules.policies import Kept, every_version, of_day, plans
from crm_plugin.rules.policy import Policy
from crm_plugin.rules.sql import PROGRAM_KEY
from crm_plugin.rules.tiers import apply, save_policy, save_policy_and_apply
from crm_plugin.web import formats, policy_form, policy_look, policy_reading
from crm_plugin.web.forms import Form
from crm_plugin.web.i18n import explained
from crm_plugin.web.languages import sentences
from crm_plugin.web.pages import bp, go
from crm_plugin.web.policy_reading import Known
from crm_plugin.web.rule_help import field_help
from crm_plugin.web.site import site, the_shop, today
from crm_plugin.web.tier_look import Look, asked_words, moved_words, wrong_levels
from crm_plugin.web.titles import named, program_name, who


@dataclass(frozen=True, slots=True)
class Opened:
    """A programme with its versions, the oldest first; none of one that is new. `programs` are the keys of all there are."""

    program: str
    kept: Sequence[Kept]
    programs: Sequence[str]
    day: date

    @property
    def new(self) -> bool:
        return not self.program

    @property
    def current(self) -> Policy:
        """The policy in force; one without levels where there is none."""
        return of_day(self.kept, self.day).policy if self.kept else Policy((), self.program or PROGRAM_KEY)

    @property
    def plans(self) -> list[Kept]:
        """Those that wait for their day."""
        return plans(self.kept, self.day) if self.kept else []

    @property
    def newest(self) -> int:
        """The number of the version saved last."""
        return self.kept[-1].version if self.kept else 0

    @property
    def retired(self) -> Kept | None:
        """The last version with levels of a programme that has none any more."""
        had = [one for one in self.kept if one.policy.levels and one.effective_on <= self.day]
        return had[-1] if had and not self.current.levels else None

    def version(self, number: int | None) -> Policy:
        """One version with the day it waits for; the one in force where there is no such."""
        for one in self.kept:
            if one.version == number:
                return replace(one.policy, effective_on=one.effective_on if one.effective_on > self.day else None)
        return self.current


@bp.get("/s/<shop>/tiers/new", endpoint="tiers_new")
@bp.get("/s/<shop>/tiers/programme/<program>")
def tiers_policy(program: str = "") -> str:
    """The form of a programme, of one of its versions, or of a new one; without levels it may `start` from a ladder. Raises: NotFound."""
    with site().runtime.db.read() as connection:
        opened = _open(connection, program)
        return _page(connection, _begun(connection, opened), opened)


@bp.post("/s/<shop>/tiers/new", endpoint="tiers_new_change")
@bp.post("/s/<shop>/tiers/programme/<program>")
def tiers_policy_change(program: str = "") -> Response | str | tuple[str, int]:
    """One of the form's buttons: arrange the levels, look, save, save and move, take a plan back."""
    form, act = policy_form.posted(), request.form.get("do", "preview")
    with site().runtime.db.read() as connection:
        opened = _open(connection, program)
        plan = next((one for one in opened.plans if act == f"drop-{one.version}"), None)
        if plan is not None:
            return _take_back(opened, plan)
        if act not in ("preview", "save", "apply"):
            return _page(connection, policy_form.changed(form, act), opened)
        fresh = _is_fresh(form, opened)
        wanted = _read(connection, form, opened)
        if wanted is None or not fresh or act == "preview":
            page = _page(connection, form, opened)
            return (page, 422) if form.failed else page
        seen = _look(connection, wanted, opened)
        if not _was_seen(act, seen.seen):
            form.errors[""] = _("This is new or has changed since you looked. Look at who would move, then save.")
            return _page(connection, form, opened), 422
    try:
        _save(act, wanted, opened, unchanged=seen.unchanged)
    except CrmError as error:
        form.errors[""] = explained(error)
        with site().runtime.db.read() as connection:
            return _page(connection, form, _open(connection, program)), 422
    return go("tiers_policy", program=wanted.program)


@bp.post("/s/<shop>/tiers/new/preview", endpoint="tiers_new_preview")
@bp.post("/s/<shop>/tiers/programme/<program>/preview")
def tiers_policy_preview(program: str = "") -> str | tuple[str, int]:
    """Who would move, while the form is being filled in."""
    form = policy_form.posted()
    with site().runtime.db.read() as connection:
        opened = _open(connection, program)
        wanted = _read(connection, form, opened)
        if wanted is None:
            return render_template("_tiers_preview.html", look=None, wrong=_wrong(form)), 422
        return render_template("_tiers_preview.html", look=_look(connection, wanted, opened), wrong=[])


def _begun(connection: Connection, opened: Opened) -> Form:
    """The form as the page is opened: as the programme is saved, or as one of its versions; with levels proposed, or an empty one."""
    wanted, start = opened.version(request.args.get("version", type=int)), request.args.get("start", "")
    if wanted.levels or (opened.kept and not start):
        return policy_form.filled(wanted, opened.newest)
    proposed = (
        ladder.propose(connection, the_shop(), opened.day, ladder.STARTS[start]) if start in ladder.STARTS else None
    )
    return policy_form.filled(proposed.policy, opened.newest, saved=False) if proposed else policy_form.blank()


def _open(connection: Connection, program: str) -> Opened:
    shop = the_shop()
    every = every_version(connection, shop.shop_id)
    if program and program not in every and program != PROGRAM_KEY:
        raise NotFound(_("There is no such tier programme."), hint=_("Look for it under Tiers."))
    return Opened(program, every.get(program, ()), list(every), today(shop))


def _is_fresh(form: Form, opened: Opened) -> bool:
    """Whether nobody saved the programme meanwhile; else that is said, and saving what the form says becomes a choice."""
    if form.text("version") == str(opened.newest):
        return True
    last = opened.kept[-1] if opened.kept else None
    actor = who(last.actor) if last is not None and last.actor else _("somebody else")
    form.errors[""] = _(
        "This programme was saved meanwhile (%(who)s). What you wrote stands below; saved now, it replaces that.",
        who=actor,
    )
    return False


def _read(connection: Connection, form: Form, opened: Opened) -> Policy | None:
    """The policy that the form describes; what is wrong stands in the form then."""
    shop = the_shop()
    book = read_book(connection, shop.shop_id)
    wanted = policy_reading.read(form, Known(opened.current, opened.new, opened.programs, book, opened.day))
    if wanted is None:
        return None
    then = replace(book, levels={**book.levels, wanted.program: wanted.keys})
    kept = asking(connection, shop, then, opened.day, Rewritten(tiers=True))
    if kept:
        gone = [one for one in opened.current.levels if one.key not in wanted.keys]
        told, by = _(", ").join(named(one.title, one.key) for one in gone), called(connection, shop)
        form.errors[""] = sentences(asked_words(one, told, by) for one in kept)
        return None
    return wanted


def _look(connection: Connection, wanted: Policy, opened: Opened) -> Look:
    return policy_look.look(connection, the_shop(), wanted, opened.kept, opened.current, opened.day)


def _was_seen(act: str, seen: str) -> bool:
    """Whether the merchant looked at exactly this, and where members move, at this number of them."""
    told = request.form.get("seen", "")
    return told == seen if act == "apply" else told.partition(".")[0] == seen.partition(".")[0]


def _save(act: str, wanted: Policy, opened: Opened, *, unchanged: bool) -> None:
    """Save, and move where that was asked for. Raises: InvalidInput when somebody was quicker since the merchant looked."""
    runtime, shop, day = site().runtime, the_shop(), wanted.effective_on
    told = {"now": runtime.clock.now(), "actor": g.actor}
    if act == "save" or (day is not None and day > opened.day):
        with runtime.db.write() as connection:
            save_policy(connection, shop, wanted, based_on=opened.newest, **told)
        flash(
            _("Saved. It takes effect on %(day)s; until then nothing changes.", day=formats.day(day))
            if day is not None and day > opened.day
            else _("Saved. Nobody has moved yet: that happens by itself with the next daily run."),
            "good",
        )
        return
    if unchanged:
        report = apply(runtime.db, shop, as_of=opened.day, going_on=wanted.program, **told)
    else:
        report = save_policy_and_apply(runtime.db, shop, wanted, as_of=opened.day, based_on=opened.newest, **told)
    flash(moved_words(report.moved_in(wanted.program)), "good")


def _take_back(opened: Opened, plan: Kept) -> Response:
    """Let what is in force stay on the day that something else was planned for."""
    runtime, stays = site().runtime, replace(opened.current, effective_on=plan.effective_on)
    with runtime.db.write() as connection:
        save_policy(connection, the_shop(), stays, runtime.clock.now(), actor=g.actor, based_on=opened.newest)
    flash(_("Taken back: what is in force now stays on %(day)s.", day=formats.day(plan.effective_on)), "good")
    return go("tiers_policy", program=opened.program)


def _page(connection: Connection, form: Form, opened: Opened) -> str:
    """The page around a form. It shows who would move as soon as the form is complete."""
    shop = the_shop()
    trial = Form(dict(form.values))
    wanted = _read(connection, trial, opened)
    form.values["version"] = str(opened.newest)
    return render_template(
        "tiers_policy.html",
        form=form,
        numbers=range(form.values["rows"]),
        opened=opened,
        program=opened.program,
        title=program_name(called(connection, shop), opened.program),
        choices=policy_form.choices(),
        look=None if wanted is None else _look(connection, wanted, opened),
        # A row that is not filled in yet is no mistake before anybody asks; a level that cannot go is.
        wrong=_wrong(trial) if form.failed or "" in trial.errors else [],
        fields=field_help("tier", "days_in_tier"),
        holders=reads.holders(connection, shop.shop_id).get(opened.program, 0),
    )


def _wrong(form: Form) -> list[tuple[str, str]]:
    """Each mistake with the level or the field it stands at."""
    return wrong_levels(form, policy_form.labels())
