"""One sender of the shop: its settings, whether it is well, on and off, and a message to try it."""

from __future__ import annotations

from typing import Any

from flask import flash, g, render_template
from flask_babel import gettext as _
from flask_babel import lazy_gettext
from werkzeug.wrappers import Response

from crm_plugin.adapters.base import Capability, Problem
from crm_plugin.adapters.channels.base import ChannelAdapter
from crm_plugin.adapters.registry import channel_class, is_channel
from crm_plugin.errors import CrmError, NotFound
from crm_plugin.phrases import joined
from crm_plugin.store import audit
from crm_plugin.touchpoints import health, senders, testing
from crm_plugin.web import settings_form
from crm_plugin.web.forms import Form
from crm_plugin.web.i18n import in_words
from crm_plugin.web.labels import channel_name
from crm_plugin.web.pages import bp, go
from crm_plugin.web.sender_states import state_of
from crm_plugin.web.site import site, the_shop

# What a test message is sent to, by channel.
_TO = {
    "email": (lazy_gettext("E-mail address"), lazy_gettext("Your own, for example.")),
    "sms": (lazy_gettext("Phone number"), lazy_gettext("With the country's code, such as +447700900123.")),
    "account": (lazy_gettext("Account id"), lazy_gettext("The id of an account in your store.")),
    "inapp": (
        lazy_gettext("Account id"),
        lazy_gettext("The id of an account in your store; the message shows when it signs in."),
    ),
}
_HERE = "/s/<shop>/connections/senders/<adapter>"


@bp.get(_HERE)
def connections_sender(adapter: str) -> str:
    """The page of one sender."""
    return _page(adapter, None, Form({"to": ""}))


@bp.post(_HERE)
def connections_sender_save(adapter: str) -> Response | tuple[str, int]:
    """Keep the settings after the provider has answered to them."""
    cls, runtime, shop = _class(adapter), site().runtime, the_shop()
    form = settings_form.posted(cls.settings)
    now = runtime.clock.now()
    try:
        warnings = senders.save_connection(
            runtime.db, runtime.box, shop, adapter, settings_form.told(form, cls.settings), now
        )
    except CrmError as error:
        form.refuse(error, settings_form.place(error, cls.settings))
        return _page(adapter, form, Form({"to": ""})), 422
    _note(adapter, "sender.save")
    flash(_("%(sender)s is connected. Now send yourself a test message.", sender=cls.label), "good")
    _warn(warnings)
    return go("connections_sender", adapter=adapter)


@bp.post(f"{_HERE}/switch")
def connections_sender_switch(adapter: str) -> Response:
    """Use the sender, or stop using it."""
    cls, runtime, shop = _class(adapter), site().runtime, the_shop()
    present = _sender(adapter)
    on = present is None or not present.enabled
    senders.switch(runtime.db, shop, adapter, on, runtime.clock.now())
    _note(adapter, "sender.on" if on else "sender.off")
    if on:
        flash(_("%(sender)s is used again.", sender=cls.label), "good")
    else:
        flash(_("%(sender)s is switched off. Nothing new is planned for it.", sender=cls.label), "good")
    return go("connections_sender", adapter=adapter)


@bp.post(f"{_HERE}/check")
def connections_sender_check(adapter: str) -> Response:
    """Ask the provider again; a sender that answers is no longer paused."""
    cls, runtime, shop = _class(adapter), site().runtime, the_shop()
    problems = senders.check(runtime.db, runtime.box, shop, adapter, runtime.clock.now())
    if not problems:
        flash(_("%(sender)s answers: all is well.", sender=cls.label), "good")
    _warn(problems)
    return go("connections_sender", adapter=adapter)


@bp.post(f"{_HERE}/try")
def connections_sender_try(adapter: str) -> Response:
    """Leave a sender alone no longer: the round that is asked for tries it."""
    cls, runtime, shop = _class(adapter), site().runtime, the_shop()
    with runtime.db.write() as connection:
        if health.try_now(connection, shop.shop_id, adapter):
            audit.note(connection, shop.shop_id, g.actor, "sender.try", {"sender": adapter}, runtime.clock.now())
    site().queue.enqueue("tick", shop.shop_id)
    flash(_("%(sender)s is tried now. If it fails again, it is left alone for longer.", sender=cls.label), "good")
    return go("connections_sender", adapter=adapter)


@bp.post(f"{_HERE}/test")
def connections_sender_test(adapter: str) -> Response | tuple[str, int]:
    """Send a message that says it is a test."""
    runtime, shop = site().runtime, the_shop()
    _class(adapter)
    form = Form.posted(defaults={"to": ""})
    try:
        testing.send_test(
            runtime.db, runtime.box, shop, adapter, form.text("to"), runtime.clock.now(), site().public_url
        )
    except CrmError as error:
        form.refuse(error, "to")
        return _page(adapter, None, form), 422
    flash(_("The test message to %(to)s was handed over. Check that it arrives.", to=form.text("to")), "good")
    return go("connections_sender", adapter=adapter)


def _page(adapter: str, form: Form | None, test: Form) -> str:
    cls, runtime, shop = _class(adapter), site().runtime, the_shop()
    present = {} if cls.uses_storefront else senders.shown_settings(runtime.db, runtime.box, shop, adapter)
    own = () if cls.uses_storefront else cls.settings
    with runtime.db.read() as connection:
        rest = health.rests(connection, shop.shop_id, runtime.clock.now()).get(adapter)
    return render_template(
        "connections_sender.html",
        adapter=adapter,
        sender=_sender(adapter),
        cls=cls,
        state=state_of(_sender(adapter), rest),
        rest=rest,
        fields=settings_form.fields(own, kept=bool(present)),
        form=form or settings_form.filled(own, present),
        test=test,
        to_label=_to(cls)[0],
        to_help=_to(cls)[1],
        channel_name=channel_name,
        public_url=site().public_url,
        hook=senders.hook_url(site().public_url, shop, adapter) if site().public_url else "",
    )


def _to(cls: type[ChannelAdapter]) -> tuple[Any, Any]:
    """What the address of a test message is called, and how it is written."""
    by_account = cls.channel == "sms" and Capability.NEEDS_ACCOUNT in cls.capabilities
    return _TO["account" if by_account else cls.channel if cls.channel in _TO else "inapp"]


def _class(adapter: str) -> type[ChannelAdapter]:
    if is_channel(adapter):
        cls = channel_class(adapter)
        if cls.uses_storefront in ("", the_shop().platform):
            return cls
    raise NotFound(_("This shop has no such sender."), hint=_("Choose one under Connections."))


def _sender(adapter: str) -> senders.Sender | None:
    """The sender as it is; None when it is not set up."""
    with site().runtime.db.read() as connection:
        there = {one.adapter: one for one in senders.senders(connection, the_shop())}
    return there.get(adapter)


def _note(adapter: str, action: str) -> None:
    runtime = site().runtime
    with runtime.db.write() as connection:
        audit.note(connection, the_shop().shop_id, g.actor, action, {"sender": adapter}, runtime.clock.now())


def _warn(problems: list[Problem]) -> None:
    for problem in problems:
        flash(in_words(joined(problem.message, problem.hint)), "bad" if problem.severity == "error" else "warn")
