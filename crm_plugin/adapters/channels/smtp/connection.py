"""One SMTP connection that is kept: it never waits by itself, so that one thread can drive many (`flow.py`).

MAIL, RCPT and DATA go out together (PIPELINING, RFC 2920) where the server offers it, and together with the body of the mail before them
where one follows another: then a mail costs one round trip. What can go wrong is told apart by one line, the end of the body: before it
nothing can have been delivered, after it we cannot know.
"""

from __future__ import annotations

import re
import select
import ssl
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from crm_plugin.adapters.channels.mime import Mail
from crm_plugin.adapters.channels.smtp.opening import Server, open_session
from crm_plugin.adapters.channels.smtp.reading import OutOfStep, Replies
from crm_plugin.adapters.channels.smtp.replies import Stage, error_for
from crm_plugin.adapters.channels.smtp.session import LARGEST_TALK
from crm_plugin.errors import AdapterError, OutcomeUnknown
from crm_plugin.phrases import phrase

# Servers commonly close after a hundred mails or a minute without one; we go first.
MAILS_PER_CONNECTION = 100
IDLE_SECONDS = 45.0
# Of what comes: a server's answers to a mail or two.
_CHUNK = 4096
# What TLS encrypts in one piece (RFC 8446, 5.1).
_RECORD = 16384
READ, WRITE = select.POLLIN, select.POLLOUT
# What says that the other side is not ready yet; of TLS, reading may want to write and the other way round.
_NOT_YET = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class ConnectionLost(Exception):
    """The connection broke before the body was complete: nothing was delivered."""


@dataclass(slots=True, eq=False)
class _Course:
    """A mail on its way. `ends_at` is where in all that was ever written its body ends; None before it is given."""

    mail: Mail
    refused: AdapterError | None = None
    ends_at: int | None = None


@dataclass(slots=True)
class Ended:
    """What came of a mail: the server took it where there is no error."""

    mail: Mail
    error: Exception | None = None


