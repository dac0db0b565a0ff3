"""GraphQL to one Saleor with the app's token: operations, lists by relay cursors, and what a refusal means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from crm_plugin.adapters.raw import UNREADABLE
from crm_plugin.adapters.storefronts.calls import Answer, Calls
from crm_plugin.adapters.storefronts.saleor.operations import document
from crm_plugin.adapters.storefronts.unanswered import LATER
from crm_plugin.errors import ActionRequired, AdapterError, MalformedResponse, PermanentError, TransientError
from crm_plugin.phrases import phrase
from crm_plugin.redaction import excerpt, redact

ADAPTER = "saleor"
# Saleor refuses to give more at a time.
PAGE_SIZE = 100
_NO_TOKEN = frozenset(
    {"InvalidTokenError", "ExpiredSignatureError", "ExpiredTokenError", "JSONWebTokenError", "InvalidSignatureError"}
)
AGAIN = phrase("Open Saleor's dashboard, Extensions, and install or switch on the app there again.")


class _Error(msgspec.Struct):
    message: str = ""
    path: list[str | int] | None = None
    extensions: dict[str, Any] | None = None

    @property
    def code(self) -> str:
        """Saleor's own word for what went wrong."""
        told = (self.extensions or {}).get("exception")
        return str(told.get("code") or "") if isinstance(told, dict) else ""


class _Told(msgspec.Struct):
    data: dict[str, msgspec.Raw] | None = None
    errors: list[_Error] | None = None


class _PageInfo(msgspec.Struct, rename="camel"):
    has_next_page: bool = False
    end_cursor: str | None = None


class _Edge(msgspec.Struct):
    node: msgspec.Raw


class _Connection(msgspec.Struct, rename="camel"):
    edges: list[_Edge]
    page_info: _PageInfo | None = None
    total_count: int | None = None


class Listing(NamedTuple):
    """One page of a list, its records raw; `after` leads to the next, empty at the end."""

    rows: list[msgspec.Raw]
    total: int | None
    after: str


class StaleCursor(TransientError):
    """Saleor no longer understands the cursor: the list is asked for anew, by a walk from the last time that is known."""


_ANSWER = msgspec.json.Decoder(_Told)
_LIST = msgspec.json.Decoder(_Connection)


class SaleorClient:
    """Calls to the API of one Saleor. Not for use by two threads at once."""

    def __init__(self, api_url: str, token: str, calls: Calls | None = None) -> None:
        self.api_url = api_url
        self.calls = calls or Calls(ADAPTER)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def close(self) -> None:
        """Give back the connections."""
        self.calls.close()

    def ask(self, name: str, variables: Mapping[str, Any] | None = None) -> dict[str, msgspec.Raw]:
        """The fields of an answer, each raw. Raises: AdapterError; StaleCursor among them."""
        return self._run(name, document(name), variables or {}, None)

    def change(self, name: str, text: str, variables: Mapping[str, Any]) -> dict[str, msgspec.Raw]:
        """The same of a mutation, sent once."""
        return self._run(name, text, variables, 1)

    def list(self, name: str, variables: Mapping[str, Any]) -> Listing:
        """One page of the list that the operation calls `page`."""
        told = self.ask(name, variables)
        try:
            found = _LIST.decode(told["page"])
        except (KeyError, *UNREADABLE) as error:
            raise self._malformed(name, "$.data.page") from error
        info = found.page_info or _PageInfo()
        more = info.end_cursor if info.has_next_page else None
        return Listing([edge.node for edge in found.edges], found.total_count, more or "")

    def is_known(self) -> bool:
        """Whether Saleor still takes us for an app: without its token, or switched off, it knows none."""
        return bool(msgspec.json.decode(self._told("app", document("app"), {}, None).get("app", msgspec.Raw(b"null"))))

    def _run(self, name: str, text: str, variables: Mapping[str, Any], attempts: int | None) -> dict[str, msgspec.Raw]:
        told = self._read(name, self._send(name, text, variables, attempts))
        if told.errors:
            raise self._refusal(name, told.errors)
        if told.data is None:
            raise self._malformed(name, "$.data")
        return told.data

    def _told(self, name: str, text: str, variables: Mapping[str, Any], attempts: int | None) -> dict[str, msgspec.Raw]:
        return self._read(name, self._send(name, text, variables, attempts)).data or {}

    def _send(self, name: str, text: str, variables: Mapping[str, Any], attempts: int | None) -> Answer:
        body = msgspec.json.encode({"query": text, "variables": variables})
        return self.calls.send(
            "POST", self.api_url, operation=name, headers=self._headers, body=body, attempts=attempts
        )

    def _read(self, name: str, answer: Answer) -> _Told:
        context: dict[str, Any] = {
            "adapter": ADAPTER, "operation": name, "status": answer.status, "excerpt": excerpt(answer.body)
        }  # fmt: skip
        try:
            told = _ANSWER.decode(answer.body)
        except UNREADABLE as error:
            if answer.status in (401, 403):
                raise unauthorised(**context) from error
            if answer.status == 200 and answer.body.lstrip()[:1] == b"{":
                raise self._malformed(name, "$") from error
            raise ActionRequired(
                phrase("There is no Saleor API at this address (HTTP %(status)s).", status=answer.status),
                hint=phrase(
                    "Enter the API's address as the dashboard shows it, such as https://shop.example/graphql/."
                ),
                code="not_json",
                **context,
            ) from error
        if told.data is None and not told.errors and answer.status in (401, 403):
            raise unauthorised(**context)
        return told

    def _refusal(self, name: str, errors: Sequence[_Error]) -> AdapterError:
        first = errors[0]
        context: dict[str, Any] = {"adapter": ADAPTER, "operation": name, "excerpt": excerpt(first.message)}
        code = next((error.code for error in errors if error.code), "")
        if code in _NO_TOKEN:
            return unauthorised(**context)
        if code == "PermissionDenied":
            return self._denied(name, context)
        if "cursor" in first.message.lower():
            raise StaleCursor(phrase("The store no longer knows where the list was left off."), hint=LATER, **context)
        return PermanentError(
            phrase(
                "The store refused the request: %(message)s (%(code)s).",
                message=redact(first.message)[:200],
                code=code or "GraphQLError",
            ),
            **context,
        )

    def _denied(self, name: str, context: dict[str, Any]) -> AdapterError:
        # The same words are said to an app that may not do this and to one that is no longer there.
        if name != "app" and not self.is_known():
            return unauthorised(**context)
        return ActionRequired(
            phrase("Saleor does not let the app do this."),
            hint=phrase("Give the app all permissions that it asks for, in Saleor's dashboard under Extensions."),
            code="scope_missing",
            **context,
        )

    @staticmethod
    def _malformed(name: str, path: str) -> MalformedResponse:
        return MalformedResponse(
            phrase("The store's answer has another form than asked for."),
            hint=LATER,
            adapter=ADAPTER,
            operation=name,
            path=path,
        )


def unauthorised(**context: Any) -> ActionRequired:
    """The token is no longer good."""
    return ActionRequired(
        phrase("Saleor no longer knows the app: it was switched off or removed there."),
        hint=AGAIN,
        code="unauthorised",
        **context,
    )
