"""Answering a question from a message: opening the link asks, sending keeps one answer as a tag of ours, for rules to ask for."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from crm_plugin.runtime import Runtime
from crm_plugin.store import member_tags, members
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import questions, tokens
from crm_plugin.touchpoints.tokens import Answered, Unsubscribe
from tests.factories import NOON, member, write
from tests.web.conftest import words


@pytest.fixture
def anna(runtime: Runtime, shop: Shop) -> int:
    """A member who reads Chinese and has a tag of the store's that looks like an answer."""
    write(runtime.db, shop, [member("1", email="anna@x.test", locale="zh-CN", tags=("vip", "left:rival"))])
    with runtime.db.read() as connection:
        return int(connection.execute(select(members.c.member_id)).scalar_one())


def _link(runtime: Runtime, shop: Shop, who: int, question: str = "why_left", answer: str = "price") -> str:
    return f"/a/{tokens.answer(runtime.box, Answered(shop.shop_id, who, question, answer))}"


def _tags(runtime: Runtime) -> dict[str, bool]:
    with runtime.db.read() as connection:
        rows = connection.execute(select(member_tags.c.tag, member_tags.c.own))
        return {row.tag: bool(row.own) for row in rows}


def _touched(runtime: Runtime) -> datetime | None:
    with runtime.db.read() as connection:
        return connection.execute(select(members.c.touched_at)).scalar()


@pytest.mark.slow
def test_opening_the_link_asks_and_keeps_nothing(
    stranger: FlaskClient, runtime: Runtime, shop: Shop, anna: int
) -> None:
    answer = stranger.get(_link(runtime, shop, anna))
    assert answer.status_code == 200
    assert 'value="price" checked' in answer.text
    assert "是什么让您没有再来？" in words(answer.text)
    assert _tags(runtime) == {"vip": False, "left:rival": False}


def test_answer_is_kept_once_and_may_be_changed(stranger: FlaskClient, runtime: Runtime, shop: Shop, anna: int) -> None:
    link = _link(runtime, shop, anna)
    answer = stranger.post(link, data={"answer": "price"})
    assert (answer.status_code, answer.headers["Location"]) == (303, link)
    assert _tags(runtime) == {"vip": False, "left:rival": False, "left:price": True}
    assert _touched(runtime) == NOON
    assert "您的回答：价格不合适" in words(stranger.get(link).text)
    stranger.post(link, data={"answer": "moved"})
    stranger.post(link, data={"answer": "moved"})
    # The link itself says "price"; what was chosen last counts.
    assert _tags(runtime) == {"vip": False, "left:rival": False, "left:moved": True}
    assert "搬家了" in words(stranger.get(link).text)


def test_link_alone_is_the_answer_where_nothing_else_was_chosen(
    stranger: FlaskClient, runtime: Runtime, shop: Shop, anna: int
) -> None:
    stranger.post(_link(runtime, shop, anna, "invitation", "yes"))
    assert _tags(runtime)["invitation:yes"] is True


@pytest.mark.parametrize("told", [("why_left", "weather"), ("where", "price")])
def test_unknown_answer_is_refused(
    stranger: FlaskClient, runtime: Runtime, shop: Shop, anna: int, told: tuple[str, str]
) -> None:
    link = _link(runtime, shop, anna, *told)
    for answer in (stranger.get(link), stranger.post(link)):
        assert answer.status_code == 404
        assert "This link is not complete" in words(answer.text)
    stranger.post(_link(runtime, shop, anna), data={"answer": "weather"})
    assert _tags(runtime) == {"vip": False, "left:rival": False}


def test_token_for_another_purpose_is_worthless(stranger: FlaskClient, runtime: Runtime, shop: Shop, anna: int) -> None:
    other = tokens.unsubscribe(runtime.box, Unsubscribe(shop.shop_id, anna, "email", "marketing"))
    assert stranger.get(f"/a/{other}").status_code == 404
    assert stranger.get(f"/u/{_link(runtime, shop, anna)[3:]}").status_code == 404


def test_member_who_is_gone_is_thanked(stranger: FlaskClient, runtime: Runtime, shop: Shop, anna: int) -> None:
    link = _link(runtime, shop, anna + 1)
    assert stranger.post(link, data={"answer": "price"}).status_code == 303
    assert "Thank you" in words(stranger.get(link).text)
    assert _tags(runtime) == {"vip": False, "left:rival": False}


def test_answers_are_in_the_member_s_language() -> None:
    english = questions.view(lambda question, answer: f"https://x.test/{question}/{answer}", "en")
    chinese = questions.view(lambda question, answer: f"https://x.test/{question}/{answer}", "zh-CN")
    assert [one.title for one in english.invitation] == ["Yes, I would like to", "No, thank you"]
    assert chinese.why_left[1].title == "价格不合适"
    assert urlsplit(chinese.why_left[1].url).path == "/why_left/price"
    assert [len(english.why_left), len(chinese.why_left)] == [6, 6]
