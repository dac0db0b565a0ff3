"""Installs that were begun: what has to be remembered until the platform answers, good once and for an hour."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from crm_plugin.store.leases import EVERYBODY
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.shops import installs

_GOOD_FOR = timedelta(hours=1)
# What was begun and never ended is kept for a while, so that a late answer is told from a forged one.
_KEPT_FOR = timedelta(days=7)


def begin(connection: Connection, box: SecretBox, platform: str, told: dict[str, Any], now: datetime) -> str:
    """Remember an install; answers its token, which nobody can guess."""
    i = installs.c
    connection.execute(delete(installs).where(i.shop_id == EVERYBODY, i.begun_at < now - _KEPT_FOR))
    token = secrets.token_urlsafe(32)
    row = {"shop_id": EVERYBODY, "token": token, "platform": platform, "told": box.seal(told), "begun_at": now}
    connection.execute(insert(installs).values(**row))
    return token


def use(connection: Connection, box: SecretBox, platform: str, token: str, now: datetime) -> dict[str, Any] | None:
    """What was told when it was begun, once; None for a token that is none, was used, or has run out."""
    i = installs.c
    mine = (i.shop_id == EVERYBODY, i.token == token, i.platform == platform, i.used_at.is_(None))
    fresh = (i.begun_at > now - _GOOD_FOR, i.begun_at <= now + timedelta(minutes=1))
    row = connection.execute(select(i.told).where(*mine, *fresh)).first()
    if row is None:
        return None
    taken = connection.execute(update(installs).where(*mine).values(used_at=now)).rowcount
    return box.open(row.told) if taken else None


def used(connection: Connection, box: SecretBox, platform: str, token: str, now: datetime) -> dict[str, Any] | None:
    """What was told for one that was used within the hour, so that a merchant who comes back after it is told the right thing."""
    i = installs.c
    mine = (i.shop_id == EVERYBODY, i.token == token, i.platform == platform, i.used_at > now - _GOOD_FOR)
    row = connection.execute(select(i.told).where(*mine)).first()
    return None if row is None else box.open(row.told)
