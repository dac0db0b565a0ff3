"""Local sign-in: a link that works once and for a quarter of an hour, printed where the server was started.

A used link leaves a marker in the data directory, so that it stays used over restarts and in every process on the machine.
"""

from __future__ import annotations

import os
import secrets
import time
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from flask import Blueprint, Flask, g, redirect, render_template, request, session, url_for
from flask.sessions import SecureCookieSessionInterface
from flask_babel import gettext as _
from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug.wrappers import Response

from crm_plugin.runtime import Runtime
from crm_plugin.web import embedded, security
from crm_plugin.web.site import site

LINK_SECONDS = 15 * 60
_SALT = "crm-plugin sign-in link"
bp = Blueprint("auth", __name__)


def sign_in_path(runtime: Runtime) -> str:
    """The path of a fresh link."""
    return f"/enter/{_serializer(runtime).dumps(secrets.token_urlsafe(12))}"


def _serializer(runtime: Runtime) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(runtime.box.signing_keys, salt=_SALT)


def _marker(runtime: Runtime, token: str) -> Path | None:
    """The marker that the link's use leaves; None for a link that is none of ours or has run out."""
    try:
        nonce = str(_serializer(runtime).loads(token, max_age=LINK_SECONDS))
    except BadData:
        return None
    return runtime.config.data_dir / "used-links" / nonce


def _use(marker: Path) -> bool:
    """Whether the link is good, which it is once."""
    marker.parent.mkdir(parents=True, exist_ok=True)
    _forget_old(marker.parent)
    try:
        os.close(os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return False
    return True


def _forget_old(folder: Path) -> None:
    oldest = time.time() - 2 * LINK_SECONDS
    for marker in folder.iterdir():
        if marker.stat().st_mtime < oldest:
            marker.unlink(missing_ok=True)


@bp.get("/enter/<token>")
def ask(token: str) -> str | tuple[str, int]:
    """Ask before the link is used up: previews and scanners open every link."""
    marker = _marker(site().runtime, token)
    if marker is None or marker.exists():
        return _run_out()
    return render_template("enter.html")


@bp.post("/enter/<token>")
def enter(token: str) -> Response | tuple[str, int]:
    """Open the pages to this browser."""
    security.refuse_foreign_writes()
    marker = _marker(site().runtime, token)
    if marker is None or not _use(marker):
        return _run_out()
    chosen = session.get("lang")
    session.clear()
    if chosen:
        session["lang"] = chosen
    session["who"] = "owner"
    session.permanent = True
    return redirect(url_for("pages.home"), 303)


def _run_out() -> tuple[str, int]:
    page = render_template(
        "message.html",
        title=_("This link has been used or has run out"),
        text=_("Each sign-in link works once, for 15 minutes. Ask for a new one where the server runs:"),
        code="crm-plugin link",
    )
    return page, 403


@bp.post("/leave")
def leave() -> Response:
    """Close the pages to this browser. Only a page of ours may: being sent away by another's is a nuisance."""
    security.refuse_foreign_writes()
    session.pop("who", None)
    return redirect(url_for("pages.home"), 303)


def require_sign_in() -> tuple[str, int] | None:
    """Before each of the merchant's pages: nothing is shown to who has not signed in, here or in the platform's admin."""
    if embedded.is_asked_for():
        return _of_visit()
    if session.get("who"):
        g.actor = f"page:{session['who']}"
        return None
    if request.headers.get("HX-Request"):
        return "", 401
    return render_template(
        "message.html",
        title=_("Sign in"),
        text=_(
            "Open the link that was printed when the server started. For a new one, run this where the server runs:"
        ),
        code="crm-plugin link",
    ), 401


def _of_visit() -> tuple[str, int] | None:
    visit = embedded.visit()
    if visit is None:
        return "", 401
    embedded.show(embedded.frame_of(visit.platform, visit.reference))
    if visit.is_over:
        if request.method != "GET" or request.headers.get("HX-Request"):
            return "", 401
        return render_template(
            "embedded.html",
            enter=url_for("install.enter", platform=visit.platform).removeprefix(request.script_root),
            onward=request.full_path,
            lang=visit.language,
        ), 200
    g.actor = f"{visit.platform}:{visit.user}"
    return None


class _Sessions(SecureCookieSessionInterface):
    """A cookie that came by https never goes by http. Signing in on this very machine works though the public address is https."""

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure or (site().public_url.startswith("https://") and not _asked_on_this_machine())


def _asked_on_this_machine() -> bool:
    if any(name.lower().startswith(("forwarded", "x-forwarded-")) for name, _value in request.headers):
        # A proxy on this machine asks for somebody else.
        return False
    try:
        host = urlsplit(request.host_url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def install(app: Flask, runtime: Runtime) -> None:
    """Sign sessions with a key of this installation; the cookie is out of reach of scripts and of other sites."""
    use_keys(app, runtime)
    app.config.update(
        SESSION_COOKIE_NAME="crm_session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        PERMANENT_SESSION_LIFETIME=timedelta(hours=12),
    )
    app.session_interface = _Sessions()
    app.register_blueprint(bp)


def use_keys(app: Flask, runtime: Runtime) -> None:
    """Sign with the newest key of this installation; what an older one signed still counts."""
    *older, newest = runtime.box.signing_keys
    app.config.update(SECRET_KEY=newest, SECRET_KEY_FALLBACKS=older)