class Connection:
    """A session with one server, greeted, encrypted and logged in. Used by one thread at a time.

    `begin` takes a mail while it is idle; whenever the socket can do what `wants` says, `go_on` is called, until what `begin` took has
    ended and it is idle again. `expire` is called when that did not happen by `until`.
    """

    def __init__(self, server: Server) -> None:
        self.sent = 0
        self.broken = self._left = False
        # While a step is made, and for ever where an exception from without (an interrupt) came amid one.
        self.torn = False
        self.used_at = time.monotonic()
        self._smtp = open_session(server)
        self._pipelining = self._smtp.has_extn("pipelining")
        self._size = self._smtp.has_extn("size")
        assert self._smtp.sock is not None
        self.sock = self._smtp.sock
        self.sock.setblocking(False)
        self.wants = READ
        self._timeout, self._whole = server.timeout, server.whole
        self._out, self._asked, self._written = bytearray(), 0, 0
        self._in, self._read = Replies(), 0
        # Whether there is nothing to read as far as known. What TLS has read of the socket already, no selector tells of.
        self._is_drained, self._is_plain = False, not isinstance(self.sock, ssl.SSLSocket)
        # What replies are still due to: each with where in all that was ever written it ends.
        self._expects: deque[tuple[Stage | None, _Course | None, int]] = deque()
        self._step_until = self._quiet_until = 0.0

    @property
    def worn(self) -> bool:
        """Whether it should be left rather than used again."""
        return self.sent >= MAILS_PER_CONNECTION or time.monotonic() - self.used_at > IDLE_SECONDS

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._expects

    @property
    def until(self) -> float:
        """The instant of the monotonic clock by which something has to happen."""
        return min(self._step_until, self._quiet_until)

    def send(self, mail: Mail) -> None:
        """Send one mail and wait for it.

        Raises: ConnectionLost before the body was complete, OutcomeUnknown after it; else the error of the reply.
        """
        self.begin(mail)
        ends = self.go_on()
        while not self.idle:
            waiting = select.poll()
            waiting.register(self.sock, self.wants)
            left = self.until - time.monotonic()
            ends += self.go_on() if left > 0 and waiting.poll(left * 1000) else self.expire()
        [end] = ends
        if end.error is not None:
            raise end.error

    def begin(self, mail: Mail) -> None:
        """A mail begins."""
        torn, self.torn = self.torn, True
        self._step_begins()
        self._ask(_Course(mail))
        self._is_drained = self._is_plain
        self.torn = torn

    def _ask(self, course: _Course) -> None:
        mail = course.mail
        size = f" SIZE={len(mail.data)}" if self._size else ""
        self._tell(f"MAIL FROM:<{mail.sender}>{size}\r\n".encode("ascii"), Stage.SENDER, course)
        if self._pipelining:
            self._tell(f"RCPT TO:<{mail.recipient}>\r\n".encode("ascii"), Stage.RECIPIENT, course)
            self._tell(b"DATA\r\n", Stage.DATA, course)

    def _tell(self, what: bytes, stage: Stage | None, course: _Course | None) -> None:
        self._out += what
        self._asked += len(what)
        self._expects.append((stage, course, self._asked))

    def _step_begins(self) -> None:
        now = time.monotonic()
        self._step_until, self._quiet_until, self._read = now + self._whole, now + self._timeout, 0

    def go_on(self, follow: Callable[[], Mail | None] = lambda: None) -> list[Ended]:
        """Write and read what can be without waiting; answers the mails that have ended.

        `follow` is asked for the mail that goes out together with a body.
        """
        if self.torn:
            # What it wrote last, nobody knows: to write on could give one mail's body to the recipient of another.
            return self._fail("interrupted", torn=True)
        self.torn = True
        ends = self._step(follow)
        self.torn = False
        return ends

    def _step(self, follow: Callable[[], Mail | None]) -> list[Ended]:
        ends: list[Ended] = []
        try:
            # What is read before all is written could answer nothing that was asked for.
            while not self.broken and self._flush() and not self._is_drained and (more := self._fill()):
                for code, text in self._in.add(more):
                    self._heard(code, text, follow, ends)
                    if self.broken:
                        break
        except OSError as error:
            return ends + self._fail(str(error))
        self._is_drained = False
        if self.broken and not self.idle:
            # It is about to close; what went out together with a body has not been given its own.
            return ends + self._fail("the server closes the connection")
        return ends

    def expire(self) -> list[Ended]:
        """It took too long."""
        return self._fail("the server took too long", torn=self.torn)

    def _flush(self) -> bool:
        """Write; whether all is written."""
        while self._out:
            try:
                # What TLS does not take as a whole it may have handed over in part, and tells nothing of it: but for a single record.
                count = self.sock.send(self._out if self._is_plain else self._out[:_RECORD])
            except _NOT_YET as error:
                self.wants = READ if isinstance(error, ssl.SSLWantReadError) else WRITE
                return False
            del self._out[:count]
            self._written += count
            self._quiet_until = time.monotonic() + self._timeout
        self.wants = READ
        return True

    def _fill(self) -> bytes:
        """Read; empty where nothing came yet. Raises: OSError, also at the end of what comes."""
        try:
            more = self.sock.recv(_CHUNK)
        except _NOT_YET as error:
            self.wants = WRITE if isinstance(error, ssl.SSLWantWriteError) else READ
            return b""
        self._read += len(more)
        if not more:
            raise OSError("the server hung up")
        if self._read > LARGEST_TALK:
            raise OSError("the answer is too large")
        self._is_drained = self._is_plain and len(more) < _CHUNK
        self._quiet_until = time.monotonic() + self._timeout
        return more

    def _heard(self, code: int, text: str, follow: Callable[[], Mail | None], ends: list[Ended]) -> None:
        if code == 421:
            self.broken = True  # It announces the end of the connection.
        elif not 200 <= code < 600:
            raise _out_of_step(code)
        # Whoever answers what was not told yet answers something else: a body would count as taken that nobody has seen.
        if not self._expects or self._expects[0][2] > self._written:
            raise _out_of_step(code)
        stage, course, _ = self._expects[0]
        if stage is None or course is None:
            self._expects.popleft()
            self.broken = self.broken or code != 250
        elif course.ends_at is not None:
            if 300 <= code < 400:
                raise _out_of_step(code)
            self._expects.popleft()
            ends.append(self._body_heard(course.mail, code, text))
        else:
            refused = _refusal(stage, code, text)
            self._expects.popleft()
            self._command_heard(stage, course, refused, follow, ends)

    def _body_heard(self, mail: Mail, code: int, text: str) -> Ended:
        self.sent += 1
        self.used_at = time.monotonic()
        self._step_begins()
        return Ended(mail, error_for(Stage.DATA, code, text) if code >= 400 else None)

    def _command_heard(
        self,
        stage: Stage,
        course: _Course,
        refused: AdapterError | None,
        follow: Callable[[], Mail | None],
        ends: list[Ended],
    ) -> None:
        if stage is Stage.DATA and refused is None and course.refused is not None:
            # After a refusal the server should not want a body. An empty one could be delivered: hang up instead.
            self.broken = True
        # The first refusal counts: those after it only follow from it.
        course.refused = course.refused or refused
        if self._pipelining and stage is not Stage.DATA:
            return
        if course.refused is not None:
            self._end_refused(course, ends)
        elif stage is Stage.SENDER:
            self._tell(f"RCPT TO:<{course.mail.recipient}>\r\n".encode("ascii"), Stage.RECIPIENT, course)
        elif stage is Stage.RECIPIENT:
            self._tell(b"DATA\r\n", Stage.DATA, course)
        else:
            self._give_body(course, follow)

    def _end_refused(self, course: _Course, ends: list[Ended]) -> None:
        ends.append(Ended(course.mail, _why(course)))
        if self.broken:
            raise OSError("the server is out of step")
        # So that the next may begin.
        self._tell(b"RSET\r\n", None, None)

    def _give_body(self, course: _Course, follow: Callable[[], Mail | None]) -> None:
        data = course.mail.data
        # In a body, a dot that begins a line is doubled, for a line of one dot ends the body.
        if b"\r\n." in data:
            data = _DOT_LINE.sub(b"\r\n..", data)
        self._out += data
        self._asked += len(data)
        self._tell(b".\r\n", Stage.DATA, course)
        course.ends_at = self._asked
        lasts = self._pipelining and not self.broken and self.sent + 1 < MAILS_PER_CONNECTION
        if lasts and (mail := follow()) is not None:
            self._ask(_Course(mail))

    def _fail(self, why: str, *, torn: bool = False) -> list[Ended]:
        """It broke: what that means for each mail that was under way. `torn` where nobody knows what was written last."""
        self.broken = True
        under_way = dict.fromkeys(course for _, course, _ in self._expects if course is not None)
        self._expects.clear()
        return [Ended(course.mail, self._meaning(course, why, torn)) for course in under_way]

    def _meaning(self, course: _Course, why: str, torn: bool) -> Exception:
        if course.ends_at is None:
            return _why(course) if course.refused is not None else ConnectionLost(why)
        if self._written < course.ends_at and not torn:
            # The last bytes were not handed over: the server never saw the end of the mail.
            return ConnectionLost(why)
        return OutcomeUnknown(
            phrase("The mail was handed over, and the mail server's answer did not come."),
            adapter="smtp",
            operation=Stage.DATA.value,
            hint=phrase("It may have been sent; look in the mail server's log for the Message-ID."),
        )

    def take_leave(self) -> None:
        """Say goodbye, and do not wait for the answer yet."""
        if self._left or self.broken or not self.idle:
            return
        with suppress(OSError):
            self._smtp.begin()
            self._smtp.putcmd("QUIT")
            self._left = True

    def close(self, *, politely: bool = True) -> None:
        """Take leave; what the server says to that does not matter any more."""
        try:
            if politely:
                self.take_leave()
            if self._left:
                self._smtp.getreply()
        except OSError:
            pass
        finally:
            self._smtp.close()


_DOT_LINE = re.compile(rb"\r\n\.")


def _refusal(stage: Stage, code: int, text: str) -> AdapterError | None:
    """The error of a no to this command, None for a yes. Raises: OSError for what answers some other command."""
    if code >= 400:
        return error_for(stage, code, text)
    if code != 354 if stage is Stage.DATA else code >= 300:
        raise _out_of_step(code)
    return None


def _why(course: _Course) -> Exception:
    """A refusal that says the server is about to close is about the connection, not about the mail."""
    assert course.refused is not None
    return ConnectionLost(course.refused.excerpt) if course.refused.status == 421 else course.refused


def _out_of_step(code: int) -> OutOfStep:
    return OutOfStep(f"{code} is no answer to what it was told")
