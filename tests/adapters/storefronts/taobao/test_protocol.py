"""Signatures, answers, refusals, money: TOP's protocol at the border."""

from __future__ import annotations

import msgspec
import pytest

from crm_plugin.adapters.base import Severity
from crm_plugin.adapters.raw import FieldError
from crm_plugin.adapters.storefronts.taobao import TaobaoStorefront
from crm_plugin.adapters.storefronts.taobao.envelope import Answer, Refusal, read
from crm_plugin.adapters.storefronts.taobao.errors import CODES, SUB_CODES, Act, act_of, ban_seconds, error_for
from crm_plugin.adapters.storefronts.taobao.mapping import STATUSES, Mapper
from crm_plugin.adapters.storefronts.taobao.signing import sign
from crm_plugin.adapters.storefronts.taobao.values import fen, in_yuan, yuan
from crm_plugin.errors import (
    ActionRequired,
    AdapterError,
    InvalidInput,
    MalformedResponse,
    OutcomeUnknown,
    PermanentError,
    TransientError,
)
from crm_plugin.records import OrderStatus, Stream
from tests.adapters.storefronts.taobao.fake_top import NOW, VALUES, Params, Refused, Top, member, trade

_COMMON = {
    "app_key": "12345678",
    "session": "test",
    "timestamp": "2016-01-01 12:00:00",
    "format": "json",
    "v": "2.0",
}
ITEM = {**_COMMON, "method": "taobao.item.seller.get", "fields": "num_iid,title,nick,price,num", "num_iid": "11223344"}
SEARCH = {
    **_COMMON,
    "method": "taobao.crm.members.search",
    "current_page": "1",
    "page_size": "100",
    "min_last_trade_time": "2015-12-01 00:00:00",
}


@pytest.mark.parametrize(
    ("params", "method", "expected"),
    [
        (ITEM, "md5", "66987CB115214E59E6EC978214934FB8"),
        (ITEM, "hmac", "D56D7858309C31B6251083A874D48273"),
        (ITEM, "hmac-sha256", "04DB15AD0774D5CFCE2C837DE43E3FCEA9011ED74F3038FB6AB5F3C4CEA119E8"),
        ({**ITEM, "title": "会员关系"}, "md5", "BF2455F839DA5AE1C2E5C58698312FC0"),
        (SEARCH, "md5", "AA4AEF5798101AF77836B2C2DA823ADB"),
        (SEARCH, "hmac", "A09F4A94271515E1D3B8E3946A494A35"),
        (SEARCH, "hmac-sha256", "CD4A63D808F199410F321D1295C82DC397E4D84854F0D41E4EDA31263B3DAF46"),
    ],
)
def test_signature(params: dict[str, str], method: str, expected: str) -> None:
    told = {**params, "sign_method": method}
    assert sign(told, "helloworld", method) == expected
    # An old signature among them is not signed.
    assert sign({**told, "sign": "0"}, "helloworld", method) == expected


@pytest.mark.parametrize("method", ["md5", "hmac", "hmac-sha256"])
def test_each_way_to_sign_is_taken(top: Top, method: str) -> None:
    store = TaobaoStorefront({**VALUES, "sign_method": method}, sleep=top.sleep, now=top.clock)
    assert store.check() == []
    # Nothing of it stands in an address.
    assert top.asked[0]["session"] == VALUES["session"]


def _answer(body: bytes, method: str = "taobao.x.get") -> Answer:
    told = read(body, method)
    assert isinstance(told, Answer)
    return told


def test_lists_and_numbers_of_every_form() -> None:
    two = _answer(
        b'{"x_get_response":{"rows":{"row":[{"a":1},{"a":2}]},"total":"2","more":"true","id":3700000000000000001}}'
    )
    assert len(two.rows("rows", "row")) == 2
    assert (two.number("total"), two.flag("more"), two.text("id")) == (2, True, "3700000000000000001")
    for none in (
        b"{}",
        b'{"rows":{}}',
        b'{"rows":""}',
        b'{"rows":null}',
        b'{"rows":{"row":null}}',
        b'{"rows":{"row":[]}}',
    ):
        told = _answer(b'{"x_get_response":' + none + b"}")
        assert told.rows("rows", "row") == []
        assert (told.number("total"), told.flag("more"), told.text("id")) == (None, False, "")
    assert _answer(b'{"x_get_response":{"rows":{"row":{"a":1}}}}').rows("rows", "row") == [msgspec.Raw(b'{"a":1}')]
    # Other prefixes than taobao stay in the root's name.
    assert _answer(b'{"tmall_x_get_response":{"a":1}}', "tmall.x.get").number("a") == 1


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"other_response":{}}', b'{"x_get_response":7}', b"\xff"]
)
def test_no_answer_is_told_as_such(body: bytes) -> None:
    with pytest.raises(MalformedResponse):
        read(body, "taobao.x.get")


