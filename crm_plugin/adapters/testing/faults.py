"""A bad day by its number: which calls meet which trouble, the same each time for the same seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

from crm_plugin.adapters.testing.edge import Trouble

# What passes by itself, or once somebody has looked: a day is not over while one of these is there.
TROUBLES = (
    Trouble.BUSY,
    Trouble.BUSY_SOME_TIME,
    Trouble.BROKEN,
    Trouble.DOWN,
    Trouble.SLOW,
    Trouble.UNREACHABLE,
    Trouble.TRUNCATED,
    Trouble.HTML,
    Trouble.REDIRECT,
)
REPEATED = "repeated"
MISSING = "missing"


class Faults:
    """At most `most` of them, each call with the chance `rate`; then all is well.

    `between` is called before an answer with the chance `stirring`, to change the store while it is being read.
    """

    def __init__(
        self,
        seed: int,
        *,
        rate: float = 0.4,
        most: int = 60,
        stirring: float = 0.3,
        between: Callable[[Random], None] | None = None,
    ) -> None:
        self.seed = seed
        self.dice = Random(seed)
        self.met: Counter[str] = Counter()
        self._rate = rate
        self._most = most
        self._stirring = stirring
        self._between = between

    @property
    def over(self) -> bool:
        """Whether the bad day has passed."""
        return self.met.total() >= self._most

    def told(self) -> str:
        """What was met how many times."""
        return ", ".join(f"{name} {count}" for name, count in sorted(self.met.items()))

    def stir(self) -> None:
        """Change the store, perhaps."""
        if self._between is not None and not self.over and self.dice.random() < self._stirring:
            self._between(self.dice)

    def draw(self, *, is_list: bool) -> Trouble | str | None:
        """What happens to this call; pages are repeated or missing only where a list is walked."""
        if self.over or self.dice.random() >= self._rate:
            return None
        fault: Trouble | str = self.dice.choice([*TROUBLES, *((REPEATED, MISSING) * 3 if is_list else ())])
        self.met[str(fault)] += 1
        return fault
