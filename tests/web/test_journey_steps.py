"""Steps changed on the page: added, changed, moved, taken out with forms; all of them as text, with mistakes told by line."""

from __future__ import annotations

from typing import Any

import pytest

from crm_plugin.runtime import Runtime
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.publishing import edited
from crm_plugin.web import step_texts
from tests.web.conftest import Page, Post, fields, words
from tests.web.test_journey_state import CALL, HELLO, REST, audited, draft, get, set_up

__all__ = ["set_up"]
AT = "journeys/j/steps"


def steps(runtime: Runtime) -> list[dict[str, Any]]:
    """The steps as they are edited."""
    journey = get(runtime)
    shown = edited(journey)
    return [step.as_dict() for step in shown.flow.steps]


FORMS: list[tuple[str, dict[str, str], Any]] = [
    (
        "send",
        {"template": "hello", "channel-1": "email", "channel-2": "sms", "channel-3": "email", "validity_days": "2"},
        {"template": "hello", "channels": ["email", "sms"], "validity_days": 2},
    ),
    ("wait", {"mode": "span", "days": "3", "hours": "4", "minutes": ""}, {"days": 3, "hours": 4}),
    ("wait", {"mode": "hour", "at": "10:00:00", "days": "3"}, {"until": {"at": "10:00"}}),
    ("wait", {"mode": "weekday", "weekday": "tue", "at": "10:00"}, {"until": {"weekday": "tue", "at": "10:00"}}),
    ("wait", {"mode": "occasion", "occasion": "-2", "at": "10:00"}, {"until": {"occasion": -2, "at": "10:00"}}),
    ("wait", {"mode": "event", "event": "clicked", "within_days": "7"}, {"event": "clicked", "within_days": 7}),
    ("branch", {"rule": "orders() >= 2"}, {"rule": "orders() >= 2"}),
    ("split", {"arms": "a 45\r\nb: 45\r\nholdout 10 %"}, {"a": 45, "b": 45, "holdout": 10}),
    ("coupon", {"pool": "thanks"}, {"pool": "thanks"}),
    ("tag", {"add": "vip, tea", "remove": "cold，new"}, {"add": ["vip", "tea"], "remove": ["cold", "new"]}),
    ("tier", {"level": "main/gold", "reason": "Kind"}, {"program": "main", "level": "gold", "reason": "Kind"}),
    ("tier", {"level": "main/gold", "invite": "1"}, {"program": "main", "level": "gold", "invite": True}),
    (
        "task",
        {"en": "Call", "zh": "打电话", "due_days": "2", "owner": "Anna"},
        {"title": {"en": "Call", "zh-CN": "打电话"}, "due_days": 2, "owner": "Anna"},
    ),
    (
        "webhook",
        {
            "url": "https://x.test/in",
            "event": "won",
            "tell-member": "1",
            "body": "from: shop\r\nrank: 2",
            "validity_days": "",
        },
        {"url": "https://x.test/in", "body": {"from": "shop", "rank": 2}, "event": "won", "fields": ["member"]},
    ),
    ("end", {}, {}),
]


@pytest.mark.parametrize(("kind", "form", "told"), FORMS)
def test_each_kind_is_added_and_shown_again_as_it_was(
    runtime: Runtime, shop: Shop, page: Page, post: Post, kind: str, form: dict[str, str], told: Any
) -> None:
    draft(runtime, shop, HELLO)
    page(f"{AT}-new?after=hello&kind={kind}")
    answer = post(f"{AT}-new?after=hello&kind={kind}", form)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/s/shop-1/{AT}#s-{kind}-1")
    found = steps(runtime)
    assert [one["key"] for one in found] == ["hello", f"{kind}-1"]
    assert found[1][kind] == told
    page(f"{AT}/{kind}-1")
    assert post(f"{AT}/{kind}-1", {**form, "do": "save"}).status_code == 303
    assert steps(runtime) == found


@pytest.mark.parametrize(
    ("kind", "form", "field"),
    [
        ("send", {"template": "Hello", "channel-1": "email"}, "template"),
        ("send", {"template": "hello"}, "channel-1"),
        ("send", {"template": "hello", "channel-1": "email", "validity_days": "x"}, "validity_days"),
        ("wait", {"mode": "span"}, "days"),
        ("wait", {"mode": "span", "days": "-1"}, "days"),
        ("wait", {"mode": "hour", "at": "25:00"}, "at"),
        ("wait", {"mode": "event", "event": "opened", "within_days": "0"}, "within_days"),
        ("branch", {"rule": "orders() >>= 2"}, "rule"),
        ("split", {"arms": "a 45\nb 45"}, "arms"),
        ("split", {"arms": "a x\nb 45"}, "arms"),
        ("coupon", {"pool": ""}, "pool"),
        ("tag", {"add": ""}, "add"),
        ("tier", {"level": "main/gold", "reason": ""}, "reason"),
        ("task", {"en": ""}, "en"),
        ("task", {"en": "Call", "due_days": "400"}, "due_days"),
        ("webhook", {"url": "http://x.test/in", "tell-member": "1"}, "url"),
    ],
)
def test_a_mistake_stands_at_its_field_and_nothing_is_written(
    runtime: Runtime, shop: Shop, post: Post, kind: str, form: dict[str, str], field: str
) -> None:
    draft(runtime, shop, HELLO)
    answer = post(f"{AT}-new?after=hello&kind={kind}", form)
    assert answer.status_code == 422
    assert f'id="e-{field}"' in answer.text
    assert (steps(runtime), audited(runtime)) == ([HELLO], [])


