"""Errors as people read them: what is wrong, then what to do; never a trace."""

from __future__ import annotations

import logging

from flask import Flask, render_template, request
from flask_babel import gettext as _
from sqlalchemy.exc import OperationalError
from werkzeug.exceptions import HTTPException

from crm_plugin.errors import CrmError, NotFound
from crm_plugin.web.i18n import in_words
from crm_plugin.web.languages import sentences

_log = logging.getLogger(__name__)


def install(app: Flask) -> None:
    """Give the application pages for errors."""

    @app.errorhandler(CrmError)
    def ours(error: CrmError) -> tuple[str, int]:
        status = 404 if isinstance(error, NotFound) else 422
        return _page(in_words(error.message), in_words(error.hint)), status

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> tuple[str, int]:
        titles = {
            403: _("This was not asked for by a page of ours"),
            404: _("There is no such page"),
            405: _("This cannot be done here"),
            413: _("The file is too large"),
        }
        status = error.code or 500
        return _page(titles.get(status, error.name), ""), status

    @app.errorhandler(OperationalError)
    def database(error: OperationalError) -> tuple[str, int]:
        _log.error("database: %s", error.orig)
        return _page(_("The database does not answer"), _("Try again in a moment.")), 503

    @app.errorhandler(Exception)
    def unforeseen(error: Exception) -> tuple[str, int]:
        _log.exception("%s %s", request.method, request.path, exc_info=error)
        hint = _("It has been written to the log. Try again; if it stays, look there.")
        return _page(_("Something went wrong here"), hint), 500


def _page(title: str, text: str) -> str:
    if request.headers.get("HX-Request"):
        return render_template("_notice.html", kind="bad", text=sentences((title, text)))
    return render_template("message.html", title=title, text=text, code="")
