"""What the code below the pages refuses, in Chinese on Chinese pages: stores, senders, files, rules, texts, settings, messages."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import pytest
import requests
import responses
import yaml
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import insert, update
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from crm_plugin.errors import ActionRequired, InvalidInput, RecipientRefused
from crm_plugin.jobs.queue import Queue
from crm_plugin.phrases import phrase
from crm_plugin.rounds import told_of
from crm_plugin.runtime import Runtime
from crm_plugin.store import attempts, members, runs, shops, touchpoints
from crm_plugin.store.runs import Run
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys, recipes, senders
from crm_plugin.touchpoints.journey_document import read_draft
from tests.factories import NOON, member, write
from tests.web.conftest import Page, Post, sign_in, words

STORE = "https://store.example"
LOGIN = RecipientRefused(phrase("The mail server refuses the recipient: %(said)s.", said="550 no such user"))


@pytest.fixture(autouse=True)
def chinese(client: FlaskClient) -> None:
    """Every browser of this file reads Chinese."""
    _reads_chinese(client)


def _reads_chinese(browser: FlaskClient) -> FlaskClient:
    with browser.session_transaction() as session:
        session["lang"] = "zh"
    return browser


def _connect(app: Flask) -> str:
    """What is said to a shop owner who connects the store."""
    browser = _reads_chinese(sign_in(app))
    told = {"platform": "woocommerce", "url": STORE, "key": "ck_1", "secret": "cs_1", "name": "lantern"}
    answer = browser.post("/connect", data=told)
    assert answer.status_code == 422
    return " ".join(words(part) for part in re.findall(r'<p class="error"[^>]*>(.*?)</p>', answer.text))


@responses.activate
@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            {
                "status": 401,
                "json": {"code": "woocommerce_rest_authentication_error", "message": "Consumer key is invalid."},
            },
            "店铺不认识该密钥。请在 WooCommerce > 设置 > 高级 > REST API 中为管理员创建密钥",
        ),
        (
            {"status": 200, "body": "<html>Hello</html>"},
            "店铺返回的是网页而不是数据（HTTP 200）：'<html>Hello</html>'。请检查店铺地址，可能填错了。",
        ),
        (
            {"status": 404, "json": {"code": "rest_no_route", "message": "No route"}},
            "该地址上没有 WooCommerce REST API（HTTP 404）。",
        ),
        ({"body": requests.ReadTimeout("slow")}, "store.example 答复超时。请几分钟后再试；同步会从中断处继续。"),
        ({"body": requests.exceptions.SSLError("certificate has expired")}, "store.example 的证书已过期。"),
    ],
)
def test_store_that_refuses(app: Flask, answer: dict[str, Any], told: str) -> None:
    responses.get(re.compile(f"{STORE}/.*"), **answer)
    said = _connect(app)
    assert said.startswith(told)
    assert not re.search(r"[a-z]+ [a-z]+ [a-z]+", said)


def _upload(post: Post, content: str, mapping: Any) -> str:
    told = {
        "file": FileStorage(io.BytesIO(content.encode()), "orders.csv"),
        "mapping": mapping if isinstance(mapping, str) else yaml.safe_dump(mapping),
    }
    boundary, body = encode_multipart(told)
    return post("connections/import", body, content_type=f'multipart/form-data; boundary="{boundary}"').text


ORDERS = {"kind": "orders", "order_id": "Order", "placed_at": "Date", "total": "Total", "email": "Email"}


@pytest.mark.parametrize(
    ("content", "mapping", "told"),
    [
        ("Order,Date,Email\n", ORDERS, "文件中没有以下列：Total（用于 total）。文件中的列有：Order，Date，Email。"),
        ("Order\n", "kind: [", "字段对应表不是有效的 YAML，第 1 行第 8 列"),
        ("Order\n", {**ORDERS, "totl": "Total"}, "orders 中没有 `totl` 这一项。是否指 total？"),
        ("", ORDERS, "文件是空的。第一行必须是列名。"),
    ],
)
def test_file_that_cannot_be_used(post: Post, content: str, mapping: Any, told: str) -> None:
    assert told in words(_upload(post, content, mapping))


def test_records_that_cannot_be_read(page: Page, post: Post, queue: Queue) -> None:
    _upload(post, "Order,Date,Total,Email\n1,yesterday,12.50,a@x.test\n2,2026-05-01,many,a@x.test\n", ORDERS)
    assert queue.wait(60)
    told = words(page("connections"))
    assert "“yesterday”不是像 2026-03-29 18:05:00 这样的日期；请在字段对应表中写明文件的日期格式" in told
    assert "“many”不是 1250.00 这样的数字" in told


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("orders() > 1 &", "第 1 行第 14 列：'&' 不是这里的运算符。请写 and。"),
        ("ordrs() > 1", "第 1 行第 1 列：没有字段“ordrs”。是否指 orders？"),
        ("country == GB", "第 1 行第 12 列：GB 不是值。文本请加上引号。"),
        ('tier == "gold"', "没有等级“gold”。请先保存等级。"),
        ("orders", "orders 是数字，不能单独作为条件。请加以比较：orders() >= 1。"),
    ],
)
def test_rule_with_a_mistake(page: Page, runtime: Runtime, shop: Shop, rule: str, told: str) -> None:
    write(runtime.db, shop, [member("1")])
    assert told in words(page("members", 422, query_string={"rule": rule}))


@pytest.mark.parametrize(
    ("part", "value", "told"),
    [
        ("body_text", "Hi {{ membr }}", "第 1 行：没有“membr”；您是否想用“member”？"),
        ("body_text", "{% include 'x' %}", "第 1 行：文本不能引入其他文件。"),
        ("body_text", "{{ member.name | shout }}", "没有过滤器“shout”；可用的有：abs，"),
        ("body_text", " ", "birthday（en）的邮件文本是空的。邮件也需要纯文本：很多人看的是它。"),
        ("subject", "", "邮件 birthday（en）没有主题。"),
    ],
)
def test_text_with_a_mistake(post: Post, runtime: Runtime, shop: Shop, part: str, value: str, told: str) -> None:
    with runtime.db.write() as connection:
        recipes.install(connection, shop, NOON)
    letter = {"subject": "Hello", "body_html": "", "body_text": "Hi", "do": "save"}
    assert told in words(post("journeys/birthday/texts/email/en", {**letter, part: value}).text)


def test_settings_and_senders(page: Page, post: Post, runtime: Runtime, shop: Shop) -> None:
    told = words(post("connections/messages", {"title": "", "brand.logo_url": "http://x", "locale": "en"}).text)
    assert "`title` 不能为空。" in told
    told = words(post("connections/senders/smtp", {"host": "", "port": "587", "from_address": "a@x.test"}).text)
    assert "缺少“邮件服务器”。例如 smtp.example.com。" in told
    refused = ActionRequired(
        phrase("The mail server refuses the login: %(said)s.", said="535 no"),
        hint=phrase("Check user name and password; many providers want an app password."),
    )
    with runtime.db.write() as connection:
        senders.pause(connection, shop.shop_id, "smtp", str(refused), NOON)
    for place in ("today", "connections", "connections/senders/smtp"):
        assert "邮件服务器拒绝登录：535 no。请检查用户名和密码；许多服务商要求使用应用专用密码。" in words(page(place))


def test_store_and_round_that_stopped(page: Page, runtime: Runtime, shop: Shop) -> None:
    why = ActionRequired(phrase("The store does not know this key."), hint=phrase("Make a new one."))
    wrong = told_of({"plan": "KeyError: 'x'", "tiers": str(InvalidInput(phrase("The list is empty.")))})
    with runtime.db.write() as connection:
        connection.execute(update(shops).values(status="action_required", status_detail=str(why)))
        runs.keep(connection, shop.shop_id, Run("tick", NOON, NOON, {}, wrong))
        runs.keep(connection, shop.shop_id, Run("import_file", NOON, NOON, {}, str(why)))
    told = words(page("today"))
    assert "店铺不认识该密钥。请重新生成。" in told
    assert "计划：KeyError: 'x'；等级：列表是空的。" in told
    told = words(page("connections"))
    assert told.count("店铺不认识该密钥。请重新生成。") == 2


def _sent(runtime: Runtime, shop: Shop, change: Callable[[dict[str, Any]], None]) -> int:
    """A message to Ada that failed, as told."""
    write(runtime.db, shop, [member("1", email="ada@x.test")])
    draft = {"key": "greet", "trigger": {"type": "birthday"}, "channels": ["email"], "enabled": False}
    with runtime.db.write() as connection:
        journeys.save(connection, shop, read_draft(draft), NOON)
        ada = connection.execute(members.select()).one().member_id
        row: dict[str, Any] = {
            "shop_id": 1, "touchpoint_id": 10, "journey_key": "greet", "member_id": ada, "occasion": "2026",
            "state": "failed", "channel": "email", "adapter": "smtp", "occasion_on": NOON.date(), "due_at": NOON,
            "next_try_at": NOON, "valid_until": NOON, "planned_at": NOON, "updated_at": NOON,
        }  # fmt: skip
        change(row)
        connection.execute(insert(touchpoints).values(**row))
    return 10


def test_message_that_was_refused(page: Page, post: Post, runtime: Runtime, shop: Shop) -> None:
    _sent(runtime, shop, lambda row: row.update(reason="refused", reason_detail=str(LOGIN)))
    with runtime.db.write() as connection:
        row = {"shop_id": 1, "touchpoint_id": 10, "attempt_no": 1, "adapter": "smtp", "started_at": NOON}
        connection.execute(insert(attempts).values(**row, outcome="failed", error_code="refused", error=str(LOGIN)))
    assert words(page("outbox/10")).count("邮件服务器拒绝该收件人：550 no such user。") == 2
    told = words(post("outbox/10", {"do": "cancel"}).text)
    assert "这条消息现在的状态是：失败。只有状态为等待发送或等待重试的消息才能这样更改。" in told
    assert "没有状态“odd”。 现有：planned，" in words(page("outbox?state=odd", 422))
    assert "没有旅程“odd”。 现有：greet。" in words(page("outbox?journey=odd", 404))
