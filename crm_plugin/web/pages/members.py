"""Members: who they are; one member's worth, tier and why, consents, what comes next and what was, in one story."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from flask import flash, g, render_template, request
from flask_babel import gettext as _
from flask_babel import ngettext
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from crm_plugin.analytics import members as reads
from crm_plugin.analytics.profile import Profile
from crm_plugin.clock import local_day
from crm_plugin.errors import NotFound
from crm_plugin.records import ConsentState
from crm_plugin.rules import tiers
from crm_plugin.rules.called import called
from crm_plugin.rules.policies import every_version
from crm_plugin.store import audit, consent
from crm_plugin.store.members import present_id
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import ahead, unsubscribe
from crm_plugin.touchpoints.journey import MARKETING
from crm_plugin.touchpoints.tokens import Unsubscribe
from crm_plugin.web import fix_form, ids, labels, member_journeys, member_list, why
from crm_plugin.web.forms import Form
from crm_plugin.web.member_file import rows as file_rows
from crm_plugin.web.member_list import Asked
from crm_plugin.web.member_words import address_kind, birthday, country, language, story, their_time, zone_words
from crm_plugin.web.pages import bp, go
from crm_plugin.web.rule_help import field_help
from crm_plugin.web.site import site, the_shop
from crm_plugin.web.titles import named

PAGE = 50
STORY, WHOLE_STORY = 60, 2000
# What can be asked of a member on their page; a note on an order goes by e-mail, under its consent.
CONSENT_CHANNELS = ("email", "sms", "inapp")


@dataclass(frozen=True, slots=True)
class Pill:
    """One tier to narrow by."""

    key: str
    name: str
    count: int


@bp.get("/s/<shop>/members")
def members() -> str | tuple[str, int]:
    """The list; a rule with a mistake answers with the mistake, not with everybody."""
    shop, asked = the_shop(), Asked.of(request.args)
    after = request.args.get("after", 0, type=ids.place)
    with site().runtime.db.read() as connection:
        found, rows = member_list.page(connection, shop, asked, _today(), after, PAGE)
        page = render_template(
            "members.html",
            asked=asked,
            found=found,
            rows=rows[:PAGE],
            next_after=rows[PAGE - 1].member_id if len(rows) > PAGE else None,
            after=after,
            pills=_pills(connection, shop, found.all),
            by=called(connection, shop),
            fields=field_help(),
        )
    return (page, 422) if found.error else page


@bp.post("/s/<shop>/members/count")
def members_count() -> str | tuple[str, int]:
    """How many match, while the filter is being typed."""
    asked = Asked.of(request.form)
    with site().runtime.db.read() as connection:
        found = member_list.count(connection, the_shop(), asked, _today())
    page = render_template("_members_count.html", asked=asked, found=found)
    return (page, 422) if found.error else page


@bp.get("/s/<shop>/members.csv")
def members_export() -> Response:
    """The members that match, as a file. Raises: RuleError, InvalidInput before anything is sent."""
    runtime, shop, asked, as_of = site().runtime, the_shop(), Asked.of(request.args), _today()
    filters = asked.filters(as_of)
    with runtime.db.write() as connection:
        count = reads.count(connection, shop, **filters)
        detail = {"members": count, **asked.address()}
        audit.note(connection, shop.shop_id, g.actor, "members.export", detail, runtime.clock.now())
        by = called(connection, shop)
    lines = file_rows(runtime.db, shop, filters, by)
    headers = {"Content-Disposition": f'attachment; filename="members-{shop.name}-{as_of.isoformat()}.csv"'}
    return Response(lines, content_type="text/csv; charset=utf-8", headers=headers)


@bp.get("/s/<shop>/members/<int:member_id>")
def members_one(member_id: int) -> str | Response:
    """One member; a guest's old address leads to the account they have become."""
    with site().runtime.db.read() as connection:
        present = present_id(connection, the_shop().shop_id, member_id)
    if present not in (None, member_id):
        return go("members_one", member_id=present)
    return one_page(member_id)


