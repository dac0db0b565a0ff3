"""Messages to the merchant: does this sender reach me, and how does this text arrive? They belong to no journey and to no member."""

from __future__ import annotations

import re
from datetime import datetime

from crm_plugin.adapters.base import Capability
from crm_plugin.adapters.registry import channel_class
from crm_plugin.errors import InvalidInput
from crm_plugin.ids import new_id
from crm_plugin.phrases import phrase
from crm_plugin.records import Message, SendResult
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import inapp, senders
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.reach import by_account
from crm_plugin.touchpoints.render import Rendered

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_PHONE = re.compile(r"\+[1-9]\d{6,14}")
_SUBJECTS = {"en": "Test message from {shop}", "zh": "来自{shop}的测试消息"}
_TEXTS = {
    "en": "This is a test message from {shop}. If you can read it, messages to your customers can be sent this way.",
    "zh": "这是来自{shop}的测试消息。如果您能看到，说明可以用这种方式向顾客发送消息。",
}


def send_test(
    db: Database, box: SecretBox, shop: Shop, adapter_name: str, to: str, now: datetime, public_url: str = ""
) -> SendResult:
    """Send a test message in the shop's language through a sender.

    Raises: InvalidInput for an address that cannot be one, NotFound for a sender that is not set up, and what the sender raises.
    """
    language = "zh" if shop.locale.lower().startswith("zh") else "en"
    name = shop.title or shop.name
    made = Rendered(
        locale="zh-CN" if language == "zh" else "en",
        subject=_SUBJECTS[language].format(shop=name),
        text=_TEXTS[language].format(shop=name),
    )
    return send_text(db, box, shop, adapter_name, to, made, now, public_url)


def send_text(
    db: Database,
    box: SecretBox,
    shop: Shop,
    adapter_name: str,
    to: str,
    made: Rendered,
    now: datetime,
    public_url: str = "",
) -> SendResult:
    """Send a rendered text to an address of the merchant, as it is; a sender that had paused goes on when that worked.

    Raises: as `send_test`.
    """
    address = _address(adapter_name, to)
    channel = senders.open_channel(db, box, shop, adapter_name, now, public_url=public_url)
    key = f"{inapp.TEST}{new_id()}"
    in_app = channel.channel == "inapp"
    is_account = in_app or by_account(adapter_name)
    message = Message(
        channel=channel.channel,
        to=address,
        touchpoint_key=key,
        subject=made.subject,
        text=made.text,
        html=made.html,
        locale=made.locale,
        url=made.url or (policy_of(shop).cta_url if in_app else ""),
        member_external_id=address if is_account else "",
        marketing=False,
    )
    try:
        result = channel.send(message, idempotency_key=key)
    finally:
        channel.close()
    with db.write() as connection:
        senders.resume(connection, shop.shop_id, adapter_name, now)
    return result


def _address(adapter_name: str, to: str) -> str:
    cls = channel_class(adapter_name)
    told = to.strip()
    if Capability.NEEDS_ORDER in cls.capabilities:
        raise InvalidInput(
            phrase("%(label)s hangs on an order, so it cannot be tried without one.", label=cls.label),
            field="adapter",
            hint=phrase("Its connection is the store's: check that one."),
        )
    if cls.channel == "email" and not _EMAIL.fullmatch(told):
        raise InvalidInput(
            phrase("%(told)r is not an e-mail address.", told=told),
            field="to",
            hint=phrase("Write it as name@example.com."),
        )
    if cls.channel == "sms" and not by_account(adapter_name):
        told = re.sub(r"[\s().-]", "", told)
        if not _PHONE.fullmatch(told):
            raise InvalidInput(
                phrase("%(told)r is not a phone number with its country.", told=told),
                field="to",
                hint=phrase("Write it as +447700900123."),
            )
    if not told:
        raise InvalidInput(
            phrase("Nobody is named to send it to."), field="to", hint=phrase("Give the store's id of a member.")
        )
    return told
