"""A text message service in the form of Twilio's Messages API that keeps what it is given and sends nothing."""

from __future__ import annotations

import hmac
import re
import secrets
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl

from crm_plugin.adapters.channels.sms_parts import sms_parts
from crm_plugin.demo.loopback import HOST, JsonHandler, LoopbackServer, running

_E164 = re.compile(r"\+[1-9]\d{6,14}")
_LONGEST = 1600
# What Twilio says with its number; other numbers can be asked for in `refusals` too.
_SAYINGS = {
    20003: "Authenticate",
    20404: "The requested resource was not found",
    21211: "Invalid 'To' Phone Number",
    21602: "Message body is required.",
    21603: "A 'From' phone number is required.",
    21610: "Attempt to send to unsubscribed recipient",
    21614: "'To' number is not a valid mobile number",
    21617: "The concatenated message body exceeds the 1600 character limit",
}
INVALID_NUMBER = 21211


@dataclass(frozen=True, slots=True)
class Text:
    """One text message; `sender` is a number or a messaging service, `made_at` is written as in mails."""

    sid: str
    to: str
    sender: str
    body: str
    parts: int
    status_callback: str
    made_at: str


@dataclass(slots=True)
class SmsSink:
    """A running sink. `refusals` maps a number in E.164 to the error number it gets; it may change while it runs."""

    url: str
    account_sid: str
    auth_token: str
    messages: list[Text] = field(default_factory=list)
    refusals: dict[str, int] = field(default_factory=dict)

    def refuse(self, number: str, code: int = INVALID_NUMBER) -> None:
        """From now on refuse this number."""
        self.refusals[number] = code


@contextmanager
def serve(port: int = 0, *, refusals: Mapping[str, int] | None = None) -> Iterator[SmsSink]:
    """Take texts until the end of the block, for an account that it makes; on the loopback address only."""
    server = _Server(port)
    server.sink.refusals.update(refusals or {})
    with running(server):
        yield server.sink


class _Refused(Exception):
    def __init__(self, status: int, code: int) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


class _Server(LoopbackServer):
    def __init__(self, port: int) -> None:
        super().__init__(port, _Handler)
        self.sink = SmsSink(f"http://{HOST}:{self.port}", f"AC{secrets.token_hex(16)}", secrets.token_hex(16))
        self.lock = threading.Lock()

    def keep(self, form: Mapping[str, str], sender: str) -> Text:
        with self.lock:
            sid = f"SM{len(self.sink.messages) + 1:032x}"
            body = form["Body"]
            made_at = format_datetime(datetime.now(UTC))
            text = Text(sid, form["To"], sender, body, sms_parts(body), form.get("StatusCallback", ""), made_at)
            self.sink.messages.append(text)
        return text


class _Handler(JsonHandler):
    server: _Server

    def answer(self, method: str, path: str, query: str, body: bytes) -> None:
        """Tell of the account or of the texts, or take one."""
        sink = self.server.sink
        account = f"/2010-04-01/Accounts/{sink.account_sid}"
        try:
            self._check_login()
            if method == "GET" and path == f"{account}.json":
                self.reply(200, {"sid": sink.account_sid, "friendly_name": "Demo", "status": "active", "type": "Full"})
            elif method == "POST" and path == f"{account}/Messages.json":
                self.reply(201, self._take(dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))))
            elif method == "GET" and path == f"{account}/Messages.json":
                asked = dict(parse_qsl(query)).get("To", "")
                self.reply(200, self._list(asked))
            else:
                raise _Refused(404, 20404)
        except _Refused as refused:
            said = _SAYINGS.get(refused.code, "The message cannot be sent")
            more = f"https://www.twilio.com/docs/errors/{refused.code}"
            self.reply(
                refused.status, {"code": refused.code, "message": said, "more_info": more, "status": refused.status}
            )

    def _check_login(self) -> None:
        pair = f"{self.server.sink.account_sid}:{self.server.sink.auth_token}"
        expected = f"Basic {b64encode(pair.encode()).decode()}"
        if not hmac.compare_digest(expected.encode(), self.headers.get("Authorization", "").encode()):
            raise _Refused(401, 20003)

    def _list(self, to: str) -> dict[str, Any]:
        """All texts, or those to a number, newest first on one page: what was given is sent."""
        with self.server.lock:
            texts = [one for one in reversed(self.server.sink.messages) if to in ("", one.to)]
        return {"messages": [self._told(one) | {"status": "sent"} for one in texts], "next_page_uri": None}

    def _take(self, form: Mapping[str, str]) -> dict[str, Any]:
        sink = self.server.sink
        to, body = form.get("To", ""), form.get("Body", "")
        sender = form.get("From") or form.get("MessagingServiceSid", "")
        if not _E164.fullmatch(to):
            raise _Refused(400, INVALID_NUMBER)
        if not body:
            raise _Refused(400, 21602)
        if not sender:
            raise _Refused(400, 21603)
        if len(body) > _LONGEST:
            raise _Refused(400, 21617)
        if to in sink.refusals:
            raise _Refused(400, sink.refusals[to])
        text = self.server.keep(form, sender)
        return self._told(text) | {"messaging_service_sid": form.get("MessagingServiceSid"), "from": form.get("From")}

    def _told(self, text: Text) -> dict[str, Any]:
        sink = self.server.sink
        return {
            "sid": text.sid,
            "account_sid": sink.account_sid,
            "from": text.sender,
            "date_created": text.made_at,
            "date_updated": text.made_at,
            "to": text.to,
            "body": text.body,
            "num_segments": str(text.parts),
            "num_media": "0",
            "direction": "outbound-api",
            "status": "queued",
            "error_code": None,
            "error_message": None,
            "api_version": "2010-04-01",
            "uri": f"/2010-04-01/Accounts/{sink.account_sid}/Messages/{text.sid}.json",
        }
