"""How a merchant comes in from their platform: the app's own files, agreeing, the platform's answer, and the page inside the admin."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, jsonify, redirect, render_template, request, url_for
from flask_babel import gettext as _
from werkzeug.urls import iri_to_uri
from werkzeug.wrappers import Response as Answer

from crm_plugin.adapters.storefronts.installing import Installed, Installer, Visitor
from crm_plugin.errors import ActionRequired, ConfigError, CrmError, InvalidInput, NotFound, WebhookRejected
from crm_plugin.jobs.installing import install as keep
from crm_plugin.jobs.installing import installer_of
from crm_plugin.records import RawRequest
from crm_plugin.store import pending
from crm_plugin.store.tenants import Shop, shop_of
from crm_plugin.sync import holders
from crm_plugin.web import auth, embedded, i18n, security
from crm_plugin.web.reading import SYNC
from crm_plugin.web.site import site

# Of an answer of a platform; a token or a code.
LARGEST = 2**16
# App Bridge asks once more with a fresh token when it sees this.
_AGAIN = {"X-Shopify-Retry-Invalid-Session-Request": "1"}
_log = logging.getLogger(__name__)
bp = Blueprint("install", __name__, url_prefix="/install")


@bp.errorhandler(WebhookRejected)
def refused(error: WebhookRejected) -> Response:
    """Nothing more is said to whom we do not believe."""
    _log.warning("%s: %s", request.path, error.message)
    headers = _AGAIN if error.status == 401 else {}
    return Response(status=error.status, headers=headers)


@bp.get("/<platform>/<file>")
def manifest(platform: str, file: str) -> Response:
    """What the platform wants to be told of the app, such as Saleor's manifest.json."""
    # Read here alone: what checks the file is large, and a server may never be asked.
    from crm_plugin.manifest import facts_of, load_manifest

    files = _installer(platform).manifest_files(facts_of(load_manifest(), platform, site().public_url))
    if file not in files:
        return Response(status=404)
    kind = "application/json" if file.endswith(".json") else "text/plain"
    return Response(files[file], mimetype=kind)


@bp.get("/<platform>")
def begin(platform: str) -> Answer | tuple[str, int]:
    """To the platform's page on which the merchant agrees; to our form first where it begins with that."""
    installer = _installer(platform)
    if installer.begun_here:
        return redirect(url_for("pages.connect", platform=platform, url=request.args.get("url")), 303)
    if not installer.leads_anywhere:
        return redirect(_agreeing(platform, request.args), 303)
    try:
        address = iri_to_uri(_agreeing(platform, request.args))
    except InvalidInput as error:
        return _message(_("The store was not connected"), str(error), 422)
    # Whoever made the link chose where it leads: nobody is sent there without seeing it.
    return render_template("install_go.html", address=address, host=urlsplit(address).netloc), 200


@bp.post("/<platform>")
def begin_here(platform: str) -> Answer | tuple[str, int]:
    """The same for who is signed in and told us where the store is. A page leads there, for a form's answer may not lead elsewhere."""
    security.refuse_foreign_writes()
    if embedded.is_asked_for() or not _installer(platform).begun_here:
        return Response(status=404)
    refused = auth.require_sign_in()
    if refused is not None:
        return refused
    try:
        address = iri_to_uri(_agreeing(platform, request.form))
    except CrmError as error:
        return _message(_("The store was not connected"), str(error), 422)
    page = render_template("install_go.html", address=address, host=urlsplit(address).netloc)
    return Response(page, headers={"Refresh": f"0; url={address}"})


def _agreeing(platform: str, given: Mapping[str, str]) -> str:
    runtime, installer = site().runtime, _installer(platform)
    told, now = {key: value[:500] for key, value in given.items()}, runtime.clock.now()
    if not installer.begun_here:
        # Anybody may ask for this: nothing is kept of it.
        return installer.begin(told, pending.carried(runtime.box, platform, told, now), _back(platform))
    with runtime.db.write() as connection:
        state = pending.begin(connection, runtime.box, platform, told, now)
        return installer.begin(told, state, _back(platform))


@bp.get("/<platform>/back")
def back(platform: str) -> Answer | str | tuple[str, int]:
    """The merchant comes back from the platform's page, with or without having agreed, or after the store handed over its keys."""
    installer, asked = _installer(platform), _asked()
    state = request.args.get("state", "")
    told = _told(platform, state)
    if told is None:
        arrived = _arrived(platform, installer, state)
        if arrived is not None:
            return redirect(url_for("pages.today", shop=arrived.name), 303)
        return _message(_("This way in has been used or has run out"), _("Begin again from your store."), 403)
    try:
        shop = _installed(platform, installer.finish(asked, told, _back(platform)))
    except CrmError as error:
        if isinstance(error, WebhookRejected):
            raise
        return _message(_("The store was not connected"), str(error), 422)
    runtime = site().runtime
    with runtime.db.write() as connection:
        pending.spend(connection, runtime.box, platform, state, runtime.clock.now())
    return redirect(url_for("pages.today", shop=shop.name), 303)


