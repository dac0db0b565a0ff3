"""Installs that were begun: what has to be remembered until the platform answers, good once and for an hour.

One that a merchant began here is a row. One that came from outside, where anybody may come from, is remembered by whoever began it: its
token holds all, sealed, and becomes a row only when it has led to a store.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from crm_plugin.errors import ConfigError
from crm_plugin.store.base import from_micros
from crm_plugin.store.leases import EVERYBODY
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.shops import installs
from crm_plugin.store.upserts import insert_into

_GOOD_FOR = timedelta(hours=1)
# What was begun and never ended is kept a day, for whoever looks into what became of it.
_KEPT_FOR = timedelta(days=1)
_SHOWN = 20
# Clocks of several machines differ.
_AHEAD = timedelta(minutes=1)
# What tells an install from whatever else is sealed.
_INSTALL = "install"


@dataclass(frozen=True, slots=True)
class Begun:
    """An install that waits for the merchant; `url` is the store's address where that was told."""

    platform: str
    url: str
    begun_at: datetime


def begin(connection: Connection, box: SecretBox, platform: str, told: dict[str, Any], now: datetime) -> str:
    """Remember an install; answers its token, which nobody can guess."""
    token = secrets.token_urlsafe(32)
    row = {"shop_id": EVERYBODY, "token": token, "platform": platform, "told": box.seal(told), "begun_at": now}
    connection.execute(insert(installs).values(**row))
    return token


def carried(box: SecretBox, platform: str, told: dict[str, Any], now: datetime) -> str:
    """The token of an install that is kept nowhere: whoever comes back with it carries what was told."""
    return box.seal(
        {_INSTALL: platform, "told": told, "at": now.timestamp(), "once": secrets.token_urlsafe(8)}
    ).decode()


def waiting(connection: Connection, box: SecretBox, platforms: Iterable[str], now: datetime) -> list[Begun]:
    """What was begun for these platforms and can still be ended, newest first, at most so many as anybody looks at."""
    i = installs.c
    own = (i.shop_id == EVERYBODY, i.used_at.is_(None), i.begun_at > now - _GOOD_FOR, i.platform.in_(list(platforms)))
    rows = connection.execute(select(installs).where(*own).order_by(i.begun_at.desc()).limit(_SHOWN))
    return [Begun(row.platform, str(box.open(row.told).get("url", "")), row.begun_at) for row in rows]


def forget(connection: Connection, now: datetime) -> int:
    """Clear away what ended long ago or never will; how many."""
    i = installs.c
    old = (i.shop_id == EVERYBODY, i.begun_at < now - _KEPT_FOR)
    return connection.execute(delete(installs).where(*old)).rowcount


def use(connection: Connection, box: SecretBox, platform: str, token: str, now: datetime) -> dict[str, Any] | None:
    """What was told when it was begun, once; None for a token that is none, was used, or has run out.

    One that is carried is good until it is `spent`, for what it leads to is proven by the platform's own answer.
    """
    i = installs.c
    mine = (i.shop_id == EVERYBODY, i.token == token, i.platform == platform, i.used_at.is_(None))
    fresh = (i.begun_at > now - _GOOD_FOR, i.begun_at <= now + _AHEAD)
    row = connection.execute(select(i.told).where(*mine, *fresh)).first()
    if row is None:
        return _carried(connection, box, platform, token, now)
    taken = connection.execute(update(installs).where(*mine).values(used_at=now)).rowcount
    return box.open(row.told) if taken else None


def spend(connection: Connection, box: SecretBox, platform: str, token: str, now: datetime) -> None:
    """A store has come of it: a token that was carried is good no longer."""
    told = _carried(connection, box, platform, token, now)
    if told is not None:
        row = {"shop_id": EVERYBODY, "token": _mark(token), "platform": platform, "told": box.seal(told)}
        taken = insert_into(connection, installs).values(**row, begun_at=now, used_at=now)
        connection.execute(taken.on_conflict_do_nothing())


def used(connection: Connection, box: SecretBox, platform: str, token: str, now: datetime) -> dict[str, Any] | None:
    """What was told for one that was used within the hour, so that a merchant who comes back after it is told the right thing."""
    i = installs.c
    mine = (i.shop_id == EVERYBODY, i.token == token, i.platform == platform, i.used_at > now - _GOOD_FOR)
    row = connection.execute(select(i.told).where(*mine)).first()
    return None if row is None else box.open(row.told)


def _carried(connection: Connection, box: SecretBox, platform: str, token: str, now: datetime) -> dict[str, Any] | None:
    try:
        kept = box.open(token.encode())
    except ConfigError:
        return None
    begun_at = from_micros(int(kept.get("at", 0) * 1_000_000))
    if kept.get(_INSTALL) != platform or not now - _GOOD_FOR < begun_at <= now + _AHEAD:
        return None
    i = installs.c
    spent = select(i.token).where(i.shop_id == EVERYBODY, i.token == _mark(token))
    return None if connection.execute(spent).first() is not None else kept["told"]


def _mark(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
