"""HTTP to one Twilio account: the status of an answer is kept apart from its body, for a yes is a yes though its body breaks off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec
import requests
from requests.auth import HTTPBasicAuth

from crm_plugin.adapters.channels.twilio.errors import ErrorBody, error_for
from crm_plugin.adapters.raw import read_or_none
from crm_plugin.errors import ActionRequired, AdapterError, OutcomeUnknown, TransientError
from crm_plugin.http_client import CONNECT_TIMEOUT, distrusted, make_session, never_left, read_body, retry_after
from crm_plugin.phrases import phrase
from crm_plugin.redaction import excerpt

# So many connections are kept.
CONNECTIONS = 8
_READ_TIMEOUT = 30.0
# Of one call in all.
_CALL_TIMEOUT = 60.0
# A page of a thousand long texts is smaller.
_LARGEST = 16 * 2**20
_REFUSED = msgspec.json.Decoder(ErrorBody)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `body` is empty where it broke off, was too large or took too long."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    pause: float | None

    @property
    def is_yes(self) -> bool:
        return 200 <= self.status < 300

    @property
    def refusal(self) -> ErrorBody:
        """What Twilio says of it in its own form; empty where something else answers."""
        return read_or_none(_REFUSED, self.body) or ErrorBody()

    def error(self, operation: str, body: ErrorBody | None = None) -> AdapterError:
        """The error that it stands for."""
        told = self.refusal if body is None else body
        said = excerpt(told.message or self.body)
        return error_for(self.status, told, operation=operation, excerpt=said, retry_after=self.pause)


class Account:
    """Calls to one account. No redirect is followed, and no answer is read without end. Safe for several threads."""

    def __init__(self, base_url: str, sid: str, token: str) -> None:
        self.path = f"/2010-04-01/Accounts/{sid}"
        self._base = base_url
        self._session = make_session(pool=CONNECTIONS, whole=_CALL_TIMEOUT)
        self._session.auth = HTTPBasicAuth(sid.encode(), token.encode())

    def get(self, path: str, now: datetime, params: Mapping[str, str] | None = None) -> Answer:
        """Ask for what is below the server's address. Raises: requests.RequestException."""
        return self._call("GET", path, now, params=params)

    def post(self, path: str, form: Mapping[str, str], now: datetime) -> Answer:
        """The same with a form."""
        return self._call("POST", path, now, data=form)

    def _call(self, method: str, path: str, now: datetime, **told: Mapping[str, str] | None) -> Answer:
        with self._session.request(
            method,
            f"{self._base}{path}",
            timeout=(CONNECT_TIMEOUT, _READ_TIMEOUT),
            allow_redirects=False,
            stream=True,
            **told,  # type: ignore[arg-type]
        ) as response:
            try:
                body = read_body(response, _LARGEST)
            except requests.RequestException:
                body = b""
            return Answer(response.status_code, response.headers, body, retry_after(response, now))

    def close(self) -> None:
        """Close the kept connections."""
        self._session.close()


def unreachable(error: requests.RequestException, operation: str) -> AdapterError:
    """The error for a call that may be made again: it asked for something, or it never left."""
    if distrusted(error):
        return ActionRequired(
            phrase("Twilio cannot be reached: %(why)s.", why=phrase("its certificate cannot be trusted")),
            hint=phrase("Check the API address; a proxy on the way may show a certificate of its own."),
            adapter="twilio",
            operation=operation,
        )
    why = phrase("no answer in time") if isinstance(error, requests.Timeout) else phrase("no connection")
    return TransientError(phrase("Twilio cannot be reached: %(why)s.", why=why), adapter="twilio", operation=operation)


def unanswered(error: requests.RequestException) -> AdapterError:
    """The error for a text that got no answer: before the request was written it is safe to try again; after that nobody knows."""
    return unreachable(error, "send") if never_left(error) else unknown()


def unknown(answer: Answer | None = None) -> OutcomeUnknown:
    """Nobody knows whether Twilio took the text."""
    return OutcomeUnknown(
        phrase("The text was handed to Twilio, and the answer did not come.")
        if answer is None
        else phrase(
            "Twilio has the text, and its answer (HTTP %(status)s) does not say what became of it.",
            status=answer.status,
        ),
        adapter="twilio",
        operation="send",
        status=None if answer is None else answer.status,
        excerpt="" if answer is None else excerpt(answer.body),
        hint=phrase("It may have been sent; look in Twilio's message log before sending it again."),
    )