def test_level_is_not_fixed_without_a_reason(runtime: Runtime, shop: Shop, post: Post) -> None:
    draft(runtime, shop, HELLO)
    answer = post(f"{AT}-new?after=hello&kind=tier", {"level": "main/gold", "reason": ""})
    assert "Say why the level is fixed." in answer.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "{% if days < 0 %}Soon{% if name %}, {{ name }}{% endif %}{% elif name %}Hi {{ name }}{% else %}Hi{% endif %}!",
            "Hi!",
        ),
        ("Hello{%- if name %} {{ name }}{% endif %}, {# for all #}here is {{ code }}", "Hello, here is …"),
        ("{% if order %}Thanks for {{ order.number }}{% endif %}", "Thanks for …"),
        ("{% for line in lines %}{{ line }} {% else %}Nothing{% endfor %}", "… Nothing"),
    ],
)
def test_text_is_told_as_it_is_for_whom_no_condition_holds(text: str, said: str) -> None:
    assert step_texts.beginning(text) == said


def test_steps_move_and_go_within_their_list(runtime: Runtime, shop: Shop, post: Post) -> None:
    branch = {"key": "b", "branch": {"rule": "orders() >= 2"}, "then": [REST, CALL]}
    draft(runtime, shop, branch, HELLO)
    post(f"{AT}/call", {"do": "up"})
    post(f"{AT}/b", {"do": "down"})
    post(f"{AT}/b", {"do": "down"})
    found = steps(runtime)
    assert [one["key"] for one in found] == ["hello", "b"]
    assert [one["key"] for one in found[1]["then"]] == ["call", "rest"]
    assert post(f"{AT}-new?into=b&arm=else&kind=end", {}).status_code == 303
    assert steps(runtime)[1]["else"] == [{"key": "end-1", "end": {}}]
    assert post(f"{AT}/b", {"do": "remove"}).status_code == 303
    assert steps(runtime) == [HELLO]


def test_taking_out_says_what_goes_with_it(runtime: Runtime, shop: Shop, page: Page) -> None:
    draft(runtime, shop, {"key": "b", "branch": {"rule": "orders() >= 2"}, "then": [REST, CALL]}, HELLO)
    assert "2 steps stand inside it, and go with it." in words(page(f"{AT}/b"))
    assert "go with it" not in words(page(f"{AT}/hello"))


def test_arm_that_is_renamed_keeps_what_is_in_it(runtime: Runtime, shop: Shop, post: Post) -> None:
    draft(runtime, shop, {"key": "s", "split": {"a": 50, "b": 50}, "arms": {"a": [REST], "b": [HELLO]}})
    assert post(f"{AT}/s", {"do": "save", "arms": "a 60\nc 40"}).status_code == 303
    [found] = steps(runtime)
    assert (found["split"], found["arms"]) == ({"a": 60, "c": 40}, {"a": [REST], "c": [HELLO]})
    answer = post(f"{AT}/s", {"do": "save", "arms": "a 60\nd 20\ne 20"})
    assert (answer.status_code, "There are steps in “c”." in answer.get_data(as_text=True)) == (422, True)
    assert steps(runtime) == [found]


