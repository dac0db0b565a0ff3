"""Connections that are kept open between mails."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from crm_plugin.adapters.channels.mime import Mail
from crm_plugin.adapters.channels.smtp.connection import Connection, ConnectionLost
from crm_plugin.adapters.channels.smtp.opening import Server
from crm_plugin.errors import AdapterError, OutcomeUnknown, TransientError
from crm_plugin.phrases import phrase


def lost(why: Exception) -> TransientError:
    """The error of a mail whose connection, a new one, broke before it was handed over."""
    return TransientError(
        phrase("The mail server closed the connection before the mail was handed over: %(why)s.", why=why),
        adapter="smtp",
        operation="send",
    )


class Pool:
    """Connections lent to one thread at a time; as many stay open as there were senders at once."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._closed = False

    def send(self, mail: Mail) -> None:
        """Send over a kept connection, or a new one when there is none or the kept one was closed meanwhile."""
        kept = self.take()
        if kept is not None:
            try:
                self._over(kept, mail)
                return
            except ConnectionLost:
                pass  # Closed by the server while it stood idle: nothing was delivered, a new one is worth one try.
        try:
            self._over(Connection(self.server), mail)
        except ConnectionLost as error:
            raise lost(error) from error

    def close(self) -> None:
        """Close what is idle now, and what is in use when it comes back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        # The answers come at the same time, however far away the server is.
        for connection in idle:
            connection.take_leave()
        for connection in idle:
            connection.close()

    def _over(self, connection: Connection, mail: Mail) -> None:
        with self._lent(connection):
            connection.send(mail)

    @contextmanager
    def _lent(self, connection: Connection) -> Iterator[None]:
        try:
            yield
        except (ConnectionLost, OutcomeUnknown):
            connection.close(politely=False)
            raise
        except AdapterError:
            self.give_back(connection)
            raise
        except BaseException:
            connection.close(politely=False)
            raise
        self.give_back(connection)

    def take(self) -> Connection | None:
        """One that is kept; None where there is none."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if not connection.worn:
                return connection
            connection.close()

    def give_back(self, connection: Connection) -> None:
        """Keep it for the next mail."""
        connection.used_at = time.monotonic()
        with self._lock:
            kept = not (self._closed or connection.broken)
            if kept:
                self._idle.append(connection)
        if not kept:
            connection.close()
