"""Texts by opaque id: handed over once, found again by our own name, told of by the shop's messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import responses

from crm_plugin.adapters.channels.taobao_sms import TaobaoSmsChannel, adapter, task
from crm_plugin.errors import (
    ActionRequired,
    AdapterError,
    PermanentError,
    RecipientRefused,
    TransientError,
)
from crm_plugin.events import DeliveryEventKind
from crm_plugin.records import Message, StoreEvent, StoreEventKind
from tests.adapters.storefronts.taobao.fake_top import NOW, VALUES, Params, Refused, Top
from tests.contracts.answers import ANSWERS, AnswersContract
from tests.contracts.channel import ChannelContract
from tests.contracts.provider import Play, says

TOLD = {**VALUES, "sms_signature": "灯笼小铺"}
KEY = "birthday:7:0:2026-06-01"
MESSAGE = Message("sms", "AAE00001", KEY, "生日快乐！回R拒收", member_external_id="AAE00001")


class TestChannel(ChannelContract):
    @pytest.fixture
    def gateway(self) -> Iterator[Top]:
        top = Top()
        with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
            top.install(mock)
            yield top

    @pytest.fixture
    def values(self) -> dict[str, Any]:
        return dict(TOLD)

    @pytest.fixture
    def channel(self, values: dict[str, Any], gateway: Top) -> TaobaoSmsChannel:
        return TaobaoSmsChannel(values, now=gateway.clock)

    @pytest.fixture
    def message(self) -> Message:
        return MESSAGE

    @pytest.fixture
    def sent(self, gateway: Top) -> Callable[[], int]:
        return lambda: len(gateway.texts)

    def test_text_names_the_member_alone(self, channel: TaobaoSmsChannel, gateway: Top) -> None:
        result = channel.send(replace(MESSAGE, text="长" * 65), idempotency_key=KEY)
        # Signature and text are counted together: 71 characters are two parts.
        assert (result.provider_message_id, result.parts) == ("8801", 2)
        assert gateway.texts == [
            {
                "deliver_targets": ["AAE00001"],
                "signature": "灯笼小铺",
                "out_node_inst_id": task.node_of(KEY),
                "mobile_acquisition_rule": [3, 1, 2],
                "seller_tpl": "长" * 65,
            }
        ]

    def test_template_gets_the_text_in_its_place(self, values: dict[str, Any], gateway: Top) -> None:
        channel = TaobaoSmsChannel({**values, "sms_template": "SMS_1", "sms_placeholder": "words"}, now=gateway.clock)
        channel.send(MESSAGE, idempotency_key=KEY)
        told = gateway.texts[0]
        assert (told["tpl_code"], told["plh_val"]) == ("SMS_1", {"words": MESSAGE.text})
        assert "seller_tpl" not in told

    def test_found_by_its_own_name(self, channel: TaobaoSmsChannel) -> None:
        assert channel.find(MESSAGE, since=NOW) == []
        channel.send(MESSAGE, idempotency_key=KEY)
        assert [one.provider_message_id for one in channel.find(MESSAGE, since=NOW)] == [task.node_of(KEY)]
        assert channel.find(replace(MESSAGE, touchpoint_key="other"), since=NOW) == []

    def test_without_signature_nothing_leaves(self, values: dict[str, Any], gateway: Top) -> None:
        channel = TaobaoSmsChannel({**values, "sms_signature": ""}, now=gateway.clock)
        assert [one.code for one in channel.check()] == ["no_signature"]
        with pytest.raises(ActionRequired, match="no signature"):
            channel.send(MESSAGE, idempotency_key=KEY)
        with pytest.raises(RecipientRefused):
            channel.send(replace(MESSAGE, to="", member_external_id=""), idempotency_key=KEY)
        assert gateway.texts == []

    def test_limit_is_told_and_not_waited_for(self, channel: TaobaoSmsChannel, gateway: Top) -> None:
        def limited(_method: str, _params: Params) -> None:
            raise Refused(7, sub_msg="This ban will last for 9 more seconds")

        gateway.before = limited
        with pytest.raises(TransientError) as caught:
            channel.send(MESSAGE, idempotency_key=KEY)
        assert caught.value.retry_after == 9


@pytest.mark.parametrize(
    ("code", "kind", "pause"),
    [
        ("isv.BUSINESS_LIMIT_CONTROL", TransientError, 3600),
        ("isp.SYSTEM_ERROR", TransientError, None),
        ("isv.MOBILE_NUMBER_ILLEGAL", RecipientRefused, None),
        ("isv.SMS_SIGNATURE_ILLEGAL", ActionRequired, None),
        ("isv.AMOUNT_NOT_ENOUGH", ActionRequired, None),
        ("isv.SMS_CONTENT_ILLEGAL", PermanentError, None),
        ("isv.BLACK_KEY_CONTROL_LIMIT", PermanentError, None),
        ("", PermanentError, None),
    ],
)
def test_result_codes(code: str, kind: type[AdapterError], pause: float | None) -> None:
    error = task.refusal(code, "words")
    assert type(error) is kind
    assert getattr(error, "retry_after", None) == pause
    assert not getattr(error, "suppress", False)


def _event(topic: str, detail: dict[str, str], kind: StoreEventKind = StoreEventKind.REPORT) -> StoreEvent:
    return StoreEvent(kind, "tmc:1", f"taobao_opencrm_{topic}", detail=detail)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (_event("ShortMessageSent", {"biz_id": "8801"}), [("8801", DeliveryEventKind.SENT)]),
        (
            _event("ShortMessageBill", {"node_inst_id": "8801", "success_count": "1", "fail_count": "0"}),
            [("8801", DeliveryEventKind.DELIVERED)],
        ),
        (
            _event("ShortMessageBill", {"node_inst_id": "8801", "success_count": "0", "fail_count": "1"}),
            [("8801", DeliveryEventKind.FAILED)],
        ),
        (_event("ShortMessageBill", {"node_inst_id": "8801", "unknown_status_count": "1"}), []),
        (_event("ShortMessageBill", {}), []),
        (_event("ShortMessageBill", {"node_inst_id": "8801"}, StoreEventKind.UNKNOWN), []),
    ],
)
def test_reports_of_the_shop(event: StoreEvent, expected: list[tuple[str, DeliveryEventKind]]) -> None:
    told = TaobaoSmsChannel.reported(event, NOW)
    assert [(one.provider_message_id, one.kind) for one in told] == expected
    assert all(one.at == NOW and not one.permanent and not one.address for one in told)


_ROOT = "opencrm_digital_sms_single_send_response"


def _said(inner: str) -> Play:
    return says(200, f'{{"{_ROOT}": {inner}}}')


def _refused(inner: str) -> Play:
    return says(200, f'{{"error_response": {inner}}}')


class TestAnswers(AnswersContract):
    own: ClassVar[dict[str, Play]] = {
        "taken": _said('{"result": {"success": true, "node_inst_id": 7}}'),
        "taken without an id": _said('{"is_success": "true"}'),
        "says neither yes nor no": _said('{"request_id": "r"}'),
        "no inside": _said('{"result": {"success": false, "err_code": "isv.AMOUNT_NOT_ENOUGH"}}'),
        "no to a number": _said('{"result": {"success": false, "err_code": "isv.MOBILE_NUMBER_ILLEGAL"}}'),
        "another method's answer": says(200, '{"x_response": {}}'),
        "limit": _refused('{"code": 7, "sub_msg": "This ban will last for 40 more seconds"}'),
        "service behind it away": _refused('{"code": 15, "sub_code": "isp.top-remote-connection-timeout"}'),
        "no such right": _refused('{"code": 11}'),
        "session over": _refused('{"code": 27, "sub_code": "invalid-sessionkey"}'),
        "wrong argument": _refused('{"code": 41, "sub_code": "isv.invalid-parameter"}'),
    }
    expected: ClassVar[dict[str, str]] = {
        **dict.fromkeys(ANSWERS, "unconfirmed"),
        "429": "again",
        "429 with seconds": "again 7",
        # That day is over.
        "429 with a date": "again 0",
        "429 with nonsense": "again",
        "429 with a date beyond all": "again",
        "503": "again",
        "400 with a page": "shop",
        "403": "shop",
        "taken": "taken",
        "taken without an id": "taken",
        "says neither yes nor no": "unconfirmed",
        "no inside": "shop",
        "no to a number": "recipient",
        "another method's answer": "unconfirmed",
        "limit": "again 40",
        "service behind it away": "unconfirmed",
        "no such right": "shop",
        "session over": "shop",
        "wrong argument": "message",
    }

    @pytest.fixture
    def opened(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, float], TaobaoSmsChannel]:
        def made(url: str, whole: float) -> TaobaoSmsChannel:
            monkeypatch.setattr(adapter, "_CALL_TIMEOUT", whole)
            return TaobaoSmsChannel({**TOLD, "base_url": url}, now=NOW.timestamp)

        return made

    @pytest.fixture
    def message_to(self) -> Callable[[str], Message]:
        return lambda _url: MESSAGE
