"""Outbox: what went, what waits, what was held back, failed or is not known, and why; each message as it was written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import abort, flash, g, render_template, request
from flask_babel import gettext as _
from flask_babel import ngettext
from sqlalchemy import Connection
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response

from crm_plugin.adapters.channels.base import sms_size
from crm_plugin.analytics.members import find
from crm_plugin.errors import InvalidInput
from crm_plugin.touchpoints import ahead
from crm_plugin.touchpoints import outbox as reads
from crm_plugin.touchpoints.journeys import all_journeys
from crm_plugin.touchpoints.states import WAITING, State
from crm_plugin.web import backlog_words, formats, ids, labels
from crm_plugin.web.i18n import explained
from crm_plugin.web.pages import bp, go
from crm_plugin.web.security import MESSAGE_POLICY
from crm_plugin.web.site import site, the_shop
from crm_plugin.web.titles import named

PAGE = 50
# What went out, whatever became of it then.
_WENT = (State.ACCEPTED, State.DELIVERED, State.BOUNCED, State.COMPLAINED)
_LEFT_OUT = (State.SKIPPED, State.MISSED, State.CANCELLED)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the list is narrowed by."""

    state: str = ""
    reason: str = ""
    journey: str = ""
    member: str = ""

    @classmethod
    def of(cls, values: MultiDict[str, str]) -> Asked:
        """Out of an address."""
        return cls(*(values.get(name, "").strip() for name in ("state", "reason", "journey", "member")))

    @property
    def narrows(self) -> bool:
        return bool(self.state or self.reason or self.journey or self.member)

    def address(self, **changes: str) -> dict[str, str]:
        """As the address of the page has them, with changes."""
        told = {"state": self.state, "reason": self.reason, "journey": self.journey, "member": self.member} | changes
        return {name: value for name, value in told.items() if value}


@dataclass(frozen=True, slots=True)
class Shown:
    """The words of one message, as far as there are any; `preview` when it is not yet sent and was rendered just now.

    `problem` says why it cannot be rendered, `refused` why it would be held back if it were sent now.
    """

    subject: str = ""
    text: str = ""
    html: str = ""
    url: str = ""
    locale: str = ""
    preview: bool = False
    problem: str = ""
    refused: str = ""


@bp.get("/s/<shop>/outbox")
def outbox() -> str:
    """The list, the newest first."""
    with site().runtime.db.read() as connection:
        return _list(connection, Asked.of(request.args))


@bp.post("/s/<shop>/outbox/settle")
def outbox_settle_all() -> Response | tuple[str, int]:
    """Say of all messages of unknown outcome that they arrived, or that they did not."""
    runtime, shop, sent = site().runtime, the_shop(), request.form.get("sent")
    if sent not in ("yes", "no"):
        abort(400)
    with runtime.db.write() as connection:
        count = reads.counts(connection, shop.shop_id).get(State.UNCONFIRMED, 0)
        if request.form.get("count") != str(count):
            told = _("Their number has changed since you looked. Look again before you decide for all.")
            return _list(connection, Asked(state=State.UNCONFIRMED), wrong=told), 422
        done = reads.settle_all(connection, shop, sent == "yes", runtime.clock.now(), g.actor)
    if sent == "yes":
        told = ngettext(
            "%(count)s message noted as sent.", "%(count)s messages noted as sent.", done, count=formats.number(done)
        )
    else:
        told = ngettext(
            "%(count)s message noted as not sent.",
            "%(count)s messages noted as not sent.",
            done,
            count=formats.number(done),
        )
    flash(told, "good")
    return go("outbox", state="" if sent == "yes" else State.FAILED.value)


@bp.post("/s/<shop>/outbox/again")
def outbox_again_all() -> Response | tuple[str, int]:
    """Send again all that failed for one reason."""
    runtime, shop, reason = site().runtime, the_shop(), request.form.get("reason", "")
    with runtime.db.write() as connection:
        count = reads.failed_reasons(connection, shop.shop_id).get(reason, 0)
        if not count or request.form.get("count") != str(count):
            told = _("Their number has changed since you looked. Look again before you decide for all.")
            return _list(connection, Asked(state=State.FAILED), wrong=told), 422
        done = reads.send_again_all(connection, shop, reason, runtime.clock.now(), g.actor)
    told = ngettext(
        "%(count)s message goes out with the next round, if nothing stands against it then.",
        "%(count)s messages go out with the next rounds, if nothing stands against them then.",
        done,
        count=formats.number(done),
    )
    flash(told, "good")
    return go("outbox", state=State.FAILED.value)


@bp.get("/s/<shop>/outbox/<int:touchpoint_id>")
def outbox_one(touchpoint_id: int) -> str:
    """One message in full."""
    with site().runtime.db.read() as connection:
        return _one(connection, touchpoint_id)


@bp.get("/s/<shop>/outbox/<int:touchpoint_id>/message")
def outbox_message(touchpoint_id: int) -> Response:
    """The mail itself as a document of its own, in which nothing runs."""
    with site().runtime.db.read() as connection:
        shown = _shown(connection, reads.show(connection, the_shop().shop_id, touchpoint_id))
    if not shown.html:
        abort(404)
    return Response(shown.html, mimetype="text/html", headers={"Content-Security-Policy": MESSAGE_POLICY})


