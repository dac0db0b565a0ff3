"""What is looked at before a journey goes live: what it lacks, what its audience lacks, and how many people that is at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from crm_plugin.errors import RuleError
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import confirming
from crm_plugin.touchpoints.alike import doubled
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.lacking import AudienceCheck, audience_check
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.steps import checks
from crm_plugin.web.i18n import in_words
from crm_plugin.web.journey_edit import Fault, faults


@dataclass(frozen=True, slots=True)
class Looked:
    """`audience` is None where it cannot be asked; `people` is 0 but for a campaign, and `asks` whether their number has to be typed."""

    faults: list[Fault]
    warnings: list[str]
    audience: AudienceCheck | None
    people: int
    asks: bool


def before_going(connection: Connection, shop: Shop, journey: Journey, now: datetime) -> Looked:
    """All of it for a journey as it is edited; nothing is written."""
    told = [*checks.warnings(connection, shop, journey), *doubled(connection, shop, journey, now)]
    try:
        audience = audience_check(connection, shop, journey, now)
        people = confirming.people(connection, shop, journey, now)
    except RuleError:
        # It is among the faults.
        audience, people = None, 0
    wrong = faults(connection, shop, journey, now)
    return Looked(wrong, [str(in_words(one)) for one in told], audience, people, policy_of(shop).blast.asks(people))