KINDS: dict[Act, tuple[type[AdapterError], str]] = {
    Act.RETRY: (TransientError, "transient"),
    Act.LIMIT: (TransientError, "transient"),
    Act.STOP: (PermanentError, "permanent"),
    Act.GONE: (PermanentError, "gone"),
    Act.PERMISSION: (ActionRequired, "permission_missing"),
    Act.SESSION: (ActionRequired, "reauth_needed"),
    Act.KEYS: (ActionRequired, "wrong_keys"),
    Act.CLOCK: (ActionRequired, "wrong_clock"),
}
BY_CODE = {
    Act.LIMIT: (4, 5, 6, 7, 8),
    Act.RETRY: (10,),
    Act.PERMISSION: (11, 12, 13, 42),
    Act.STOP: (9, 15, 21, 22, 23, 32, 33, 34, 40, 41, 43, 50, 999),
    Act.KEYS: (24, 25, 28, 29),
    Act.SESSION: (26, 27),
    Act.CLOCK: (30, 31),
}
_REMOTE = ("connection-timeout", "service-unavailable", "connection-control-error", "unknown-error")
BY_SUB = {
    Act.RETRY: (
        *(f"isp.top-remote-{what}{tail}" for what in _REMOTE for tail in ("", "-tmall")),
        "isp.remote-connection-error",
        "isp.service-error",
        "isp.service-unavailable",
        "isp.crmtop-service-unavailable",
        "isp.system-busy",
        "isp.anything-new",
        "ism.json-decode-error",
        "ism.anything-new",
    ),
    Act.LIMIT: (
        "isp.call-limited",
        *(f"accesscontrol.limited-by-{what}-access-count" for what in ("app", "api", "app-api", "dynamic")),
    ),
    Act.SESSION: ("invalid-sessionkey", "sessionkey-not-generated-by-server"),
    Act.STOP: ("isv.invalid-parameter", "isv.invalid-parameter:buyerNick", "isv.anything-new", "anything-new", ""),
    Act.GONE: ("isv.trade-not-exist", "isv.refund-not-exist"),
}


def test_every_code_and_sub_code_has_its_act() -> None:
    for act, codes in BY_CODE.items():
        for code in codes:
            assert act_of(Refusal(code=code)) is act, code
            error = error_for(Refusal(code=str(code), msg="m"), "taobao.x.get", NOW.timestamp())
            assert (type(error), error.code) == KINDS[act], code
            assert bool(error.hint) == isinstance(error, (ActionRequired, TransientError))
    for act, subs in BY_SUB.items():
        for sub in subs:
            for code in (15, 50):
                assert act_of(Refusal(code=code, sub_code=sub)) is act, sub
    assert set(CODES) <= {code for codes in BY_CODE.values() for code in codes}
    assert set(SUB_CODES) <= {sub.lower() for subs in BY_SUB.values() for sub in subs}
    # What is said of the app, the session or an argument holds whatever stands beside it.
    assert act_of(Refusal(code=11, sub_code="isp.system-busy")) is Act.PERMISSION
    assert act_of(Refusal(code=41, sub_code="isp.system-busy")) is Act.STOP
    assert act_of(Refusal(code=7, sub_code="isv.anything")) is Act.LIMIT


def test_ban_is_read() -> None:
    now = NOW.timestamp()
    told = Refusal(code=7, sub_msg="This ban will last for 31062 more seconds")
    assert ban_seconds(told, now) == 31062
    # The day's quota comes back at midnight in China; it is noon there.
    assert ban_seconds(Refusal(code=7, sub_code="accesscontrol.limited-by-app-access-count"), now) == 12 * 3600
    assert ban_seconds(Refusal(code=7), now) == 5


def test_service_that_is_away_is_asked_again(top: Top, store: TaobaoStorefront) -> None:
    left = [10, 15, 50]

    def away(_method: str, _params: Params) -> None:
        if left:
            raise Refused(left.pop(), "isp.system-busy")

    top.before = away
    assert store.reread(Stream.MEMBERS, "AAE1") is None or not left
    top.slept.clear()
    left.extend([10] * 9)
    with pytest.raises(TransientError):
        list(store.pages(Stream.MEMBERS, ""))
    assert top.slept == [1, 2, 4]


def test_yuan_and_fen_are_told_apart() -> None:
    assert [yuan(told, "$") for told in ("99.90", "0", 99.9, 100, "", None)] == [9990, 0, 9990, 10000, None, None]
    assert [fen(told, "$") for told in (9990, "9990", 0, "", None)] == [9990, 9990, 0, None, None]
    for told in ("99.90", 99.9, "x"):
        with pytest.raises(FieldError):
            fen(told, "$")
    with pytest.raises(FieldError):
        yuan("x", "$")
    assert [in_yuan(told) for told in (9990, 10000, 5, 300)] == ["99.90", "100", "0.05", "3"]


