"""How the senders of one round fare: who rests, who has failed how often, and what that means for the rest of the round."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row
from sqlalchemy.exc import DBAPIError

from crm_plugin.adapters.channels.base import ChannelAdapter
from crm_plugin.errors import ActionRequired, ConfigError, TransientError
from crm_plugin.store.session import Database, is_away
from crm_plugin.touchpoints import health, senders
from crm_plugin.touchpoints.calling import Called
from crm_plugin.touchpoints.ended import FIRST_PAUSE, asked_pause

# A sender that fails this often in a row is left alone for the rest of the round.
MOST_FAILURES = 3
_log = logging.getLogger(__name__)


class Faring:
    """What a round knows of its senders. `resting` are those that nothing is given to."""

    def __init__(self, db: Database, shop_id: int) -> None:
        self._db = db
        self._shop_id = shop_id
        self._failures: Counter[str] = Counter()
        # Of a sender that calls many others: who has failed, and until when they are left alone.
        self._away: dict[tuple[str, str], datetime] = {}
        self._recovering: set[str] = set()
        self.resting: set[str] = set()

    def begin(self, connection: Connection, now: datetime) -> None:
        """Read how they were left."""
        self.read(connection, now)
        self._recovering = health.recovering(connection, self._shop_id)

    def read(self, connection: Connection, now: datetime) -> None:
        """Learn also who waits for the merchant or is off by now, and who is left alone for a while."""
        self.resting |= senders.resting(connection, self._shop_id) | set(health.resting(connection, self._shop_id, now))

    def away_until(self, adapter: str, channel: ChannelAdapter | None, address: str, now: datetime) -> datetime | None:
        """Until when those who are called for this address are left alone in this round; None where nobody of them has failed in it."""
        if not self._away or channel is None:
            return None
        until = self._away.get((adapter, channel.whose(address)))
        return until if until is not None and until > now else None

    def heard(self, called: Called, now: datetime) -> None:
        """What a call that has ended tells of its sender."""
        row, error = called.ready.row, called.error
        match error:
            case None:
                self._is_well(row.adapter)
            case TransientError():
                asked = asked_pause(error)
                if whose := called.ready.channel.whose(row.address):
                    self._away[row.adapter, whose] = now + (asked or FIRST_PAUSE)
                else:
                    self._leave_alone(row.adapter, str(error), asked, now)
            case ActionRequired() | ConfigError():
                self.pause(row, str(error), now)
            case _:
                # That is about the message, not about who sends it.
                pass

    def pause(self, row: Row[Any], why: str, now: datetime) -> None:
        """The merchant must act: the sender pauses, its messages wait within their validity."""
        self.resting.add(row.adapter)
        self._tell(lambda connection: senders.pause(connection, row.shop_id, row.adapter, why, now))

    def _is_well(self, adapter: str) -> None:
        self._failures[adapter] = 0
        if adapter in self._recovering:
            self._recovering.discard(adapter)
            self._tell(lambda connection: health.well(connection, self._shop_id, adapter))

    def _leave_alone(self, adapter: str, why: str, asked: timedelta | None, now: datetime) -> None:
        """A sender that names a pause has it; one that fails again and again, or at once after a rest, is left alone too."""
        self._failures[adapter] += 1
        if asked is None and self._failures[adapter] < MOST_FAILURES and adapter not in self._recovering:
            return
        if adapter not in self.resting:
            self.resting.add(adapter)
            self._tell(lambda connection: health.rest(connection, self._shop_id, adapter, now, why, asked))

    def _tell(self, how: Callable[[Connection], object]) -> None:
        """Write how a sender fares. A database that is away forgets it: what calls came to matters more, and the next round sees it too."""
        try:
            with self._db.write() as connection:
                how(connection)
        except DBAPIError as error:
            if not is_away(error):
                raise
            _log.warning("how a sender fares was not written: %s", type(error.orig).__name__)
