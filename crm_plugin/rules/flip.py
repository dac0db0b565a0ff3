"""What would turn a rule's answer for one member: the fewest things that would have to happen, or the day on which it turns by itself.

Whatever is proposed was applied to the member and asked of `evaluate` again: it turns the answer, and no part of it alone does. The search
is bounded, and says so when it gave up.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction

from crm_plugin.rules.alter import AMOUNTS, NOTHING, ORDERS, REFUNDED, Change, Key, apply, counts, knobs, options
from crm_plugin.rules.evaluate import Snapshot, Truth, evaluate, value_of
from crm_plugin.rules.nodes import And, Compare, Everyone, Leaf, Membership, Node, Not, Or, Within, leaf_fields, leaves
from crm_plugin.rules.turning import Turn, settled, turning_days, turns

MOST_WAYS = 3
# How many conditions may be asked in all; a few hundred milliseconds at the most.
BUDGET = 6_000
# As many things that have to come together are no longer a small change.
MOST_SETTINGS = 5
MOST_ROWS = 1_000
MOST_MINOR = 10**13
# On so many days to come is looked for what would do then, when nothing does today.
LATER_DAYS = 8

_TRUE: frozenset[Truth] = frozenset({True})
_NOT_TRUE: frozenset[Truth] = frozenset({False, None})
_FALSE: frozenset[Truth] = frozenset({False})
_NOT_FALSE: frozenset[Truth] = frozenset({True, None})
_MIRRORED = {_TRUE: _FALSE, _FALSE: _TRUE, _NOT_TRUE: _NOT_FALSE, _NOT_FALSE: _NOT_TRUE}


@dataclass(frozen=True, slots=True)
class Way:
    """One way to the other answer. Nothing in `change` means that it turns by itself on the day `begins`, because of `turned`.

    Else it has to happen from `begins` on, and through `ends`, the last day on which it surely does; None where no end is known.
    """

    change: Change
    begins: date
    ends: date | None = None
    turned: tuple[Turn, ...] = ()


@dataclass(frozen=True, slots=True)
class Flip:
    """The ways to the other answer, the smallest first. `gave_up` says that the search was cut short: there may be more."""

    truth: Truth
    ways: tuple[Way, ...]
    gave_up: bool


def flip(node: Node, snapshot: Snapshot, as_of: date, budget: int = BUDGET) -> Flip:
    """What would make the rule true for this member, or no longer true where it is. `budget` is how often a condition may be asked."""
    search = _Search(node, settled(snapshot, as_of), as_of, budget)
    ways = search.ways()
    return Flip(search.truth, tuple(ways), search.spent > budget)


class _GaveUp(Exception):
    pass


class _Search:
    def __init__(self, node: Node, snapshot: Snapshot, as_of: date, budget: int) -> None:
        self.node, self.snapshot, self.as_of, self.budget = node, snapshot, as_of, budget
        self.truth = evaluate(node, snapshot, as_of)
        self.target = _NOT_TRUE if self.truth is True else _TRUE
        self.spent = 0
        paid = [one.base_minor for one in snapshot.orders if one.base_minor]
        # What an order of this member usually comes to, as the measure of what is much.
        self.usual = max(1, sum(paid) // len(paid)) if paid else 5_000

    def ways(self) -> list[Way]:
        days = turning_days(self.node, self.snapshot, self.as_of)
        size = sum(1 for _ in leaves(self.node))
        found: list[tuple[float, Way]] = []
        first = next((day for day in days if self._turned(NOTHING, day, size)), None)
        if first is not None:
            waits = Way(NOTHING, first, None, tuple(turns(self.node, self.snapshot, first)))
            found.append((self._wait(first), waits))
        for begins in (self.as_of, *days[:LATER_DAYS]):
            # Later is only looked at where nothing would do now, and not past the day on which it turns anyway.
            if self.spent > self.budget or (first is not None and begins >= first):
                break
            changes = self._changes(begins)
            found += [(self._cost(one) + self._wait(begins), self._way(one, begins, days)) for one in changes]
            if changes:
                break
        ordered = sorted(enumerate(found), key=lambda one: (one[1][0], one[0]))
        return [way for _, (_, way) in ordered][:MOST_WAYS]

    def _turned(self, change: Change, day: date, size: int = 1) -> bool:
        self.spent += size
        return evaluate(self.node, apply(change, self.snapshot, day), day) in self.target

    def _way(self, change: Change, begins: date, days: Sequence[date]) -> Way:
        """Through which day it would do, as far as the days are known on which anything turns."""
        missed = next((day for day in days if day > begins and not self._turned(change, day)), None)
        return Way(change, begins, None if missed is None else missed - timedelta(days=1))

    def _wait(self, day: date) -> float:
        return (day - self.as_of).days / 30

    def _changes(self, day: date) -> list[Change]:
        """Changes that turn the answer on that day, the cheapest first, as far as the budget goes."""
        number = itertools.count()
        queue = [(0.0, next(number), NOTHING)]
        seen: set[frozenset[tuple[Key, object]]] = set()
        found: list[Change] = []
        while queue and len(found) < MOST_WAYS:
            _, _, change = heapq.heappop(queue)
            if any(one.within(change) for one in found):
                continue
            if self._turned(change, day):
                smallest = self._reduced(change, day)
                if not any(one.within(smallest) for one in found):
                    found.append(smallest)
            elif len(change.settings) < MOST_SETTINGS:
                try:
                    for wider in self._wider(change, day):
                        mark = frozenset(wider.settings.items())
                        if mark not in seen:
                            seen.add(mark)
                            heapq.heappush(queue, (self._cost(wider), next(number), wider))
                except _GaveUp:
                    break
        return found

    def _wider(self, change: Change, day: date) -> Iterator[Change]:
        """The change with one thing more, so that one more of the conditions is as it should be."""
        member = apply(change, self.snapshot, day)
        for leaf, target in dict.fromkeys(self._helpful(self.node, self.target, member, day)):
            for asked in leaf_fields(leaf):
                for key in knobs(asked):
                    yield from self._counted(leaf, target, change, key, day)
            for key, value in options(leaf, member):
                wider = change.having(key, value)
                if self._holds(leaf, wider, day) in target:
                    yield wider

    def _helpful(
        self, node: Node, target: frozenset[Truth], member: Snapshot, day: date
    ) -> Iterator[tuple[Leaf, frozenset[Truth]]]:
        """The conditions that stand in the way, each with what it should be."""
        if evaluate(node, member, day) in target:
            return
        if isinstance(node, Not):
            yield from self._helpful(node.item, _MIRRORED[target], member, day)
        elif isinstance(node, And | Or):
            for item in node.items:
                yield from self._helpful(item, target, member, day)
        elif isinstance(node, Within) and node.rule is not None:
            # What is unknown there is not in it.
            yield from self._helpful(node.rule, _TRUE if True in target else _NOT_TRUE, member, day)
        elif not isinstance(node, Everyone):
            yield node, target

    def _counted(self, leaf: Leaf, target: frozenset[Truth], change: Change, key: Key, day: date) -> Iterator[Change]:
        """The smallest number that makes the condition what it should be, for each side it may be reached from."""
        least, most = int(change.get(key)), self._most(change, key)
        numbers: set[int] = set()
        for reached in self._sides(leaf, target, change, key, day):
            number = _smallest(reached, least, most)
            if number is not None and number not in numbers:
                numbers.add(number)
                wider = change.having(key, number)
                if self._holds(leaf, wider, day) in target:
                    yield wider

    def _sides(
        self, leaf: Leaf, target: frozenset[Truth], change: Change, key: Key, day: date
    ) -> Iterator[Callable[[int], bool]]:
        """What to look for: that the condition is as it should be, or that its field passes a value, for `==` is true at one alone."""
        yield lambda number: self._holds(leaf, change.having(key, number), day) in target
        if not isinstance(leaf, Compare | Membership):
            return
        for value in leaf.values if isinstance(leaf, Membership) else (leaf.value,):
            if not isinstance(value, str):
                side = self._side(leaf, change, day, Fraction(value))
                yield lambda number, value=value, side=side: (  # type: ignore[misc]
                    self._side(leaf, change.having(key, number), day, Fraction(value)) != side
                )

    def _side(self, leaf: Compare | Membership, change: Change, day: date, value: Fraction) -> int:
        self.spent += 1
        found = value_of(leaf.field, apply(change, self.snapshot, day), day)
        return -2 if not isinstance(found, Fraction) else (found > value) - (found < value)

    def _holds(self, leaf: Leaf, change: Change, day: date) -> Truth:
        self.spent += 1
        if self.spent > self.budget:
            raise _GaveUp
        return evaluate(leaf, apply(change, self.snapshot, day), day)

    def _most(self, change: Change, key: Key) -> int:
        """How far a number may go: no more is given back than was paid."""
        if key[0] == REFUNDED:
            placed = apply(change.without(key), self.snapshot, self.as_of)
            paid = sum(one.base_minor or 0 for one in placed.orders)
            return max(0, paid - sum(one.base_minor or 0 for one in placed.refunds))
        return MOST_MINOR if key[0] in AMOUNTS else MOST_ROWS

    def _reduced(self, change: Change, day: date) -> Change:
        """Without whatever is not needed after all, and with numbers no greater than needed."""
        dearest = sorted(change.settings, key=lambda one: self._cost(Change({one: change.settings[one]})), reverse=True)
        for key in dearest:
            if self._turned(change.without(key), day):
                change = change.without(key)
        for key, value in list(change.settings.items()):
            if counts(value):
                change = self._lowered(change, key, int(value), day)
        return change

    def _lowered(self, change: Change, key: Key, value: int, day: date) -> Change:
        def turned(number: int) -> bool:
            return self._turned(change.having(key, number), day)

        less = _smallest(turned, 0, value - 1) if value > 1 and turned(value - 1) else None
        return change if less is None else change.having(key, less)

    def _cost(self, change: Change) -> float:
        """How much it would take: an order is the measure."""
        amounts = sum(int(value) for key, value in change.settings.items() if key[0] in AMOUNTS)
        counted = 2.0 * change.orders + 3 * change.refunds + amounts / self.usual
        return counted + sum(_weight(key) * int(value) for key, value in _rows(change)) + 0.01 * len(change.settings)


def _rows(change: Change) -> Iterable[tuple[Key, int]]:
    """What else is counted or set, with its number."""
    for key, value in change.settings.items():
        if key[0] not in AMOUNTS and key[0] != ORDERS:
            yield key, int(value) if counts(value) else 1


_WEIGHTS = {"messages": 0.5, "consent": 1.0, "pieces": 0.2, "kinds": 0.2, "coupons": 0.1, "bought_times": 0.2}
_DEAR = {"tag": 2.0, "list": 2.0, "suppressed": 3.0, "level": 4.0, "account": 2.0, "text": 6.0, "attribute": 4.0}


def _weight(key: Key) -> float:
    return _WEIGHTS.get(key[0], _DEAR.get(key[0], 0.1))


def _smallest(reached: Callable[[int], bool], least: int, most: int) -> int | None:
    """The least number above `least` that will do, where more of it goes on doing."""
    step, low = 1, least
    while True:
        high = min(least + step, most)
        if high <= low:
            return None
        if reached(high):
            break
        low, step = high, step * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
