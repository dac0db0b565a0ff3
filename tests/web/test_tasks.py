"""Tasks: what is due, what came of it. A member's page: which journeys they are in, what comes next, what stopped it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from crm_plugin.clock import FixedClock
from crm_plugin.runtime import Runtime
from crm_plugin.store import members
from crm_plugin.store import tasks as table
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.plan import plan_shop
from crm_plugin.touchpoints.why import stays
from tests.factories import NOON
from tests.touchpoints.steps.stage import Counting
from tests.web.conftest import Page, Post, words
from tests.web.test_journey_state import CALL, HELLO, REST, audited, draft, set_up

__all__ = ["set_up"]


def run(runtime: Runtime, shop: Shop, post: Post, *steps: dict[str, Any], **told: Any) -> None:
    """Publish a journey of these steps, take all three in, and go one round."""
    draft(runtime, shop, *steps, **told)
    assert post("journeys/j/publish", {"most": "3"}).status_code == 303
    assert plan_shop(runtime.db, shop, NOON).problems == {}


def first(runtime: Runtime, column: Any) -> int:
    with runtime.db.read() as connection:
        return int(connection.execute(select(column).order_by(column)).scalars().first() or 0)


def test_open_tasks_are_told_by_when_they_are_due(
    runtime: Runtime, shop: Shop, clock: FixedClock, page: Page, post: Post
) -> None:
    assert "No task is open" in words(page("tasks"))
    run(runtime, shop, post, {**CALL, "task": {**CALL["task"], "owner": "Anna"}})
    told = words(page("tasks"))
    assert "Nothing is due by today." in told
    assert "Later 3 Call them" in told
    assert "Due Jun 3, 2026 · for Anna · from Hello" in told
    assert "No task is open" in words(page("tasks?due=today"))
    clock.move(days=2)
    assert "3 tasks are due by today." in words(page("tasks?due=today"))
    assert "Overdue" not in words(page("tasks"))
    assert "打电话" in words(page("tasks?lang=zh"))


def test_what_came_of_a_task_is_kept(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    run(runtime, shop, post, CALL)
    one = first(runtime, table.c.task_id)
    empty = post(f"tasks/{one}", {"outcome": " "})
    assert empty.status_code == 422
    assert f'id="e-{one}">Say in a few words what came of it.' in empty.text
    assert post(f"tasks/{one}", {"outcome": "Reached, will order"}).status_code == 303
    with runtime.db.read() as connection:
        rows = connection.execute(select(table).where(table.c.done_at.is_not(None))).all()
    assert [(row.task_id, row.done_by, row.outcome) for row in rows] == [(one, "page:owner", "Reached, will order")]
    told = words(page("tasks"))
    assert "Later 2" in told
    assert "Reached, will order you, on this page" in told
    assert audited(runtime)[-1] == ("task.done", {"task": str(one), "outcome": "Reached, will order"})
    again = post(f"tasks/{one}", {"outcome": "Twice"})
    assert again.status_code == 422
    assert "in this shop, or it is done." in words(again.text)


def test_tasks_of_a_journey_that_was_put_away_are_closed(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    run(runtime, shop, post, CALL)
    assert post("journeys/j/archive", {}).status_code == 303
    told = words(page("tasks"))
    assert "No task is open" in told
    assert told.count("the journey was archived") == 3


def test_a_foreign_page_closes_no_task(runtime: Runtime, shop: Shop, post: Post, client: Any) -> None:
    run(runtime, shop, post, CALL)
    one = first(runtime, table.c.task_id)
    headers = {"Sec-Fetch-Site": "cross-site"}
    assert client.post(f"/s/shop-1/tasks/{one}", data={"outcome": "x"}, headers=headers).status_code == 403
    with runtime.db.read() as connection:
        assert connection.execute(select(table.c.task_id).where(table.c.done_at.is_not(None))).all() == []


def test_a_member_page_says_where_they_are_and_what_is_next(
    runtime: Runtime, shop: Shop, page: Page, post: Post
) -> None:
    who = first(runtime, members.c.member_id)
    assert 'id="journeys"' not in page(f"members/{who}")
    run(runtime, shop, post, CALL, REST, HELLO)
    told = words(page(f"members/{who}").partition('id="journeys"')[2].partition("</section>")[0])
    assert "Hello inside Wait 3 days Next: Jun 4, 2026 14:00 , then: E-mail: “Hello …”" in told
    assert "Jun 1, 2026 14:00 Came in" in told
    assert "Done: A task, due after 2 days: “Call them”" in told
    assert "Began: Wait 3 days" in told


@pytest.mark.slow
def test_a_member_page_says_why_they_left(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    who = first(runtime, members.c.member_id)
    branch = {"key": "b", "branch": 'country == "DE"', "then": [CALL], "else": [REST]}
    run(runtime, shop, post, branch, REST | {"key": "rest2"})
    post("journeys/j/archive")
    told = words(page(f"members/{who}").partition('id="journeys"')[2].partition("</section>")[0])
    assert "Hello the journey was archived" in told
    assert "at: Wait 3 days" in told
    assert "If they are among members whose country is “DE”: If so" in told
    assert "Left: the journey was archived (Wait 3 days)" in told


@pytest.mark.parametrize("count", [1, 3])
def test_stays_are_read_in_two_statements(runtime: Runtime, shop: Shop, post: Post, count: int) -> None:
    who = first(runtime, members.c.member_id)
    for number in range(count):
        draft(runtime, shop, REST, key=f"j{number}")
        post(f"journeys/j{number}/publish", {"most": "3"})
    with runtime.db.read() as connection, Counting(runtime.db) as ran:
        found = stays(connection, shop, who)
    assert [key for key, _stay in found] == [f"j{number}" for number in reversed(range(count))]
    assert sum("SELECT" in one for one in ran.statements) == 2