def test_member_is_mapped() -> None:
    names = {"162534": "老客", "263674": "茶友"}
    told = Mapper(group_name=lambda number: names.get(number, number))
    row = member(3, grade="2", grade_name="高级会员", group_ids="162534|263674,9", province="10", city=320100)
    record = told.member(msgspec.Raw(msgspec.json.encode(row)))
    assert (record.external_id, record.country, record.tags) == ("AAE00003", "CN", ("老客", "茶友", "9"))
    assert (record.first_name, record.last_name, record.email, record.phone) == ("", "", "", "")
    assert record.marks is None
    assert record.attributes == {
        "trade_count": 3,
        "relation_source": 1,
        "trade_amount_minor": 350,
        "nick": "t**b",
        "status": "normal",
        "province": "10",
        "city": "320100",
        "grade": 2,
        "grade_name": "高级会员",
        "last_trade_at": "2026-10-29T04:00:00+00:00",
    }
    assert record.consents == ()
    mine = Mapper("main", {2: "silver"}, str, members_agreed=True).member(msgspec.Raw(msgspec.json.encode(row)))
    assert mine.marks == {"main": "silver"}
    assert "grade" not in mine.attributes
    assert [(one.channel, one.state) for one in mine.consents] == [("sms", "granted")]


def test_trade_is_mapped() -> None:
    record = Mapper().order(msgspec.Raw(msgspec.json.encode(trade(5, NOW))))
    assert (record.external_id, record.member_external_id, record.status) == ("3700000000000000005", "AAE00005", "paid")
    assert (record.total_minor, record.shipping_minor, record.currency) == (9990, 1000, "CNY")
    assert record.placed_at.isoformat() == "2026-11-01T04:00:00+00:00"
    (line,) = record.lines
    assert (line.total_minor, line.quantity, line.sku, line.product_external_id) == (8990, 2, "TEA-1", "42")
    assert record.refunds is None
    # Without a share of its own a single line's payment holds the freight.
    row = trade(5, NOW)
    del row["orders"]["order"][0]["divide_order_fee"]
    assert Mapper().order(msgspec.Raw(msgspec.json.encode(row))).lines[0].total_minor == 8990


def test_statuses_are_those_of_the_platform() -> None:
    assert set(STATUSES.values()) == {
        OrderStatus.PENDING,
        OrderStatus.PAID,
        OrderStatus.SHIPPED,
        OrderStatus.COMPLETED,
        OrderStatus.REFUNDED,
        OrderStatus.CANCELLED,
    }
    row = trade(1, NOW, status="SOMETHING_NEW")
    assert Mapper().order(msgspec.Raw(msgspec.json.encode(row))).status is OrderStatus.UNKNOWN


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"payment": "much"}, "$.payment"),
        ({"created": "yesterday"}, "$.created"),
        ({"orders": {"order": 7}}, "$.orders.order"),
    ],
)
def test_bad_record_is_set_aside_alone(top: Top, store: TaobaoStorefront, change: dict[str, object], path: str) -> None:
    top.trades = [
        trade(1, NOW.replace(hour=2), **{k: v for k, v in change.items() if k != "created"}),
        trade(2, NOW.replace(hour=3)),
    ]
    if "created" in change:
        with pytest.raises(MalformedResponse) as caught:
            store.parse(Stream.ORDERS, msgspec.json.encode({**trade(1, NOW), **change}).decode())
        assert caught.value.path == path
        return
    pages = list(store.pages(Stream.ORDERS, ""))
    assert [record.external_id[-1] for page in pages for record in page.records] == ["2"]
    (problem,) = [problem for page in pages for problem in page.problems]
    assert (problem.external_id, problem.path) == ("3700000000000000001", path)
    with pytest.raises(MalformedResponse):
        store.parse(Stream.ORDERS, problem.raw)


def test_check_says_which_package_is_missing(top: Top, store: TaobaoStorefront) -> None:
    assert store.check() == []

    def refuses(method: str, _params: Params) -> None:
        if method in ("taobao.crm.grade.get", "taobao.refunds.receive.get"):
            raise Refused(11, "isv.permission-api-package-empty", msg="Insufficient isv permissions")

    top.before = refuses
    problems = store.check()
    assert [(one.code, one.severity) for one in problems] == [("permission_missing", Severity.ERROR)] * 2
    assert "taobao.crm.grade.get" in problems[0].message
    assert "Only Alibaba can switch this on" in problems[0].hint
    assert top.slept == []


def test_wrong_secret_is_never_tried_again(top: Top) -> None:
    store = TaobaoStorefront({**VALUES, "app_secret": "other"}, sleep=top.sleep, now=top.clock)
    assert [one.code for one in store.check()] == ["wrong_keys"]
    assert top.calls.total() == 1
    with pytest.raises(InvalidInput) as caught:
        TaobaoStorefront({**VALUES, "app_key": ""})
    assert caught.value.field == "app_key"


def test_what_may_have_been_done_is_unknown(top: Top, store: TaobaoStorefront) -> None:
    def away(_method: str, _params: Params) -> None:
        raise Refused(15, "isp.top-remote-connection-timeout")

    top.before = away
    with pytest.raises(OutcomeUnknown):
        store.client.once("taobao.promotion.coupon.add", {"denominations": "3"})
    assert top.calls.total() == 1
