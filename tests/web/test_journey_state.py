"""What a journey of several steps is: published with what it lacks told, paused, going on, archived; members moved to a new version."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from crm_plugin.records import ConsentRecord, ConsentState
from crm_plugin.runtime import Runtime
from crm_plugin.store import audit_log, connections, enrolments, shops
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys as store
from crm_plugin.touchpoints import publishing, texts
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.plan import plan_shop
from crm_plugin.touchpoints.render import Text
from crm_plugin.touchpoints.steps.tally import Tally, tally
from tests.factories import NOON, member, write
from tests.touchpoints.steps.stage import Counting
from tests.web.conftest import Page, Post, fields, words

YES = (ConsentRecord(channel="email", state=ConsentState.GRANTED, at=NOON - timedelta(days=90)),)
REST: dict[str, Any] = {"key": "rest", "wait": {"days": 3}}
HELLO: dict[str, Any] = {"key": "hello", "send": {"template": "hello", "channels": ["email"]}}
CALL: dict[str, Any] = {"key": "call", "task": {"title": {"en": "Call them", "zh-CN": "打电话"}, "due_days": 2}}
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def set_up(runtime: Runtime, shop: Shop) -> None:
    """A sender, a text, and three members whose birthday is today."""
    with runtime.db.write() as connection:
        row = {"adapter": "smtp", "channel": "email", "settings": b"", "enabled": True, "status": "ok"}
        connection.execute(insert(connections).values(shop_id=shop.shop_id, updated_at=NOON, **row))
        told = Text("hello", "email", "en", subject="Hello {{ member.name }}", body_text="Hello.")
        texts.put(connection, shop.shop_id, told, NOON)
    people = [
        member(str(number), email=f"m{number}@x.test", birth_month=6, birth_day=1, consents=YES, country="DE")
        for number in range(3)
    ]
    write(runtime.db, shop, people)


def draft(runtime: Runtime, shop: Shop, *steps: dict[str, Any], **told: Any) -> None:
    """Keep a journey of these steps, as a draft where one is there."""
    document = {
        "key": "j",
        "title": {"en": "Hello", "zh-CN": "你好"},
        "trigger": {"type": "birthday", "days": 0},
        "audience": 'country == "DE"',
        "send_at": "15:00",
        "steps": list(steps),
        **told,
    }
    with runtime.db.write() as connection:
        publishing.save_draft(connection, shop, document, NOON)


def get(runtime: Runtime) -> Journey:
    with runtime.db.read() as connection:
        return store.get(connection, 1, "j")


def audited(runtime: Runtime) -> list[tuple[str, dict[str, Any]]]:
    """What the log has: (action, detail)."""
    with runtime.db.read() as connection:
        query = select(audit_log.c.action, audit_log.c.detail).order_by(audit_log.c.audit_id)
        return [(row.action, row.detail) for row in connection.execute(query)]


def standing(runtime: Runtime) -> list[tuple[str, str, int]]:
    """Everybody who was ever inside: state or how it ended, step, version."""
    e = enrolments.c
    with runtime.db.read() as connection:
        rows = connection.execute(select(enrolments).order_by(e.enrolment_id)).all()
    return [(row.end_reason or row.state, row.step_key, row.version) for row in rows]


def test_publishing_switches_on_and_takes_in_as_many_as_was_said(
    runtime: Runtime, shop: Shop, page: Page, post: Post
) -> None:
    draft(runtime, shop, REST, HELLO)
    html = page("journeys/j/publish")
    assert "3 members could be taken in at once." in words(html)
    assert "Wait 3 days" in words(html)
    assert "E-mail: “Hello …”" in words(html)
    assert post("journeys/j/publish", {"most": "2"}).status_code == 303
    assert "“Hello” is on. 2 members were taken in." in words(page("journeys/j"))
    assert (get(runtime).status, get(runtime).version) == ("on", 1)
    assert standing(runtime) == [("active", "rest", 1)] * 2
    assert audited(runtime) == [("journey.published", {"journey": "j", "version": 1, "taken_in": 2})]


@pytest.mark.parametrize("most", ["none", "0", "100001"])
def test_a_number_that_cannot_be_is_refused_at_its_field(runtime: Runtime, shop: Shop, post: Post, most: str) -> None:
    draft(runtime, shop, HELLO)
    answer = post("journeys/j/publish", {"most": most})
    assert answer.status_code == 422
    assert 'id="e-most"' in answer.text
    assert (get(runtime).enabled, standing(runtime), audited(runtime)) == (False, [], [])


def test_everything_it_lacks_is_listed_with_where_to_mend_it(
    runtime: Runtime, shop: Shop, page: Page, post: Post
) -> None:
    lost = {"key": "lost", "send": {"template": "gone", "channels": ["email"]}}
    phone = {"key": "phone", "send": {"template": "phone", "channels": ["sms"]}}
    gift = {"key": "gift", "coupon": {"pool": "empty"}}
    with runtime.db.write() as connection:
        text = Text("phone", "sms", "en", body_text="Hi. Reply STOP to opt out")
        texts.put(connection, shop.shop_id, text, NOON)
    draft(runtime, shop, lost, phone, gift, audience='segment("gone")')
    for html in (page("journeys/j"), page("journeys/j/publish")):
        told = words(html)
        assert "4 things to mend before it can be published:" in told
        assert "The journey has no text for email." in told
        assert "The step phone has no sender for sms." in told
        assert "The pool empty of the step gift has no codes left." in told
        assert 'href="/s/shop-1/journeys/j#edit-title">Mend it' in html
        assert 'href="/s/shop-1/journeys/j#s-lost">Mend it' in html
        assert 'href="/s/shop-1/connections#senders">Mend it' in html
        assert 'href="/s/shop-1/journeys/j/steps/gift">Mend it' in html
    answer = post("journeys/j/publish", {"most": ""})
    assert answer.status_code == 422
    assert (get(runtime).enabled, audited(runtime)) == (False, [])


def test_a_draft_waits_beside_what_runs(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    draft(runtime, shop, HELLO)
    post("journeys/j/publish", {"most": ""})
    draft(runtime, shop, REST, HELLO)
    html = page("journeys/j")
    assert "Not published" in words(html)
    assert "Wait 3 days" in words(html)
    assert [step.key for step in get(runtime).flow.steps] == ["hello"]
    assert post("journeys/j/discard").status_code == 303
    assert "Wait 3 days" not in words(page("journeys/j"))
    assert get(runtime).draft is None
    assert audited(runtime)[-1] == ("journey.discarded", {"journey": "j"})


def test_the_form_of_a_running_journey_changes_its_draft(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    draft(runtime, shop, HELLO)
    post("journeys/j/publish", {"most": ""})
    form = {
        "do": "save",
        "en": "Hello again",
        "zh": "你好",
        "days": "0",
        "side": "after",
        "send_at": "09:00",
        "validity_days": "3",
        "audience": 'country == "DE"',
        "kind": "marketing",
    }
    assert post("journeys/j", form).status_code == 303
    assert (get(runtime).title["en"], get(runtime).version) == ("Hello", 1)
    html = page("journeys/j")
    assert 'value="Hello again"' in html
    assert 'name="channel-1"' not in html
    detail = {"journey": "j", "changed": {"title": {"en": "Hello again", "zh-CN": "你好"}, "send_at": "09:00"}}
    assert audited(runtime)[-1] == ("journey.saved", detail)
    assert post("journeys/j/publish", {"most": ""}).status_code == 303
    assert (get(runtime).title["en"], get(runtime).version, get(runtime).draft) == ("Hello again", 2, None)


@pytest.mark.slow
def test_a_pause_keeps_what_waits_and_going_on_says_what_is_late(
    runtime: Runtime, shop: Shop, page: Page, post: Post
) -> None:
    draft(runtime, shop, HELLO)
    post("journeys/j/publish", {"most": "3"})
    assert plan_shop(runtime.db, shop, NOON).problems == {}
    assert post("journeys/j/pause", {"listed": "1"}).location.endswith("/journeys")
    assert "“Hello” is paused. What waits stays where it is." in words(page("journeys/j"))
    assert get(runtime).status == "paused"
    told = words(page("journeys/j/resume"))
    assert "3 became late in the pause." in told
    assert "Messages that waited 3 0" in told
    assert "Go on with 3" in told
    assert get(runtime).status == "paused"
    assert post("journeys/j/resume").status_code == 303
    assert get(runtime).status == "on"
    actions = [action for action, _detail in audited(runtime)]
    assert actions == ["journey.published", "journey.paused", "journey.resumed"]
    assert (audited(runtime)[-1][1]["valid"], audited(runtime)[-1][1]["missed"]) == (3, 0)
    again = post("journeys/j/resume")
    assert again.status_code == 422
    assert "The journey j is not paused." in words(again.text)


def test_what_is_off_cannot_be_paused(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    draft(runtime, shop, HELLO)
    assert post("journeys/j/pause").status_code == 303
    assert "The journey j is not on. There is nothing to pause." in words(page("journeys/j"))
    assert audited(runtime) == []


def test_archiving_asks_and_ends_all(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    draft(runtime, shop, REST, HELLO)
    post("journeys/j/publish", {"most": "3"})
    told = words(page("journeys/j/archive"))
    assert "3 members are inside, and leave it for good." in told
    assert get(runtime).status == "on"
    assert post("journeys/j/archive").status_code == 303
    assert get(runtime).status == "archived"
    assert standing(runtime) == [("archived", "rest", 1)] * 3
    html = page("journeys")
    assert 'id="j-j"' not in html
    assert "Archived 1 Hello" in words(html)
    assert audited(runtime)[-1] == ("journey.archived", {"journey": "j", "ended": 3})
    assert post("journeys/j/publish", {"most": ""}).status_code == 303
    assert get(runtime).status == "on"


def test_moving_members_is_looked_at_first(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    draft(runtime, shop, REST, HELLO)
    post("journeys/j/publish", {"most": "3"})
    assert plan_shop(runtime.db, shop, NOON).problems == {}
    with runtime.db.write() as connection:
        first = select(enrolments.c.enrolment_id).order_by(enrolments.c.enrolment_id).limit(1).scalar_subquery()
        connection.execute(update(enrolments).where(enrolments.c.enrolment_id == first).values(step_key="hello"))
    draft(runtime, shop, REST, CALL)
    post("journeys/j/publish", {"most": ""})
    assert "Version 1 of Jun 1, 2026: 3 members inside" in words(page("journeys/j"))
    told = words(page("journeys/j/move"))
    assert "Wait 3 days 1 2 move" in told
    assert "E-mail: “Hello …” 1 1 stay" in told
    assert "Move 2 members" in told
    assert {version for _state, _step, version in standing(runtime)} == {1}
    assert post("journeys/j/move").status_code == 303
    assert "2 members were moved. 1 stays." in words(page("journeys/j"))
    assert standing(runtime) == [("active", "hello", 1), ("active", "rest", 2), ("active", "rest", 2)]
    assert audited(runtime)[-1] == ("journey.moved", {"journey": "j", "members": 2})


def test_steps_are_counted_in_three_statements_however_many_there_are(
    runtime: Runtime, shop: Shop, page: Page, post: Post
) -> None:
    draft(runtime, shop, CALL, {"key": "out", "wait": {"days": 1}}, goal='country == "FR"')
    post("journeys/j/publish", {"most": "3"})
    assert plan_shop(runtime.db, shop, NOON).problems == {}
    with runtime.db.write() as connection:
        publishing.archive(connection, shop, "j", NOON)
    for since, expected in (
        (NOON - DAY, {"call": Tally(0, 3, {}), "out": Tally(0, 0, {"archived": 3})}),
        (NOON + DAY, {}),
    ):
        with runtime.db.read() as connection, Counting(runtime.db) as ran:
            assert tally(connection, shop, "j", since) == expected
        assert sum("SELECT" in one for one in ran.statements) == 3
    told = words(page("journeys/j"))
    assert "A task, due after 2 days: “Call them” 3 went on from here" in told
    assert "Wait 1 day 3 left the journey here: the journey was archived" in told


def test_chinese_has_its_own_words(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    branch = {"key": "b", "branch": 'tag("vip")', "then": [HELLO], "else": [REST]}
    draft(runtime, shop, branch, CALL, {"key": "w", "wait": {"until": {"weekday": "tue", "at": "10:00"}}})
    told = words(page("journeys/j?lang=zh"))
    for text in (
        "如果属于：有标签“vip”的会员",
        "如果是 邮件：“Hello …”",
        "否则 等待 3 天",
        "任务，2 天后到期：“打电话”",
        "等到星期二 10:00",
    ):
        assert text in told


def test_each_sending_step_has_a_way_to_its_texts(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    draft(runtime, shop, REST, HELLO)
    path = "journeys/j.hello/texts/email/en"
    assert f'href="/s/shop-1/{path}"' in page("journeys/j")
    assert "Hello {{ member.name }}" in page(path)
    told = {"do": "save", "subject": "Good day", "body_text": "Good day.", "body_html": "", "url": ""}
    assert post(path, told).status_code == 303
    with runtime.db.read() as connection:
        kept = texts.get_text(connection, shop.shop_id, "hello", "email", "en")
    assert kept is not None
    assert (kept.subject, kept.version) == ("Good day", 2)
    assert audited(runtime)[-1][1]["journey"] == "j"
    page("journeys/j.rest/texts/email/en", status=404)


def test_the_way_back_from_a_text_leads_to_its_step(runtime: Runtime, shop: Shop, client: Any) -> None:
    draft(runtime, shop, HELLO)
    answer = client.get("/s/shop-1/journeys/j.hello")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/s/shop-1/journeys/j#s-hello")


@pytest.mark.parametrize("path", ["publish", "discard", "pause", "resume", "archive", "move"])
def test_a_foreign_page_changes_nothing(runtime: Runtime, shop: Shop, client: Any, path: str) -> None:
    draft(runtime, shop, HELLO)
    answer = client.post(f"/s/shop-1/journeys/j/{path}", headers={"Sec-Fetch-Site": "cross-site"})
    assert (answer.status_code, get(runtime).status, audited(runtime)) == (403, "draft", [])


def test_what_the_audience_lacks_is_told_before_publishing(runtime: Runtime, shop: Shop, page: Page) -> None:
    draft(runtime, shop, HELLO)
    told = words(page("journeys/j/publish"))
    assert "3 members as of today. Of these: 3 Without a language: they get English. 100%" in told
    rule = "The hour is that of their state or country, for their own zone is not known."
    assert f"How the hour of a message is found 3 {rule} 100%" in told
    assert "3 没有语言：收到英文。" in words(page("journeys/j/publish?lang=zh"))


def test_taking_in_many_asks_for_the_number_typed(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    _confirm_above(runtime, 2)
    draft(runtime, shop, REST, HELLO)
    answer = post("journeys/j/publish", {"most": "50"})
    assert answer.status_code == 422
    assert "This reaches 3 people at once. Type 3 to go ahead." in words(answer.text)
    assert 'name="confirm"' in answer.text
    assert (get(runtime).enabled, standing(runtime)) == (False, [])
    assert post("journeys/j/publish", {"most": "50", "confirm": "3"}).status_code == 303
    assert len(standing(runtime)) == 3


def test_a_campaign_to_many_is_switched_on_by_its_number_and_changed_in_a_draft(
    runtime: Runtime, shop: Shop, page: Page, post: Post
) -> None:
    _confirm_above(runtime, 2)
    document = {"key": "j", "trigger": {"type": "campaign"}, "channels": ["email"], "template": "hello"}
    with runtime.db.write() as connection:
        store.save(connection, shop, read_draft(document), NOON)
    assert "Type 3 to go ahead" in words(page("journeys/j/switch"))
    assert post("journeys/j/switch", {"on": "1", "confirm": "2"}).status_code == 422
    assert not get(runtime).enabled
    assert post("journeys/j/switch", {"on": "1", "confirm": "3"}).status_code == 303
    assert get(runtime).enabled
    form = fields(page("journeys/j"), "journey")
    assert post("journeys/j", {**form, "audience": 'country == "DE"', "do": "save"}).status_code == 303
    assert get(runtime).audience_text == ""
    assert get(runtime).draft is not None


def _confirm_above(runtime: Runtime, count: int) -> None:
    with runtime.db.write() as connection:
        connection.execute(update(shops).values(settings={"blast": {"confirm_above": count}}))


@pytest.mark.slow
def test_who_comes_into_steps_is_no_message_and_what_is_paused_brings_nothing(
    runtime: Runtime, shop: Shop, page: Page, post: Post
) -> None:
    draft(runtime, shop, HELLO, REST)
    assert "in the next 7 days" not in words(page("journeys"))
    with runtime.db.write() as connection:
        store.switch(connection, shop, "j", True, NOON)
    came = "3 members come into journeys of several steps."
    told = words(page("journeys"))
    assert f"1 journey is on. {came} Each member" in told
    assert came in words(page("today"))
    post("journeys/j/pause", {})
    assert "No journey is on, so nothing goes out by itself." in words(page("journeys"))
    assert came not in words(page("today"))
