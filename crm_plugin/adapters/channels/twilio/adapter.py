"""The Twilio channel: settings, sending, check, callbacks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec
import requests
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError, SSLError

from crm_plugin.adapters.base import Capability, Problem, Setting, SettingType
from crm_plugin.adapters.channels.base import CALLBACK_SETTING, PRICE_SETTING, RATE_SETTING, ChannelAdapter
from crm_plugin.adapters.channels.sms_parts import sms_parts
from crm_plugin.adapters.channels.twilio.errors import ErrorBody, error_for
from crm_plugin.adapters.channels.twilio.webhooks import (
    SIGNATURE_HEADER,
    as_called,
    events_of,
    form_of,
    is_signed,
    key_in,
    with_key,
)
from crm_plugin.clock import Clock, SystemClock
from crm_plugin.errors import (
    AdapterError,
    InvalidInput,
    MalformedResponse,
    OutcomeUnknown,
    PermanentError,
    RecipientRefused,
    TransientError,
    WebhookRejected,
)
from crm_plugin.events import DeliveryEvent
from crm_plugin.http_client import CONNECT_TIMEOUT, excerpt, make_session, retry_after
from crm_plugin.phrases import phrase
from crm_plugin.records import Message, RawRequest, SendResult

_READ_TIMEOUT = 30.0
# Of one call in all.
_CALL_TIMEOUT = 60.0
_E164 = re.compile(r"\+[1-9]\d{6,14}")
# The request never left: no connection was there to write it to.
_NOT_SENT = (NewConnectionError, ConnectTimeoutError, SSLError)


class SentBody(msgspec.Struct):
    """What Twilio says of a message it took."""

    sid: str
    status: str = ""
    num_segments: str | None = None


class ListedBody(msgspec.Struct):
    """One message of Twilio's list; `date_created` as in mails."""

    sid: str
    body: str
    date_created: str
    status: str = ""
    num_segments: str | None = None


class ListBody(msgspec.Struct):
    """A page of the list of messages."""

    messages: list[ListedBody]


_LIST = msgspec.json.Decoder(ListBody)
# How far Twilio's clock and ours may be apart, and how long a call may have taken to come to it.
_AROUND = (timedelta(minutes=-1), timedelta(minutes=2))
# What is not on its way and will not be.
_OVER = frozenset({"failed", "undelivered", "canceled"})
# So many texts to one number in a day are on one page.
_PAGE = 200
_SENT = msgspec.json.Decoder(SentBody)
_REFUSED = msgspec.json.Decoder(ErrorBody)
_CONNECTIONS = 8


