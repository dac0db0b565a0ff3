"""What the merchant decides about one member's level: fixed by hand, or none at all, and free again."""

from __future__ import annotations

from flask import flash, g
from flask_babel import gettext as _
from sqlalchemy import Connection
from werkzeug.wrappers import Response

from crm_plugin.errors import InvalidInput
from crm_plugin.rules import by_hand
from crm_plugin.rules.by_hand import Desk
from crm_plugin.rules.called import called
from crm_plugin.rules.policies import every_version
from crm_plugin.web import fix_form
from crm_plugin.web.forms import Form
from crm_plugin.web.pages import bp, go
from crm_plugin.web.pages.members import one_page
from crm_plugin.web.site import site, the_shop, today


@bp.post("/s/<shop>/members/<int:member_id>/tier")
def members_tier(member_id: int) -> Response | tuple[str, int]:
    """Fix the level, or let the rules decide again (`do` is free, `program` of what). Raises: NotFound for a member who is gone."""
    form = Form.posted(defaults=fix_form.FIELDS)
    told = _free(member_id, form) if form.text("do") == "free" else _fix(member_id, form)
    if form.failed:
        return one_page(member_id, fix=form), 422
    flash(told, "good")
    return go("members_one", member_id=member_id, _anchor="tier")


def _fix(member_id: int, form: Form) -> str:
    shop = the_shop()
    with site().runtime.db.read() as connection:
        every, by = every_version(connection, shop.shop_id), called(connection, shop)
    program, level, until = fix_form.read(form, fix_form.choices(every, by, today(shop)))
    if form.failed:
        return ""
    try:
        with site().runtime.db.write() as connection:
            by_hand.fix(_desk(connection, program), member_id, level, form.text("reason"), until)
    except InvalidInput as error:
        form.refuse(error)
    return str(_("Fixed by hand. The rules do not move this member until that ends."))


def _free(member_id: int, form: Form) -> str:
    try:
        with site().runtime.db.write() as connection:
            by_hand.free(_desk(connection, form.text("program")), member_id)
    except InvalidInput as error:
        form.refuse(error)
    return str(_("No longer fixed by hand: the rules have decided again."))


def _desk(connection: Connection, program: str) -> Desk:
    return Desk(connection, the_shop(), site().runtime.clock.now(), g.actor, program)
