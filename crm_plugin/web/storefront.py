"""The in-app inbox of storefronts whose platform itself says who is signed in, such as Shopify by its app proxy."""

from __future__ import annotations

import logging

from flask import Blueprint, Response, jsonify, make_response, request
from sqlalchemy import Connection, select

from crm_plugin.errors import ConfigError, CrmError, InvalidInput, NotFound, WebhookRejected
from crm_plugin.jobs.installing import installer_of
from crm_plugin.records import RawRequest
from crm_plugin.store import members
from crm_plugin.store.tenants import shop_of
from crm_plugin.touchpoints import inapp
from crm_plugin.web.site import site

bp = Blueprint("storefront", __name__, url_prefix="/inapp")
_log = logging.getLogger(__name__)
# Whose messages they are: shop and member.
_Member = tuple[int, int]


@bp.errorhandler(WebhookRejected)
def refused(error: WebhookRejected) -> Response:
    """Nothing more is said to whom we do not believe."""
    _log.warning("%s: %s", request.path, error.message)
    return Response(status=error.status)


@bp.get("/<platform>/messages", provide_automatic_options=False)
def messages(platform: str) -> Response:
    """The messages of whoever is signed in, newest first; none of somebody who is not, or whom we do not know."""
    runtime = site().runtime
    with runtime.db.read() as connection:
        member = _member(connection, platform)
        found = inapp.messages(connection, *member, runtime.clock.now()) if member else []
    return _fresh(jsonify(messages=found, unread=sum(not one["read"] for one in found)))


@bp.post("/<platform>/messages/<int:message_id>/<what>", provide_automatic_options=False)
def mark(platform: str, message_id: int, what: str) -> Response:
    """Note that whoever is signed in has read a message of theirs, or clicked on it."""
    runtime = site().runtime
    try:
        with runtime.db.write() as connection:
            if (member := _member(connection, platform)) is None:
                return _fresh(Response(status=404))
            inapp.mark(connection, *member, message_id, what, runtime.clock.now())
    except (NotFound, InvalidInput) as error:
        return _told(error)
    return _fresh(Response(status=204))


def _member(connection: Connection, platform: str) -> _Member | None:
    """Whom the platform vouches for. Raises: WebhookRejected for what it did not say."""
    try:
        shopper = installer_of(site().runtime, platform).shopper(_asked())
    except (NotFound, ConfigError) as error:
        raise WebhookRejected(error.message, status=404) from error
    if shopper is None:
        raise WebhookRejected(f"{platform} does not say who is signed in", status=404)
    shop = shop_of(connection, platform, shopper.reference)
    if shop is None or not shop.is_awake or not shopper.external_id:
        return None
    columns = members.c
    query = select(columns.member_id).where(columns.shop_id == shop.shop_id, columns.external_id == shopper.external_id)
    member_id = connection.execute(query).scalar()
    return None if member_id is None else (shop.shop_id, int(member_id))


def _asked() -> RawRequest:
    # The query as it was signed, byte for byte.
    query = request.query_string.decode("latin-1")
    headers = {name.lower(): value for name, value in request.headers.items()}
    return RawRequest(request.method, f"{site().public_url}{request.path}?{query}", headers, b"")


def _told(error: CrmError) -> Response:
    return _fresh(make_response(jsonify(error=error.as_dict()), 404))


def _fresh(response: Response) -> Response:
    """One customer's answer is never another's."""
    response.headers["Cache-Control"] = "no-store"
    return response
