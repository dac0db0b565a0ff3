"""Members named one by one, in a list of a few or of hundreds of thousands: the names that `members.find` takes, looked up together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from crm_plugin.analytics.members import addresses
from crm_plugin.phrases import phrase
from crm_plugin.rules.sql import ACTIVE
from crm_plugin.store import bulk
from crm_plugin.store.members import FORMER
from crm_plugin.store.tenants import Shop

_CHUNK = 1000
_LARGEST = 2**63


@dataclass(frozen=True, slots=True)
class NotOne:
    """A name that means nobody, or several members; the line it stands in."""

    line: int
    text: str
    problem: str


@dataclass(slots=True)
class Named:
    """Who was meant, and which names were no one's."""

    member_ids: set[int] = field(default_factory=set)
    unknown: list[NotOne] = field(default_factory=list)


def named(connection: Connection, shop: Shop, rows: Iterable[tuple[int, str]]) -> Named:
    """Who is meant by each text (our id, the store's id, e-mail or phone), given with its line. Members who are gone are nobody."""
    found = Named()
    chunk: list[tuple[int, str]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _CHUNK:
            _take(connection, shop, chunk, found)
            chunk = []
    _take(connection, shop, chunk, found)
    return found


def _take(connection: Connection, shop: Shop, chunk: Sequence[tuple[int, str]], found: Named) -> None:
    shop_id = shop.shop_id
    # By kind and value: the lines that speak of it.
    asked: defaultdict[str, defaultdict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for line, text in chunk:
        asked["external"][text].append(line)
        for kind, value in addresses(shop, text):
            asked[kind][value].append(line)
        if text.isascii() and text.isdecimal() and int(text) < _LARGEST:
            asked["id"][str(int(text))].append(line)
            asked[FORMER][text].append(line)
    meant: defaultdict[int, set[int]] = defaultdict(set)
    own = "SELECT external_id, member_id FROM members WHERE shop_id = ? AND external_id IN ({marks})"
    _note(meant, asked["external"], bulk.select_in(connection, own, (shop_id,), asked["external"]))
    held = "SELECT value, member_id FROM identities WHERE shop_id = ? AND kind = ? AND value IN ({marks})"
    for kind in ("email", "phone", FORMER):
        _note(meant, asked[kind], bulk.select_in(connection, held, (shop_id, kind), asked[kind]))
    for text, lines in asked["id"].items():
        for line in lines:
            meant[line].add(int(text))
    wanted = {member_id for ids in meant.values() for member_id in ids}
    alive = "SELECT member_id FROM members WHERE shop_id = ? AND state = ? AND member_id IN ({marks})"
    active = {row[0] for row in bulk.select_in(connection, alive, (shop_id, ACTIVE), wanted)}
    for line, text in chunk:
        ids = meant[line] & active
        if len(ids) == 1:
            found.member_ids |= ids
        else:
            told = phrase("fits %(count)s members", count=len(ids)) if ids else phrase("is nobody")
            found.unknown.append(NotOne(line, text, told))


def _note(meant: defaultdict[int, set[int]], asked: dict[str, list[int]], rows: Iterable[tuple[str, int]]) -> None:
    for value, member_id in rows:
        for line in asked[value]:
            meant[line].add(member_id)
