"""Segments: rules and lists under a name, whom each holds now, and who came and went."""

from __future__ import annotations

from dataclasses import dataclass

from flask import flash, g, render_template, request
from flask_babel import gettext as _
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from crm_plugin.analytics import segments as reads
from crm_plugin.errors import InvalidInput, NotFound, RuleError
from crm_plugin.jobs import tasks
from crm_plugin.rules import compile_rule, segments
from crm_plugin.rules.audit import SEGMENT, Finding, audit
from crm_plugin.rules.book import LIST
from crm_plugin.rules.called import called
from crm_plugin.rules.segments import Segment
from crm_plugin.rules.tier_words import sentence_of
from crm_plugin.rules.unmet import unmet
from crm_plugin.web import why
from crm_plugin.web.forms import Form
from crm_plugin.web.i18n import explained, in_words
from crm_plugin.web.pages import bp, go
from crm_plugin.web.rule_help import field_help, rule_error
from crm_plugin.web.site import site, the_shop, today
from crm_plugin.web.titles import key_for


@dataclass(frozen=True, slots=True)
class Preview:
    """What a rule says and whom it would hold; or what is wrong with it."""

    sentence: str = ""
    count: int = 0
    sample: tuple[reads.Held, ...] = ()
    error: str = ""
    # Values it asks for that no member has.
    unmet: tuple[str, ...] = ()


@bp.get("/s/<shop>/segments", endpoint="segments")
def segments_list() -> str:
    """All of them."""
    now = site().runtime.clock.now()
    with site().runtime.db.read() as connection:
        rows, by = reads.overview(connection, the_shop(), now), called(connection, the_shop())
    told = {row.segment.key: sentence_of(row.segment.rule, why.lang(), by) for row in rows if row.segment.rule}
    return render_template("segments.html", rows=rows, told=told, days=reads.DAYS)


@bp.get("/s/<shop>/segments/new")
def segments_new() -> str:
    """An empty form, or one with a rule that was tried under Members."""
    form = Form({"title": "", "key": "", "rule": request.args.get("rule", "").strip()})
    with site().runtime.db.read() as connection:
        return _page(connection, form, None)


@bp.get("/s/<shop>/segments/<key>")
def segments_one(key: str) -> str:
    """One segment with its form. Raises: NotFound."""
    with site().runtime.db.read() as connection:
        saved = segments.show(connection, the_shop(), key)
        return _page(connection, Form({"title": saved.title, "key": key, "rule": saved.rule}), saved)


@bp.post("/s/<shop>/segments/preview")
def segments_preview() -> str | tuple[str, int]:
    """Whom the rule would hold, while it is being typed."""
    with site().runtime.db.read() as connection:
        seen = _preview(connection, request.form.get("rule", "").strip())
    page = render_template("_segments_preview.html", seen=seen)
    return (page, 422) if seen is not None and seen.error else page


@bp.post("/s/<shop>/segments/new")
def segments_add() -> Response | tuple[str, int]:
    """Save a new one; its key is made from its name when none is given."""
    return _save(Form.posted(defaults={"title": "", "key": "", "rule": ""}), None)


@bp.post("/s/<shop>/segments/<key>")
def segments_change(key: str) -> Response | tuple[str, int]:
    """Save another rule or name, or forget it. Raises: NotFound."""
    with site().runtime.db.read() as connection:
        saved = segments.show(connection, the_shop(), key)
    form = Form.posted(defaults={"title": "", "rule": ""})
    form.values["key"] = key
    return _remove(form, saved) if request.form.get("do") == "remove" else _save(form, saved)


def _save(form: Form, saved: Segment | None) -> Response | tuple[str, int]:
    runtime, shop = site().runtime, the_shop()
    now, rule = runtime.clock.now(), form.text("rule")
    with runtime.db.read() as connection:
        taken = {one.key for one in segments.list(connection, shop.shop_id)}
    key = saved.key if saved else form.text("key") or key_for(form.text("title"), taken, "segment")
    if saved is None and key in taken:
        form.errors["key"] = _("Another segment has this key. Give each a key of its own.")
    if not form.text("title"):
        form.errors["title"] = _("Give the segment a name.")
    if not form.failed:
        try:
            if saved is not None and saved.kind == LIST:
                _rename(saved, form.text("title"))
            else:
                tasks.save_segment(runtime, shop, key, rule, title=form.text("title"), now=now, actor=g.actor)
        except RuleError as error:
            form.errors["rule"] = rule_error(error) if rule else _("Write who belongs to this segment.")
        except InvalidInput as error:
            form.refuse(error, "rule")
    if form.failed:
        with runtime.db.read() as connection:
            return _page(connection, form, saved), 422
    flash(_("Saved. Who comes and who goes is noted from now on."), "good")
    return go("segments_one", key=key)


def _rename(saved: Segment, title: str) -> None:
    runtime = site().runtime
    with runtime.db.write() as connection:
        segments.save_list(connection, the_shop(), saved.key, runtime.clock.now(), title=title, actor=g.actor)


def _remove(form: Form, saved: Segment) -> Response | tuple[str, int]:
    runtime, shop = site().runtime, the_shop()
    try:
        with runtime.db.write() as connection:
            segments.remove(connection, shop, saved.key, runtime.clock.now(), actor=g.actor)
    except NotFound:
        pass
    except InvalidInput as error:
        form.values |= {"title": saved.title, "rule": saved.rule}
        form.errors[""] = explained(error)
        with runtime.db.read() as connection:
            return _page(connection, form, saved), 422
    flash(_("The segment is gone. Its members are where they were."), "good")
    return go("segments")


def _page(connection: Connection, form: Form, saved: Segment | None) -> str:
    shop, now = the_shop(), site().runtime.clock.now()
    look = None if saved is None else reads.look(connection, shop, saved.key, now, why.lang())
    is_list = saved is not None and saved.kind == LIST
    return render_template(
        "segments_one.html",
        form=form,
        saved=saved,
        is_list=is_list,
        look=look,
        seen=None if is_list else _seen(connection, form.text("rule"), look),
        days=reads.DAYS,
        findings=[] if saved is None else _findings(connection, saved.key),
        fields=[] if is_list else field_help(),
    )


def _findings(connection: Connection, key: str) -> list[Finding]:
    """What is wrong with the segment as it is saved; that it cannot be asked is said in a place of its own."""
    shop = the_shop()
    found = audit(connection, shop, today(shop), (SEGMENT,), only=key, lang=why.lang())
    return [one for one in found if one.problem != "broken"]


def _seen(connection: Connection, rule: str, look: reads.Look | None) -> Preview | None:
    """The preview; what is saved has been looked at already."""
    if look is None or look.problem or rule != look.segment.rule:
        return _preview(connection, rule)
    return Preview(why.capital(look.words), look.count, look.sample)


def _preview(connection: Connection, rule: str) -> Preview | None:
    """None without a rule."""
    if not rule:
        return None
    shop = the_shop()
    try:
        found = reads.tried(connection, shop, rule, today(shop), why.lang())
    except RuleError as error:
        return Preview(error=rule_error(error))
    nobody = tuple(str(in_words(one)) for one in unmet(connection, shop, compile_rule(rule).node))
    return Preview(why.capital(found.words), found.count, found.sample, unmet=nobody)
