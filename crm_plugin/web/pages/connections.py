"""Connections: are the store and the senders connected and well, and what to do if not; how messages look and when they go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import flash, g, render_template, request
from flask_babel import gettext as _
from flask_babel import ngettext
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from crm_plugin.adapters.base import Setting, SettingType
from crm_plugin.adapters.registry import channel_class, channel_names, storefront_class
from crm_plugin.errors import ConfigError, CrmError
from crm_plugin.jobs import following
from crm_plugin.store import audit
from crm_plugin.sync import connect, fields, privacy, problems, store_writes
from crm_plugin.touchpoints import health, policy, senders, settings
from crm_plugin.web import file_import, formats, guard_form, in_step, languages, rates, settings_form, store_states
from crm_plugin.web.forms import Form
from crm_plugin.web.i18n import explained
from crm_plugin.web.labels import channel_name
from crm_plugin.web.pages import bp, go
from crm_plugin.web.reading import RECOUNT, RETRY, SYNC, Reading, in_words, name_of, read, takes_files
from crm_plugin.web.sender_states import state_of
from crm_plugin.web.site import site, the_shop
from crm_plugin.web.store_states import StoreState
from crm_plugin.web.store_states import state_of as state_of_store

_SHOWN_PROBLEMS = 50


@bp.get("/s/<shop>/connections")
def connections() -> str:
    """The page."""
    return page()


def page(**forms: Form) -> str:
    """The page with the forms that were refused, if any."""
    here, shop = site(), the_shop()
    now = here.runtime.clock.now()
    with here.runtime.db.read() as connection:
        broken = problems.open_problems(connection, shop.shop_id, limit=_SHOWN_PROBLEMS)
        broken_count = problems.count_open(connection, shop.shop_id)
        rows = _senders(connection)
        foreign = rates.look(connection, shop)
        asked = privacy.requests_of(connection, shop)
        untold = following.untold(connection, shop)
        step, step_warnings = in_step.look(connection, shop, now), list(in_step.warnings(connection, shop, now))
    state = _state()
    return render_template(
        "connections.html",
        **state,
        lede=_lede(state["store"], state["reading"], rows),
        label=_(storefront_class(shop.platform).label),
        senders=rows,
        broken=broken,
        broken_count=broken_count,
        rereading=any(one.job == RETRY for one in here.queue.running(shop.shop_id)),
        public_url=here.public_url,
        by_hand=storefront_class(shop.platform).by_hand,
        hook_address=following.address_of(here.public_url, shop),
        untold=untold,
        soon=store_states.soon(shop),
        agreeing_again=store_states.agreeing_again(shop),
        step=step,
        step_warnings=step_warnings,
        message_form=forms.get("message_form") or _message_form(),
        guard_form=forms.get("guard_form") or guard_form.filled(shop),
        erase_form=forms.get("erase_form") or Form({}),
        gone_form=forms.get("gone_form") or Form({}),
        import_form=forms.get("import_form") or file_import.form(request.args.get("kind", "")),
        rates=foreign,
        privacy=asked,
        takes=store_writes.takes(shop),
        shows_fields=fields.can_show(shop),
        rates_form=forms.get("rates_form") or rates.filled(shop),
        kinds=file_import.KINDS,
        name_of=name_of,
        channel_name=channel_name,
        languages=languages.choices(shop.locale),
    )


@bp.get("/s/<shop>/connections/store/state")
def connections_store_state() -> str:
    """The part of the page that changes while the store is being read."""
    return render_template("_connections_store_state.html", **_state())


@bp.get("/s/<shop>/connections/import/state")
def connections_import_state() -> str:
    """The part of the page that changes while a file is being loaded."""
    return render_template("_connections_import_state.html", **_state())


def _state() -> dict[str, Any]:
    here, shop = site(), the_shop()
    with here.runtime.db.read() as connection:
        reading = read(connection, here.queue, shop, here.runtime.clock.now())
        store = state_of_store(connection, shop)
    files = takes_files(shop)
    return {
        "store": store,
        "reading": reading,
        "pace": in_words(reading),
        "files": files,
        "last_import": file_import.last(here.queue, shop) if files else None,
    }


def _lede(state: StoreState, reading: Reading, rows: list[dict[str, Any]]) -> str:
    shop = the_shop()
    parts = []
    if not state.is_well:
        parts.append(_("%(what)s.", what=state.title))
    elif takes_files(shop):
        parts.append(
            _("Your members and orders come from files.")
            if reading.complete
            else _("Your shop waits for its first file.")
        )
    elif reading.live:
        parts.append(_("Your store is being read."))
    elif reading.last_at is not None:
        parts.append(_("Your store is connected; last looked at %(when)s.", when=formats.moment(reading.last_at)))
    writing = [row["sender"] for row in rows if row["sender"] and row["cls"].channel in ("email", "sms")]
    paused = [row for row in rows if row["state"].tone == "bad"]
    if paused:
        parts.append(ngettext("%(num)s sender is paused.", "%(num)s senders are paused.", len(paused)))
    elif not any(one.enabled for one in writing):
        parts.append(
            _("Those who send e-mail and text messages for you are switched off.")
            if writing
            else _("Nobody sends e-mail or text messages for you yet.")
        )
    return languages.sentences(parts)


def _senders(connection: Connection) -> list[dict[str, Any]]:
    """Every sender that this shop can have, those that are there first."""
    shop = the_shop()
    there = {one.adapter: one for one in senders.senders(connection, shop)}
    rests = health.rests(connection, shop.shop_id, site().runtime.clock.now())
    found = []
    for name in channel_names():
        cls = channel_class(name)
        if cls.uses_storefront in ("", shop.platform):
            sender, rest = there.get(name), rests.get(name)
            found.append({"adapter": name, "cls": cls, "sender": sender, "state": state_of(sender, rest), "rest": rest})
    return sorted(found, key=lambda one: one["sender"] is None)


@bp.post("/s/<shop>/connections/sync")
def connections_sync() -> Response:
    """Read the store now: what changed, or everything again."""
    full = bool(request.form.get("full"))
    if not the_shop().is_awake:
        flash(_("Your store is not connected. Nothing is read until it is."), "bad")
    elif site().queue.enqueue(SYNC, the_shop().shop_id, full=full):
        flash(_("Your store is being read. You do not have to wait here."), "good")
    else:
        flash(_("Your store is being read already."), "info")
    return go("connections")


@bp.get("/s/<shop>/connections/store")
def connections_store() -> str:
    """The form for new keys."""
    present = _open_credentials()
    asked = _asked(present)
    return _store_page(settings_form.filled(asked, present), present)


@bp.post("/s/<shop>/connections/store")
def connections_store_save() -> Response | tuple[str, int]:
    """Give the store new keys or another address, once it has answered to them."""
    runtime, shop = site().runtime, the_shop()
    present = _open_credentials()
    asked = _asked(present)
    form = settings_form.posted(asked)
    try:
        told = settings_form.told(form, asked)
        connect.change_credentials(runtime.db, runtime.box, shop, told, runtime.clock.now())
    except CrmError as error:
        form.refuse(error, settings_form.place(error, asked))
        return _store_page(form, present), 422
    with runtime.db.write() as connection:
        detail = {"url": form.text("url")}
        audit.note(connection, shop.shop_id, g.actor, "shop.credentials", detail, runtime.clock.now())
    site().queue.enqueue(SYNC, shop.shop_id)
    flash(_("Your store answers. It is being read now."), "good")
    return go("connections")


def _asked(present: Mapping[str, Any]) -> tuple[Setting, ...]:
    return settings_form.asked(storefront_class(the_shop().platform).settings, present)


def _store_page(form: Form, present: Mapping[str, Any]) -> str:
    cls, asked = storefront_class(the_shop().platform), _asked(present)
    has_secrets = any(one.type is SettingType.SECRET and present.get(one.key) for one in asked)
    return render_template(
        "connections_store.html",
        form=form,
        fields=settings_form.fields(asked, kept=has_secrets),
        label=cls.label,
        platform=the_shop().platform,
    )


def _open_credentials() -> Mapping[str, Any]:
    """What the store is reached with; the address alone where it was disconnected, or the key that sealed the rest is gone."""
    runtime, shop = site().runtime, the_shop()
    try:
        return connect.credentials_of(runtime.db, runtime.box, shop) or {"url": shop.url}
    except ConfigError as error:
        flash(explained(error), "bad")
        return {"url": shop.url}


@bp.post("/s/<shop>/connections/import")
def connections_import() -> Response | tuple[str, int]:
    """Take a file in and have it loaded."""
    form = file_import.receive(the_shop())
    if form.failed:
        return page(import_form=form), 422
    flash(_("The file has arrived and is being loaded. You do not have to wait."), "good")
    return go("connections", _anchor="files")


@bp.post("/s/<shop>/connections/problems")
def connections_problems_retry() -> Response:
    """Read every record again that could not be read."""
    site().queue.enqueue(RETRY, the_shop().shop_id)
    flash(_("They are being read again. What still cannot be read stays in the list."), "good")
    return go("connections", _anchor="problems")


@bp.post("/s/<shop>/connections/problems/<int:problem>")
def connections_problems_dismiss(problem: int) -> Response:
    """Let one be."""
    runtime, shop = site().runtime, the_shop()
    with runtime.db.write() as connection:
        problems.dismiss(connection, shop.shop_id, problem)
        now = runtime.clock.now()
        audit.note(connection, shop.shop_id, g.actor, "problem.dismiss", {"problem": str(problem)}, now)
    flash(_("It stays left out."), "good")
    return go("connections", _anchor="problems")


@bp.post("/s/<shop>/connections/messages")
def connections_messages() -> Response | tuple[str, int]:
    """How messages look and when they go."""
    runtime, shop = site().runtime, the_shop()
    form = Form.posted(defaults={**_message_form().values, **dict.fromkeys(_BOXES, "")})
    # A box that is not ticked is not sent and still is an answer.
    form.values |= {name: bool(form.values[name]) for name in _BOXES}
    try:
        with runtime.db.write() as connection:
            settings.save_settings(connection, shop, _told(form), runtime.clock.now(), actor=g.actor)
    except CrmError as error:
        if getattr(error, "field", "") == "quiet_hours":
            form.errors["quiet_hours"] = _("Write both times, such as 21:00 and 08:00.")
        else:
            form.refuse(error)
        return page(message_form=form), 422
    flash(_("Saved. It applies to every message from now on."), "good")
    return go("connections", _anchor="messages")


@bp.post("/s/<shop>/connections/guards")
def connections_guards() -> Response | tuple[str, int]:
    """How often, at what hours, and what stops too many."""
    runtime, shop = site().runtime, the_shop()
    form = guard_form.posted(shop)
    told = guard_form.told(shop, form)
    if told is None:
        return page(guard_form=form), 422
    with runtime.db.write() as connection:
        settings.save_settings(connection, shop, told, runtime.clock.now(), actor=g.actor)
    flash(_("Saved. It applies to every message from now on."), "good")
    return go("connections", _anchor="bounds")


@bp.post("/s/<shop>/connections/rates")
def connections_rates() -> Response | tuple[str, int]:
    """What other currencies are worth; then all sums are counted anew."""
    runtime, shop, form = site().runtime, the_shop(), Form.posted()
    try:
        with runtime.db.write() as connection:
            told = {"rates": rates.told(form) or None}
            saved = settings.save_settings(connection, shop, told, runtime.clock.now(), actor=g.actor)
    except CrmError as error:
        rates.refuse(form, error)
        return page(rates_form=form), 422
    if saved.rates == shop.rates:
        flash(_("Saved. Nothing has changed."), "good")
    else:
        site().queue.enqueue(RECOUNT, shop.shop_id)
        flash(_("Saved. All sums are being counted anew by these rates; you do not have to wait here."), "good")
    return go("connections", _anchor="rates")


_TRACKED = ("tracking.clicks", "tracking.opens")
_WRITTEN = tuple(f"write_back.{name}" for name in settings.WRITE_BACK)
_BOXES = (*_TRACKED, *_WRITTEN)


def _message_form() -> Form:
    shop = the_shop()
    decided = policy.policy_of(shop)
    return Form(
        {
            "title": shop.title,
            "locale": shop.locale,
            "sender_name": decided.sender_name,
            "address": decided.address,
            "cta_url": str(shop.settings.get("cta_url") or ""),
            "brand.color": decided.brand.color,
            "brand.logo_url": decided.brand.logo_url,
            "quiet_hours": decided.quiet.start.strftime("%H:%M"),
            "quiet_to": decided.quiet.end.strftime("%H:%M"),
            "tracking.clicks": decided.tracking.clicks,
            "tracking.opens": decided.tracking.opens,
            **{name: name.partition(".")[2] in shop.settings.get("write_back", ()) for name in _WRITTEN},
            "keep_days": str(settings.keep_days(shop)),
        }
    )


def _told(form: Form) -> dict[str, Any]:
    """The form as settings tell it."""
    return {
        **{name: form.text(name) for name in ("title", "locale", "sender_name", "address", "cta_url", "keep_days")},
        "brand": {"color": form.text("brand.color"), "logo_url": form.text("brand.logo_url")},
        # What is set elsewhere on the page stays.
        "quiet_hours": {
            **settings.told_settings(the_shop()).get("quiet_hours", {}),
            "from": form.text("quiet_hours"),
            "to": form.text("quiet_to"),
        },
        "tracking": {name.partition(".")[2]: form.values[name] for name in _TRACKED},
        "write_back": [name.partition(".")[2] for name in _WRITTEN if form.values[name]],
    }
