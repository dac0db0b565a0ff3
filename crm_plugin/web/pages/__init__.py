"""The merchant's pages: one module a page, all behind the sign-in, all under `/s/<shop>/`."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, g, redirect, render_template, request, url_for
from flask_babel import get_locale
from flask_babel import gettext as _
from werkzeug.wrappers import Response

from crm_plugin.web import auth, security
from crm_plugin.web.i18n import in_words
from crm_plugin.web.languages import sentences
from crm_plugin.web.site import load_shop, shops
from crm_plugin.web.store_states import badge_of

bp = Blueprint("pages", __name__)


@bp.before_request
def guard() -> tuple[str, int] | None:
    """Signed in, from a page of ours, and for a shop that exists."""
    refused = auth.require_sign_in()
    if refused is not None:
        return refused
    security.refuse_foreign_writes()
    if g.get("visit") is not None and "shop" not in (request.view_args or {}) and request.endpoint != "pages.home":
        # From inside a store's admin nobody connects other stores, nor sees which there are.
        abort(404)
    if request.view_args and "shop" in request.view_args:
        load_shop(request.view_args.pop("shop"))
    return None


@bp.app_context_processor
def for_templates() -> dict[str, Any]:
    """What every page may use."""
    return {
        "ui_lang": str(get_locale()).replace("_", "-").replace("zh-Hans-CN", "zh-CN"),
        "in_words": in_words,
        "sentences": sentences,
    }


@bp.context_processor
def for_pages() -> dict[str, Any]:
    """What the frame of the merchant's pages needs."""
    return {
        "shop": g.get("shop"),
        "navigation": navigation,
        "here": (request.endpoint or "").partition(".")[2].partition("_")[0],
        "several_shops": len(shops()) > 1,
    }


def navigation() -> list[tuple[str, str]]:
    """The pages in their order: endpoint and name. An endpoint of a page begins with the page's own: `members`, `members_one`."""
    return [
        ("today", _("Today")),
        ("members", _("Members")),
        ("segments", _("Segments")),
        ("tiers", _("Tiers")),
        ("journeys", _("Journeys")),
        ("tasks", _("Tasks")),
        ("outbox", _("Outbox")),
        ("connections", _("Connections")),
    ]


def go(endpoint: str, **values: Any) -> Response:
    """To another page of the present shop, after a change was made."""
    return redirect(url_for(f"pages.{endpoint}", shop=g.shop.name, **values), 303)


@bp.get("/")
def home() -> Response | str:
    """To the only shop; else the list of them, or connecting the first."""
    there = shops()
    if not there:
        return redirect(url_for("pages.connect"), 303)
    if len(there) == 1 and (g.get("visit") is not None or not request.args.get("all")):
        return redirect(url_for("pages.today", shop=there[0].name), 303)
    return render_template("shops.html", shops=there, badge_of=badge_of)


# They register themselves.
from crm_plugin.web.pages import (  # noqa: E402
    connect,  # noqa: F401
    connections,  # noqa: F401
    coupons,  # noqa: F401
    fields,  # noqa: F401
    journey_one,  # noqa: F401
    journey_start,  # noqa: F401
    journey_state,  # noqa: F401
    journey_steps,  # noqa: F401
    journey_switch,  # noqa: F401
    journey_texts,  # noqa: F401
    journeys,  # noqa: F401
    member_tier,  # noqa: F401
    member_why,  # noqa: F401
    members,  # noqa: F401
    outbox,  # noqa: F401
    privacy,  # noqa: F401
    rehearsal,  # noqa: F401
    segments,  # noqa: F401
    senders,  # noqa: F401
    store_end,  # noqa: F401
    tasks,  # noqa: F401
    tiers,  # noqa: F401
    tiers_grades,  # noqa: F401
    tiers_policy,  # noqa: F401
    tiers_store,  # noqa: F401
    today,  # noqa: F401
)