class TwilioChannel(ChannelAdapter):
    """Text messages through Twilio's Messages API, one POST each.

    Twilio knows no idempotency key: after a read time-out nobody can tell whether the text went out, so it is not sent again.
    """

    name = "twilio"
    label = "Twilio"
    channel = "sms"
    capabilities = frozenset(
        {Capability.SEND_MESSAGE, Capability.DELIVERY_EVENTS, Capability.FIND_MESSAGE, Capability.NEEDS_PHONE}
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
        self._account = f"{self.values['base_url']}/2010-04-01/Accounts/{self.values['account_sid']}"
        self._session = make_session(pool=_CONNECTIONS, whole=_CALL_TIMEOUT)
        self._session.auth = (self.values["account_sid"], self.values["auth_token"])

    @property
    def parallel(self) -> int:
        """As many as connections are kept."""
        return _CONNECTIONS

    def send(self, message: Message, *, idempotency_key: str) -> SendResult:
        """Hand one text over. `extra["status_callback"]` goes before the connection's own callback address."""
        form = self._form(message)
        try:
            response = self._session.post(
                f"{self._account}/Messages.json",
                data=form,
                timeout=(CONNECT_TIMEOUT, _READ_TIMEOUT),
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise _network_error(error) from error
        if not 200 <= response.status_code < 300:
            raise self._refusal(response)
        try:
            body = _SENT.decode(response.content)
        except msgspec.DecodeError as error:
            # It said yes in a form we cannot read: sending again could double the message.
            raise OutcomeUnknown(
                phrase("Twilio took the message and its answer cannot be read."),
                adapter=self.name,
                operation="send",
                status=response.status_code,
                excerpt=excerpt(response.content),
            ) from error
        return SendResult(body.sid, parts=_parts(body.num_segments, message.text), raw={"status": body.status})

    def find(self, message: Message, *, since: datetime) -> Sequence[SendResult]:
        """Texts of these words to this number in Twilio's list; one that failed is left out, and one that still waits is not in it."""
        began = since.astimezone(UTC)
        asked = {"To": message.to, "DateSent>": (began + _AROUND[0]).date().isoformat(), "PageSize": str(_PAGE)}
        try:
            response = self._session.get(
                f"{self._account}/Messages.json",
                params=asked,
                timeout=(CONNECT_TIMEOUT, _READ_TIMEOUT),
                allow_redirects=False,
            )
        except requests.RequestException as error:
            why = phrase("Twilio cannot be reached: %(why)s.", why=_cause(error))
            raise TransientError(why, adapter=self.name, operation="find") from error
        if response.status_code != 200:
            raise self._refusal(response)
        try:
            listed = [(one, parsedate_to_datetime(one.date_created)) for one in _LIST.decode(response.content).messages]
        except (msgspec.DecodeError, ValueError) as error:
            raise MalformedResponse(
                phrase("What answers there is not Twilio."), adapter=self.name, operation="find", path="messages"
            ) from error
        return [
            SendResult(one.sid, parts=_parts(one.num_segments, message.text), raw={"status": one.status})
            for one, at in listed
            if one.body == message.text and one.status not in _OVER and began + _AROUND[0] <= at <= began + _AROUND[1]
        ]

    def check(self) -> list[Problem]:
        """Ask for the account: right address, right token, still active."""
        try:
            response = self._session.get(
                f"{self._account}.json", timeout=(CONNECT_TIMEOUT, _READ_TIMEOUT), allow_redirects=False
            )
        except requests.RequestException as error:
            return [
                Problem(
                    "unreachable",
                    phrase("Twilio cannot be reached: %(why)s.", why=_cause(error)),
                    phrase("Check the API address."),
                )
            ]
        if response.status_code != 200:
            refusal = self._refusal(response)
            return [Problem(refusal.code, refusal.message, refusal.hint)]
        try:
            status = msgspec.json.decode(response.content, type=dict[str, Any]).get("status", "active")
        except msgspec.DecodeError:
            return [
                Problem(
                    "malformed_response", phrase("What answers there is not Twilio."), phrase("Check the API address.")
                )
            ]
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
        self._session.close()

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

    def _refusal(self, response: requests.Response) -> AdapterError:
        try:
            body = _REFUSED.decode(response.content)
        except msgspec.DecodeError:
            body = ErrorBody()
        return error_for(
            response.status_code,
            body,
            excerpt=excerpt(body.message or response.content),
            retry_after=retry_after(response, self._clock.now()),
        )


def _parts(told: str | None, text: str) -> int:
    """How many parts are billed; counted here where Twilio does not tell yet."""
    return int(told) if told and told.isdecimal() and told != "0" else sms_parts(text)


def _network_error(error: requests.RequestException) -> AdapterError:
    """Before the request was written it is safe to try again; after that nobody knows."""
    cause = error.args[0] if error.args else None
    reason = cause.reason if isinstance(cause, MaxRetryError) else cause
    if isinstance(error, requests.ConnectTimeout) or isinstance(reason, _NOT_SENT):
        return TransientError(
            phrase("Twilio cannot be reached: %(why)s.", why=_cause(error)), adapter="twilio", operation="send"
        )
    return OutcomeUnknown(
        phrase("The text was handed to Twilio, and the answer did not come."),
        adapter="twilio",
        operation="send",
        hint=phrase("It may have been sent; look in Twilio's message log before sending it again."),
    )


def _cause(error: requests.RequestException) -> str:
    known = {
        "ConnectTimeout": phrase("no answer in time"),
        "SSLError": phrase("its certificate cannot be trusted"),
    }
    return known.get(type(error).__name__, phrase("no connection"))
