"""The grades that the store has of its own: from when on it gives them, changed only after what would change was shown."""

from __future__ import annotations

from flask import flash, g, render_template
from flask_babel import gettext as _
from werkzeug.wrappers import Response

from crm_plugin.adapters.registry import storefront_class
from crm_plugin.adapters.storefronts.base import StoreGrade
from crm_plugin.errors import CrmError
from crm_plugin.money import to_major
from crm_plugin.sync import connect, grades
from crm_plugin.web.forms import Form
from crm_plugin.web.pages import bp, go
from crm_plugin.web.site import site, the_shop


@bp.get("/s/<shop>/tiers/grades")
def tiers_grades() -> str | tuple[str, int]:
    """What is set in the store now."""
    shop, form = the_shop(), Form()
    try:
        storefront = connect.open_storefront(site().runtime.db, site().runtime.box, shop)
        try:
            told = grades.there(shop, storefront)
        finally:
            storefront.close()
    except CrmError as error:
        form.refuse(error)
        return _page(form, []), 422
    form.values = _values(told)
    return _page(form, [])


@bp.post("/s/<shop>/tiers/grades")
def tiers_grades_set() -> Response | str | tuple[str, int]:
    """Show what would change, or change it."""
    runtime, shop, form = site().runtime, the_shop(), Form.posted()
    numbers = range(1, storefront_class(shop.platform).most_grades + 1)
    try:
        least, off = ([form.text(f"{name}_{number}") for number in numbers] for name in ("least", "off"))
        wanted = grades.read(form.text("by"), least, off, shop.currency)
        storefront = connect.open_storefront(runtime.db, runtime.box, shop)
        try:
            if form.text("do") == "set":
                grades.change(runtime.db, shop, storefront, wanted, runtime.clock.now(), actor=g.actor)
                flash(_("The grades are set in your store."), "good")
                return go("tiers", _anchor="store")
            changes = grades.compare(grades.there(shop, storefront), wanted)
        finally:
            storefront.close()
    except CrmError as error:
        form.refuse(error)
        return _page(form, []), 422
    return _page(form, changes)


def _page(form: Form, changes: list[grades.GradeChange]) -> str:
    adapter = storefront_class(the_shop().platform)
    numbers = range(1, adapter.most_grades + 1)
    return render_template("tiers_grades.html", form=form, changes=changes, numbers=numbers, platform=adapter.label)


def _values(told: list[StoreGrade]) -> dict[str, str]:
    currency = the_shop().currency
    by = grades.ORDERS if any(one.least_orders is not None for one in told) else grades.AMOUNT
    values = {"by": by}
    for one in told:
        least = one.least_orders if by == grades.ORDERS else one.least_minor
        if least is not None:
            values[f"least_{one.number}"] = str(least if by == grades.ORDERS else to_major(least, currency))
        if one.percent_off is not None:
            values[f"off_{one.number}"] = f"{one.percent_off.normalize():f}"
    return values
