"""Segments: rules saved under a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from crm_plugin.clock import local_day
from crm_plugin.errors import InvalidInput, NotFound
from crm_plugin.phrases import phrase
from crm_plugin.rules import Rule, compile_rule, read_book
from crm_plugin.rules.asked import refuse_asked
from crm_plugin.rules.book import LIST, RULE, check_key, resolve
from crm_plugin.rules.document import from_json
from crm_plugin.rules.nodes import Field, Holds, Node
from crm_plugin.rules.policies import one_at_a_time
from crm_plugin.store import audit, segments
from crm_plugin.store.members import lock
from crm_plugin.store.tenants import Shop

# What the audit log calls the two acts.
SAVED, REMOVED = "segment.saved", "segment.removed"


@dataclass(frozen=True, slots=True)
class Segment:
    """A saved rule: the text as written, and its tree. Of the kind "list" it has neither: its members were named one by one."""

    key: str
    title: str
    kind: str
    rule: str
    node: Node | None
    updated_at: datetime

    def as_dict(self) -> dict[str, Any]:
        """As a programme file holds it."""
        return {"key": self.key, "title": self.title, "rule": self.rule}


def save(
    connection: Connection, shop: Shop, key: str, text: str, now: datetime, *, title: str = "", actor: str = ""
) -> Segment:
    """Save a rule under a key, in place of what was there. An `actor` goes into the audit log.

    Raises: InvalidInput, RuleError; nothing is written then.
    """
    check_key(key, phrase("segment"))
    rule = compile_rule(text)
    _begin(connection, shop)
    then = read_book(connection, shop.shop_id)
    if key in then.segments and then.segments[key] is None:
        raise InvalidInput(
            phrase("%(key)r is a list of members.", key=key),
            field="key",
            hint=phrase("Save the rule under another key."),
        )
    then = replace(then, segments={**then.segments, key: rule.node})
    # Resolved from its own place, for then a circle leads back to it.
    resolve(Holds(Field("segment", (("segment", key),))), then)
    refuse_asked(connection, shop, then, local_day(now, shop.timezone))
    _note(connection, shop, actor, SAVED, {"segment": key, "rule": rule.text}, now)
    return put(connection, shop, key, rule, now, title=title)


def put(connection: Connection, shop: Shop, key: str, rule: Rule, now: datetime, *, title: str = "") -> Segment:
    """The same for a rule whose names were checked by whoever saves what they name too."""
    values = {"title": title, "kind": RULE, "rule_text": rule.text, "rule": rule.json, "updated_at": now}
    _write(connection, shop, key, values)
    return Segment(key, title, RULE, rule.text, rule.node, now)


def save_list(
    connection: Connection, shop: Shop, key: str, now: datetime, *, title: str = "", actor: str = ""
) -> Segment:
    """Save a segment whose members are named one by one; those it has stay. An `actor` goes into the audit log.

    Raises: InvalidInput when the key is a rule's.
    """
    check_key(key, phrase("segment"))
    _begin(connection, shop)
    present = read_book(connection, shop.shop_id).segments
    if present.get(key) is not None:
        raise InvalidInput(
            phrase("%(key)r is a rule.", key=key), field="key", hint=phrase("Save the list under another key.")
        )
    _note(connection, shop, actor, SAVED, {"segment": key, "rule": ""}, now)
    _write(connection, shop, key, {"title": title, "kind": LIST, "rule_text": "", "rule": {}, "updated_at": now})
    return Segment(key, title, LIST, "", None, now)


def _begin(connection: Connection, shop: Shop) -> None:
    """Nobody else saves what may speak of it, or follows its list, meanwhile."""
    one_at_a_time(connection, shop)
    lock(connection, shop.shop_id)


def _write(connection: Connection, shop: Shop, key: str, values: dict[str, Any]) -> None:
    same = (segments.c.shop_id == shop.shop_id, segments.c.segment_key == key)
    if not connection.execute(update(segments).where(*same).values(values)).rowcount:
        connection.execute(insert(segments).values(shop_id=shop.shop_id, segment_key=key, **values))


def list(connection: Connection, shop_id: int) -> Sequence[Segment]:
    """All segments of a shop, by key."""
    query = select(segments).where(segments.c.shop_id == shop_id).order_by(segments.c.segment_key)
    return tuple(_segment(row) for row in connection.execute(query))


def show(connection: Connection, shop: Shop, key: str) -> Segment:
    """One segment. Raises: NotFound with the keys there are."""
    query = select(segments).where(segments.c.shop_id == shop.shop_id, segments.c.segment_key == key)
    row = connection.execute(query).first()
    if row is None:
        keys = ", ".join(segment.key for segment in list(connection, shop.shop_id))
        raise NotFound(
            phrase("There is no segment %(key)r.", key=key),
            hint=phrase("There are: %(names)s.", names=keys) if keys else phrase("Save one first."),
        )
    return _segment(row)


def remove(connection: Connection, shop: Shop, key: str, now: datetime, *, actor: str = "") -> None:
    """Forget a segment that nothing asks for. An `actor` goes into the audit log. Raises: NotFound, InvalidInput."""
    _begin(connection, shop)
    gone = show(connection, shop, key)
    book = read_book(connection, shop.shop_id)
    left = {other: rule for other, rule in book.segments.items() if other != key}
    refuse_asked(connection, shop, replace(book, segments=left), local_day(now, shop.timezone))
    forget(connection, shop, key)
    _note(connection, shop, actor, REMOVED, {"segment": key, "rule": gone.rule}, now)


def _note(connection: Connection, shop: Shop, actor: str, action: str, told: dict[str, Any], now: datetime) -> None:
    if actor:
        audit.note(connection, shop.shop_id, actor, action, told, now)


def forget(connection: Connection, shop: Shop, key: str) -> None:
    """The same for whoever has seen to that."""
    lock(connection, shop.shop_id)
    connection.execute(delete(segments).where(segments.c.shop_id == shop.shop_id, segments.c.segment_key == key))


def _segment(row: Row[Any]) -> Segment:
    node = from_json(row.rule) if row.kind == RULE else None
    return Segment(row.segment_key, row.title, row.kind, row.rule_text, node, row.updated_at)
