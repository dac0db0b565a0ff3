"""A store's keys in the database, renewed by one at a time: two that renew at once would end each other's."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select, update

from crm_plugin.errors import NotFound, TransientError
from crm_plugin.phrases import phrase
from crm_plugin.store import leases, shops
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop

# What a renewal is called among the leases of a shop.
NAME = "keys"
# A renewal is a call or two; whoever died at it is waited for no longer.
_SPAN = timedelta(seconds=60)
_PATIENCE, _PAUSE = 75.0, 0.25


def keep_in(connection: Connection, box: SecretBox, shop_id: int, told: Mapping[str, Any]) -> None:
    """Put these in place of what a store keeps of the same name."""
    whose = shops.c.shop_id == shop_id
    sealed = connection.execute(select(shops.c.credentials).where(whose).with_for_update()).scalar()
    # Taken away meanwhile: its keys are dead, and none are to come back.
    if sealed is not None:
        values = {**box.open(sealed), **told}
        connection.execute(update(shops).where(whose).values(credentials=box.seal(values)))


class ShopKeeper:
    """The `Keeper` of one store (`adapters/storefronts/credentials.py`)."""

    def __init__(
        self,
        db: Database,
        box: SecretBox,
        shop: Shop,
        *,
        sleep: Callable[[float], None] = time.sleep,
        patience: float = _PATIENCE,
    ) -> None:
        self._db, self._box, self._shop_id, self._platform = db, box, shop.shop_id, shop.platform
        self._sleep, self._patience = sleep, patience

    @contextmanager
    def alone(self) -> Iterator[dict[str, Any]]:
        """The keys as they are kept now, while nobody else renews them. Raises: TransientError when another is at it for too long."""
        token = secrets.token_hex(16)
        self._wait_for(token)
        try:
            yield self._kept()
        finally:
            with self._db.write() as connection:
                leases.give_back(connection, self._shop_id, NAME, token)

    def keep(self, renewed: Mapping[str, Any]) -> None:
        """Put these in place of those of the same name, in one transaction."""
        with self._db.write() as connection:
            keep_in(connection, self._box, self._shop_id, renewed)

    def _wait_for(self, token: str) -> None:
        waited = 0.0
        while not self._taken(token):
            if waited >= self._patience:
                raise TransientError(
                    phrase("Somebody else renews the keys of this store for too long."),
                    adapter=self._platform,
                    operation="renew",
                )
            self._sleep(_PAUSE)
            waited += _PAUSE

    def _taken(self, token: str) -> bool:
        with self._db.write() as connection:
            return leases.take(connection, self._shop_id, NAME, token, datetime.now(UTC), _SPAN)

    def _kept(self) -> dict[str, Any]:
        with self._db.read() as connection:
            row = connection.execute(select(shops.c.credentials).where(shops.c.shop_id == self._shop_id)).first()
        if row is None:
            raise NotFound(phrase("That shop is no longer here."))
        return self._box.open(row.credentials) if row.credentials else {}
