"""What a customer opens from a message: unsubscribing, answering a question, links that are counted; and a storefront's in-app inbox."""

from __future__ import annotations

import logging
from base64 import b64decode
from dataclasses import replace

from flask import Blueprint, Response, jsonify, make_response, redirect, render_template, request, url_for
from flask_babel import force_locale, get_locale
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from werkzeug.wrappers import Response as WebResponse

from crm_plugin.errors import CrmError, InvalidInput, NotFound
from crm_plugin.records import ConsentState
from crm_plugin.store import consent, members
from crm_plugin.store.members import present_id
from crm_plugin.store.tenants import Shop, shop_by_id
from crm_plugin.touchpoints import inapp, link_events, questions, tokens, unsubscribe
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.web.site import site

bp = Blueprint("customer", __name__)
# One point that nobody sees.
_PICTURE = b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
_log = logging.getLogger(__name__)


@bp.get("/u/<token>")
def ask(token: str) -> tuple[str, int]:
    """Ask before anything changes: mail scanners and previews open every link."""
    return _unsubscribe_page(token)


@bp.post("/u/<token>")
def act(token: str) -> tuple[str, int] | Response:
    """Unsubscribe at once, or take it back. A mail program posts `List-Unsubscribe=One-Click` (RFC 8058) and reads no page."""
    runtime = site().runtime
    try:
        about = tokens.read_unsubscribe(runtime.box, token)
    except InvalidInput:
        return _unsubscribe_page(token)
    one_click = request.form.get("List-Unsubscribe") == "One-Click"
    with runtime.db.write() as connection:
        if request.form.get("fewer") and not one_click:
            unsubscribe.fewer(connection, about, request.form["fewer"], runtime.clock.now())
        elif request.form.get("again") and not one_click:
            unsubscribe.resubscribe(connection, about, runtime.clock.now())
        else:
            unsubscribe.apply(connection, about, runtime.clock.now(), source="one-click" if one_click else "link")
    if one_click:
        return Response(status=200)
    return make_response("", 303, {"Location": url_for("customer.ask", token=token)})


def _unsubscribe_page(token: str) -> tuple[str, int]:
    runtime = site().runtime
    try:
        told = tokens.read_unsubscribe(runtime.box, token)
        with runtime.db.read() as connection:
            shop: Shop = shop_by_id(connection, told.shop_id)
            present = unsubscribe.who_now(connection, told)
            about = present or told
            may_undo = unsubscribe.by_link(connection, about)
            chosen = unsubscribe.chosen(connection, about, runtime.clock.now())
            state = consent.state_of(connection, about.shop_id, about.member_id, about.channel, about.topic)
            locale = connection.execute(
                select(members.c.locale).where(
                    members.c.shop_id == about.shop_id, members.c.member_id == about.member_id
                )
            ).scalar()
    except CrmError:
        return render_template("unsubscribe.html", shop=None, lang=_language("")), 404
    lang = _language(locale or shop.locale)
    with force_locale("zh_Hans_CN" if lang == "zh" else "en"):
        page = render_template(
            "unsubscribe.html",
            shop=shop,
            brand=policy_of(shop).brand,
            channel=about.channel,
            # Nobody is left to write to: that is what they asked for.
            stopped=present is None or state is ConsentState.WITHDRAWN,
            may_undo=may_undo,
            chosen=chosen,
            choices=unsubscribe.FEWER,
            lang=lang,
        )
    return page, 200


@bp.get("/a/<token>")
def asked(token: str) -> tuple[str, int]:
    """Show the answer of the link beside the others; nothing is kept by opening it: mail scanners and previews open every link."""
    return _answer_page(token)


@bp.post("/a/<token>")
def answered(token: str) -> tuple[str, int] | Response:
    """Keep the answer that was chosen."""
    runtime = site().runtime
    try:
        told = tokens.read_answer(runtime.box, token)
        told = replace(told, answer=request.form.get("answer", told.answer))
        with runtime.db.write() as connection:
            questions.answer(connection, told, runtime.clock.now())
    except CrmError:
        return _answer_page(token)
    return make_response("", 303, {"Location": url_for("customer.asked", token=token)})