@bp.post("/<platform>/keys")
def keys(platform: str) -> Response:
    """The store hands over the keys of an install that was begun here; it takes them back unless the answer is 200."""
    installer, asked = _installer(platform), _asked()
    told = _told(platform, installer.state_of(asked))
    if told is None:
        raise WebhookRejected("It names no install that waits for keys.", status=403)
    try:
        _installed(platform, installer.finish(asked, told, _back(platform)))
    except WebhookRejected:
        raise
    except CrmError as error:
        _log.warning("keys from %s: %s", platform, error)
        return Response(status=422 if isinstance(error, ActionRequired) else 503)
    return Response(status=200)


def _arrived(platform: str, installer: Installer, state: str) -> Shop | None:
    """The shop whose store handed over its keys for this state a moment ago."""
    runtime = site().runtime
    with runtime.db.read() as connection:
        told = pending.used(connection, runtime.box, platform, state, runtime.clock.now())
        reference = installer.reference_of(str(told.get("url", ""))) if told else ""
        return shop_of(connection, platform, reference)


@bp.post("/<platform>/token")
def token(platform: str) -> Response:
    """The platform hands over its keys by itself, and waits for our word."""
    try:
        _installed(platform, _installer(platform).finish(_asked(), {}, _back(platform)))
    except WebhookRejected:
        raise
    except CrmError as error:
        # The platform shows this to the merchant who waits.
        _log.warning("install from %s: %s", platform, error)
        status = 400 if isinstance(error, (ActionRequired, InvalidInput)) else 503
        return _json({"success": False, "error": {"code": error.code, "message": str(error)}}, status)
    return _json({"success": True}, 200)


@bp.get("/<platform>/page")
def page(platform: str) -> Answer | tuple[str, int]:
    """What the platform's admin opens: the merchant's page where it vouches for the visitor at once, else what asks it to."""
    installer, asked = _installer(platform), _asked()
    visitor = installer.visit(asked)
    if visitor is not None:
        # What keeps them out is shown inside the admin, too.
        embedded.show(installer.frame(visitor.reference))
        return redirect(_address(platform, installer, visitor), 303)
    embedded.show(installer.frame(installer.named(asked)))
    return shell(platform)


def shell(platform: str) -> tuple[str, int]:
    """The page that gets a token from the platform's script, and goes on."""
    enter = url_for("install.enter", platform=platform).removeprefix(request.script_root)
    return render_template("embedded.html", enter=enter, onward=_onward(), lang=""), 200


@bp.post("/<platform>/enter")
def enter(platform: str) -> Response:
    """The platform's token becomes a visit; answers where it begins."""
    installer = _installer(platform)
    visitor = installer.visit(_asked())
    if visitor is None:
        raise WebhookRejected("There is no token.")
    return _json({"address": _address(platform, installer, visitor)}, 200)


def _address(platform: str, installer: Installer, visitor: Visitor) -> str:
    """Where the visit begins; the store's keys are fetched first where they are not here yet, or no longer good."""
    runtime = site().runtime
    with runtime.db.read() as connection:
        shop = holders.holder_of(connection, platform, visitor.reference)
    if shop is None or not shop.is_awake or shop.status != "connected":
        if visitor.exchange:
            shop = _installed(platform, installer.exchange(visitor))
        elif shop is None or not shop.is_awake:
            raise WebhookRejected("The store is not connected.", status=403)
    onward = _onward()
    if not onward.startswith(f"/s/{shop.name}/"):
        onward = f"/s/{shop.name}/today"
    language = i18n.ours(request.args.get("lang", request.args.get("locale", "")))
    return f"{embedded.begin(runtime, shop, visitor.reference, visitor.user, language)}{onward}"


def _onward() -> str:
    """The path in our pages that was asked for; only one of ours."""
    told = request.args.get("to", "") if request.endpoint in ("install.page", "install.enter") else request.full_path
    return told if told.startswith("/s/") and "\\" not in told else ""


def _installed(platform: str, installed: Installed) -> Shop:
    shop = keep(site().runtime, platform, installed, actor=f"store:{platform}")
    site().queue.enqueue(SYNC, shop.shop_id)
    return shop


def _told(platform: str, state: str) -> dict[str, Any] | None:
    runtime = site().runtime
    with runtime.db.write() as connection:
        return pending.use(connection, runtime.box, platform, state, runtime.clock.now())


def _installer(platform: str) -> Installer:
    try:
        return installer_of(site().runtime, platform)
    except (NotFound, ConfigError) as error:
        raise WebhookRejected(error.message, status=404) from error


def _back(platform: str) -> str:
    return f"{site().public_url}/install/{platform}/back"


def _asked() -> RawRequest:
    request.max_content_length = LARGEST
    path = request.full_path if request.query_string else request.path
    headers = {name.lower(): value for name, value in request.headers.items()}
    return RawRequest(request.method, f"{site().public_url}{path}", headers, request.get_data())


def _json(told: dict[str, Any], status: int) -> Response:
    answer = jsonify(told)
    answer.status_code = status
    return answer


def _message(title: str, text: str, status: int) -> tuple[str, int]:
    return render_template("message.html", title=title, text=text, code=""), status
