"""One SMTP connection that is kept, and the pool that threads take them from.

A message costs two round trips: MAIL, RCPT and DATA go out together (PIPELINING, RFC 2920) where the server offers it, then the
body. What can go wrong is told apart by one line, the end of the body: before it nothing can have been delivered, after it we
cannot know.
"""

from __future__ import annotations

import re
import smtplib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from crm_plugin.adapters.channels.mime import Mail
from crm_plugin.adapters.channels.smtp.opening import Server, open_session
from crm_plugin.adapters.channels.smtp.replies import Stage, error_for
from crm_plugin.errors import AdapterError, OutcomeUnknown, TransientError
from crm_plugin.phrases import phrase

# Servers commonly close after a hundred mails or a minute without one; we go first.
MAILS_PER_CONNECTION = 100
IDLE_SECONDS = 45.0
# In a body, a dot that begins a line is doubled, for a line of one dot ends the body.
_DOT_LINE = re.compile(rb"\r\n\.")


class ConnectionLost(Exception):
    """The connection broke before the body was complete: nothing was delivered."""


class Connection:
    """A session with one server, greeted, encrypted and logged in. Used by one thread at a time."""

    def __init__(self, server: Server) -> None:
        self.sent = 0
        self.broken = False
        self.used_at = time.monotonic()
        self._smtp = open_session(server)
        self._pipelining = self._smtp.has_extn("pipelining")
        self._size = self._smtp.has_extn("size")

    @property
    def worn(self) -> bool:
        """Whether it should be left rather than used again."""
        return self.sent >= MAILS_PER_CONNECTION or time.monotonic() - self.used_at > IDLE_SECONDS

    def send(self, mail: Mail) -> tuple[int, str]:
        """Send one mail: the server's last reply.

        Raises: ConnectionLost before the body was complete, OutcomeUnknown after it; else the error of the reply.
        """
        size = f" SIZE={len(mail.data)}" if self._size else ""
        commands = [
            (Stage.SENDER, f"MAIL FROM:<{mail.sender}>{size}"),
            (Stage.RECIPIENT, f"RCPT TO:<{mail.recipient}>"),
            (Stage.DATA, "DATA"),
        ]
        self._smtp.begin()
        try:
            refused = self._together(commands) if self._pipelining else self._one_by_one(commands)
        except OSError as error:
            raise ConnectionLost(str(error)) from error
        if refused is not None:
            self._reset()
            if refused.status == 421:
                raise ConnectionLost(refused.excerpt) from refused
            raise refused
        try:
            # `sendall` that fails has not handed over the last bytes, so the server never saw the end of the message.
            self._smtp.send(_DOT_LINE.sub(b"\r\n..", mail.data) + b".\r\n")
        except OSError as error:
            raise ConnectionLost(str(error)) from error
        self.sent += 1
        return self._last_reply()

    def _last_reply(self) -> tuple[int, str]:
        try:
            code, text = self._reply()
            if 300 <= code < 400:
                raise _out_of_step(code)
        except OSError as error:
            raise OutcomeUnknown(
                phrase("The mail was handed over, and the mail server's answer did not come."),
                adapter="smtp",
                operation=Stage.DATA.value,
                hint=phrase("It may have been sent; look in the mail server's log for the Message-ID."),
            ) from error
        if code >= 400:
            raise error_for(Stage.DATA, code, text)
        return code, text

    def _together(self, commands: list[tuple[Stage, str]]) -> AdapterError | None:
        """Write all commands, then read all replies; the first refusal, for those after it only follow from it."""
        self._smtp.send("".join(f"{command}\r\n" for _, command in commands))
        refused: AdapterError | None = None
        for stage, _ in commands:
            try:
                code, text = self._reply()
            except OSError:
                if refused is None:
                    raise
                self.broken = True
                return refused
            if stage is Stage.DATA and code < 400:
                # After a refusal the server should not want a body. An empty one could be delivered: hang up instead.
                self.broken = refused is not None
            if refused is None:
                refused = _refusal(stage, code, text)
        return refused

    def _one_by_one(self, commands: list[tuple[Stage, str]]) -> AdapterError | None:
        for stage, command in commands:
            self._smtp.send(f"{command}\r\n")
            code, text = self._reply()
            if (refused := _refusal(stage, code, text)) is not None:
                return refused
        return None

    def _reset(self) -> None:
        """End a refused mail, so that the next may begin; a server that hangs up instead changes nothing about the refusal."""
        if self.broken:
            return
        try:
            self.broken = self._smtp.rset()[0] != 250
        except OSError:
            self.broken = True

    def _reply(self) -> tuple[int, str]:
        code, text = self._smtp.getreply()
        if code == 421:
            self.broken = True  # It announces the end of the connection.
        elif not 200 <= code < 600:
            raise _out_of_step(code)
        return code, text.decode("utf-8", "replace")

    def close(self, *, politely: bool = True) -> None:
        """Take leave; what the server says to that does not matter any more."""
        try:
            if politely and not self.broken:
                self._smtp.quit()
        except OSError:
            pass
        finally:
            self._smtp.close()


def _refusal(stage: Stage, code: int, text: str) -> AdapterError | None:
    """The error of a no to this command, None for a yes. Raises: SMTPServerDisconnected for what answers some other command."""
    if code >= 400:
        return error_for(stage, code, text)
    if code != 354 if stage is Stage.DATA else code >= 300:
        raise _out_of_step(code)
    return None


def _out_of_step(code: int) -> smtplib.SMTPServerDisconnected:
    return smtplib.SMTPServerDisconnected(f"{code} is no answer to what it was told")


class Pool:
    """Connections lent to one thread at a time; as many stay open as there were senders at once."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._closed = False

    def send(self, mail: Mail) -> tuple[int, str]:
        """Send over a kept connection, or a new one when there is none or the kept one was closed meanwhile."""
        kept = self._take()
        if kept is not None:
            try:
                return self._over(kept, mail)
            except ConnectionLost:
                pass  # Closed by the server while it stood idle: nothing was delivered, a new one is worth one try.
        try:
            return self._over(Connection(self._server), mail)
        except ConnectionLost as lost:
            raise TransientError(
                phrase("The mail server closed the connection before the mail was handed over: %(why)s.", why=lost),
                adapter="smtp",
                operation="send",
            ) from lost

    def close(self) -> None:
        """Close what is idle now, and what is in use when it comes back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _over(self, connection: Connection, mail: Mail) -> tuple[int, str]:
        with self._lent(connection):
            return connection.send(mail)

    @contextmanager
    def _lent(self, connection: Connection) -> Iterator[None]:
        try:
            yield
        except (ConnectionLost, OutcomeUnknown):
            connection.close(politely=False)
            raise
        except AdapterError:
            self._give_back(connection)
            raise
        except BaseException:
            connection.close(politely=False)
            raise
        self._give_back(connection)

    def _take(self) -> Connection | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if not connection.worn:
                return connection
            connection.close()

    def _give_back(self, connection: Connection) -> None:
        connection.used_at = time.monotonic()
        with self._lock:
            kept = not (self._closed or connection.broken)
            if kept:
                self._idle.append(connection)
        if not kept:
            connection.close()