@bp.post("/s/<shop>/outbox/<int:touchpoint_id>")
def outbox_act(touchpoint_id: int) -> Response | tuple[str, int]:
    """Cancel, send again, or say whether it arrived."""
    act = request.form.get("do", "")
    runtime, shop = site().runtime, the_shop()
    now = runtime.clock.now()
    try:
        with runtime.db.write() as connection:
            if act == "cancel":
                reads.cancel(connection, shop, touchpoint_id, now, g.actor)
            elif act == "again":
                _may_arrive_twice(connection, touchpoint_id)
                reads.send_again(connection, shop, touchpoint_id, now, g.actor)
            elif act in ("arrived", "lost"):
                reads.settle(connection, shop, touchpoint_id, act == "arrived", now, g.actor)
            else:
                abort(400)
    except InvalidInput as error:
        with runtime.db.read() as connection:
            return _one(connection, touchpoint_id, wrong=explained(error)), 422
    told = {
        "cancel": _("Cancelled: it will not be sent."),
        "again": _("It goes out with the next round, if nothing stands against it then."),
        "arrived": _("Noted: it was sent."),
        "lost": _("Noted: it was not sent. You can send it again now."),
    }
    flash(told[act], "good")
    return go("outbox_one", touchpoint_id=touchpoint_id)


def _may_arrive_twice(connection: Connection, touchpoint_id: int) -> None:
    """Only who has ticked the box sends again what may have arrived. Raises: InvalidInput, NotFound."""
    state = reads.show(connection, the_shop().shop_id, touchpoint_id).entry.state
    if state == State.UNCONFIRMED and request.form.get("sure") != "yes":
        raise InvalidInput(_("Tick the box first: the member may get this message twice."), field="sure")


def _list(connection: Connection, asked: Asked, *, wrong: str = "") -> str:
    shop, before = the_shop(), request.args.get("before", type=ids.place)
    member_id = find(connection, shop, asked.member) if asked.member else None
    narrowed = {"state": asked.state, "reason": asked.reason, "journey": asked.journey}
    rows = reads.entries(connection, shop.shop_id, **narrowed, member_id=member_id, before=before, limit=PAGE + 1)
    counts = reads.counts(connection, shop.shop_id)
    journeys = all_journeys(connection, shop.shop_id)
    return render_template(
        "outbox.html",
        asked=asked,
        rows=rows[:PAGE],
        next_before=rows[PAGE - 1].touchpoint_id if len(rows) > PAGE else None,
        before=before,
        counts=counts,
        all=sum(counts.values()),
        went=_sum(counts, _WENT),
        waiting=_sum(counts, WAITING),
        held=_sum(counts, _LEFT_OUT),
        backlog=backlog_words.sentence(connection, shop, site().runtime.clock.now()),
        unknown=counts.get(State.UNCONFIRMED, 0),
        failed=reads.failed_reasons(connection, shop.shop_id) if asked.state == State.FAILED else {},
        reasons=sorted(reads.reasons(connection, shop.shop_id).items(), key=lambda pair: -pair[1]),
        journeys=[(one.key, named(one.title, one.key)) for one in journeys],
        any_on=any(one.enabled for one in journeys),
        wrong=wrong,
        **_WORDS,
    )


def _sum(counts: dict[str, int], states: tuple[State, ...]) -> int:
    return sum(counts.get(state, 0) for state in states)


def _one(connection: Connection, touchpoint_id: int, *, wrong: str = "") -> str:
    detail = reads.show(connection, the_shop().shop_id, touchpoint_id)
    shown = _shown(connection, detail)
    return render_template(
        "outbox_one.html",
        detail=detail,
        entry=detail.entry,
        shown=shown,
        size=sms_size(shown.text),
        wrong=wrong,
        **_WORDS,
    )


# What templates name things by.
_WORDS: dict[str, Any] = {"labels": labels, "State": State, "WAITING": [state.value for state in WAITING]}


def _shown(connection: Connection, detail: reads.Detail) -> Shown:
    """The message as it was rendered; for one that waits, as it would be now, or why it cannot be."""
    entry, content, runtime = detail.entry, detail.content, site().runtime
    if entry.state not in WAITING:
        return Shown() if content is None else _as_kept(content)
    now, public_url = runtime.clock.now(), site().public_url
    seen = ahead.preview(connection, the_shop(), runtime.box, public_url, entry.touchpoint_id, now)
    verdict, made = seen.verdict, seen.message
    refused = labels.reason(str(verdict.reason)) if verdict.state not in (None, State.PLANNED) else None
    why = str(refused.text) if refused else ""
    if made is None:
        return Shown(problem=seen.problem, refused=why)
    return Shown(made.subject, made.text, made.html, made.url, made.locale, preview=True, refused=why)


def _as_kept(content: reads.Content) -> Shown:
    return Shown(content.subject, content.text, content.html, content.url, content.locale)
