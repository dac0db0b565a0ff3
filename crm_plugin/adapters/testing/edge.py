"""Requests and answers at the edge of the network, and all that may go wrong with one there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from enum import StrEnum
from urllib.parse import parse_qsl, urlsplit

ELSEWHERE = "https://elsewhere.example"
_HTML = b"<!doctype html><html><head><title>Just a moment</title></head><body>Checking your browser.</body></html>"


class Trouble(StrEnum):
    """What may go wrong with a call. The first eleven look alike on every platform; the others are told in the platform's own words."""

    # Too many calls: come again in 40 seconds, at a moment 90 seconds from now, or some time.
    BUSY = "busy"
    BUSY_DATE = "busy_date"
    BUSY_SOME_TIME = "busy_some_time"
    BROKEN = "broken"
    DOWN = "down"
    # No answer within the time that is waited for, or no connection.
    SLOW = "slow"
    UNREACHABLE = "unreachable"
    # A page for people, a way to another host, half of the answer, and one that never ends.
    HTML = "html"
    REDIRECT = "redirect"
    TRUNCATED = "truncated"
    ENDLESS = "endless"
    # It is done, but the answer is lost.
    SILENT = "silent"
    # Key unknown or revoked; account not allowed in; key without this one right; key that only reads, met when something is written.
    REVOKED = "revoked"
    FORBIDDEN = "forbidden"
    UNPERMITTED = "unpermitted"
    READ_ONLY = "read_only"


OF_THE_PLATFORM = frozenset({Trouble.REVOKED, Trouble.FORBIDDEN, Trouble.UNPERMITTED, Trouble.READ_ONLY})


class NoAnswer(Exception):
    """The connection ended without an answer; `late` after a long wait."""

    def __init__(self, *, late: bool = False) -> None:
        super().__init__("no answer")
        self.late = late


@dataclass(frozen=True, slots=True)
class Asked:
    """One request to the store; header names are lower-cased."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    @property
    def query(self) -> dict[str, str]:
        """Of a name given twice the last."""
        return dict(parse_qsl(urlsplit(self.url).query, keep_blank_values=True))


@dataclass(frozen=True, slots=True)
class Answered:
    """The store's answer. `cut`: only its first half arrives; `endless`: after the body come spaces until the caller leaves."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    cut: bool = False
    endless: bool = False

    @property
    def arriving(self) -> bytes:
        """The part of the body that arrives."""
        return self.body[: len(self.body) // 2] if self.cut else self.body


def common_answer(trouble: Trouble, secret: str, now: datetime) -> Answered:
    """The answer of a store, or of what stands before it, in this trouble. It repeats the secret it was shown, as some do.

    Raises: NoAnswer.
    """
    told = f'{{"error":"trouble","access_token":"{secret}"}}'.encode()
    json = {"Content-Type": "application/json"}
    match trouble:
        case Trouble.BUSY:
            return Answered(429, told, json | {"Retry-After": "40"})
        case Trouble.BUSY_DATE:
            at = format_datetime(now.astimezone(UTC) + timedelta(seconds=90), usegmt=True)
            return Answered(429, told, json | {"Retry-After": at})
        case Trouble.BUSY_SOME_TIME:
            return Answered(429, told, json)
        case Trouble.BROKEN:
            return Answered(500, told, json)
        case Trouble.DOWN:
            return Answered(503, told, json)
        case Trouble.HTML:
            return Answered(200, _HTML, {"Content-Type": "text/html; charset=utf-8"})
        case Trouble.REDIRECT:
            return Answered(302, b"", {"Location": f"{ELSEWHERE}/sign-in"})
        case Trouble.ENDLESS:
            return Answered(200, b"", json, endless=True)
        case Trouble.REVOKED:
            return Answered(401, told, json)
        case Trouble.FORBIDDEN | Trouble.UNPERMITTED | Trouble.READ_ONLY:
            return Answered(403, told, json)
        case _:
            raise NoAnswer(late=trouble is Trouble.SLOW)
