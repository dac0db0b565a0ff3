"""Calls to TOP's one address: signed, retried while that helps, answered with what stands under the root or with an error of ours.

All parameters travel in the body: a session in an address would stand in the logs of every proxy.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import requests

from crm_plugin.adapters.storefronts.calls import Calls
from crm_plugin.adapters.storefronts.taobao.envelope import ADAPTER, Answer, Refusal, read
from crm_plugin.adapters.storefronts.taobao.errors import Act, act_of, error_for
from crm_plugin.adapters.storefronts.taobao.session import REFRESH, Session
from crm_plugin.adapters.storefronts.taobao.signing import sign
from crm_plugin.adapters.storefronts.taobao.values import told_at
from crm_plugin.errors import (
    ActionRequired,
    AdapterError,
    MalformedResponse,
    OutcomeUnknown,
    PermanentError,
    TransientError,
)
from crm_plugin.http_client import CALL_TIMEOUT, never_left
from crm_plugin.phrases import phrase
from crm_plugin.redaction import excerpt

ATTEMPTS = 4
# A limit that lasts longer than this is waited out between two syncs, not within one.
LONGEST_PAUSE = 300.0
# A hundred trades with many lines are smaller.
_LARGEST = 16 * 2**20
_FORM = {"Content-Type": "application/x-www-form-urlencoded;charset=utf-8"}
# What the gateway says before it hands a request on: nothing was done.
_NOT_DONE = frozenset({429, 503})


class TopClient:
    """Calls for one app and one shop. `whole` is how many seconds one of them takes at most. Not for use by two threads at once."""

    def __init__(
        self,
        values: Mapping[str, Any],
        session: Session,
        *,
        whole: float = CALL_TIMEOUT,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.session = session
        self.sleep = sleep
        self._values = values
        self._now = now
        self._http = Calls(ADAPTER, attempts=1, whole=whole, largest=_LARGEST, clock=now)

    def close(self) -> None:
        """Give back the connections."""
        self._http.close()

    def clock(self) -> float:
        """Seconds since 1970, by the clock that dates requests."""
        return self._now()

    def call(
        self, method: str, params: Mapping[str, Any] | None = None, *, authorised: bool = True, attempts: int = ATTEMPTS
    ) -> Answer:
        """Ask for something, or bring something to what it is to be: asked again, with pauses, while that helps.

        A parameter without a value is left out; lists and objects are told as JSON. With one attempt nothing is waited for. Raises: what
        `errors.py` makes of a refusal, TransientError when Taobao cannot be reached.
        """
        if authorised and self.session.renewable and self.session.is_running_out:
            self._renew()
        renewed, attempt = False, 1
        while True:
            told, refused = self._tried(method, params or {}, authorised)
            if isinstance(told, Answer):
                return told
            if refused is Act.SESSION and authorised and self.session.renewable and not renewed:
                self._renew()
                renewed = True
                continue
            # An answer that broke off is asked for once more.
            passes = isinstance(told, TransientError) or (isinstance(told, MalformedResponse) and attempt == 1)
            if not passes:
                raise told
            asked = getattr(told, "retry_after", None)
            pause = 2.0 ** (attempt - 1) if asked is None else asked
            if attempt == attempts or pause > LONGEST_PAUSE:
                raise told
            self.sleep(pause)
            attempt += 1

    def once(self, method: str, params: Mapping[str, Any]) -> Answer:
        """Do something that must not be done twice: no answer is OutcomeUnknown, and it is not asked again."""
        try:
            told = self._ask(method, params, True)
        except TransientError as error:
            cause = error.__cause__
            unsent = isinstance(cause, requests.RequestException) and never_left(cause)
            if unsent or error.status in _NOT_DONE:
                raise
            raise _unknown(method) from error
        except MalformedResponse as error:
            raise _unknown(method) from error
        if isinstance(told, Answer):
            return told
        failed = error_for(told, method, self._now())
        if act_of(told) is Act.RETRY:
            # The gateway does not know whether the service behind it went on.
            raise _unknown(method) from failed
        raise failed

    def _tried(
        self, method: str, params: Mapping[str, Any], authorised: bool
    ) -> tuple[Answer | AdapterError, Act | None]:
        """The answer, or the error in its place and who must act on it where Taobao itself refused."""
        try:
            told = self._ask(method, params, authorised)
        except (TransientError, MalformedResponse) as error:
            return error, None
        if isinstance(told, Answer):
            return told, None
        return error_for(told, method, self._now()), act_of(told)

    def _renew(self) -> None:
        def refreshed(token: str) -> str:
            answer = self.call(REFRESH, {"refresh_token": token}, authorised=False, attempts=2)
            return answer.text("token_result")

        try:
            self.session.renew(refreshed)
        except PermanentError as error:
            raise error_for(Refusal(code=27, sub_msg=error.excerpt), REFRESH, self._now()) from error

    def _ask(self, method: str, params: Mapping[str, Any], authorised: bool) -> Answer | Refusal:
        body = urlencode(self._signed(method, params, authorised)).encode()
        answer = self._http.send("POST", self._values["base_url"], operation=method, headers=_FORM, body=body)
        if answer.status >= 300:
            raise ActionRequired(
                phrase("What answers there is not Taobao (HTTP %(status)s).", status=answer.status),
                hint=phrase("Check the address of the API; a proxy on the way may stand in between."),
                adapter=ADAPTER,
                operation=method,
                status=answer.status,
                excerpt=excerpt(answer.body),
                code="wrong_address",
            )
        return read(answer.body, method)

    def _signed(self, method: str, params: Mapping[str, Any], authorised: bool) -> dict[str, str]:
        values = self._values
        told = {name: _plain(value) for name, value in params.items() if value is not None and value != ""}
        told |= {
            "method": method,
            "app_key": values["app_key"],
            "timestamp": told_at(datetime.fromtimestamp(self._now(), UTC)),
            "v": "2.0",
            "format": "json",
            "sign_method": values["sign_method"],
        }
        if authorised:
            told["session"] = self.session.key
        return {**told, "sign": sign(told, values["app_secret"], values["sign_method"])}


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return (
        json.dumps(value, ensure_ascii=False, separators=(",", ":")) if isinstance(value, dict | list) else str(value)
    )


def _unknown(method: str) -> OutcomeUnknown:
    return OutcomeUnknown(
        phrase("Taobao took the request and gave no answer: it may have been done."),
        hint=phrase("Look in the seller's console before doing it again."),
        adapter=ADAPTER,
        operation=method,
    )
