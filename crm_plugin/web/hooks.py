"""Where providers report: `/hooks/<shop>/<sender>`. The adapter checks that it is them; the answer says nothing more than it must."""

from __future__ import annotations

import logging

from flask import Blueprint, Response, request

from crm_plugin.adapters.registry import channel_names
from crm_plugin.errors import CrmError, NotFound, WebhookRejected
from crm_plugin.records import RawRequest
from crm_plugin.touchpoints import intake
from crm_plugin.web.site import load_shop, site

_log = logging.getLogger(__name__)
bp = Blueprint("hooks", __name__, url_prefix="/hooks")


@bp.post("/<shop>/<adapter>")
def deliver(shop: str, adapter: str) -> Response:
    """Delivery events of one sender of one shop."""
    runtime = site().runtime
    if adapter not in channel_names():
        return Response(status=404)
    asked = RawRequest(
        method=request.method,
        url=_told_url(),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=request.get_data(),
    )
    try:
        intake.receive(runtime.db, runtime.box, load_shop(shop), adapter, asked, runtime.clock.now())
    except WebhookRejected as rejected:
        _log.warning("hook %s of %s rejected: %s", adapter, shop, rejected.message)
        return Response(status=rejected.status)
    except NotFound:
        return Response(status=404)
    except CrmError as error:
        # Not theirs to mend: they are asked to tell it again later.
        _log.error("hook %s of %s: %s", adapter, shop, error)
        return Response(status=503)
    return Response(status=204)


def _told_url() -> str:
    """The address as the provider called it: behind a proxy that is the public one."""
    public = site().public_url
    path = request.full_path if request.query_string else request.path
    return f"{public}{path}" if public else f"{request.host_url.rstrip('/')}{path}"