def _answer_page(token: str) -> tuple[str, int]:
    runtime = site().runtime
    try:
        told = tokens.read_answer(runtime.box, token)
        question = questions.question_of(told)
        with runtime.db.read() as connection:
            shop: Shop = shop_by_id(connection, told.shop_id)
            member_id = present_id(connection, told.shop_id, told.member_id)
            about = replace(told, member_id=member_id or told.member_id)
            given = questions.given(connection, about)
            query = select(members.c.locale).where(
                members.c.shop_id == told.shop_id, members.c.member_id == about.member_id
            )
            locale = connection.execute(query).scalar()
    except CrmError:
        return render_template("answer.html", shop=None, lang=_language("")), 404
    lang = _language(locale or shop.locale)
    with force_locale("zh_Hans_CN" if lang == "zh" else "en"):
        page = render_template(
            "answer.html",
            shop=shop,
            brand=policy_of(shop).brand,
            question=question.text[lang],
            answers={key: text[lang] for key, text in question.answers.items()},
            chosen=given or told.answer,
            # Nobody is left to tell: that is an answer too.
            kept=bool(given) or member_id is None,
            lang=lang,
        )
    return page, 200


@bp.get("/r/<token>")
def followed(token: str) -> tuple[str, int] | WebResponse:
    """Lead to where a link of a message points, and count it; whoever only asks whether the link is there (HEAD) counts as nothing."""
    try:
        link = tokens.read_link(site().runtime.box, token)
    except InvalidInput:
        return render_template("link.html", lang=_language("")), 404
    _count(link)
    return redirect(link.url, 302)


@bp.get("/o/<token>.gif")
def opened(token: str) -> Response:
    """The picture that tells that a message was opened; it is shown whatever becomes of that, for a broken one would be seen."""
    status = 200
    try:
        _count(tokens.read_picture(site().runtime.box, token))
    except InvalidInput:
        status = 404
    return Response(_PICTURE, status, mimetype="image/gif")


def _count(link: tokens.Link) -> None:
    """Count it if that can be done; who follows a link gets where it leads all the same."""
    runtime = site().runtime
    if request.method == "HEAD":
        return
    try:
        with runtime.db.write() as connection:
            link_events.note(connection, link, dict(request.headers), runtime.clock.now())
    except DBAPIError as error:
        _log.warning("a link of touchpoint %s was not counted: %s", link.touchpoint_id, type(error.orig).__name__)


def _language(told: str) -> str:
    tag = told or str(get_locale())
    return "zh" if tag.lower().startswith("zh") else "en"


@bp.route("/inapp/messages", methods=["GET", "OPTIONS"])
def messages() -> Response:
    """The messages of the member whose token is sent (`Authorization: Bearer` or `?token=`), newest first."""
    if request.method == "OPTIONS":
        return _open_to_storefronts(Response(status=204))
    runtime = site().runtime
    try:
        shop_id, member_id = tokens.read_member(runtime.box, _token())
    except InvalidInput as error:
        return _refused(error, 401)
    with runtime.db.read() as connection:
        found = inapp.messages(connection, shop_id, member_id, runtime.clock.now())
    return _open_to_storefronts(jsonify(messages=found, unread=sum(not one["read"] for one in found)))


@bp.route("/inapp/messages/<int:message_id>/<what>", methods=["POST", "OPTIONS"])
def mark(message_id: int, what: str) -> Response:
    """Note that the member has read a message, or clicked on it."""
    if request.method == "OPTIONS":
        return _open_to_storefronts(Response(status=204))
    runtime = site().runtime
    try:
        shop_id, member_id = tokens.read_member(runtime.box, _token())
    except InvalidInput as error:
        return _refused(error, 401)
    try:
        with runtime.db.write() as connection:
            inapp.mark(connection, shop_id, member_id, message_id, what, runtime.clock.now())
    except (NotFound, InvalidInput) as error:
        return _refused(error, 404)
    return _open_to_storefronts(Response(status=204))


def _token() -> str:
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() if kind.lower() == "bearer" else request.values.get("token", "")


def _refused(error: CrmError, status: int) -> Response:
    return _open_to_storefronts(make_response(jsonify(error=error.as_dict()), status))


def _open_to_storefronts(response: Response) -> Response:
    """Any page may ask: what is shown hangs on the token alone, and no cookie is looked at."""
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
    response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type"
    response.headers["Access-Control-Max-Age"] = "86400"
    return response
