"""Points: a shop gives each app a bucket of them that fills by itself, and each query takes what it may cost at most."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crm_plugin.adapters.storefronts.shopify.client import Cost, Throttle

# How often a query is asked again for an empty bucket, which others of the same app may be emptying.
PATIENCE = 10


class Budget:
    """What is left of one shop's bucket, as its last answer told, and what each operation cost last."""

    def __init__(self, sleep: Callable[[float], None], clock: Callable[[], float], longest: float) -> None:
        self.last_cost = 0.0
        self._sleep = sleep
        self._clock = clock
        self._longest = longest
        self._costs: dict[str, float] = {}
        self._told: Throttle | None = None
        self._told_at = 0.0
        self._pauses = 0

    def wait(self, operation: str) -> None:
        """Wait until there are points for what this operation cost last."""
        told = self._told
        if told is None or told.restore_rate <= 0:
            return
        left = told.currently_available + (self._clock() - self._told_at) * told.restore_rate
        missing = min(self._costs.get(operation, 0.0), told.maximum_available) - left
        if missing > 0:
            self._sleep(min(missing / told.restore_rate, self._longest))

    def note(self, operation: str, cost: Cost | None) -> None:
        """Keep what an answer tells."""
        if cost is None:
            return
        if cost.requested_query_cost is not None:
            self.last_cost = self._costs[operation] = cost.requested_query_cost
        if cost.throttle_status is not None:
            self._told, self._told_at = cost.throttle_status, self._clock()

    def pause(self, cost: Cost | None) -> bool:
        """Wait as long as an answer that found the bucket empty tells. Returns: False when that has been done often enough."""
        told = cost.throttle_status if cost else None
        self._pauses = self._pauses + 1
        if self._pauses > PATIENCE:
            self._pauses = 0
            return False
        missing = 0.0 if cost is None or told is None else (cost.requested_query_cost or 0.0) - told.currently_available
        seconds = max(1.0, missing / told.restore_rate) if told and told.restore_rate > 0 else 1.0
        if seconds > self._longest:
            return False
        self._sleep(seconds)
        return True

    def went_well(self) -> None:
        """The last query got through."""
        self._pauses = 0
