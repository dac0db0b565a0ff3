"""The Twilio channel: settings, sending, check, callbacks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import requests

from crm_plugin.adapters.base import Capability, Problem, Setting, SettingType
from crm_plugin.adapters.channels.base import CALLBACK_SETTING, PRICE_SETTING, RATE_SETTING, ChannelAdapter
from crm_plugin.adapters.channels.sms_parts import sms_parts
from crm_plugin.adapters.channels.twilio import listing
from crm_plugin.adapters.channels.twilio.calls import CONNECTIONS, Account, Answer, unanswered, unknown, unreachable
from crm_plugin.adapters.channels.twilio.errors import ErrorBody
from crm_plugin.adapters.channels.twilio.webhooks import (
    SIGNATURE_HEADER,
    as_called,
    events_of,
    form_of,
    is_signed,
    key_in,
    with_key,
)
from crm_plugin.adapters.raw import any_json, read_or_none
from crm_plugin.clock import Clock, SystemClock
from crm_plugin.errors import (
    InvalidInput,
    PermanentError,
    RecipientRefused,
    WebhookRejected,
)
from crm_plugin.events import DeliveryEvent, EventPage
from crm_plugin.phrases import phrase
from crm_plugin.records import Message, RawRequest, SendResult

# A text has at most ten parts or so.
_FEW = re.compile(r"[1-9][0-9]?")
_E164 = re.compile(r"\+[1-9]\d{6,14}")


class SentBody(msgspec.Struct):
    """What Twilio says of a message: taken, or refused with `code` as an error of its own, also under a status of success.

    `status` is a message's word, an error's number.
    """

    sid: str = ""
    status: str | int = ""
    num_segments: str | None = None
    error_code: int | None = None
    error_message: str | None = None
    code: int | None = None
    message: str = ""


# How far Twilio's clock and ours may be apart, and how long a call may have taken to come to it.
_AROUND = (timedelta(minutes=-1), timedelta(minutes=2))
# What is not on its way and will not be.
_OVER = frozenset({"failed", "undelivered", "canceled"})
_SENT = msgspec.json.Decoder(SentBody)


class TwilioChannel(ChannelAdapter):
    """Text messages through Twilio's Messages API, one POST each.

    Twilio knows no idempotency key: after a read time-out nobody can tell whether the text went out, so it is not sent again.
    """

    name = "twilio"
    label = "Twilio"
    channel = "sms"
    capabilities = frozenset(
        {
            Capability.SEND_MESSAGE,
            Capability.DELIVERY_EVENTS,
            Capability.FIND_MESSAGE,
            Capability.POLL_EVENTS,
            Capability.NEEDS_PHONE,
        }
    )
    settings = (
        Setting("account_sid", "Account SID", help="Begins with AC; on the first page of Twilio's console."),
        Setting("auth_token", "Auth token", SettingType.SECRET, "Beside the account SID."),
        Setting(
            "from_number",
            "Sender",
            help="A number of the account such as +15550100123, or an approved sender name.",
            required=False,
            default="",
        ),
        Setting(
            "messaging_service_sid",
            "Messaging service SID",
            help="Begins with MG; instead of a sender.",
            required=False,
            default="",
        ),
        Setting(
            CALLBACK_SETTING,
            "Status callback address",
            SettingType.URL,
            "Where Twilio reports deliveries; left empty, this server's own address when it has a public one.",
            required=False,
            default="",
        ),
        Setting(
            PRICE_SETTING,
            "Price of one part",
            SettingType.AMOUNT,
            "What one part of a text costs you in the shop's currency, such as 0.05; rehearsals tell costs by it.",
            required=False,
            default="",
        ),
        Setting(
            "base_url",
            "API address",
            SettingType.URL,
            "Only to be changed for a region or a test server.",
            required=False,
            default="https://api.twilio.com",
        ),
        RATE_SETTING,
    )

    def __init__(self, values: Mapping[str, Any], *, clock: Clock | None = None) -> None:
        """`clock` gives the time of receipt of callbacks, which tell none themselves."""
        super().__init__(values)
        if not (self.values["from_number"] or self.values["messaging_service_sid"]):
            raise InvalidInput(
                phrase("Twilio needs a sender."),
                field="from_number",
                hint=phrase("Give a sender number or a messaging service SID."),
            )
        self._clock = clock or SystemClock()
        self._account = Account(self.values["base_url"], self.values["account_sid"], self.values["auth_token"])

    @property
    def parallel(self) -> int:
        """As many as connections are kept."""
        return CONNECTIONS

    def send(self, message: Message, *, idempotency_key: str) -> SendResult:
        """Hand one text over. `extra["status_callback"]` goes before the connection's own callback address."""
        form = self._form(message)
        try:
            answer = self._account.post(f"{self._account.path}/Messages.json", form, self._clock.now())
        except requests.RequestException as error:
            raise unanswered(error) from error
        if answer.is_yes:
            return _taken(answer, message.text)
        if answer.status >= 500 and answer.status != 503 and not answer.refusal.code:
            # Not Twilio's own words: a gateway that gave up waiting does not know whether Twilio went on.
            raise unknown(answer)
        raise answer.error("send")

    def find(self, message: Message, *, since: datetime) -> Sequence[SendResult]:
        """Texts of these words to this number in Twilio's list; one that failed is left out, and one that still waits is not in it."""
        began = since.astimezone(UTC)
        # So many texts to one number in a day are on one page.
        asked = {"To": message.to, **_from(began)}
        found = listing.page(self._account, "find", self._clock.now(), asked).messages
        return [
            SendResult(one.sid, parts=_parts(one.num_segments, message.text), raw={"status": one.status})
            for one in found
            if one.body == message.text
            and one.status not in _OVER
            and one.made_at is not None
            and began + _AROUND[0] <= one.made_at <= began + _AROUND[1]
        ]

    def events(self, *, since: datetime, cursor: str = "") -> EventPage:
        """The states in Twilio's list of messages, back to those made a minute before `since`."""
        now, first = self._clock.now(), since.astimezone(UTC) + _AROUND[0]
        page = listing.page(self._account, "events", now, _from(since.astimezone(UTC)), cursor)
        told = [one for one in page.messages if one.made_at is not None and one.made_at >= first]
        more = page.next_page_uri if len(told) == len(page.messages) and told else ""
        return EventPage([event for one in told for event in one.events(now)], more or "")

    def check(self) -> list[Problem]:
        """Ask for the account: right address, right token, still active."""
        try:
            answer = self._account.get(f"{self._account.path}.json", self._clock.now())
        except requests.RequestException as error:
            failed = unreachable(error, "check")
            return [Problem("unreachable", failed.message, phrase("Check the API address."))]
        if answer.status != 200:
            refusal = answer.error("check")
            return [Problem(refusal.code, refusal.message, refusal.hint)]
        told = any_json(answer.body)
        if not isinstance(told, dict):
            return [
                Problem(
                    "malformed_response", phrase("What answers there is not Twilio."), phrase("Check the API address.")
                )
            ]
        status = told.get("status", "active")
        if status != "active":
            return [
                Problem(
                    "action_required",
                    phrase("The Twilio account is %(status)s.", status=status),
                    phrase("Open it in Twilio's console."),
                )
            ]
        return []

    def verify_webhook(self, request: RawRequest) -> None:
        """Check Twilio's signature over the address it called and the form. Raises: WebhookRejected."""
        # Where a proxy made another address of it on its way to us, Twilio signed the one it was told to call.
        urls = (request.url, as_called(self.values[CALLBACK_SETTING], request.url))
        given = request.headers.get(SIGNATURE_HEADER, "")
        if not given or not is_signed(self.values["auth_token"], given, urls, form_of(request)):
            raise WebhookRejected("The signature does not fit.", status=403)

    def parse_events(self, request: RawRequest) -> list[DeliveryEvent]:
        """The events of a status callback, or of a reply that opts out."""
        return events_of(dict(form_of(request)), self._clock.now(), key_in(request.url))

    def close(self) -> None:
        """Close the kept connections."""
        self._account.close()

    def _form(self, message: Message) -> dict[str, str]:
        if not message.text.strip():
            raise PermanentError(phrase("The message is empty."), adapter=self.name, operation="build")
        if not _E164.fullmatch(message.to):
            raise RecipientRefused(
                phrase("The phone number is not in international form."),
                adapter=self.name,
                operation="build",
                hint=phrase("Correct it in the store, like +447700900123."),
            )
        form = {"To": message.to, "Body": message.text}
        if self.values["messaging_service_sid"]:
            form["MessagingServiceSid"] = self.values["messaging_service_sid"]
        if sender := message.sender or self.values["from_number"]:
            form["From"] = sender
        if callback := message.extra.get("status_callback"):
            form["StatusCallback"] = str(callback)
        elif callback := self.values[CALLBACK_SETTING]:
            form["StatusCallback"] = with_key(callback, message.touchpoint_key)
        return form


def _from(began: datetime) -> dict[str, str]:
    """What asks Twilio's list for texts from that day on."""
    return {"DateSent>": (began + _AROUND[0]).date().isoformat(), "PageSize": str(listing.PAGE)}


def _taken(answer: Answer, text: str) -> SendResult:
    """What Twilio took. Raises: what the error inside means; OutcomeUnknown for a yes that cannot be read, which must not be sent again."""
    told = read_or_none(_SENT, answer.body)
    number = (told.code or told.error_code) if told else None
    if told is None or not (told.sid or number):
        raise unknown(answer)
    if not told.sid or told.status in _OVER:
        raise answer.error("send", ErrorBody(number, told.message or told.error_message or ""))
    return SendResult(told.sid, parts=_parts(told.num_segments, text), raw={"status": told.status})


def _parts(told: str | None, text: str) -> int:
    """How many parts are billed; counted here where Twilio does not tell yet."""
    return int(told) if told and _FEW.fullmatch(told) else sms_parts(text)
