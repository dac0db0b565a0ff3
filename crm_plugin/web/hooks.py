"""Where providers report: `/hooks/<shop>/<sender>`. The adapter checks that it is them; the answer says nothing more than it must.

What is refused is counted for its shop (`store/hook_counts.py`), and so are events that move nothing.
"""

from __future__ import annotations

import logging

from flask import Blueprint, Response, request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from crm_plugin.adapters.registry import channel_names
from crm_plugin.errors import CrmError, MalformedResponse, NotFound, WebhookMalformed, WebhookRejected
from crm_plugin.records import RawRequest
from crm_plugin.store import hook_counts
from crm_plugin.store.hook_counts import Odd
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import intake
from crm_plugin.web.site import load_shop, site

# More than any report has.
LARGEST = 2**20
_log = logging.getLogger(__name__)
bp = Blueprint("hooks", __name__, url_prefix="/hooks")


@bp.post("/<shop>/<adapter>")
def deliver(shop: str, adapter: str) -> Response:
    """Delivery events of one sender of one shop."""
    if adapter not in channel_names():
        return Response(status=404)
    try:
        known = load_shop(shop)
    except NotFound:
        _log.warning("hook %s is called for a shop that is not there", adapter)
        return Response(status=404)
    try:
        _receive(known, adapter)
    except RequestEntityTooLarge as error:
        return _refused(known, adapter, Odd.OVERSIZED, 413, error)
    except ClientDisconnected as error:
        return _refused(known, adapter, Odd.TRUNCATED, 400, error)
    except (WebhookMalformed, MalformedResponse) as error:
        return _refused(known, adapter, Odd.MALFORMED, 400, error)
    except WebhookRejected as error:
        return _refused(known, adapter, Odd.FORGED, error.status, error)
    except NotFound as error:
        return _refused(known, adapter, Odd.NOT_SET_UP, 404, error)
    except CrmError as error:
        # Not theirs to mend: they are asked to tell it again later.
        return _refused(known, adapter, Odd.NOT_TAKEN, 503, error)
    return Response(status=204)


def _receive(shop: Shop, adapter: str) -> None:
    runtime = site().runtime
    request.max_content_length = LARGEST
    asked = RawRequest(
        method=request.method,
        url=_told_url(),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=request.get_data(),
    )
    intake.receive(runtime.db, runtime.box, shop, adapter, asked, runtime.clock.now())


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
