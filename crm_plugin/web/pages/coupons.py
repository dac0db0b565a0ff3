"""Coupons: pools of codes that journeys hand out, filled by the store or with codes of one's own."""

from __future__ import annotations

from typing import Any

from flask import flash, g, render_template, request
from flask_babel import gettext as _
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from crm_plugin.adapters.registry import storefront_class
from crm_plugin.errors import CrmError
from crm_plugin.jobs.coupons import COUPONS
from crm_plugin.rules import segments
from crm_plugin.store import audit
from crm_plugin.touchpoints.steps import duties, stock
from crm_plugin.web import coupon_form
from crm_plugin.web.forms import Form
from crm_plugin.web.i18n import explained
from crm_plugin.web.pages import bp, go
from crm_plugin.web.site import site, the_shop

# The page belongs to the journeys, which hand the codes out; a journey may have any key, so it stands beside them.
_HERE = "/s/<shop>/coupons"


@bp.get(_HERE)
def journeys_coupons() -> str:
    """The pools, and the forms that fill them."""
    wanted = {name: request.args[name] for name in ("pool",) if name in request.args}
    return _page(Form({**coupon_form.EMPTY, **wanted}))


@bp.get(f"{_HERE}/state")
def journeys_coupons_state() -> str:
    """The part that changes while codes are being made."""
    return render_template("_coupons_pools.html", **_state())


@bp.post(_HERE)
def journeys_coupons_ask() -> Response | tuple[str, int]:
    """Show what would be made, or have it made."""
    shop, runtime, form = the_shop(), site().runtime, Form.posted(defaults=coupon_form.EMPTY)
    now, seen = runtime.clock.now(), None
    try:
        wanted = coupon_form.read(form, shop)
        stock.check(shop, wanted.pool, wanted.terms, wanted.count)
        with runtime.db.read() as connection:
            left = stock.free(connection, shop.shop_id).get(wanted.pool, 0)
            bound = _bound(connection, wanted)
        seen = coupon_form.preview(wanted, shop, left, bound)
        if request.form.get("do") != "ask":
            return _page(form, seen), 200
        with runtime.db.write() as connection:
            stock.ask(
                connection,
                shop,
                wanted.pool,
                wanted.terms,
                wanted.count,
                now,
                keep=wanted.keep,
                segment=wanted.segment,
                typed=form.text("confirm"),
            )
            detail = {"pool": wanted.pool, "codes": seen.count, "keep": wanted.count if wanted.keep else 0}
            detail |= {"segment": wanted.segment} if wanted.segment else {}
            audit.note(connection, shop.shop_id, g.actor, "coupons.asked", detail, now)
    except CrmError as error:
        form.refuse(error, "pool" if getattr(error, "field", "") == "key" else "")
        return _page(form, seen if "confirm" in form.errors else None), 422
    site().queue.enqueue(COUPONS, shop.shop_id)
    flash(_("The codes are asked of your store. You do not have to wait here."), "good")
    # A browser keeps the form's place in the page unless it is told another, and what came of it stands at the top.
    return go("journeys_coupons", _anchor="main")


@bp.post(f"{_HERE}/pools/<pool>")
def journeys_coupons_pool(pool: str) -> Response:
    """Ask the store once more after it refused, or give the order up."""
    shop, runtime, act = the_shop(), site().runtime, request.form.get("do", "")
    now = runtime.clock.now()
    try:
        with runtime.db.write() as connection:
            if act == "again":
                stock.again(connection, shop, pool, now)
            else:
                stock.give_up(connection, shop, pool, now)
            done = "coupons.again" if act == "again" else "coupons.ended"
            audit.note(connection, shop.shop_id, g.actor, done, {"pool": pool}, now)
    except CrmError as error:
        flash(explained(error), "bad")
        return go("journeys_coupons")
    if act == "again":
        site().queue.enqueue(COUPONS, shop.shop_id)
        flash(_("Your store is asked again now."), "good")
    else:
        flash(_("No more codes are asked for. Those that were made stay in the pool."), "good")
    return go("journeys_coupons")


@bp.post(f"{_HERE}/own")
def journeys_coupons_own() -> Response | tuple[str, int]:
    """Put codes into a pool that the store knows already."""
    shop, runtime, form = the_shop(), site().runtime, Form.posted(defaults={"own-pool": "", "codes": ""})
    codes, pool, now = form.text("codes").splitlines(), form.text("own-pool"), runtime.clock.now()
    if not any(code.strip() for code in codes):
        form.errors["codes"] = _("Write one code a line.")
        return _page(Form(dict(coupon_form.EMPTY)), own=form), 422
    try:
        with runtime.db.write() as connection:
            loaded = duties.load_codes(connection, shop, pool, codes, now)
            audit.note(connection, shop.shop_id, g.actor, "coupons.loaded", {"pool": pool, "codes": loaded.added}, now)
    except CrmError as error:
        form.refuse(error, "own-pool" if getattr(error, "field", "") == "key" else "codes")
        return _page(Form(dict(coupon_form.EMPTY)), own=form), 422
    coupon_form.tell(loaded)
    return go("journeys_coupons", _anchor="main")


def _bound(connection: Connection, wanted: coupon_form.Wanted) -> int:
    if not wanted.segment:
        return 0
    return stock.bound_count(connection, the_shop(), wanted.pool, wanted.segment, keep=wanted.keep)


def _state() -> dict[str, Any]:
    here, shop = site(), the_shop()
    with here.runtime.db.read() as connection:
        pools, stocks = duties.pools(connection, shop), stock.all_stocks(connection, shop.shop_id)
    rows = coupon_form.rows(pools, stocks, shop)
    live = any(one.job == COUPONS for one in here.queue.running(shop.shop_id))
    return {"rows": rows, "live": live and any(row.order is not None and not row.is_stopped for row in rows)}


def _page(form: Form, seen: coupon_form.Preview | None = None, own: Form | None = None) -> str:
    shop = the_shop()
    can_bind = stock.can_bind(shop)
    with site().runtime.db.read() as connection:
        listed = segments.list(connection, shop.shop_id) if can_bind else ()
    return render_template(
        "coupons.html",
        segments=[("", _("Whoever has the code")), *((one.key, one.title or one.key) for one in listed)]
        if listed
        else [],
        form=form,
        seen=seen,
        own=own or Form({"own-pool": form.text("pool"), "codes": ""}),
        can_make=stock.can_make(shop),
        platform=_(storefront_class(shop.platform).label),
        kinds=coupon_form.kinds(shop.currency),
        hidden=[name for name in coupon_form.EMPTY if name != "confirm"],
        most=stock.MOST,
        **_state(),
    )
