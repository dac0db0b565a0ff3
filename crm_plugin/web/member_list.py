"""The list of members: what it is narrowed by, one page of it, and how many match, as far as nobody has to wait for that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection
from werkzeug.datastructures import MultiDict

from crm_plugin.analytics import members as reads
from crm_plugin.analytics import today as figures
from crm_plugin.errors import InvalidInput, RuleError
from crm_plugin.rules import compile_for
from crm_plugin.rules.called import called
from crm_plugin.store.tenants import Shop
from crm_plugin.web import why
from crm_plugin.web.i18n import explained
from crm_plugin.web.rule_help import rule_error

# Matches are counted up to here; past it nobody needs the figure, and in a shop of a million one would wait for it.
MOST = 10_000


@dataclass(frozen=True, slots=True)
class Asked:
    """What the list is narrowed by."""

    text: str = ""
    rule: str = ""
    tier: str = ""

    @classmethod
    def of(cls, values: MultiDict[str, str]) -> Asked:
        """Out of an address or a form."""
        return cls(*(values.get(name, "").strip() for name in ("q", "rule", "tier")))

    @property
    def narrows(self) -> bool:
        return bool(self.text or self.rule or self.tier)

    def filters(self, as_of: date) -> dict[str, Any]:
        """As `analytics.members` takes them."""
        return {"text": self.text, "rule": self.rule, "tier": self.tier, "as_of": as_of}

    def address(self, **changes: str) -> dict[str, str]:
        """As the address of the page has them, with changes."""
        told = {"q": self.text, "rule": self.rule, "tier": self.tier} | changes
        return {name: value for name, value in told.items() if value}


@dataclass(frozen=True, slots=True)
class Found:
    """How many there are and how many match, `more` when it is more than that; the rule as a sentence, or what is wrong with it.

    `open` says that counting was left for later: the page does not wait for it.
    """

    all: int
    matching: int
    more: bool = False
    open: bool = False
    sentence: str = ""
    error: str = ""


def page(
    connection: Connection, shop: Shop, asked: Asked, as_of: date, after: int, size: int
) -> tuple[Found, list[reads.MemberRow]]:
    """One page of the list, with one row more if there is one, and how many match as far as the page tells by itself."""
    everybody = figures.count_members(connection, shop.shop_id)
    try:
        sentence = _sentence(connection, shop, asked)
        rows = reads.search(connection, shop, **asked.filters(as_of), after=after, limit=size + 1)
    except (RuleError, InvalidInput) as error:
        return Found(everybody, 0, error=_wrong(error)), []
    if not asked.narrows:
        return Found(everybody, everybody), rows
    if not after and len(rows) <= size:
        return Found(everybody, len(rows), sentence=sentence), rows
    if asked.rule:
        # A rule is asked of every member: whoever reads the list need not wait for the last of them.
        return Found(everybody, size, more=True, open=True, sentence=sentence), rows
    return _counted(connection, shop, asked, as_of, everybody, sentence), rows


def count(connection: Connection, shop: Shop, asked: Asked, as_of: date) -> Found:
    """How many match."""
    everybody = figures.count_members(connection, shop.shop_id)
    if not asked.narrows:
        return Found(everybody, everybody)
    try:
        return _counted(connection, shop, asked, as_of, everybody, _sentence(connection, shop, asked))
    except (RuleError, InvalidInput) as error:
        return Found(everybody, 0, error=_wrong(error))


def _counted(connection: Connection, shop: Shop, asked: Asked, as_of: date, everybody: int, sentence: str) -> Found:
    matching = reads.count(connection, shop, **asked.filters(as_of), most=MOST)
    return Found(everybody, min(matching, MOST), more=matching > MOST, sentence=sentence)


def _sentence(connection: Connection, shop: Shop, asked: Asked) -> str:
    return why.sentence(compile_for(connection, shop, asked.rule).node, called(connection, shop)) if asked.rule else ""


def _wrong(error: RuleError | InvalidInput) -> str:
    return rule_error(error) if isinstance(error, RuleError) else explained(error)
