"""What those who watch over the processes ask: does it answer, can it work, and how does it go."""

from __future__ import annotations

import hmac
import logging

from flask import Blueprint, Response, request
from sqlalchemy.exc import SQLAlchemyError

from crm_plugin.errors import ConfigError
from crm_plugin.jobs import metrics
from crm_plugin.store import migrate
from crm_plugin.web.site import site

_log = logging.getLogger(__name__)
bp = Blueprint("watched", __name__)


@bp.get("/healthz")
def healthz() -> Response:
    """Whether the process answers; says nothing of what it holds."""
    return _plain("ok")


@bp.get("/readyz")
def readyz() -> Response:
    """Whether requests can be served: the database answers and has the tables of this version."""
    try:
        if migrate.pending(site().runtime.db.engine):
            return _plain("the database is of another version", 503)
    except (SQLAlchemyError, ConfigError) as error:
        _log.error("not ready: %s", type(error).__name__)
        return _plain("the database does not answer", 503)
    return _plain("ready")


@bp.get("/metrics")
def prometheus() -> Response:
    """Figures for Prometheus, for who has the token; to others there is no such page."""
    runtime = site().runtime
    wanted = runtime.config.metrics_token
    told = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not wanted or not hmac.compare_digest(told.encode(), wanted.encode()):
        return Response(status=404)
    return Response(metrics.exposition(runtime), content_type=metrics.CONTENT_TYPE)


def _plain(text: str, status: int = 200) -> Response:
    return Response(f"{text}\n", status, mimetype="text/plain")
