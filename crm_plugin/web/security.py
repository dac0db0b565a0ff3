"""What every answer says about itself, and that a change comes from our own pages."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Flask, Response, abort, request

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
PAGE = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data: https:; connect-src 'self'; font-src 'self'; "
    "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)
# A rendered message is a document of its own: it may show pictures and its inlined styles, run nothing, and lead nowhere.
MESSAGE_POLICY = "sandbox; default-src 'none'; img-src https: data:; style-src 'unsafe-inline'; frame-ancestors 'self'"


def same_origin() -> bool:
    """Whether this request comes from a page of ours. A caller that is no browser sends neither header and no cookie of others."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.host


def refuse_foreign_writes() -> None:
    """Before each of the merchant's pages."""
    if request.method not in _SAFE and not same_origin():
        abort(403)


def install(app: Flask) -> None:
    """Add the headers to every answer."""

    @app.after_request
    def describe(response: Response) -> Response:
        headers = response.headers
        headers.setdefault("Content-Security-Policy", PAGE)
        headers.setdefault("X-Content-Type-Options", "nosniff")
        headers.setdefault("Referrer-Policy", "same-origin")
        headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
        if request.endpoint != "static":
            headers.setdefault("Cache-Control", "no-store")
        return response
