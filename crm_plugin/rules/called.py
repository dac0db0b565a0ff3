"""What a shop calls its tier programmes and levels, its segments and journeys, and its currency: for what is said of one shop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, select

from crm_plugin.rules.windows import PROGRAM
from crm_plugin.store import journeys, segments, tier_levels, tier_policies
from crm_plugin.store.tenants import Shop

Title = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Called:
    """Titles by language, a level's by programme and key; what has no name is called by its key. An empty currency leaves amounts bare."""

    levels: Mapping[tuple[str, str], Title] = field(default_factory=dict)
    currency: str = ""
    programs: Mapping[str, Title] = field(default_factory=dict)
    segments: Mapping[str, str] = field(default_factory=dict)
    journeys: Mapping[str, Title] = field(default_factory=dict)

    def level(self, program: str, key: str, chinese: bool) -> str:
        """A level, one that is gone as it was called last."""
        return title_in(self.levels.get((program, key), {}), chinese, key)

    def program(self, key: str, chinese: bool) -> str:
        """A tier programme."""
        return title_in(self.programs.get(key, {}), chinese, key)

    def whole(self, program: str, key: str, chinese: bool) -> str:
        """A level with its programme in front, where that is not the main one."""
        level = self.level(program, key, chinese)
        if program == PROGRAM:
            return level
        return f"{self.program(program, chinese)}{'：' if chinese else ': '}{level}"

    def segment(self, key: str) -> str:
        """A segment."""
        return self.segments.get(key) or key

    def journey(self, key: str, chinese: bool) -> str:
        """A journey."""
        return title_in(self.journeys.get(key, {}), chinese, key)

    def amount(self, figure: str) -> str:
        """A figure that is an amount."""
        return f"{figure} {self.currency}" if self.currency else figure


# Where no shop is known.
UNNAMED = Called()


def title_in(title: Title, chinese: bool, otherwise: str = "") -> str:
    """The name in a language, else the English one, else any other, else `otherwise`."""
    wanted = "zh" if chinese else "en"
    near = [title[locale] for locale in sorted(title) if locale.lower().split("-")[0].split("_")[0] == wanted]
    return next((name for name in (*near, title.get("en", ""), *title.values()) if name), otherwise)


def called(connection: Connection, shop: Shop) -> Called:
    """The shop's own words: levels in force as they are called now, all others as they were in the newest policy that had them."""
    c, p, s, j = tier_levels.c, tier_policies.c, segments.c, journeys.c
    levels: dict[tuple[str, str], Title] = {}
    programs: dict[str, Title] = {}
    kept = select(p.program_key, p.document).where(p.shop_id == shop.shop_id).order_by(p.version)
    for program, document in connection.execute(kept):
        levels |= {(program, one["key"]): one.get("title", {}) for one in document["levels"]}
        programs |= {program: document["title"]} if document.get("title") else {}
    now = select(c.program_key, c.level_key, c.title).where(c.shop_id == shop.shop_id)
    levels |= {(row.program_key, row.level_key): row.title for row in connection.execute(now)}
    titles = connection.execute(select(s.segment_key, s.title).where(s.shop_id == shop.shop_id))
    named = connection.execute(select(j.journey_key, j.title).where(j.shop_id == shop.shop_id))
    return Called(
        levels,
        shop.currency,
        programs,
        {row.segment_key: row.title for row in titles},
        {row.journey_key: row.title for row in named},
    )
