"""Journeys: one sentence each, nothing switched without saying what it does, nothing saved that could not run."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, insert, select

from crm_plugin.records import ConsentRecord, ConsentState
from crm_plugin.rules import segments
from crm_plugin.runtime import Runtime
from crm_plugin.store import audit_log, connections, members, touchpoints
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys as store
from crm_plugin.touchpoints import recipes
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.journey_document import read_draft
from tests.factories import NOON, member, write
from tests.web.conftest import Page, Post, words

YES = (ConsentRecord(channel="email", state=ConsentState.GRANTED, at=NOON - timedelta(days=90)),)
FORM = {
    "do": "save",
    "en": "Birthday",
    "zh": "生日祝福",
    "days": "0",
    "side": "after",
    "send_at": "10:00",
    "validity_days": "3",
    "channel-1": "email",
    "channel-2": "sms",
    "channel-3": "inapp",
    "audience": "",
    "kind": "marketing",
}


@pytest.fixture(autouse=True)
def installed(runtime: Runtime, shop: Shop) -> None:
    """The recipes, switched off, and a sender for e-mail."""
    with runtime.db.write() as connection:
        recipes.install(connection, shop, NOON)
        row = {"adapter": "smtp", "channel": "email", "settings": b"", "enabled": True, "status": "ok"}
        connection.execute(insert(connections).values(shop_id=shop.shop_id, updated_at=NOON, **row))


@pytest.fixture
def people(runtime: Runtime, shop: Shop) -> None:
    """Two with a birthday in three days who agreed, one who did not, one far away."""
    for number, (day, said) in enumerate([(4, YES), (4, YES), (4, ()), (25, YES)]):
        person = member(str(number), email=f"m{number}@x.test", birth_month=6, birth_day=day, consents=said)
        write(runtime.db, shop, [person])


def _journey(runtime: Runtime, key: str = "birthday") -> Journey:
    with runtime.db.read() as connection:
        return store.get(connection, 1, key)


def _only_email(runtime: Runtime, shop: Shop, **told: Any) -> None:
    """The birthday journey, by e-mail alone."""
    draft = {**_journey(runtime).as_dict(), "channels": ["email"], "enabled": None, **told}
    with runtime.db.write() as connection:
        store.save(connection, shop, read_draft(draft), NOON)


def _waits(runtime: Runtime, **values: Any) -> None:
    """One message of the birthday journey."""
    with runtime.db.write() as connection:
        member_id = connection.execute(select(members.c.member_id).order_by(members.c.member_id)).scalars().first()
        number = connection.execute(select(func.count()).select_from(touchpoints)).scalar_one()
        row: dict[str, Any] = {"state": "planned", "reason": "", "due_at": NOON, **values}
        connection.execute(
            insert(touchpoints).values(
                shop_id=1,
                touchpoint_id=number + 1,
                journey_key="birthday",
                member_id=member_id,
                occasion=str(number),
                occasion_on=date(2026, 6, 1),
                next_try_at=NOON,
                valid_until=NOON,
                planned_at=NOON,
                updated_at=NOON,
                **row,
            )
        )


def _audited(runtime: Runtime) -> list[tuple[str, str, dict[str, Any]]]:
    columns = audit_log.c
    query = select(columns.actor, columns.action, columns.detail).order_by(columns.audit_id)
    with runtime.db.read() as connection:
        return [(row.actor, row.action, row.detail) for row in connection.execute(query)]


def test_card_reads_as_one_sentence(page: Page) -> None:
    told = words(page("journeys"))
    assert "No journey is on, so nothing goes out by itself." in told
    assert (
        "On a member's birthday, at 10:00 in their own time, to all members who agreed, by e-mail, else text message, "
        "else in-app message; left out if it cannot go out within 3 days." in told
    )
    assert "60 days after a member's last order, at 10:00" in told
    assert "14 days after an order, at 10:00" in told


@pytest.mark.slow
def test_side_of_29_february_is_chosen(runtime: Runtime, page: Page, post: Post) -> None:
    html = page("journeys/birthday")
    assert "29 February in other years" in words(html)
    assert post("journeys/birthday", {**FORM, "trigger-leap_day": "after"}).status_code == 303
    assert _journey(runtime).trigger.get("leap_day") == "after"
    answer = post("journeys/birthday", {**FORM, "trigger-leap_day": "never"})
    assert (answer.status_code, _journey(runtime).trigger.get("leap_day")) == (422, "after")
    assert post("journeys/birthday", {**FORM, "trigger-leap_day": "before"}).status_code == 303
    assert _journey(runtime).trigger.get("leap_day") is None


@pytest.mark.slow
@pytest.mark.usefixtures("people")
def test_card_counts_what_it_did_and_will_do(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    _only_email(runtime, shop)
    for state, due_at in (
        ("accepted", NOON - timedelta(days=3)),
        ("delivered", NOON - timedelta(days=40)),
        ("skipped", NOON - timedelta(days=1)),
        ("failed", NOON - timedelta(days=1)),
        ("retry_wait", NOON),
    ):
        _waits(runtime, state=state, due_at=due_at)
    told = words(page("journeys"))
    assert "in the next 7 days" not in told
    assert "Last 30 days: 1 sent , 1 held back , 1 went wrong" in told
    assert "1 waits now" in told
    assert post("journeys/birthday/switch", {"on": "1"}).status_code == 303
    told = words(page("journeys"))
    assert "1 journey is on. 2 messages go out in the next 7 days." in told
    assert "2 messages in the next 7 days (1 held back)" in told


@pytest.mark.slow
@pytest.mark.usefixtures("people")
def test_switching_on_says_for_whom_first(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    _only_email(runtime, shop)
    told = words(page("journeys/birthday/switch"))
    assert "Nothing of the past is caught up" in told
    assert "Today: 0 messages." in told
    assert "2 messages in the next 7 days" in told
    assert "1 would be due and gets nothing: 1 No permission" in told
    assert "Switch on for 2 members in the next 7 days" in told
    assert _journey(runtime).enabled is False
    assert post("journeys/birthday/switch", {"on": "1"}).status_code == 303
    assert "“Birthday” is on." in words(page("journeys"))
    switched = _journey(runtime)
    assert (switched.enabled, switched.planned_through) == (True, NOON)
    assert _audited(runtime) == [("page:owner", "journey.on", {"journey": "birthday"})]


def test_missing_senders_are_named(page: Page) -> None:
    told = words(page("journeys/birthday/switch"))
    assert "No sender for: Text message." in told
    assert "See the senders" in told


def test_without_any_sender_it_says_so(runtime: Runtime, shop: Shop, page: Page) -> None:
    _only_email(runtime, shop, channels=["sms"])
    assert "No sender that is set up and switched on could send it." in words(page("journeys"))


@pytest.mark.slow
@pytest.mark.usefixtures("people")
def test_switching_off_says_what_is_cancelled(runtime: Runtime, page: Page, post: Post) -> None:
    post("journeys/birthday/switch", {"on": "1"})
    _waits(runtime)
    _waits(runtime, state="retry_wait")
    _waits(runtime, state="accepted")
    told = words(page("journeys/birthday/switch"))
    assert "2 messages that wait now are cancelled and do not come back." in told
    assert "Switch off and cancel 2 messages" in told
    assert post("journeys/birthday/switch", {"on": "0"}).status_code == 303
    assert "“Birthday” is off. 2 waiting messages were cancelled." in words(page("journeys"))
    with runtime.db.read() as connection:
        states = connection.execute(select(touchpoints.c.state).order_by(touchpoints.c.touchpoint_id)).scalars().all()
    assert states == ["cancelled", "cancelled", "accepted"]
    assert _audited(runtime)[-1] == ("page:owner", "journey.off", {"journey": "birthday", "cancelled": 2})


def test_journey_without_words_is_not_switched_on(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    _only_email(runtime, shop, channels=["note"], trigger={"type": "post_purchase", "days": 1}, template="empty")
    assert "The journey has no text for note." in words(page("journeys/birthday/switch"))
    assert post("journeys/birthday/switch", {"on": "1"}).status_code == 422
    assert _journey(runtime).enabled is False
    assert _audited(runtime) == []


def test_saving_changes_what_was_told(runtime: Runtime, post: Post, page: Page) -> None:
    told = {
        "days": "7",
        "side": "before",
        "send_at": "09:30",
        "validity_days": "5",
        "channel-1": "sms",
        "channel-2": "sms",
        "channel-3": "email",
        "audience": 'country in ["GB", "IE"]',
        "en": "Soon",
    }
    assert post("journeys/birthday", {**FORM, **told}).status_code == 303
    saved = _journey(runtime)
    assert saved.as_dict() == {
        "key": "birthday",
        "title": {"en": "Soon", "zh-CN": "生日祝福"},
        "trigger": {"type": "birthday", "days": -7},
        "audience": 'country in ["GB", "IE"]',
        "channels": ["sms", "email"],
        "template": "birthday",
        "topic": "marketing",
        "kind": "marketing",
        "send_at": "09:30",
        "validity_days": 5,
        "enabled": False,
    }
    actor, action, detail = _audited(runtime)[-1]
    assert (actor, action, detail["journey"]) == ("page:owner", "journey.saved", "birthday")
    assert sorted(detail["changed"]) == ["audience", "channels", "send_at", "title", "trigger", "validity_days"]
    html = page("journeys/birthday")
    assert "7 days before a member's birthday, at 09:30 in their own time" in words(html)
    assert '<option value="before" selected>' in html
    assert 'id="f-days" name="days" type="number" value="7"' in html


def test_saving_what_is_there_writes_nothing(runtime: Runtime, post: Post) -> None:
    assert post("journeys/birthday", FORM).status_code == 303
    assert _journey(runtime).version == 1
    assert _audited(runtime) == []


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"days": "61"}, "Write a whole number from 0 to 60."),
        ({"days": "-7"}, "Write a whole number from 0 to 60."),
        ({"validity_days": "0"}, "Write a whole number from 1 to 60."),
        ({"send_at": "25:00"}, "Write a time of day, such as 09:30."),
        ({"channel-1": "", "channel-2": "", "channel-3": ""}, "Choose at least one channel."),
        ({"channel-1": "note"}, "Choose at least one channel."),
        ({"audience": "orders() >= 1 and cuntry == 'GB'"}, "Line 1, column 19: There is no field 'cuntry'."),
        ({"audience": "tier == 'gold'"}, "Line 1"),
        ({"en": "", "zh": ""}, "Give the journey a name."),
        ({"kind": "spam"}, "This journey does not follow an order, so it is marketing."),
        ({"kind": "transactional"}, "This journey does not follow an order, so it is marketing."),
    ],
)
def test_mistake_stands_at_its_field(runtime: Runtime, post: Post, told: dict[str, str], said: str) -> None:
    answer = post("journeys/birthday", {**FORM, "en": "Other", **told})
    assert answer.status_code == 422
    assert said in words(answer.text)
    answer = post("journeys/birthday/preview", {**FORM, **told})
    assert answer.status_code == 422
    assert said in words(answer.text)
    assert _journey(runtime).title["en"] == "Birthday"
    assert _audited(runtime) == []


@pytest.mark.slow
def test_only_what_follows_an_order_offers_to_do_without_consent(page: Page) -> None:
    offer = 'value="transactional"'
    assert [offer in page(f"journeys/{key}") for key in ("birthday", "lapse", "post_purchase")] == [False, False, True]


@pytest.mark.slow
@pytest.mark.usefixtures("people")
def test_preview_shows_the_draft_and_saves_nothing(runtime: Runtime, post: Post) -> None:
    answer = post(
        "journeys/birthday/preview", {**FORM, "days": "21", "side": "before", "channel-2": "", "channel-3": ""}
    )
    assert "<html" not in answer.text
    told = words(answer.text)
    assert "21 days before a member's birthday" in told
    assert "All 4 members are meant." in told
    assert "1 message in the next 7 days" in told
    told = words(post("journeys/birthday/preview", {**FORM, "audience": "birthday_month == 7"}).text)
    assert "to members whose month of birth is July, if they agreed," in told
    assert "0 members are meant as of today." in told
    assert _journey(runtime).trigger.days == 0


def test_time_in_the_night_is_told(post: Post) -> None:
    told = words(post("journeys/birthday/preview", {**FORM, "send_at": "23:00"}).text)
    assert "23:00 lies in your quiet hours, so it goes out at 08:00, when they end." in told


def test_running_journey_keeps_its_words(runtime: Runtime, shop: Shop, post: Post) -> None:
    post("journeys/birthday/switch", {"on": "1"})
    with runtime.db.write() as connection:
        connection.exec_driver_sql("DELETE FROM templates WHERE channel = 'sms' AND template_key = 'birthday'")
    answer = post("journeys/birthday", FORM | {"en": "Changed"})
    assert answer.status_code == 422
    assert "The journey has no text for sms." in words(answer.text)
    assert _journey(runtime).title["en"] == "Birthday"


@pytest.mark.slow
def test_recipe_is_added_switched_off(runtime: Runtime, page: Page, post: Post) -> None:
    before = words(page("journeys"))
    assert "Asking for a review Ten days after an order" in before
    answer = post("journeys/add", {"recipe": "review_request"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/s/shop-1/journeys/review_request")
    assert "“Asking for a review” was added, switched off." in words(page("journeys/review_request"))
    assert _journey(runtime, "review_request").enabled is False
    assert "Ten days after an order" not in words(page("journeys"))
    assert [(action, detail["journey"]) for _, action, detail in _audited(runtime)] == [
        ("journey.added", "review_request"),
    ]
    assert post("journeys/add", {"recipe": "review_request"}).headers["Location"] == "/s/shop-1/journeys"
    assert "The journey review_request is there already." in words(page("journeys"))
    post("journeys/add", {"recipe": "nonsense"})
    assert "There is no recipe" in words(page("journeys"))
    assert len(_audited(runtime)) == 1


@pytest.mark.slow
def test_life_says_which_stages_are_spoken_to(runtime: Runtime, page: Page, post: Post) -> None:
    assert "0 of 8 stages are spoken to" in words(page("journeys"))
    post("journeys/lapse/switch", {"on": "1"})
    told = words(page("journeys"))
    assert "2 of 8 stages are spoken to" in told
    assert "Lapsed Spoken to Has not ordered for a long time. We have missed you On" in told
    assert "Prospect Not spoken to Known, and has not ordered yet." in told
    assert "8 个阶段中已有 2 个有旅程覆盖" in words(page("journeys?lang=zh"))


def test_form_of_a_journey_of_several_steps_keeps_them(runtime: Runtime, post: Post) -> None:
    post("journeys/add", {"recipe": "birthday_club"})
    before = _journey(runtime, "birthday_club")
    sent = FORM | {"en": "Club", "days": "9", "side": "before"}
    answer = post("journeys/birthday_club", sent)
    assert answer.status_code == 303
    saved = _journey(runtime, "birthday_club")
    assert (saved.title["en"], saved.trigger.days) == ("Club", -9)
    assert saved.flow == before.flow


def test_pages_are_in_chinese(page: Page) -> None:
    assert "生日祝福" in page("journeys?lang=zh")
    assert "“Birthday”" not in page("journeys/birthday/switch")


def test_unknown_journey_is_told(page: Page) -> None:
    assert "There is no journey &#39;nope&#39;" in page("journeys/nope", 404)


@pytest.mark.slow
def test_name_is_text(runtime: Runtime, shop: Shop, page: Page) -> None:
    _only_email(runtime, shop, title={"en": "<script>"})
    for path in ("journeys", "journeys/birthday", "journeys/birthday/switch", "journeys/birthday/texts/email/en"):
        html = page(path)
        assert "&lt;script&gt;" in html
        assert "<script>" not in html


def test_stranger_and_foreign_page_change_nothing(
    runtime: Runtime, shop: Shop, stranger: FlaskClient, client: FlaskClient
) -> None:
    path = f"/s/{shop.name}/journeys/birthday/switch"
    assert stranger.get(path).status_code == 401
    assert stranger.post(path, data={"on": "1"}).status_code == 401
    assert client.post(path, data={"on": "1"}, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert _journey(runtime).enabled is False


def _stands_still(runtime: Runtime, shop: Shop) -> None:
    """The birthday greeting is on for a segment that is gone."""
    with runtime.db.write() as connection:
        segments.save(connection, shop, "vip", "orders() >= 1", NOON)
        told = {**store.get(connection, 1, "birthday").as_dict(), "audience": 'segment("vip")', "enabled": True}
        store.save(connection, shop, read_draft(told), NOON)
        segments.forget(connection, shop, "vip")


@pytest.mark.slow
def test_journey_that_stands_still_is_told_of(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    _stands_still(runtime, shop)
    today = words(page("today"))
    assert "“Birthday” stands still There is no segment 'vip'. Save the segment first. It means nobody" in today
    assert "It means nobody: There is no segment 'vip'." in words(page("journeys"))
    assert "There is no segment 'vip'." in words(page("journeys/birthday"))
    chinese = words(page("today?lang=zh"))
    assert "“生日祝福”已停下" in chinese
    assert "没有分群“vip”" in chinese
    page("journeys/birthday/switch?lang=en")
    assert post("journeys/birthday/switch", {"on": "0"}).status_code == 303
    refused = post("journeys/birthday/switch", {"on": "1"})
    assert refused.status_code == 422
    assert "There is no segment 'vip'." in words(refused.text)
    page("journeys/birthday/texts/email/en")


_STEPS: dict[str, Any] = {
    "key": "care",
    "title": {"en": "Care", "zh-CN": "关怀"},
    "trigger": {"type": "birthday", "days": 0},
    "steps": [
        {"key": "hello", "send": {"template": "birthday", "channels": ["email"]}},
        {"key": "rest", "wait": {"days": 3}},
        {"key": "rich", "branch": "orders() >= 1", "then": [{"key": "call", "task": {"title": "Call"}}]},
    ],
}


@pytest.mark.slow
def test_a_journey_of_several_steps_keeps_them(page: Page, post: Post, runtime: Runtime, shop: Shop) -> None:
    with runtime.db.write() as connection:
        store.save(connection, shop, read_draft(_STEPS), NOON)
    for path in ("journeys", "journeys/care", "journeys/care/switch", "outbox", "today"):
        assert page(path)
    answer = post("journeys/care", {**FORM, "en": "Much care", "days": "2"})
    assert answer.status_code == 303
    saved = _journey(runtime, "care")
    assert (saved.title["en"], saved.trigger.days, saved.version) == ("Much care", 2, 2)
    assert saved.flow == read_draft(_STEPS).flow
    assert post("journeys/care/switch", {"on": "1"}).status_code == 303
    assert _journey(runtime, "care").status == "on"
    answer = post("journeys/care", {**FORM, "en": "Care", "days": "3"})
    assert answer.status_code == 303
    # Members may be inside: it waits as a draft until it is published.
    assert (_journey(runtime, "care").version, _journey(runtime, "care").title["en"]) == (2, "Much care")
    assert post("journeys/care/publish", {"most": ""}).status_code == 303
    saved = _journey(runtime, "care")
    assert (saved.version, saved.title["en"], saved.trigger.days, saved.draft) == (3, "Care", 3, None)
