"""Twilio's list of messages, newest first, a page at a time: what it took, and what became of that."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec
import requests

from crm_plugin.adapters.channels.twilio.calls import Account, unreachable
from crm_plugin.adapters.channels.twilio.webhooks import events_of
from crm_plugin.adapters.raw import read_or_none
from crm_plugin.errors import MalformedResponse
from crm_plugin.events import DeliveryEvent
from crm_plugin.http_client import mail_date
from crm_plugin.phrases import phrase

PAGE = 200


class Listed(msgspec.Struct):
    """One message; times are written as in mails."""

    sid: str
    body: str = ""
    to: str = ""
    direction: str = ""
    date_created: str = ""
    date_updated: str | None = None
    status: str = ""
    error_code: int | None = None
    num_segments: str | None = None

    @property
    def made_at(self) -> datetime | None:
        return mail_date(self.date_created)

    def events(self, now: datetime) -> list[DeliveryEvent]:
        """What became of it, as a callback would tell it; nothing of a message that came in."""
        if self.direction.startswith("inbound"):
            return []
        code = "" if self.error_code is None else str(self.error_code)
        form = {"MessageSid": self.sid, "MessageStatus": self.status, "ErrorCode": code, "To": self.to}
        return events_of(form, mail_date(self.date_updated or "") or now)


class ListBody(msgspec.Struct):
    """A page; `next_page_uri` is the path and query of the one after it."""

    messages: list[Listed]
    next_page_uri: str | None = None


_LIST = msgspec.json.Decoder(ListBody)


def page(account: Account, operation: str, now: datetime, asked: Mapping[str, str], after: str = "") -> ListBody:
    """The first page of what is `asked` for, or the one at `after`.

    Raises: AdapterError; MalformedResponse also where the next page is not of this list, for the account's token is shown there.
    """
    path = f"{account.path}/Messages.json"
    try:
        answer = account.get(after or path, now, None if after else asked)
    except requests.RequestException as error:
        raise unreachable(error, operation) from error
    if answer.status != 200:
        raise answer.error(operation)
    found = read_or_none(_LIST, answer.body)
    if found is None or not all(one.made_at for one in found.messages):
        raise _not_twilio(operation, "messages")
    if found.next_page_uri and (not found.next_page_uri.startswith(f"{path}?") or found.next_page_uri == after):
        raise _not_twilio(operation, "next_page_uri")
    return found


def _not_twilio(operation: str, path: str) -> MalformedResponse:
    return MalformedResponse(
        phrase("What answers there is not Twilio."), adapter="twilio", operation=operation, path=path
    )
