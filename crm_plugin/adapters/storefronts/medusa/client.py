"""Calls to Medusa's admin API with a secret key, and what a refusal means. A key has no scopes: it may do all or nothing."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import msgspec

from crm_plugin.adapters.raw import UNREADABLE
from crm_plugin.adapters.storefronts.calls import Answer, Calls
from crm_plugin.adapters.storefronts.unanswered import LATER
from crm_plugin.errors import ActionRequired, MalformedResponse, PermanentError
from crm_plugin.phrases import phrase
from crm_plugin.redaction import excerpt, redact

ADAPTER = "medusa"
# Each call with a key costs the store some fifty milliseconds, so pages are large.
PAGE_SIZE = 200


class _Refusal(msgspec.Struct):
    type: str = ""
    code: str | None = ""
    message: str | None = ""


class Listing(NamedTuple):
    """One page of a list, its records raw, and how many records the whole list has."""

    rows: list[msgspec.Raw]
    total: int


def store_address(url: str) -> str:
    """The backend's own address out of what a merchant pastes: without the admin's `/app`."""
    parts = urlsplit(url.strip())
    path = parts.path.rstrip("/")
    for ending in ("/app", "/admin"):
        path = path.removesuffix(ending)
    return urlunsplit((parts.scheme.lower(), parts.netloc.lower(), path, "", ""))


class MedusaClient:
    """Calls to one Medusa. Not for use by two threads at once."""

    def __init__(self, url: str, key: str, calls: Calls | None = None) -> None:
        self.url = store_address(url)
        self.calls = calls or Calls(ADAPTER)
        shown = base64.b64encode(f"{key.strip()}:".encode()).decode()
        self._headers = {"Authorization": f"Basic {shown}", "Accept": "application/json"}

    def close(self) -> None:
        """Give back the connections."""
        self.calls.close()

    def get(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, msgspec.Raw]:
        """The fields of an answer below `/admin/`, each raw."""
        return self._read(path, self._send("GET", path, params, None, None))

    def list(self, path: str, key: str, params: Mapping[str, str]) -> Listing:
        """One page of a list; `key` names it in the answer."""
        told = self.get(path, params)
        try:
            return Listing(
                msgspec.json.decode(told[key], type=list[msgspec.Raw]), msgspec.json.decode(told["count"], type=int)
            )
        except (KeyError, *UNREADABLE) as error:
            raise self._malformed(path, f"$.{key}") from error

    def post(self, path: str, payload: Mapping[str, Any]) -> dict[str, msgspec.Raw]:
        """Bring something to what the payload says, or make it; sent once."""
        return self._read(path, self._send("POST", path, None, msgspec.json.encode(payload), 1))

    def _send(
        self, method: str, path: str, params: Mapping[str, str] | None, body: bytes | None, attempts: int | None
    ) -> Answer:
        headers = {**self._headers, "Content-Type": "application/json"} if body is not None else self._headers
        return self.calls.send(
            method,
            f"{self.url}/admin/{path}",
            operation=path,
            headers=headers,
            params=params,
            body=body,
            attempts=attempts,
        )

    def _read(self, path: str, answer: Answer) -> dict[str, msgspec.Raw]:
        try:
            told = msgspec.json.decode(answer.body, type=dict[str, msgspec.Raw])
        except UNREADABLE as error:
            if 200 <= answer.status < 300 and answer.body.lstrip()[:1] == b"{":
                raise self._malformed(path, "$") from error
            told = {}
        if 200 <= answer.status < 300 and told:
            return told
        raise self._refusal(path, answer)

    def _refusal(self, path: str, answer: Answer) -> ActionRequired | PermanentError:
        context: dict[str, Any] = {
            "adapter": ADAPTER, "operation": path, "status": answer.status, "excerpt": excerpt(answer.body)
        }  # fmt: skip
        if answer.status == 401:
            return ActionRequired(
                phrase("Medusa does not know this key."),
                hint=phrase("Create a secret API key in Medusa, Settings > Developer, and enter it here."),
                code="unauthorised",
                **context,
            )
        if answer.status == 403:
            return ActionRequired(
                phrase("Medusa does not let this key do this."),
                hint=phrase("Give the key all rights, or create another one."),
                code="scope_missing",
                **context,
            )
        try:
            told = msgspec.json.decode(answer.body, type=_Refusal)
        except UNREADABLE:
            told = _Refusal()
        if not told.type:
            return ActionRequired(
                phrase("There is no Medusa at this address (HTTP %(status)s).", status=answer.status),
                hint=phrase("Enter the address of the backend, without /app at its end."),
                code="not_json",
                **context,
            )
        return PermanentError(
            phrase(
                "The store refused the request: %(message)s (%(code)s).",
                message=redact(told.message or "")[:200],
                code=told.type,
            ),
            code="gone" if answer.status == 404 else None,
            **context,
        )

    @staticmethod
    def _malformed(path: str, place: str) -> MalformedResponse:
        return MalformedResponse(
            phrase("The store's answer has another form than asked for."),
            hint=LATER,
            adapter=ADAPTER,
            operation=path,
            path=place,
        )
