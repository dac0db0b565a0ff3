"""Which of several clocks ticks: whoever holds the clock's lease. The others stand by and take it when it runs out."""

from __future__ import annotations

import logging
import secrets
from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError

from crm_plugin.runtime import Runtime
from crm_plugin.store import leases

CLOCK = "clock"
# A clock that is gone is followed by another after this long. It is renewed at each tick and between them.
SPAN = timedelta(seconds=45)
RENEW_SECONDS = 15
_log = logging.getLogger(__name__)


class Leader:
    """One candidate. Two that hold themselves for the leader at once ask for the same jobs, which are taken once."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._token = secrets.token_hex(8)
        self._led = False

    def leads(self) -> bool:
        """Renew the lease or take it; False when another holds it, or the database is away."""
        now = self._runtime.clock.now()
        try:
            with self._runtime.db.write() as connection:
                whose = (connection, leases.EVERYBODY, CLOCK, self._token, now, SPAN)
                leads = leases.keep(*whose) or leases.take(*whose)
        except SQLAlchemyError as error:
            _log.error("the clock cannot reach the database: %s", type(error).__name__)
            leads = False
        if leads != self._led:
            _log.info("this clock %s", "leads" if leads else "stands by")
        self._led = leads
        return leads

    def resign(self) -> None:
        """Let another take over at once."""
        with self._runtime.db.write() as connection:
            leases.give_back(connection, leases.EVERYBODY, CLOCK, self._token)
