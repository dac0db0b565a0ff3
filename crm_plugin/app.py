"""The web application: `create_app(runtime, queue)` puts the parts together; there are no globals."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from flask import Flask, url_for
from jinja2 import StrictUndefined

from crm_plugin.jobs.asked import Jobs
from crm_plugin.runtime import Runtime
from crm_plugin.web import (
    auth,
    customer,
    embedded,
    errors,
    formats,
    hooks,
    i18n,
    ids,
    install,
    pages,
    security,
    storefront,
    watched,
)
from crm_plugin.web.languages import sentences
from crm_plugin.web.site import Site
from crm_plugin.web.site import install as install_site

_HERE = Path(__file__).resolve().parent
# What anybody may send; only the page that takes files allows itself more.
LARGEST_REQUEST = 4 * 2**20


def create_app(runtime: Runtime, queue: Jobs) -> Flask:
    """The application on an open runtime. The caller starts and stops the queue and the clock."""
    app = Flask(
        "crm_plugin", template_folder=str(_HERE / "templates" / "web"), static_folder=str(_HERE / "web" / "static")
    )
    app.config.update(MAX_CONTENT_LENGTH=LARGEST_REQUEST, MAX_FORM_MEMORY_SIZE=2 * 2**20)
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.url_map.converters["int"] = ids.IdConverter
    install_site(app, Site(runtime, queue))
    # What comes last describes an answer first.
    for part in (i18n, formats, security, errors, embedded):
        part.install(app)
    auth.install(app, runtime)
    app.register_blueprint(pages.bp)
    app.register_blueprint(customer.bp)
    app.register_blueprint(hooks.bp)
    app.register_blueprint(install.bp)
    app.register_blueprint(storefront.bp)
    app.register_blueprint(watched.bp)
    app.jinja_env.globals |= {"asset": _asset, "sentences": sentences}

    return app


def _asset(name: str) -> str:
    """The address of a static file; it changes with the file, so that a browser may keep it for long."""
    # The same for all visits from a platform's admin, or each would load it anew.
    return url_for("static", filename=name, v=_version(name)).removeprefix(embedded.root())


@cache
def _version(name: str) -> str:
    return hashlib.blake2b((_HERE / "web" / "static" / name).read_bytes(), digest_size=6).hexdigest()
