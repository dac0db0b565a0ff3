"""A journey as it is being edited: what runs stays as it is, and what is changed beside it waits to be published.

A journey that is on and has several steps is changed in a draft, for members are inside, and so is a campaign, for it is sent at once to
all whom it means; all others are changed where they stand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask_babel import gettext as _
from sqlalchemy import Connection

from crm_plugin.errors import CrmError, InvalidInput, RuleError
from crm_plugin.store import audit
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys, publishing, senders
from crm_plugin.touchpoints.confirming import CAMPAIGN
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.publishing import edited
from crm_plugin.touchpoints.steps import checks
from crm_plugin.web.forms import Form
from crm_plugin.web.i18n import explained


def is_staged(journey: Journey) -> bool:
    """Whether it goes on and off by publishing: it has several steps, or will have."""
    return journey.draft is not None or bool(journey.flow.steps)


class SavedMeanwhile(InvalidInput):
    """Somebody else saved the journey after the form was filled from it."""


def mark(journey: Journey) -> str:
    """What tells the journey, as it is edited, from any other state of it: a form holds the mark of what it was filled from."""
    told = {name: value for name, value in edited(journey).as_dict().items() if name != "enabled"}
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:16]


def mark_in(form: Form, journey: Journey, error: CrmError | None = None) -> str:
    """The mark for the page around a form: the one it was sent with, unless that is what was wrong; then saving replaces."""
    return mark(journey) if isinstance(error, SavedMeanwhile) else form.text("mark") or mark(journey)


def keep(
    connection: Connection,
    shop: Shop,
    journey: Journey,
    told: Mapping[str, Any],
    now: datetime,
    who: str,
    *,
    filled_from: str = "",
) -> None:
    """Keep a changed document, as a draft where members may be inside; the audit log has what is new.

    `filled_from` is the mark that the form holds. Raises: InvalidInput, also where somebody saved the journey meanwhile, RuleError.
    """
    if filled_from and filled_from != mark(journeys.hold(connection, shop.shop_id, journey.key)):
        raise SavedMeanwhile(_("This was saved meanwhile. What you wrote stands below; saved now, it replaces that."))
    before = edited(journey).as_dict()
    campaign = CAMPAIGN in (journey.trigger.type, (told.get("trigger") or {}).get("type"))
    if journey.draft is not None or (journey.enabled and (journey.flow.steps or told.get("steps") or campaign)):
        publishing.save_draft(connection, shop, {name: value for name, value in told.items() if name != "enabled"}, now)
    else:
        journeys.save(connection, shop, read_draft({**told, "enabled": None}), now, actor=who)
    after = edited(journeys.get(connection, shop.shop_id, journey.key)).as_dict()
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    if names:
        changed = {name: after.get(name) for name in names}
        detail: dict[str, Any] = {"journey": journey.key, "changed": changed}
        audit.note(connection, shop.shop_id, who, "journey.saved", detail, now)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that publishing would refuse: what, and where it is mended. `step` is empty where it is not in one.

    `place` is "steps", "start", "form", "senders" or "texts".
    """

    told: str
    step: str
    place: str


def faults(connection: Connection, shop: Shop, journey: Journey, now: datetime) -> list[Fault]:
    """All that keeps a journey from being published or switched on, as it is edited."""
    there = senders.available(connection, shop)
    return [_fault(error, journey, there) for error in checks.faults(connection, shop, journey, now)]


def _fault(error: CrmError, journey: Journey, there: Collection[str]) -> Fault:
    place = error.path if isinstance(error, RuleError) else error.field if isinstance(error, InvalidInput) else ""
    parts = place.partition(":")[0].split(".")
    if parts[0] != "steps" or len(parts) < 2:
        unsent = parts[0] == "channels" and not any(channel in there for channel in journey.channels)
        place = "start" if parts[0] in ("goal", "trigger") else "senders" if unsent else "form"
        return Fault(explained(error), "", place)
    step, what = parts[1], parts[2] if len(parts) > 2 else ""
    send = next((one for one in journey.flow.sends if one.key == step), None)
    if send is None or what not in ("channels", "template"):
        return Fault(explained(error), step, "steps")
    unsent = what == "channels" and not any(channel in there for channel in send.told["channels"])
    return Fault(explained(error), step, "senders" if unsent else "texts")
