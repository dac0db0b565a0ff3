"""Keys that are renewed while a store is read: who holds them, and how two processes do not renew them against one another."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol


class Keeper(Protocol):
    """Where a store's keys are kept. An adapter whose keys run out asks it; without one (a probe) new keys live as long as the adapter."""

    def alone(self) -> AbstractContextManager[dict[str, Any]]:
        """The keys as they are kept now, while nobody else renews those of this store; whoever waited may find them renewed.

        Raises: TransientError when another holds them for too long.
        """

    def keep(self, renewed: Mapping[str, Any]) -> None:
        """Keep these in place of those of the same name, in one transaction, before they are used."""
