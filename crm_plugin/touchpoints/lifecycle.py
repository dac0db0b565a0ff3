"""The life of a customer in stages, and which of them a shop's journeys speak to: what is covered, what is ready, what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from crm_plugin.phrases import phrase
from crm_plugin.touchpoints import journeys
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.recipes import Recipe, recipes

ON, OFF, READY = "on", "off", "ready"


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of a customer's life: what it is called, who is in it."""

    key: str
    title: str
    who: str


# In the order in which a customer goes through them.
STAGES: tuple[Stage, ...] = (
    Stage("prospect", phrase("Prospect"), phrase("Known, and has not ordered yet.")),
    Stage("first_time", phrase("First order"), phrase("Has ordered once.")),
    Stage("repeat", phrase("Repeat customer"), phrase("Has come back.")),
    Stage("loyal", phrase("Loyal customer"), phrase("Comes back again and again.")),
    Stage("advocate", phrase("Advocate"), phrase("Tells others.")),
    Stage("at_risk", phrase("At risk"), phrase("Stays away longer than usual, or has a reason to.")),
    Stage("lapsed", phrase("Lapsed"), phrase("Has not ordered for a long time.")),
    Stage("won_back", phrase("Won back"), phrase("Was away and has ordered again.")),
)


@dataclass(frozen=True, slots=True)
class Means:
    """One recipe in a stage: `on`, `off` (the shop has it, switched off) or `ready` (to be added), and the key of the journey it is."""

    recipe: Recipe
    state: str
    journey: str = ""


@dataclass(frozen=True, slots=True)
class Coverage:
    """What speaks to members in one stage, what runs first."""

    stage: Stage
    means: tuple[Means, ...]

    @property
    def covered(self) -> bool:
        """Whether anything that is switched on speaks to this stage."""
        return any(one.state == ON for one in self.means)

    def as_dict(self) -> dict[str, Any]:
        """For the command line."""
        told = {state: [one.recipe.key for one in self.means if one.state == state] for state in (ON, OFF, READY)}
        return {"stage": self.stage.key, "covered": self.covered, **told}


def lifecycle(connection: Connection, shop_id: int) -> list[Coverage]:
    """Each stage with the recipes that speak to it, as this shop has them."""
    return covering(journeys.all_journeys(connection, shop_id))


def covering(there: Iterable[Journey]) -> list[Coverage]:
    """The same of journeys that were read already."""
    found, rank = [], (ON, OFF, READY).index
    means = _means(there)
    for stage in STAGES:
        here = [one for one in means if stage.key in one.recipe.stages]
        found.append(Coverage(stage, tuple(sorted(here, key=lambda one: (rank(one.state), one.recipe.key)))))
    return found


def _means(there: Iterable[Journey]) -> list[Means]:
    """How a shop has each recipe. A journey under a key of its own counts when it speaks with the recipe's texts."""
    known = list(there)
    found = []
    for one in recipes():
        having = [journey for journey in known if journey.key == one.key or _speaks_with(journey, one)]
        having.sort(key=lambda journey: (not journey.enabled, journey.key != one.key, journey.key))
        state = READY if not having else ON if having[0].enabled else OFF
        found.append(Means(one, state, having[0].key if having else ""))
    return found


def _speaks_with(journey: Journey, one: Recipe) -> bool:
    return any(voice.template_key in one.templates for voice in journey.voices)


def missing(coverage: Sequence[Coverage]) -> list[Stage]:
    """The stages that nothing speaks to."""
    return [one.stage for one in coverage if not one.covered]
