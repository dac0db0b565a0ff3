"""Segments: rules saved under a name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from crm_plugin.errors import InvalidInput, NotFound
from crm_plugin.phrases import phrase
from crm_plugin.rules import compile_for
from crm_plugin.rules.nodes import Node
from crm_plugin.rules.parse import from_json
from crm_plugin.store import segments
from crm_plugin.store.tenants import Shop

_KEY = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Segment:
    """A saved rule: the text as written, and its tree."""

    key: str
    title: str
    rule: str
    node: Node
    updated_at: datetime

    def as_dict(self) -> dict[str, Any]:
        """As a programme file holds it."""
        return {"key": self.key, "title": self.title, "rule": self.rule}


def check_key(key: str, what: str) -> str:
    """The key, when it can be one. Raises: InvalidInput."""
    if not _KEY.fullmatch(key):
        hint = phrase("Use small letters, digits, - and _, at most 64, beginning with a letter or digit.")
        raise InvalidInput(
            phrase("%(key)r cannot be the key of a %(what)s.", key=key, what=what), field="key", hint=hint
        )
    return key


def save(connection: Connection, shop: Shop, key: str, text: str, now: datetime, *, title: str = "") -> Segment:
    """Save a rule under a key, in place of what was there. Raises: InvalidInput, RuleError; nothing is written then."""
    check_key(key, phrase("segment"))
    rule = compile_for(connection, shop, text)
    values = {"title": title, "rule_text": rule.text, "rule": rule.json, "updated_at": now}
    same = (segments.c.shop_id == shop.shop_id, segments.c.segment_key == key)
    if not connection.execute(update(segments).where(*same).values(values)).rowcount:
        connection.execute(insert(segments).values(shop_id=shop.shop_id, segment_key=key, **values))
    return Segment(key, title, rule.text, rule.node, now)


def list(connection: Connection, shop_id: int) -> Sequence[Segment]:
    """All segments of a shop, by key."""
    query = select(segments).where(segments.c.shop_id == shop_id).order_by(segments.c.segment_key)
    return tuple(_segment(row) for row in connection.execute(query))


def show(connection: Connection, shop: Shop, key: str) -> Segment:
    """One segment. Raises: NotFound with the keys there are."""
    query = select(segments).where(segments.c.shop_id == shop.shop_id, segments.c.segment_key == key)
    row = connection.execute(query).first()
    if row is None:
        keys = [segment.key for segment in list(connection, shop.shop_id)]
        raise NotFound(
            phrase("There is no segment %(key)r.", key=key),
            hint=phrase("There are: %(names)s.", names=keys) if keys else phrase("Save one first."),
        )
    return _segment(row)


def remove(connection: Connection, shop: Shop, key: str) -> None:
    """Forget a segment. Raises: NotFound."""
    show(connection, shop, key)
    connection.execute(delete(segments).where(segments.c.shop_id == shop.shop_id, segments.c.segment_key == key))


def _segment(row: Row[Any]) -> Segment:
    return Segment(row.segment_key, row.title, row.rule_text, from_json(row.rule), row.updated_at)
