"""What those who watch ask: health, readiness, figures; and logs without anybody's address."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from crm_plugin.jobs import metrics
from crm_plugin.redaction import JsonFormatter, RedactingFormatter
from crm_plugin.runtime import Runtime
from crm_plugin.store import runs
from crm_plugin.store.runs import Run
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import health


def test_not_ready_without_its_tables(stranger: FlaskClient, runtime: Runtime) -> None:
    with runtime.db.write() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32))"))
        connection.execute(text("DELETE FROM alembic_version"))
    assert (stranger.get("/readyz").status_code, stranger.get("/healthz").status_code) == (503, 200)


def test_metrics_are_for_who_has_the_token(stranger: FlaskClient) -> None:
    assert stranger.get("/metrics").status_code == 404
    assert stranger.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 404


def _figures(runtime: Runtime) -> dict[str, float]:
    lines = metrics.exposition(runtime).decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def test_figures_tell_what_waits_and_how_it_went(runtime: Runtime, shop: Shop) -> None:
    now = runtime.clock.now()
    result = {"dispatch": {"states": {"accepted": 3}, "reasons": {"quiet_hours": 2}}}
    with runtime.db.write() as connection:
        runs.keep(
            connection, shop.shop_id, Run("tick", now - timedelta(seconds=9), now - timedelta(seconds=5), result, "")
        )
        health.rest(connection, shop.shop_id, "smtp", now, "451")
    found = _figures(runtime)
    name = shop.name
    assert found[f'crm_job_ok{{job="tick",shop="{name}"}}'] == 1
    assert found[f'crm_job_seconds{{job="tick",shop="{name}"}}'] == 4
    assert found[f'crm_job_age_seconds{{job="tick",shop="{name}"}}'] == 5
    assert found[f'crm_last_round_states{{shop="{name}",state="accepted"}}'] == 3
    assert found[f'crm_last_round_reasons{{reason="quiet_hours",shop="{name}"}}'] == 2
    assert found[f'crm_sender_rests{{adapter="smtp",shop="{name}",why="failures"}}'] == 1
    assert found["crm_clock_leads"] == 0


def _record(message: str, *args: Any, **about: Any) -> logging.LogRecord:
    try:
        raise ValueError("no such user ada@example.com")
    except ValueError:
        trace = sys.exc_info()
    record = logging.LogRecord("crm.x", logging.ERROR, "x.py", 1, message, args, trace)
    for name, value in about.items():
        setattr(record, name, value)
    return record


def test_a_line_is_one_object_that_names_the_touchpoint_and_nobodys_address() -> None:
    record = _record(
        "%s of %s failed, token=abc", "mail", "Ada <ada@example.com>, +1 555 010 0123", touchpoint=7, shop="lantern"
    )
    told = json.loads(JsonFormatter().format(record))
    assert (told["level"], told["logger"], told["touchpoint"], told["shop"]) == ("error", "crm.x", 7, "lantern")
    assert told["message"] == "mail of Ada <***>, *** failed, token=***"
    assert "ValueError" in told["error"]
    for line in (json.dumps(told), RedactingFormatter("%(message)s").format(record)):
        assert "ada@" not in line
        assert "0123" not in line


@pytest.mark.parametrize("plain", ["2026-11-27 20:41:49 +0000", "smtp.example.com:587", "12 of 1200000 in 3.5 s"])
def test_what_is_no_address_is_kept(plain: str) -> None:
    assert json.loads(JsonFormatter().format(_record(plain)))["message"] == plain


def test_token_opens_the_figures(runtime: Runtime) -> None:
    from crm_plugin.app import create_app
    from crm_plugin.jobs.queue import Queue

    told = replace(runtime, config=replace(runtime.config, metrics_token="let-me-see"))
    queue = Queue(told, workers=0)
    client = create_app(told, queue).test_client()
    answer = client.get("/metrics", headers={"Authorization": "Bearer let-me-see"})
    assert (answer.status_code, answer.content_type) == (200, metrics.CONTENT_TYPE)
    assert client.get("/metrics", headers={"Authorization": "Bearer let-me-in"}).status_code == 404
