"""Rehearsing a journey, or all that are on: chosen here, played in the background, shown as a calendar."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal, InvalidOperation

from flask import render_template, request
from flask_babel import gettext as _
from werkzeug.wrappers import Response

from crm_plugin.clock import local_day
from crm_plugin.errors import CrmError, InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.rehearsal import Ask
from crm_plugin.rehearsal.ask import FARTHEST, LONGEST_DAYS, check, days_of, read_day
from crm_plugin.touchpoints import journeys as store
from crm_plugin.web import labels, rehearsed
from crm_plugin.web.forms import Form
from crm_plugin.web.pages import bp, go
from crm_plugin.web.rehearsed import JOB, SPANS
from crm_plugin.web.site import site, the_shop
from crm_plugin.web.titles import named


@bp.get("/s/<shop>/rehearsal")
def journeys_rehearsal() -> str:
    """What to rehearse, and what the last rehearsal came to."""
    return _page(
        Form({"journey": request.args.get("journey", ""), "span": "next-30", "from": "", "to": "", "price": ""})
    )


@bp.post("/s/<shop>/rehearsal")
def journeys_rehearse() -> Response | tuple[str, int]:
    """Ask for one."""
    here, shop, form = site(), the_shop(), Form.posted()
    now = here.runtime.clock.now()
    try:
        first, last = _days(form, local_day(now, shop.timezone))
        price = _price(form.text("price"))
        key = form.text("journey")
        check(Ask(first, last, key, part_price=price), shop, now)
        with here.runtime.db.read() as connection:
            if key:
                store.get(connection, shop.shop_id, key)
    except CrmError as error:
        form.refuse(error, "price" if isinstance(error, InvalidInput) and error.field == "sms_price" else "")
        return _page(form), 422
    told = {
        "journey": key,
        "first": first.isoformat(),
        "last": last.isoformat(),
        "price": "" if price is None else str(price),
    }
    here.queue.enqueue(JOB, shop.shop_id, **told)
    return go("journeys_rehearsal", journey=key)


@bp.get("/s/<shop>/rehearsal/state")
def journeys_rehearsal_state() -> str:
    """How far the one that is played is, for the page that shows it live."""
    return render_template("_rehearsal_state.html", running=rehearsed.running(site().queue, the_shop()))


def _page(form: Form) -> str:
    here, shop = site(), the_shop()
    with here.runtime.db.read() as connection:
        there = store.all_journeys(connection, shop.shop_id)
    last = here.queue.last(shop.shop_id, JOB)
    today = local_day(here.runtime.clock.now(), shop.timezone)
    titles = {one.key: one.title for one in there}
    seen = rehearsed.seen(last.result["rehearsal"], titles) if last is not None and last.ok else None
    return render_template(
        "rehearsal.html",
        labels=labels,
        form=form,
        journeys=[("", _("All journeys that are on")), *((one.key, named(one.title, one.key)) for one in there)],
        spans=[(word, name) for word, (name, _before, _ahead) in SPANS.items()],
        earliest=today - FARTHEST,
        latest=today + timedelta(days=LONGEST_DAYS),
        running=rehearsed.running(here.queue, shop),
        last=last,
        seen=seen,
        about="" if seen is None else named(titles.get(seen.told["journey"], {}), seen.told["journey"]),
    )


def _days(form: Form, today: date) -> tuple[date, date]:
    """The days that were typed, else the span that was chosen. Raises: InvalidInput naming the field."""
    told = [read_day(form.text(name), name) if form.text(name) else None for name in ("from", "to")]
    return days_of(today, *told) if any(told) else rehearsed.span_of(form.text("span"), today)


def _price(told: str) -> Decimal | None:
    if not told:
        return None
    try:
        return Decimal(told.replace(",", "."))
    except InvalidOperation as error:
        raise InvalidInput(
            phrase("%(price)r is no amount.", price=told), field="price", hint=phrase("An example: 0.05.")
        ) from error
