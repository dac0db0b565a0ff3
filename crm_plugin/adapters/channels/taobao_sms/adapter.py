"""The channel: texts to members by `ouid`, through the connection of the shop. No number is known here, none is sent or told."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from crm_plugin.adapters.base import Capability, Problem, Setting
from crm_plugin.adapters.channels.base import ChannelAdapter
from crm_plugin.adapters.channels.sms_parts import sms_parts
from crm_plugin.adapters.channels.taobao_sms import task
from crm_plugin.adapters.storefronts.taobao.adapter import TaobaoStorefront
from crm_plugin.adapters.storefronts.taobao.client import TopClient
from crm_plugin.adapters.storefronts.taobao.errors import Act
from crm_plugin.adapters.storefronts.taobao.grades import GET
from crm_plugin.adapters.storefronts.taobao.messages import REPORTS
from crm_plugin.adapters.storefronts.taobao.session import Session
from crm_plugin.errors import (
    ActionRequired,
    AdapterError,
    InvalidInput,
    OutcomeUnknown,
    PermanentError,
    RecipientRefused,
)
from crm_plugin.events import DeliveryEvent, DeliveryEventKind
from crm_plugin.phrases import phrase
from crm_plugin.records import Message, SendResult, StoreEvent, StoreEventKind

# Of one call in all.
_CALL_TIMEOUT = 60.0
_USED = frozenset(
    {
        "app_key",
        "app_secret",
        "base_url",
        "sign_method",
        "session",
        "session_ends_at",
        "sms_signature",
        "sms_template",
        "sms_placeholder",
        "part_price",
    }
)
# The counts of a report, with what each says of the one member that a text is for.
_COUNTS = {
    "success_count": DeliveryEventKind.DELIVERED,
    "fail_count": DeliveryEventKind.FAILED,
}
_NO_SIGNATURE = phrase("There is no signature for texts.")
_SIGN = phrase("Enter under Store the signature that Alibaba has approved for this shop; only Alibaba approves one.")


class TaobaoSmsChannel(ChannelAdapter):
    """One text to one member, handed over once: without an answer nobody knows whether it went, and it is not sent again.

    The method knows no idempotency key. Our own name for the text (`out_node_inst_id`) goes with it, and by it Alibaba is asked afterwards.
    """

    name = "taobao_sms"
    label = "Taobao texts"
    channel = "sms"
    uses_storefront = "taobao"
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.SEND_MESSAGE, Capability.FIND_MESSAGE, Capability.NEEDS_ACCOUNT}
    )
    settings: ClassVar[tuple[Setting, ...]] = tuple(one for one in TaobaoStorefront.settings if one.key in _USED)

    def __init__(self, values: Mapping[str, Any], *, now: Callable[[], float] = time.time) -> None:
        super().__init__(values)
        for key in ("app_key", "app_secret"):
            if not self.values[key]:
                setting = next(one for one in self.settings if one.key == key)
                raise InvalidInput(phrase("%(label)s is missing.", label=phrase(setting.label)), field=key)
        self._session = Session(self.values, now, lambda: None)
        self._client = TopClient(self.values, self._session, whole=_CALL_TIMEOUT, now=now)

    def send(self, message: Message, *, idempotency_key: str) -> SendResult:
        """See the class."""
        ouid, signature = message.member_external_id or message.to, self.values["sms_signature"]
        if not message.text.strip():
            raise PermanentError(phrase("The message is empty."), adapter=self.name, operation="build")
        if not ouid:
            raise RecipientRefused(
                phrase("This member has no account at Taobao."), adapter=self.name, operation="build"
            )
        if not signature:
            raise ActionRequired(_NO_SIGNATURE, hint=_SIGN, adapter=self.name, operation="build", code="no_signature")
        node = task.node_of(idempotency_key)
        told = task.task(
            ouid,
            message.text,
            node,
            signature=signature,
            template=self.values["sms_template"],
            placeholder=self.values["sms_placeholder"],
        )
        answer = self._client.once(task.SEND, {"task_content": told})
        outcome = task.taken(answer)
        if outcome is None:
            raise OutcomeUnknown(
                phrase("Alibaba took the text, and its answer does not say what became of it."),
                adapter=self.name,
                operation="send",
                hint=phrase("Look in the seller's console before sending it again."),
            )
        number, refused = outcome
        if refused is not None:
            raise refused
        return SendResult(number or node, parts=sms_parts(f"【{signature}】{message.text}"), raw={"node": node})

    def find(self, message: Message, *, since: datetime) -> Sequence[SendResult]:
        """Whether Alibaba lists a text of our name for this member; empty where it does not, which proves nothing."""
        del since
        node, ouid = task.node_of(message.touchpoint_key), message.member_external_id or message.to
        answer = self._client.call(task.RESULT, task.asked_result(node, ouid), attempts=1)
        return [SendResult(node)] if task.is_listed(answer, ouid) else []

    def check(self) -> list[Problem]:
        """Whether the session holds and a signature is there. Whether texts may be sent shows only when one is."""
        problems = self._session.problems()
        if not self.values["sms_signature"]:
            problems.append(Problem("no_signature", _NO_SIGNATURE, _SIGN))
        if any(one.code == Act.SESSION for one in problems):
            return problems
        try:
            self._client.call(GET, attempts=1)
        except AdapterError as error:
            if error.code != Act.PERMISSION:
                problems.append(Problem(error.code, error.message, error.hint))
        return problems

    @classmethod
    def reported(cls, event: StoreEvent, at: datetime) -> list[DeliveryEvent]:
        """What the message service says of a text: that it left, or how it ended. A text is for one member, so each count is theirs."""
        told = event.detail
        if event.kind is not StoreEventKind.REPORT or event.topic not in REPORTS:
            return []
        number = str(told.get("node_inst_id") or told.get("biz_id") or "")
        if not number:
            return []
        kinds = [kind for name, kind in _COUNTS.items() if str(told.get(name, "0")) not in ("", "0")]
        if event.topic == REPORTS[0]:
            kinds = [DeliveryEventKind.SENT]
        return [
            DeliveryEvent(f"{event.key}:{kind.value}", number, kind, event.at or at, raw=dict(told)) for kind in kinds
        ]

    def close(self) -> None:
        """Give back the connections."""
        self._client.close()
