"""The life of a shop's agreement with the app: when it ends, renewing it where Taobao lets the app, and warning where only a person can.

Whether an app may renew depends on its tag at Alibaba: those of the service market may, a merchant's own back-office app may not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

from crm_plugin.adapters.base import Problem, Severity
from crm_plugin.adapters.storefronts.credentials import Keeper
from crm_plugin.adapters.storefronts.taobao.envelope import ADAPTER
from crm_plugin.adapters.storefronts.taobao.values import CHINA, whole
from crm_plugin.errors import MalformedResponse
from crm_plugin.phrases import phrase

BACK_OFFICE, SUBSCRIPTION = "back_office", "subscription"
# A merchant is warned from each of these on, in days before the end.
WARNINGS = (1, 3, 7, 14)
# Renewed this long before the end, and never before a session has lived three quarters of its life: some levels are for half an hour.
RENEW_BEFORE = timedelta(hours=6)
REFRESH = "taobao.top.auth.token.refresh"
# Each API security level has a life of its own; what is granted ends with the first of them. A level that is not granted tells 0.
_LIVES = ("expires_in", "r1_expires_in", "r2_expires_in", "w1_expires_in", "w2_expires_in")
_KEYS = ("session", "session_ends_at", "session_lasts", "refresh_token")


def granted(told: Mapping[str, Any], now: float) -> dict[str, Any]:
    """The settings that Taobao's answer to a code, or to a renewal, stands for. Raises: MalformedResponse without a session."""
    session = str(told.get("access_token") or "")
    if not session:
        raise MalformedResponse(
            phrase("Taobao's answer holds no session."), adapter=ADAPTER, operation="token", path="$.access_token"
        )
    lives = [life for name in _LIVES if (life := whole(told.get(name))) is not None and life > 0]
    ends_at = datetime.fromtimestamp(now, UTC).replace(microsecond=0) + timedelta(seconds=min(lives)) if lives else None
    return {
        "session": session,
        "session_ends_at": "" if ends_at is None else ends_at.isoformat(),
        "session_lasts": min(lives, default=0),
        "refresh_token": str(told.get("refresh_token") or ""),
        "user_id": str(told.get("taobao_user_id") or ""),
        "seller_nick": unquote(str(told.get("taobao_user_nick") or "")),
    }


class Session:
    """One shop's session, as it stands now; `renew` replaces it. `keeper` is asked for at each use, for it is set after construction."""

    def __init__(
        self, values: Mapping[str, Any], clock: Callable[[], float], keeper: Callable[[], Keeper | None]
    ) -> None:
        self._kept: dict[str, Any] = {key: values.get(key) or "" for key in _KEYS}
        self._renews = values.get("app_kind") == SUBSCRIPTION
        self._clock = clock
        self._keeper = keeper

    @property
    def key(self) -> str:
        """What is sent with calls that need the shop's agreement."""
        return str(self._kept["session"])

    @property
    def renewable(self) -> bool:
        """Whether a new session can be had without a person."""
        return self._renews and bool(self._kept["refresh_token"])

    @property
    def is_running_out(self) -> bool:
        """Whether it is time to renew."""
        left, lasts = self._left(), timedelta(seconds=whole(self._kept["session_lasts"]) or 0)
        return left is not None and left <= (min(RENEW_BEFORE, lasts / 4) if lasts else RENEW_BEFORE)

    def renew(self, refresh: Callable[[str], str]) -> None:
        """Take a new session, or the one that another process has taken meanwhile. `refresh` gives Taobao's JSON text for a token."""
        with self._alone() as kept:
            if kept.get("session") and kept["session"] != self._kept["session"]:
                self._kept = {key: kept.get(key) or "" for key in _KEYS}
                return
            told = _parsed(refresh(str(self._kept["refresh_token"])))
            renewed = {key: value for key, value in granted(told, self._clock()).items() if key in _KEYS and value}
            if (keeper := self._keeper()) is not None:
                keeper.keep(renewed)
            self._kept |= renewed

    def problems(self) -> list[Problem]:
        """That it has ended, or ends in so many days; nothing where it renews itself or its end is not known."""
        left = self._left()
        if left is None or self.renewable:
            return []
        if left <= timedelta(0):
            hint = phrase(
                "Let the shop's owner agree to the app again; until then nothing is lost, but nothing is read."
            )
            return [Problem("reauth_needed", phrase("The shop's agreement with the app has ended."), hint)]
        days = next((days for days in WARNINGS if left <= timedelta(days=days)), None)
        if days is None:
            return []
        message = phrase(
            "The shop's agreement with the app ends on %(day)s (whole days left: %(left)s).",
            day=str(self._kept["session_ends_at"])[:10],
            left=left.days,
        )
        hint = phrase("Let the shop's owner agree to the app again before that day: from then on nothing is read.")
        return [Problem("session_ends", message, hint, Severity.WARNING, {"days": days})]

    def _left(self) -> timedelta | None:
        try:
            ends_at = datetime.fromisoformat(str(self._kept["session_ends_at"]))
        except ValueError:
            return None
        now = datetime.fromtimestamp(self._clock(), UTC)
        return (ends_at if ends_at.tzinfo else ends_at.replace(tzinfo=CHINA)) - now

    @contextmanager
    def _alone(self) -> Iterator[dict[str, Any]]:
        keeper = self._keeper()
        if keeper is None:
            yield {}
            return
        with keeper.alone() as kept:
            yield kept


def _parsed(text: str) -> dict[str, Any]:
    """What is JSON within JSON. Raises: MalformedResponse."""
    try:
        told = json.loads(text)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise MalformedResponse(
            phrase("Taobao's answer holds no session."), adapter=ADAPTER, operation=REFRESH, path="$.token_result"
        )
    return told
