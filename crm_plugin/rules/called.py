"""What a shop calls its levels, and the currency of its amounts: for sentences that are said of one shop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, select

from crm_plugin.store import tier_levels
from crm_plugin.store.tenants import Shop


@dataclass(frozen=True, slots=True)
class Called:
    """Titles by language of each programme's levels; an empty currency leaves amounts bare."""

    levels: Mapping[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)
    currency: str = ""

    def level(self, program: str, key: str, chinese: bool) -> str:
        """What a level is called; its key where the shop gave it no name in that language or another."""
        titles = self.levels.get((program, key), {})
        wanted = "zh" if chinese else "en"
        own = [name for lang, name in titles.items() if name and lang.lower().startswith(wanted)]
        return next(iter([*own, *(name for name in titles.values() if name)]), key)


# Where no shop is known.
UNNAMED = Called()


def called(connection: Connection, shop: Shop) -> Called:
    """The shop's own words."""
    c = tier_levels.c
    rows = connection.execute(select(c.program_key, c.level_key, c.title).where(c.shop_id == shop.shop_id))
    return Called({(row.program_key, row.level_key): row.title for row in rows}, shop.currency)
