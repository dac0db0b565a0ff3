"""The document of a journey of several steps: read, refused with its place, written back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import select

from crm_plugin.errors import CrmError, InvalidInput
from crm_plugin.store import journey_versions
from crm_plugin.store.session import Database
from crm_plugin.touchpoints import documents, journeys
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.program_yaml import to_yaml
from crm_plugin.touchpoints.steps.document import allot, path, read_steps, walk
from crm_plugin.touchpoints.versions import versions
from tests.factories import make_shop
from tests.touchpoints.steps.documents import JOURNEYS, STEPS

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
WAIT = {"key": "rest", "wait": {"days": 3}}


def _journey(*steps: dict[str, Any], **told: Any) -> dict[str, Any]:
    return {"key": "win", "trigger": {"type": "lapse", "days": 60}, "steps": list(steps), **told}


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(JOURNEYS)
def test_what_was_written_is_read_again(told: dict[str, Any]) -> None:
    draft = read_draft(told)
    flow = draft.flow.as_dict()
    assert flow == {name: told[name] for name in flow}
    assert set(told) - set(flow) <= {"key", "trigger", "audience"}
    written = documents.read(to_yaml({"journeys": [{**told}]}), "file")
    assert read_draft(written["journeys"][0]) == draft


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_every_step_leads_to_a_later_one(told: list[dict[str, Any]]) -> None:
    laid = path(read_steps(told))
    assert [laid[step.key].order for step in walk(read_steps(told))] == list(range(len(laid)))
    for place in laid.values():
        assert all(not to or laid[to].order > place.order for to in place.goes.values())


@pytest.mark.slow
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(JOURNEYS)
def test_saved_and_loaded_it_is_the_same(sqlite_db: Database, told: dict[str, Any]) -> None:
    draft = read_draft(told)
    with sqlite_db.engine.connect() as connection:
        shop = make_shop(connection)
        saved = journeys.save(connection, shop, draft, NOW)
        assert saved.flow == draft.flow
        kept = versions(connection, shop.shop_id, saved)[1]
        assert kept.journey == saved
        assert sorted(kept.numbers.values()) == list(range(1, len(kept.numbers) + 1))
        connection.rollback()


@pytest.mark.parametrize(
    ("told", "field", "message"),
    [
        (_journey({"wait": {"days": 1}}), "steps", "A step has no key, or None, which cannot be one."),
        (_journey(WAIT, WAIT), "steps.rest", "The step rest is there twice."),
        (_journey({"key": "a"}), "steps.a", "The step a must do exactly one thing."),
        (_journey({**WAIT, "end": {}}), "steps.rest", "The step rest must do exactly one thing."),
        (_journey({**WAIT, "then": []}), "steps.rest", "The step rest has no then."),
        (_journey({"key": "a", "wait": {}}), "steps.a", "A wait says how long."),
        (
            _journey({"key": "a", "wait": {"days": -1}}),
            "steps.a.days",
            "`days` must be a whole number from 0 to 365, not -1.",
        ),
        (
            _journey({"key": "a", "wait": {"event": "sneezed", "within_days": 1}}),
            "steps.a.event",
            "`event` is 'sneezed'.",
        ),
        (_journey({"key": "a", "split": {"a": 45, "b": 45}}), "steps.a", "The arms come to 90 % together."),
        (_journey({"key": "a", "split": {"a": 50, "b": 50}, "arms": {"c": []}}), "steps.a", "The step a has no arm c."),
        (
            _journey({"key": "a", "send": {"template": "t"}}),
            "steps.a.channels",
            "`channels` is missing, or is no list of words.",
        ),
        (_journey({"key": "a", "webhook": {"url": "http://x.test"}}), "steps.a", "'http://x.test' cannot be called."),
        (_journey({"key": "a", "task": {}}), "steps.a", "The task has no title."),
        (_journey(WAIT, channels=["email"]), "channels", "A journey of several steps has its channels in its steps."),
        (_journey(WAIT, reentry="often"), "reentry", "`reentry` is 'often'."),
        (_journey(WAIT, exit="later"), "exit", "`exit` is 'later'."),
        (_journey(goal="orders() > 1", channels=["email"]), "goal", "A journey without steps has no goal."),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(told: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_draft(told)
    assert (caught.value.field, caught.value.message) == (field, message)


@pytest.mark.parametrize("told", [_journey({"key": "a", "branch": "orders( > 1"}), _journey(WAIT, goal="orders( > 1")])
def test_a_broken_rule_is_refused_with_its_place(told: dict[str, Any]) -> None:
    with pytest.raises(CrmError) as caught:
        read_draft(told)
    assert caught.value.path == ("goal" if "goal" in told else "steps.a")  # type: ignore[attr-defined]


def test_a_step_keeps_its_number_over_versions(db: Database) -> None:
    first, second = {"key": "a", "wait": {"days": 1}}, {"key": "b", "wait": {"days": 2}}
    with db.write() as connection:
        shop = make_shop(connection)
        for steps in ([first, second], [second], [{"key": "c", "wait": {"days": 3}}, second, first]):
            saved = journeys.save(connection, shop, read_draft(_journey(*steps)), NOW)
        journeys.save(connection, shop, read_draft(_journey(*steps)), NOW)
        columns = journey_versions.c
        kept = connection.execute(select(columns.version, columns.numbers).order_by(columns.version)).all()
    assert [tuple(row) for row in kept] == [(1, {"a": 1, "b": 2}), (2, {"a": 1, "b": 2}), (3, {"a": 1, "b": 2, "c": 3})]
    assert saved.version == 3
    assert allot((), {}) == {}
