"""What a policy would come to, as the page says it: who moves, whose terms change, what it promises."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from flask_babel import gettext as _
from flask_babel import ngettext
from sqlalchemy import Connection

from crm_plugin.rules.lab import look_at
from crm_plugin.rules.policies import Kept
from crm_plugin.rules.policy import Policy
from crm_plugin.rules.standing import FREED, GRACE, RENEWED
from crm_plugin.rules.tier_runs import ladder_of
from crm_plugin.rules.tier_words import policy_words
from crm_plugin.rules.tiers import preview_of
from crm_plugin.store.tenants import Shop
from crm_plugin.web.formats import day, number
from crm_plugin.web.tier_look import Look, look_of
from crm_plugin.web.titles import chinese, named


def look(
    connection: Connection, shop: Shop, wanted: Policy, kept: Sequence[Kept], current: Policy, today: date
) -> Look:
    """What it would do today; `kept` are the programme's versions, the oldest first. Nothing is written."""
    seen = look_at(connection, shop, wanted, today)
    ladders = [ladder_of(one, today) for one in (wanted, current, *(one.policy for one in reversed(kept)))]
    # Of the same day and content it is the one in force, however that day was told.
    unchanged = wanted.effective_on in (None, today) and wanted.as_dict() == current.as_dict()
    found = look_of(connection, shop, preview_of(seen), ladders, mark(wanted.as_file()), unchanged=unchanged)
    later = wanted.effective_on is not None and wanted.effective_on > today
    return replace(
        found,
        promises=tuple(promises(wanted, today)),
        terms=tuple(_terms(seen.terms)),
        starts_on=wanted.effective_on if later else None,
        anyway=0 if unchanged else seen.today,
        caused=seen.caused,
    )


def mark(told: Any) -> str:
    """A mark of exactly this document: what is saved is what was looked at."""
    return hashlib.blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=8).hexdigest()


def promises(policy: Policy, today: date) -> list[str]:
    """How long its levels hold and what follows then, what each gives; nothing for one without levels."""
    if not policy.levels:
        return []
    told = policy_words(policy, "zh" if chinese() else "en")
    ends = policy.ends(today)
    if ends is not None:
        told.append(_("Whoever comes in today holds the level through %(day)s.", day=day(ends)))
    return told + [
        _("Whoever comes into %(level)s gets %(reward)s, once.", level=named(one.title, one.key), reward=one.reward)
        for one in policy.levels
        if one.reward
    ]


def _terms(terms: Mapping[str, int]) -> list[str]:
    """Those whose level stays and whose term does not."""
    told = []
    if count := terms.get(RENEWED, 0):
        told.append(
            ngettext(
                "%(count)s member keeps the level for another term.",
                "%(count)s members keep their level for another term.",
                count,
                count=number(count),
            )
        )
    if count := terms.get(GRACE, 0):
        told.append(
            ngettext(
                "%(count)s member begins days of grace.",
                "%(count)s members begin days of grace.",
                count,
                count=number(count),
            )
        )
    if count := terms.get(FREED, 0):
        told.append(
            ngettext(
                "%(count)s member is no longer fixed by hand.",
                "%(count)s members are no longer fixed by hand.",
                count,
                count=number(count),
            )
        )
    return told
