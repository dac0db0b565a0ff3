"""What starts a journey: every type of trigger has its form, made from the registry; goal, exit, re-entry; mistakes at their field."""

from __future__ import annotations

from typing import Any

import pytest

from crm_plugin.rules.triggers import KINDS, params_of
from crm_plugin.runtime import Runtime
from crm_plugin.store.tenants import Shop
from tests.web.conftest import Page, Post, fields, words
from tests.web.test_journey_state import HELLO, REST, audited, draft, get, set_up

__all__ = ["set_up"]
AT = "journeys/j/start"
ON = {"goal": "", "exit": "audience", "reentry": "each", "every_days": ""}


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_every_type_has_a_form_of_its_parameters(
    runtime: Runtime, shop: Shop, page: Page, kind: str, language: str
) -> None:
    draft(runtime, shop, HELLO)
    html = page(f"{AT}?type={kind}&lang={language}")
    shown = {name.removeprefix("p-") for name in fields(html, "start") if name.startswith("p-")}
    assert shown == set(KINDS[kind].names)
    label = KINDS[kind].label
    assert f'aria-current="true">{label.zh if language == "zh" else label.en}</a>' in html


def test_another_trigger_and_how_it_ends_are_kept(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    draft(runtime, shop, REST, HELLO)
    told = {
        "type": "joined",
        "p-days": "2",
        "p-minutes": "",
        "goal": "orders() >= 1",
        "exit": "never",
        "reentry": "every_days",
        "every_days": "90",
    }
    assert post(AT, told).status_code == 303
    saved = get(runtime)
    assert (saved.trigger.type, params_of(saved.trigger)) == ("joined", {"days": 2})
    flow = saved.flow
    assert (flow.goal_text, flow.exit, flow.reentry, flow.every_days) == ("orders() >= 1", "never", "every_days", 90)
    assert "2 days after a member joined" in words(page("journeys/j"))
    shown = fields(page(AT), "start")
    assert {name: shown[name] for name in ("p-days", "goal", "exit", "reentry", "every_days")} == {
        "p-days": "2",
        "goal": "orders() >= 1",
        "exit": "never",
        "reentry": "every_days",
        "every_days": "90",
    }
    assert sorted(audited(runtime)[-1][1]["changed"]) == ["exit", "goal", "reentry", "trigger"]


@pytest.mark.parametrize(
    ("told", "field"),
    [
        ({"type": "birthday", "p-days": "61"}, "p-days"),
        ({"type": "birthday", "p-days": "soon"}, "p-days"),
        ({"type": "joined", "p-days": "1", "p-minutes": "5"}, "p-minutes"),
        ({"type": "fixed_date", "p-date": "13-40"}, "p-date"),
        ({"type": "fixed_date"}, "p-date"),
        ({"type": "birthday", "goal": "orders() >>= 1"}, "goal"),
        ({"type": "birthday", "reentry": "every_days", "every_days": "0"}, "every_days"),
    ],
)
def test_a_mistake_stands_at_its_field(
    runtime: Runtime, shop: Shop, post: Post, told: dict[str, Any], field: str
) -> None:
    draft(runtime, shop, HELLO)
    answer = post(AT, {**ON, **told})
    assert answer.status_code == 422
    assert f'id="e-{field}"' in answer.text
    assert (get(runtime).trigger.type, audited(runtime)) == ("birthday", [])


def test_a_journey_of_one_message_has_a_trigger_alone(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    draft(runtime, shop, channels=["email"], template="hello")
    assert "goal" not in fields(page(AT), "start")
    assert post(AT, {"type": "anniversary", "p-days": "-3", "p-of": "first_order"}).status_code == 303
    assert params_of(get(runtime).trigger) == {"days": -3, "of": "first_order"}


def test_what_is_no_trigger_is_not_found(runtime: Runtime, shop: Shop, page: Page, post: Post, client: Any) -> None:
    draft(runtime, shop, HELLO)
    page(f"{AT}?type=never", status=404)
    assert post(AT, {"type": "never"}).status_code == 404
    answer = client.post(f"/s/shop-1/{AT}", data={"type": "joined"}, headers={"Sec-Fetch-Site": "cross-site"})
    assert (answer.status_code, get(runtime).trigger.type) == (403, "birthday")