def test_a_running_journey_is_changed_in_its_draft(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    draft(runtime, shop, HELLO)
    post("journeys/j/publish", {"most": ""})
    assert post(f"{AT}-new?kind=wait", {"mode": "span", "days": "1"}).status_code == 303
    assert "Saved as a draft." in words(page(AT))
    assert [step.key for step in get(runtime).flow.steps] == ["hello"]
    assert [one["key"] for one in steps(runtime)] == ["wait-1", "hello"]
    assert audited(runtime)[-1][1]["changed"]["steps"] == steps(runtime)


def test_a_journey_of_one_message_becomes_one_of_several_steps(
    runtime: Runtime, shop: Shop, page: Page, post: Post
) -> None:
    draft(runtime, shop, channels=["email"], template="hello")
    assert get(runtime).flow.steps == ()
    assert "E-mail: “Hello …”" in words(page(AT))
    assert post(f"{AT}-new?after=message&kind=wait", {"mode": "span", "days": "1"}).status_code == 303
    message = {"key": "message", "send": {"template": "hello", "channels": ["email"]}}
    assert steps(runtime) == [message, {"key": "wait-1", "wait": {"days": 1}}]


def test_all_steps_are_changed_as_text(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    draft(runtime, shop, HELLO)
    told = "- {key: rest, wait: {days: 3}}\n- key: hello\n  send: {template: hello, channels: [email]}\n"
    assert post(f"{AT}-text", {"text": told}).status_code == 303
    assert steps(runtime) == [REST, HELLO]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- key: rest\n  wait: {days: 3\n", "Line 3: This cannot be read."),
        ("- key: hello\n  send: {template: hello, channels: [email]}\n- key: rest\n  wait: {days: -3}\n", "Line 3: "),
        ("- key: a\n  end: {}\n- key: b\n  branch: 'orders() >>= 1'\n", "Line 3: "),
        ("- {key: a, end: {}}\n- {key: a, end: {}}\n", "Line 1: The step a is there twice."),
    ],
)
def test_a_mistake_in_the_text_is_told_by_its_line(
    runtime: Runtime, shop: Shop, post: Post, text: str, told: str
) -> None:
    draft(runtime, shop, HELLO)
    answer = post(f"{AT}-text", {"text": text})
    assert answer.status_code == 422
    assert told in words(answer.text)
    assert (steps(runtime), audited(runtime)) == ([HELLO], [])


def test_what_is_not_there_is_not_found(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    draft(runtime, shop, HELLO)
    page(f"{AT}/gone", status=404)
    assert post(f"{AT}/gone", {"do": "remove"}).status_code == 404
    assert post(f"{AT}-new?after=gone&kind=end", {}).status_code == 404
    assert post(f"{AT}-new?kind=fax", {}).status_code == 404
    assert steps(runtime) == [HELLO]


@pytest.mark.parametrize("path", ["-text", "-new?kind=end", "/hello"])
def test_a_foreign_page_changes_no_step(runtime: Runtime, shop: Shop, client: Any, path: str) -> None:
    draft(runtime, shop, HELLO)
    headers = {"Sec-Fetch-Site": "cross-site"}
    assert client.post(f"/s/shop-1/{AT}{path}", data={"do": "remove"}, headers=headers).status_code == 403
    assert steps(runtime) == [HELLO]


def test_codes_are_put_into_the_pool_of_a_step(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    draft(runtime, shop, HELLO, {"key": "gift", "coupon": {"pool": "thanks"}})
    assert "The pool thanks of the step gift has no codes left." in words(page("journeys/j/publish"))
    for told in ("", "two words"):
        answer = post(f"{AT}/gift/codes", {"codes": told})
        assert answer.status_code == 422
        assert 'id="e-codes"' in answer.text
    assert post(f"{AT}/gift/codes", {"codes": "A1\r\nB2\r\n\r\nA1"}).status_code == 303
    told = words(page(f"{AT}/gift"))
    assert "2 codes were added." in told
    assert "thanks 2 codes left" in told
    assert "no codes left" not in words(page("journeys/j/publish"))
    assert audited(runtime)[-1] == ("coupons.loaded", {"pool": "thanks", "codes": 2})
    assert post(f"{AT}/hello/codes", {"codes": "A1"}).status_code == 404


@pytest.mark.parametrize("told", ["--5", "9" * 5000])
def test_what_is_no_number_is_refused_wherever_it_is_typed(runtime: Runtime, shop: Shop, post: Post, told: str) -> None:
    draft(runtime, shop, HELLO)
    own = {"en": "x", "side": "after", "send_at": "10:00", "validity_days": "3", "kind": "marketing"}
    for path, form in (
        (f"{AT}-new?after=hello&kind=wait", {"mode": "span", "days": told}),
        (f"{AT}-new?after=hello&kind=split", {"arms": f"a {told}"}),
        ("journeys/j/start", {"type": "birthday", "p-days": told}),
        ("journeys/j", {**own, "days": told}),
    ):
        assert post(path, form).status_code == 422, path


def test_title_of_a_task_in_another_language_stays(runtime: Runtime, shop: Shop, post: Post) -> None:
    call = {"key": "call", "task": {"title": {"de": "Anrufen", "en": "Call"}, "due_days": 2}}
    draft(runtime, shop, HELLO, call)
    assert post(f"{AT}/call", {"en": "Ring", "zh": "", "due_days": "2", "do": "save"}).status_code == 303
    assert steps(runtime)[-1]["task"]["title"] == {"de": "Anrufen", "en": "Ring"}


def test_what_was_saved_meanwhile_is_not_overwritten_unseen(
    runtime: Runtime, shop: Shop, page: Page, post: Post
) -> None:
    draft(runtime, shop, HELLO)
    forms = {AT: "text", "journeys/j": "journey", f"{AT}/hello": "step", f"{AT}-new?kind=end": "step"}
    opened = {path: fields(page(path), form) for path, form in forms.items()}
    assert post(f"{AT}-new?after=hello&kind=wait", {"mode": "span", "days": "3"}).status_code == 303
    for path, form in opened.items():
        answer = post(path if path != AT else f"{AT}-text", form)
        assert (answer.status_code, "This was saved meanwhile." in answer.text) == (422, True), path
    assert [one["key"] for one in steps(runtime)] == ["hello", "wait-1"]
    again = post(f"{AT}-text", opened[AT]).text
    assert post(f"{AT}-text", fields(again, "text")).status_code == 303
    assert [one["key"] for one in steps(runtime)] == ["hello"]
