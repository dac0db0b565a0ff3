"""Where providers and stores report: `/hooks/<shop>/<sender or platform>`, and `/events/<platform>` where an app has one address for all.

The adapter checks that it is them; the answer says nothing more than it must. What a store tells is only kept, and followed by a job.

What is refused is counted for its shop (`store/hook_counts.py`), and so are events that move nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from flask import Blueprint, Response, jsonify, request
from sqlalchemy import select
from werkzeug.exceptions import ClientDisconnected, HTTPException, RequestEntityTooLarge

from crm_plugin.adapters.registry import app_values, is_channel, storefront_class, storefront_names
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.errors import (
    CrmError,
    MalformedResponse,
    NotFound,
    UnsupportedFeature,
    WebhookMalformed,
    WebhookRejected,
)
from crm_plugin.records import RawRequest
from crm_plugin.store import hook_counts, members
from crm_plugin.store.hook_counts import Odd
from crm_plugin.store.tenants import Shop, shop_of
from crm_plugin.sync import connect, heard
from crm_plugin.touchpoints import intake, tokens
from crm_plugin.touchpoints.journey import MARKETING
from crm_plugin.web.reading import FOLLOW
from crm_plugin.web.site import load_shop, site

# More than any report has.
LARGEST = 2**20
_log = logging.getLogger(__name__)
bp = Blueprint("hooks", __name__)


@bp.post("/hooks/<shop>/<adapter>")
def deliver(shop: str, adapter: str) -> Response:
    """Delivery events of one sender of one shop, or what its store tells."""
    is_store = adapter in storefront_names()
    if not is_store and not is_channel(adapter):
        return Response(status=404)
    try:
        known = load_shop(shop)
    except NotFound:
        _log.warning("hook %s is called for a shop that is not there", adapter)
        return Response(status=404)
    if is_store and known.platform != adapter:
        return Response(status=404)
    return _answered(known, adapter, lambda: _hear(known) if is_store else _receive(known, adapter))


@bp.route("/hooks/<shop>/<platform>/shopper", methods=["POST", "OPTIONS"], provide_automatic_options=False)
def shopper(shop: str, platform: str) -> Response:
    """What the store's own pages need to show who is signed in there their messages.

    The store's server asks; a browser does only from a page whose origin the merchant has named.
    """
    try:
        known = load_shop(shop)
    except NotFound:
        return Response(status=404)
    if known.platform != platform or not known.is_awake:
        return Response(status=404)
    runtime, cls = site().runtime, storefront_class(platform)
    values = {**connect.credentials_of(runtime.db, runtime.box, known), **app_values(cls.app_settings, platform)}
    storefront, origin = cls.listening(values), request.headers.get("Origin", "")
    if origin not in storefront.origins() and (origin or request.method == "OPTIONS"):
        return Response(status=403)
    return _open_to(
        origin, Response(status=204) if request.method == "OPTIONS" else _shopper(known, storefront, origin)
    )


def _shopper(known: Shop, storefront: StorefrontAdapter, origin: str) -> Response:
    runtime, platform = site().runtime, known.platform
    try:
        external_id = storefront.shopper(_asked())
    except WebhookRejected as error:
        # A customer's proof runs out in every open page: of browsers nothing is counted.
        return Response(status=error.status) if origin else _refused(known, platform, Odd.FORGED, error.status, error)
    except (UnsupportedFeature, RequestEntityTooLarge, ClientDisconnected) as error:
        return Response(status=getattr(error, "code", 0) if isinstance(error, HTTPException) else 404)
    m = members.c
    whose = select(m.member_id).where(m.shop_id == known.shop_id, m.external_id == external_id, m.state == "active")
    with runtime.db.read() as connection:
        member_id = connection.execute(whose).scalar()
    if member_id is None:
        return Response(status=404)
    choice = tokens.unsubscribe(runtime.box, tokens.Unsubscribe(known.shop_id, member_id, "email", MARKETING))
    preferences = f"{site().public_url}/u/{choice}"
    return jsonify(token=tokens.member(runtime.box, known.shop_id, member_id), preferences=preferences)


def _open_to(origin: str, response: Response) -> Response:
    """The answer is one customer's, and only the page that asked may read it."""
    response.headers["Cache-Control"] = "no-store"
    response.headers["Vary"] = "Origin"
    if origin:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Allow-Methods"] = "POST, OPTIONS"
        response.headers["Access-Control-Allow-Headers"] = "Authorization"
        response.headers["Access-Control-Max-Age"] = "600"
    return response


