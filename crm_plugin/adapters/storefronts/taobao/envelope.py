"""TOP's answers: one root named after the method, lists wrapped in an object named after their element, numbers as numbers or as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from crm_plugin.adapters.raw import UNREADABLE, any_json
from crm_plugin.adapters.storefronts.unanswered import LATER
from crm_plugin.errors import MalformedResponse
from crm_plugin.phrases import phrase

ADAPTER = "taobao"
ERROR = "error_response"
_PARTS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ROWS = msgspec.json.Decoder(list[msgspec.Raw])


class Refusal(msgspec.Struct):
    """What TOP says instead of an answer; the HTTP status is 200 all the same."""

    code: int | str = 0
    msg: str | None = ""
    sub_code: str | None = ""
    sub_msg: str | None = ""
    request_id: str | None = ""

    @property
    def number(self) -> int:
        """The code as a number; 0 for none."""
        return int(self.code) if str(self.code).isdigit() else 0


_REFUSAL = msgspec.json.Decoder(Refusal)


@dataclass(frozen=True, slots=True)
class Answer:
    """The fields under the root of one answer, each still raw."""

    method: str
    parts: dict[str, msgspec.Raw]

    def rows(self, wrapper: str, element: str) -> list[msgspec.Raw]:
        """The elements of a list, each raw; none where the list is left out, as TOP does with an empty one."""
        told = self.parts.get(wrapper)
        if told is None or (inner := _under(told, element)) is None:
            return []
        try:
            return _ROWS.decode(inner)
        except UNREADABLE:
            # Some gateways unwrap the only element of a list.
            return [inner]

    def value(self, name: str) -> Any:
        """A field as plain Python; None where it is left out."""
        return any_json(self.parts[name]) if name in self.parts else None

    def text(self, name: str) -> str:
        """A field as text; empty where it is left out."""
        told = self.value(name)
        return "" if told is None else str(told).strip()

    def number(self, name: str) -> int | None:
        """A whole number, also one that comes as text; None where there is none."""
        told = self.text(name)
        return int(told) if told.isascii() and told.removeprefix("-").isdigit() else None

    def flag(self, name: str) -> bool:
        """Whether a field says true, as a word or as text."""
        return self.text(name).lower() == "true"


def root_of(method: str) -> str:
    """The name of the root: `taobao.crm.members.search` answers as `crm_members_search_response`; other prefixes stay."""
    return f"{method.removeprefix('taobao.').replace('.', '_')}_response"


def read(body: bytes, method: str) -> Answer | Refusal:
    """The answer, or the refusal in its place. Raises: MalformedResponse for what is neither."""
    try:
        parts = _PARTS.decode(body)
        if (refused := parts.get(ERROR)) is not None:
            return _REFUSAL.decode(refused)
        root = parts.get(root_of(method))
        if root is not None:
            return Answer(method, _PARTS.decode(root))
    except UNREADABLE as error:
        raise _malformed(method, "$") from error
    raise _malformed(method, f"$.{root_of(method)}")


def _under(told: msgspec.Raw, element: str) -> msgspec.Raw | None:
    try:
        inner = _PARTS.decode(told).get(element)
    except UNREADABLE:
        # An empty list comes as "" or null at times.
        return None
    return None if inner is None or bytes(inner) in (b"null", b'""') else inner


def _malformed(method: str, path: str) -> MalformedResponse:
    return MalformedResponse(
        phrase("Taobao's answer to %(method)s cannot be read.", method=method),
        hint=LATER,
        adapter=ADAPTER,
        operation=method,
        path=path,
    )
