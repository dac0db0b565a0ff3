"""A rehearsal on its page: asked for, played in the background, shown by day with what was held back and why."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from flask import Flask
from sqlalchemy import func, insert, select

from crm_plugin.jobs.queue import Queue
from crm_plugin.records import ConsentRecord, ConsentState
from crm_plugin.runtime import Runtime
from crm_plugin.store import connections, journeys, touchpoints
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys as store
from crm_plugin.touchpoints import recipes
from crm_plugin.web.rehearsed import seen, span_of
from tests.factories import NOON, member, write
from tests.web.conftest import Page, Post, words

YES = (ConsentRecord(channel="email", state=ConsentState.GRANTED, at=NOON - timedelta(days=90)),)


@pytest.fixture(autouse=True)
def people(runtime: Runtime, shop: Shop) -> None:
    """The recipes, switched off, a sender for e-mail, two with a birthday in three days who agreed and one who did not."""
    with runtime.db.write() as connection:
        recipes.install(connection, shop, NOON)
        row = {"adapter": "smtp", "channel": "email", "settings": b"", "enabled": True, "status": "ok"}
        connection.execute(journeys.update().where(journeys.c.journey_key == "birthday").values(channels=["email"]))
        connection.execute(insert(connections).values(shop_id=shop.shop_id, updated_at=NOON, **row))
    for number, said in enumerate((YES, YES, ())):
        person = member(str(number), email=f"m{number}@x.test", birth_month=6, birth_day=4, consents=said)
        write(runtime.db, shop, [person])


def _form(**values: str) -> dict[str, str]:
    return {"journey": "birthday", "span": "next-30", "price": "", **values}


@pytest.mark.slow
def test_journey_is_rehearsed_and_shown(post: Post, page: Page, queue: Queue, runtime: Runtime) -> None:
    assert post("rehearsal", _form()).status_code == 303
    assert queue.wait()
    shown = words(page("rehearsal?journey=birthday"))
    assert "Jun 1, 2026 to Jun 30, 2026 · rehearsed Jun 1, 2026 14:00" in shown
    assert "Messages 2 to 2 members Held back 1" in shown
    assert "Thu, Jun 4, 2026 2 2" in shown
    assert "From now on nothing new comes" in shown
    with runtime.db.read() as connection:
        assert connection.execute(select(func.count()).select_from(touchpoints)).scalar_one() == 0
        assert not store.get(connection, 1, "birthday").enabled


@pytest.mark.slow
def test_days_that_are_typed_go_before_the_span(post: Post, page: Page, queue: Queue) -> None:
    assert post("rehearsal", _form(span="next-365", **{"from": "2026-06-03", "to": "2026-06-05"})).status_code == 303
    assert queue.wait()
    assert "Jun 3, 2026 to Jun 5, 2026" in words(page("rehearsal"))


def test_page_says_how_far_it_is(post: Post, page: Page, queue: Queue) -> None:
    queue.close()
    assert "data-poll" not in page("rehearsal/state")
    assert post("rehearsal", _form()).status_code == 303
    assert "Rehearse over more days" in words(page("journeys/birthday"))


def test_book_without_a_journey_is_told(post: Post, page: Page, queue: Queue) -> None:
    post("rehearsal", _form(journey=""))
    assert queue.wait()
    assert "The last rehearsal stopped: No journey is on, so there is nothing to rehearse." in words(page("rehearsal"))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"price": "cheap"}, "'cheap' is no amount. An example: 0.05."),
        ({"price": "-1"}, "A part of a text message cannot cost -1. Give what one part costs in EUR, such as 0.05."),
        ({"journey": "gone"}, "There is no journey 'gone'."),
        ({"from": "soon", "to": ""}, "'soon' is not a day. Write it as 2026-11-24."),
        ({"from": "2026-06-05", "to": "2026-06-03"}, "The rehearsal ends before it begins: 2026-06-05 to 2026-06-03."),
        ({"from": "2020-06-05", "to": ""}, "2020-06-05 to 2020-07-04 is too far from today."),
    ],
)
def test_what_is_wrong_stands_at_its_field(post: Post, queue: Queue, values: dict[str, str], said: str) -> None:
    answer = post("rehearsal", _form(**values))
    assert answer.status_code == 422
    assert said in words(answer.text)
    assert queue.running(1) == []


@pytest.mark.slow
def test_chinese_page(post: Post, page: Page, queue: Queue) -> None:
    post("rehearsal", _form())
    assert queue.wait()
    shown = words(page("rehearsal", headers={"Accept-Language": "zh-CN"}))
    assert "演练什么" in shown
    assert "发给 2 位会员" in shown
    assert "从现在起不再有新情况" in shown


def test_spans_begin_and_end_where_they_say() -> None:
    today = date(2026, 6, 1)
    assert span_of("next-30", today) == (today, date(2026, 6, 30))
    assert span_of("last-30", today) == (date(2026, 5, 2), date(2026, 5, 31))
    assert span_of("nonsense", today) == span_of("next-30", today)


def test_long_span_is_told_by_weeks(app: Flask) -> None:
    told = {
        "first": "2026-06-03", "last": "2026-09-01", "journey": "birthday", "assumes": [], "held": [],
        "sends": [
            {"on": "2026-06-07", "journey": "birthday", "channel": "email", "messages": 3, "parts": 0},
            {"on": "2026-06-08", "journey": "birthday", "channel": "email", "messages": 1, "parts": 0},
            {"on": "2026-06-14", "journey": "birthday", "channel": "email", "messages": 1, "parts": 0},
        ],
    }  # fmt: skip
    with app.test_request_context():
        shown = seen(told, {})
    assert shown.weekly
    assert [(row.name, row.total, row.share) for row in shown.rows[:3]] == [
        ("Wed, Jun 3, 2026", 3, 100),
        ("Mon, Jun 8, 2026", 2, 67),
        ("Mon, Jun 15, 2026", 0, 0),
    ]
    assert len(shown.rows) == 14
