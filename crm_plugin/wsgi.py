"""The pages for a WSGI server of one's own, such as `gunicorn 'crm_plugin.wsgi:application()'`; jobs go to the broker."""

from __future__ import annotations

import atexit

from flask import Flask

from crm_plugin.app import create_app
from crm_plugin.errors import ConfigError
from crm_plugin.jobs.remote import RemoteQueue
from crm_plugin.runtime import Runtime


def application() -> Flask:
    """The application of one web process. Raises: ConfigError without CRM_BROKER_URL, for here nobody works jobs off."""
    runtime = Runtime.open()
    if not runtime.config.broker_url:
        runtime.close()
        raise ConfigError(
            "CRM_BROKER_URL is not set, and these pages run no jobs themselves.",
            hint="Set it to the broker that `crm-plugin worker` takes jobs from, or use `crm-plugin serve`.",
        )
    queue = RemoteQueue(runtime)
    atexit.register(runtime.close)
    atexit.register(queue.close)
    return create_app(runtime, queue)
