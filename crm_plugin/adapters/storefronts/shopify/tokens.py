"""The keys of one store while it is read: renewed before they run out and once when they are refused, by one process at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from crm_plugin.adapters.storefronts.credentials import Keeper
from crm_plugin.adapters.storefronts.shopify import errors
from crm_plugin.adapters.storefronts.shopify.oauth import OAuth

# With less than this left, a call of the longest kind could outlive its token.
EARLY_SECONDS = 300
KEYS = ("access_token", "refresh_token", "expires_at")


class Tokens:
    """Hands out the access token. `keeper` is asked when keys are renewed; without one they live as long as this object.

    Keys without a refresh token never run out: they are those of an app that the merchant made.
    """

    def __init__(
        self,
        shop: str,
        keys: Mapping[str, Any],
        oauth: OAuth,
        keeper: Callable[[], Keeper | None],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._shop = shop
        self._keys = {key: keys.get(key) for key in KEYS}
        self._oauth = oauth
        self._keeper = keeper
        self._now = now
        self._alone = threading.Lock()

    def current(self) -> str:
        """A token that is good for a while yet. Raises: ActionRequired "reopen" when no new one can be had."""
        return self._renewed("") if self._is_ending() else str(self._keys["access_token"])

    def instead_of(self, refused: str) -> str:
        """A token in place of one that was refused. Raises: ActionRequired when there is none."""
        return self._renewed(refused)

    def _is_ending(self) -> bool:
        ends = self._keys["expires_at"]
        return bool(self._keys["refresh_token"]) and bool(ends) and float(str(ends)) - self._now() < EARLY_SECONDS

    def _renewed(self, refused: str) -> str:
        if not self._keys["refresh_token"]:
            raise errors.for_keys("refresh", renewable=False)
        with self._turn() as kept:
            self._keys |= {key: kept[key] for key in KEYS if key in kept}
            # Whoever had the turn before may have renewed them.
            if self._keys["access_token"] == refused or self._is_ending():
                renewed = self._oauth.refresh(self._shop, str(self._keys["refresh_token"])).keys(self._now())
                if keeper := self._keeper():
                    keeper.keep(renewed)
                self._keys |= renewed
        return str(self._keys["access_token"])

    @contextmanager
    def _turn(self) -> Iterator[dict[str, Any]]:
        keeper = self._keeper()
        with self._alone:
            if keeper is None:
                yield {}
            else:
                with keeper.alone() as kept:
                    yield kept
