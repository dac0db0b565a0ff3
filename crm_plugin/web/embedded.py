"""Our pages inside a platform's admin, without a cookie: who visits stands signed, for a quarter of an hour, at the path's beginning.

`/e/<visit>/s/<shop>/…` is the same application as `/s/<shop>/…`, for one shop alone. Addresses that pages make begin with the visit by
themselves, for it is the application's root (SCRIPT_NAME). When a visit has run out, the platform's own script gets a fresh one and the
same page comes again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, cast
from urllib.parse import urlsplit

from flask import Flask, Response, g, has_request_context, request
from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

from crm_plugin.adapters.storefronts.installing import Frame
from crm_plugin.errors import CrmError
from crm_plugin.jobs.installing import installer_of
from crm_plugin.runtime import Runtime
from crm_plugin.store.tenants import Shop
from crm_plugin.web.security import PAGE
from crm_plugin.web.site import site

SECONDS = 15 * 60
_SALT = "crm-plugin visit"
_PATH = re.compile(r"/e/([A-Za-z0-9_.\-]{20,1200})(/.*)?")
_KEY = "crm_plugin.visit"
_OURSELVES = "frame-ancestors 'self'"


@dataclass(frozen=True, slots=True)
class Visit:
    """Who looks at one shop's pages from inside its platform's admin, and in which of our languages, empty where the admin does not tell;
    `is_over` once the visit has run out.
    """

    shop_id: int
    platform: str
    reference: str
    user: str
    language: str = ""
    is_over: bool = False


def begin(runtime: Runtime, shop: Shop, reference: str, user: str, language: str = "") -> str:
    """The beginning of the path of a visit from the admin of the store of that name."""
    told = [shop.shop_id, shop.platform, reference, user[:200], language]
    return f"/e/{_serializer(runtime).dumps(told)}"


def visit() -> Visit | None:
    """The visit that this request belongs to; None outside of any. A forged one is none."""
    if "visit" not in g:
        token = request.environ.get(_KEY, "")
        g.visit = _read(site().runtime, token) if token else None
    return cast("Visit | None", g.visit)


def root() -> str:
    """The part of the path that the visit is."""
    token = request.environ.get(_KEY, "") if has_request_context() else ""
    return f"/e/{token}" if token else ""


def is_asked_for() -> bool:
    """Whether the path begins with a visit, good or not."""
    return bool(request.environ.get(_KEY))


def _read(runtime: Runtime, token: str) -> Visit | None:
    signer = _serializer(runtime)
    try:
        return Visit(*signer.loads(token, max_age=SECONDS))
    except SignatureExpired:
        return replace(Visit(*signer.loads(token)), is_over=True)
    except (BadSignature, TypeError):
        return None


def _serializer(runtime: Runtime) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(runtime.box.signing_keys, salt=_SALT)


def frame_of(platform: str, reference: str) -> Frame:
    """What the platform's admin needs of a page of that store; nobody may frame it where that cannot be told."""
    try:
        return installer_of(site().runtime, platform).frame(reference)
    except CrmError:
        return Frame(("'none'",))


def show(frame: Frame) -> None:
    """This answer is one that the platform's admin shows: with its scripts, and framed by nobody else."""
    g.frame = frame


def policy(frame: Frame) -> str:
    """The page's policy with what the platform's scripts need."""
    origins = sorted({f"{parts.scheme}://{parts.netloc}" for parts in map(urlsplit, frame.scripts) if parts.netloc})
    told = PAGE.replace("script-src 'self'", " ".join(["script-src 'self'", *origins]))
    told = told.replace("connect-src 'self'", " ".join(["connect-src 'self'", *frame.connects]))
    return told.replace(_OURSELVES, _ancestors(frame))


def _ancestors(frame: Frame) -> str:
    if "'none'" in frame.ancestors:
        return "frame-ancestors 'none'"
    # A page of ours may hold another of ours, such as a mail's preview: then both are ancestors.
    return " ".join([_OURSELVES, *frame.ancestors])


def install(app: Flask) -> None:
    """Take visits off the beginning of paths, and say in each answer who may frame it."""
    app.wsgi_app = _Paths(app.wsgi_app)  # type: ignore[method-assign]

    @app.after_request
    def describe(response: Response) -> Response:
        frame: Frame | None = g.get("frame")
        if frame is not None:
            own = response.headers.get("Content-Security-Policy")
            told = policy(frame) if own is None else own.replace(_OURSELVES, _ancestors(frame))
            response.headers["Content-Security-Policy"] = told
        return response

    @app.context_processor
    def for_templates() -> dict[str, Any]:
        return {"frame": g.get("frame")}


class _Paths:
    """The visit becomes part of the application's root, so that every address made for this request begins with it."""

    def __init__(self, inner: Callable[[dict[str, Any], Any], Iterable[bytes]]) -> None:
        self._inner = inner

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        found = _PATH.fullmatch(environ.get("PATH_INFO", ""))
        if found is not None:
            environ[_KEY] = found[1]
            environ["SCRIPT_NAME"] = f"{environ.get('SCRIPT_NAME', '')}/e/{found[1]}"
            environ["PATH_INFO"] = found[2] or "/"
        return self._inner(environ, start_response)