@bp.post("/events/<platform>")
def of_app(platform: str) -> Response:
    """What a platform tells at the app's one address; the store is named in the request, and believed once that is verified."""
    if platform not in storefront_names():
        return Response(status=404)
    runtime, cls = site().runtime, storefront_class(platform)
    try:
        with runtime.db.read() as connection:
            known = shop_of(connection, platform, cls.addressed(_asked()))
        if known is None:
            # Of a store that is not here, or not any more: a forgery is refused, and the rest is no news.
            cls.listening(app_values(cls.app_settings, platform)).verify_webhook(_asked())
            return Response(status=200)
    except WebhookRejected as error:
        _log.warning("what %s told of a store that is not here: %s", platform, error)
        return Response(status=error.status)
    except (UnsupportedFeature, RequestEntityTooLarge, ClientDisconnected) as error:
        return Response(status=getattr(error, "code", 0) if isinstance(error, HTTPException) else 404)
    return _answered(known, platform, lambda: _hear(known))


def _hear(shop: Shop) -> int:
    """Keep what a store told, and have it followed soon; stores want the status 200."""
    runtime, cls = site().runtime, storefront_class(shop.platform)
    values = connect.credentials_of(runtime.db, runtime.box, shop)
    storefront = cls.listening({**values, **app_values(cls.app_settings, shop.platform)})
    told = heard.receive(runtime.db, shop, storefront, _asked(), runtime.clock.now())
    if told.new > told.own:
        site().queue.enqueue(FOLLOW, shop.shop_id)
    return 200


def _answered(known: Shop, adapter: str, take: Callable[[], int]) -> Response:
    try:
        return Response(status=take())
    except RequestEntityTooLarge as error:
        return _refused(known, adapter, Odd.OVERSIZED, 413, error)
    except ClientDisconnected as error:
        return _refused(known, adapter, Odd.TRUNCATED, 400, error)
    except (WebhookMalformed, MalformedResponse) as error:
        return _refused(known, adapter, Odd.MALFORMED, 400, error)
    except WebhookRejected as error:
        return _refused(known, adapter, Odd.FORGED, error.status, error)
    except (NotFound, UnsupportedFeature) as error:
        return _refused(known, adapter, Odd.NOT_SET_UP, 404, error)
    except CrmError as error:
        # Not theirs to mend: they are asked to tell it again later.
        return _refused(known, adapter, Odd.NOT_TAKEN, 503, error)


def _receive(shop: Shop, adapter: str) -> int:
    runtime = site().runtime
    intake.receive(runtime.db, runtime.box, shop, adapter, _asked(), runtime.clock.now())
    return 204


def _asked() -> RawRequest:
    """Raises: RequestEntityTooLarge, ClientDisconnected."""
    request.max_content_length = LARGEST
    return RawRequest(
        method=request.method,
        url=_told_url(),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=request.get_data(),
    )


def _refused(shop: Shop, adapter: str, reason: Odd, status: int, error: Exception) -> Response:
    _log.warning("hook %s of %s: %s: %s", adapter, shop.name, reason, error)
    runtime = site().runtime
    with runtime.db.write() as connection:
        hook_counts.count(connection, shop.shop_id, adapter, {reason: 1}, runtime.clock.now())
    return Response(status=status)


def _told_url() -> str:
    """The address as the provider called it: behind a proxy that is the public one."""
    public = site().public_url
    path = request.full_path if request.query_string else request.path
    return f"{public}{path}" if public else f"{request.host_url.rstrip('/')}{path}"
