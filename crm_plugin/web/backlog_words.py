"""How long what is due still takes, in one sentence."""

from __future__ import annotations

from datetime import datetime

from flask_babel import gettext as _
from sqlalchemy import Connection

from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.backlog import all_gone, estimates
from crm_plugin.web import formats
from crm_plugin.web.site import site

# Fewer leave with the next round.
FEWEST = 100


def sentence(connection: Connection, shop: Shop, now: datetime) -> str:
    """How many wait to leave now and until when; empty while they are few."""
    found = estimates(connection, site().runtime.box, shop.shop_id, now)
    waiting, until = sum(one.waiting for one in found), all_gone(found)
    if waiting < FEWEST:
        return ""
    count = formats.number(waiting)
    if until is None:
        return str(_("%(count)s are due and wait.", count=count))
    return str(
        _("%(count)s are due and wait; at the present rate until %(when)s.", count=count, when=formats.moment(until))
    )