@bp.post("/s/<shop>/members/<int:member_id>/consent")
def members_consent(member_id: int) -> Response | tuple[str, int]:
    """Record what the member said by other means: into the log, with who wrote it down and how it was given."""
    form = Form.posted(defaults={"channel": "", "state": "", "note": ""})
    if form.text("channel") not in CONSENT_CHANNELS:
        form.errors["channel"] = _("Choose one of these.")
    if form.text("state") not in list(ConsentState):
        form.errors["state"] = _("Choose one of these.")
    if not form.text("note"):
        form.errors["note"] = _("Write how and when they said so: you may have to prove it.")
    if form.failed:
        return one_page(member_id, form), 422
    skipped = _record(member_id, form)
    flash(_("Recorded."), "good")
    if skipped:
        told = ngettext("%(num)s waiting message was held back.", "%(num)s waiting messages were held back.", skipped)
        flash(told, "info")
    return go("members_one", member_id=member_id, _anchor="consents")


def _record(member_id: int, form: Form) -> int:
    """Write it down; answers how many waiting messages a no has stopped. Raises: NotFound."""
    runtime, shop = site().runtime, the_shop()
    now, channel, state = runtime.clock.now(), form.text("channel"), ConsentState(form.text("state"))
    with runtime.db.write() as connection:
        if present_id(connection, shop.shop_id, member_id) != member_id:
            raise NotFound(_("There is no such member any more."), hint=_("Look for them under Members."))
        consent.record(
            connection,
            shop.shop_id,
            member_id,
            channel=channel,
            topic=MARKETING,
            state=state,
            at=now,
            source="merchant",
            wording=form.text("note")[:500],
            proof={"actor": g.actor},
            recorded_at=now,
        )
        detail = {"member": str(member_id), "channel": channel, "state": state.value}
        audit.note(connection, shop.shop_id, g.actor, "consent.record", detail, now)
        if state is not ConsentState.WITHDRAWN:
            return 0
        return unsubscribe.skip_waiting(connection, Unsubscribe(shop.shop_id, member_id, channel, MARKETING), now)


def one_page(member_id: int, form: Form | None = None, *, fix: Form | None = None) -> str:
    """The member's page around its two forms, as they were sent: what was said (`form`), and the level by hand (`fix`)."""
    shop, now, as_of = the_shop(), site().runtime.clock.now(), _today()
    whole = request.args.get("all") == "1"
    with site().runtime.db.read() as connection:
        limit = WHOLE_STORY if whole else STORY
        member = reads.profile(connection, shop, member_id, as_of, limit=limit + 1)
        every = every_version(connection, shop.shop_id)
        expected = ahead.expected(connection, shop, member_id, now) if member.state == "active" else []
        inside = member_journeys.of(connection, shop, member_id, member.called)
    return render_template(
        "members_one.html",
        member=member,
        as_of=as_of,
        expected=expected,
        inside=inside,
        story=story(member.timeline[:limit], member.called),
        more_story=len(member.timeline) > limit and not whole,
        form=form or Form({"channel": "email", "state": ConsentState.GRANTED.value, "note": ""}),
        fix=fix or Form(dict(fix_form.FIELDS)),
        fix_choices=fix_form.choices(every, member.called, as_of),
        consent_channels=[(channel, labels.channel_name(channel)) for channel in CONSENT_CHANNELS],
        said=_said(member),
        ahead_days=ahead.DAYS,
        **_words(member),
    )


def _words(member: Profile) -> dict[str, Any]:
    """What the templates ask about this member."""

    def own_time(at: datetime) -> str:
        return their_time(at, member.zone, the_shop().timezone)

    return {
        "own_time": own_time,
        "birthday": birthday(member.birth_year, member.birth_md),
        "country": country(member.country),
        "zone": zone_words(member.zone),
        "language": language(member.locale),
        "address_kind": address_kind,
        "labels": labels,
        "why": why,
    }


def _said(member: Profile) -> list[tuple[str, Any]]:
    """Each channel with what holds for all marketing now (None: never said), then what was said about single topics."""
    general = {one.channel: one for one in member.permissions if one.topic == MARKETING}
    rows: list[tuple[str, Any]] = [(channel, general.get(channel)) for channel in CONSENT_CHANNELS]
    return rows + [(one.channel, one) for one in member.permissions if one.topic != MARKETING]


def _pills(connection: Connection, shop: Shop, everybody: int) -> list[Pill]:
    """The tiers, highest first, then those without one; none while there are no tiers."""
    levels, held = tiers.levels(connection, shop.shop_id), tiers.held(connection, shop.shop_id)
    if not levels:
        return []
    found = [Pill(level.key, named(level.title, level.key), held.get(level.key, 0)) for level in reversed(levels)]
    without = max(everybody - sum(held.values()), 0)
    return [*found, Pill(reads.NO_TIER, _("No tier"), without)]


def _today() -> date:
    return local_day(site().runtime.clock.now(), the_shop().timezone)
