"""Connecting a new store: which platform, where it is, its keys; then the first reading starts by itself."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from flask import g, redirect, render_template, request, url_for
from flask_babel import get_locale
from flask_babel import gettext as _
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from crm_plugin.adapters.base import Setting
from crm_plugin.adapters.registry import installer_class, storefront_class, storefront_names
from crm_plugin.errors import CrmError
from crm_plugin.jobs import tasks
from crm_plugin.store import audit
from crm_plugin.store.pending import Begun
from crm_plugin.store.tenants import Shop
from crm_plugin.sync.holders import StoreIsHeld
from crm_plugin.web import languages, settings_form, store_states
from crm_plugin.web.forms import Form
from crm_plugin.web.pages import bp
from crm_plugin.web.reading import SYNC
from crm_plugin.web.site import shops, site
from crm_plugin.web.titles import key_for

# First parts of a host's name that say nothing of whose shop it is.
_USUAL = frozenset({"www", "shop", "store"})
_OTHERWISE = "my-shop"


@bp.get("/connect")
def connect() -> str | tuple[str, int]:
    """The form of one platform; the others are a link away."""
    platform = _platform(request.args.get("platform", ""))
    form = settings_form.filled(_asked(platform), {})
    form.values |= {"name": "", "title": "", "currency": "", "timezone": "", "locale": str(get_locale()).split("_")[0]}
    form.values["locale"] = "zh-CN" if form.values["locale"] == "zh" else "en"
    return _page(platform, form), 200


@bp.post("/connect")
def connect_now() -> Response | tuple[str, int]:
    """Connect; nothing is kept unless the store answers."""
    platform = _platform(request.form.get("platform", ""))
    settings = _asked(platform)
    form = settings_form.posted(settings)
    for name in ("name", "title", "currency", "timezone", "locale"):
        form.values.setdefault(name, "")
    try:
        shop = _add(platform, form)
    except CrmError as error:
        form.refuse(error, settings_form.place(error, settings))
        return _page(platform, form, _holder(error)), 422
    if not _takes_files(platform):
        site().queue.enqueue(SYNC, shop.shop_id)
    return redirect(url_for("pages.today", shop=shop.name), 303)


def _add(platform: str, form: Form) -> Shop:
    runtime = site().runtime
    told: dict[str, Any] = {}
    if not _takes_files(platform):
        told = settings_form.told(form, _asked(platform))
    name = form.text("name") or _name_from(str(told.get("url", "")), form.text("title"))
    shop = tasks.add_shop(
        runtime,
        name=name,
        platform=platform,
        credentials={key: value for key, value in told.items() if value not in ("", None)},
        currency=form.text("currency"),
        timezone=form.text("timezone"),
        title=form.text("title"),
        locale=form.text("locale") or "en",
    )
    with runtime.db.write() as connection:
        _note(connection, shop)
    return shop


def _note(connection: Connection, shop: Shop) -> None:
    detail = {"platform": shop.platform, "url": shop.url}
    audit.note(connection, shop.shop_id, g.actor, "shop.connect", detail, site().runtime.clock.now())


def _holder(error: CrmError) -> Shop | None:
    """The shop that holds the store already, where whoever asks may see that shop."""
    held = error.shop_id if isinstance(error, StoreIsHeld) else None
    return next((one for one in shops() if one.shop_id == held), None)


def _page(platform: str, form: Form, holder: Shop | None = None) -> str:
    cls = storefront_class(platform)
    files = _takes_files(platform)
    asked = () if files else _asked(platform)
    return render_template(
        "connect.html",
        platform=platform,
        label=cls.label,
        platforms=[(name, storefront_class(name).label) for name in storefront_names()],
        files=files,
        fields=settings_form.fields(asked),
        form=form,
        zones=sorted(available_timezones()) if files else [],
        languages=languages.choices(form.text("locale")),
        first=not shops(),
        by_click=_by_click(platform),
        begun=_begun(platform),
        holder=holder,
        heading=_("Connect your store"),
    )


def _asked(platform: str) -> tuple[Setting, ...]:
    return settings_form.asked(storefront_class(platform).settings)


def _platform(told: str) -> str:
    return told if told in storefront_names() else storefront_names()[0]


def _by_click(platform: str) -> bool:
    """Whether the store can hand over its key by itself, which it does only to an https address."""
    cls = installer_class(platform)
    return cls is not None and cls.begun_here and site().public_url.startswith("https://")


def _begun(platform: str) -> list[Begun]:
    """Installs of this platform that wait for the merchant to agree."""
    with site().runtime.db.read() as connection:
        return [one for one in store_states.unfinished(connection) if one.platform == platform]


def _takes_files(platform: str) -> bool:
    return not storefront_class(platform).streams


def _name_from(url: str, title: str) -> str:
    """A short name out of the store's address or its title, one that is free."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        host = ""
    parts = [part for part in host.split(".") if part and part not in _USUAL]
    named = parts[0] if parts and not parts[0].isdigit() else title
    return key_for(named, {shop.name for shop in shops()}, _OTHERWISE)
