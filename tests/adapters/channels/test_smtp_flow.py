"""Many mails by one thread: which begins with which, and what becomes of those that are under way when a server breaks off."""

from __future__ import annotations

import dataclasses
import select
import socket
import ssl
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_plugin.adapters.channels.base import Flow, Flowed
from crm_plugin.adapters.channels.smtp import SmtpChannel
from crm_plugin.adapters.channels.smtp import connection as smtp_connection
from crm_plugin.adapters.channels.smtp.connection import Connection
from crm_plugin.adapters.channels.smtp.opening import Server, open_session
from crm_plugin.adapters.channels.smtp.session import Plain
from crm_plugin.errors import OutcomeUnknown, PermanentError, RecipientRefused, TransientError
from crm_plugin.records import Message
from tests.adapters.channels.smtp_server import HANG_UP, SILENCE, Script, SmtpServer
from tests.contracts.provider import certificate, tls_of

MESSAGE = Message("email", "", "", "Dear Anna,\n.\nBye\n", subject="Happy birthday")


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def server(script: Script) -> Iterator[SmtpServer]:
    with SmtpServer(script) as running:
        yield running


@pytest.fixture
def send(server: SmtpServer) -> Iterator[Callable[..., dict[int, Flowed]]]:
    values = {"host": "127.0.0.1", "port": server.port, "security": "none", "from_address": "shop@x.test", "timeout": 5}
    channels: list[SmtpChannel] = []

    def do(count: int, width: int = 1, tls: ssl.SSLContext | None = None, **told: Any) -> dict[int, Flowed]:
        channels.append(SmtpChannel({**values, **told}, tls=tls))
        return flow(channels[-1], count, width)

    yield do
    for channel in channels:
        channel.close()


def flow(channel: SmtpChannel, count: int, width: int) -> dict[int, Flowed]:
    """Hand over so many mails, as many at a time as there is room for."""
    ways = channel.flow()
    ends: dict[int, Flowed] = {}
    left = list(range(count))
    while left or ways.under_way:
        while left and ways.room(width) > 0:
            _put(ways, width, left.pop(0))
        for end in ways.ended(wait=True):
            assert end.tag not in ends
            ends[end.tag] = end
    ways.close()
    return ends


def _put(ways: Flow, width: int, *tags: int) -> None:
    for tag in tags:
        ways.put(tag, dataclasses.replace(MESSAGE, to=f"m{tag}@x.test", touchpoint_key=f"key:{tag}"), width)


def _kinds(ends: dict[int, Flowed]) -> list[type | None]:
    return [type(end.error) if end.error else None for _, end in sorted(ends.items())]


def test_each_begins_with_the_body_before_it(send: Callable[..., dict[int, Flowed]], script: Script) -> None:
    ends = send(5)
    assert _kinds(ends) == [None] * 5
    assert len({end.result.provider_message_id for end in ends.values() if end.result}) == 5
    assert script.connections == 1
    assert script.verbs[:16] == ["EHLO", *["MAIL", "RCPT", "DATA"] * 5]
    assert [mail.recipient for mail in script.mails] == [f"m{tag}@x.test" for tag in range(5)]
    texts = [message_from_bytes(mail.data, policy=policy.default).get_content() for mail in script.mails]
    assert texts == ["Dear Anna,\r\n.\r\nBye\r\n"] * 5


@pytest.mark.parametrize("answer", ["250 2.0.0 queued as 7", "451 4.3.0 later", "554 5.6.0 spam"])
@pytest.mark.parametrize("extensions", [(), ("PIPELINING",)])
def test_answer_to_a_body_that_nobody_has_seen_is_none(
    send: Callable[..., dict[int, Flowed]], script: Script, extensions: tuple[str, ...], answer: str
) -> None:
    """It comes in one piece with the leave to send the body, and tells neither that the mail was taken nor that it was not."""
    script.extensions = extensions
    script.once["DATA"] = f"354 go on\r\n{answer}"
    first, *others = _kinds(send(3))
    assert (first, others) == (TransientError, [None, None])
    assert sorted(mail.recipient for mail in script.mails) == ["m1@x.test", "m2@x.test"]
    assert "MIME-VERSION:" not in script.verbs


def test_mail_that_tls_handed_over_before_it_broke_is_in_doubt(
    server: SmtpServer, script: Script, tmp_path: Path
) -> None:
    """The record in which the body ends has left, the one after it is stuck: then the connection breaks."""
    pem = certificate(tmp_path / "mail.pem")
    script.tls = tls_of(pem)
    trust = ssl.create_default_context(cafile=str(pem))
    trust.check_hostname = False
    values = {"host": "127.0.0.1", "port": server.port, "security": "starttls", "from_address": "s@x.test"}
    channel = SmtpChannel({**values, "timeout": 5}, tls=trust)
    first, second = (channel.built(dataclasses.replace(MESSAGE, to="m@x.test", touchpoint_key=key)) for key in "ab")
    # A record ends where the mail does, which has a dot to double and one to end with.
    filled = first.data + b"x" * (smtp_connection._RECORD - len(first.data) - len("\r\n...\r\n") + 1)
    first = dataclasses.replace(first, data=filled + b"\r\n")
    connection = Connection(channel.server)
    stuck = _Stuck(connection.sock)
    connection.sock = stuck  # type: ignore[assignment]
    connection.begin(first)
    while not (ends := connection.go_on(lambda: second)):
        select.select([stuck] if connection.wants == smtp_connection.READ else [], [], [], 0.1)
    assert [type(end.error) for end in ends] == [OutcomeUnknown, smtp_connection.ConnectionLost]
    stuck.settimeout(5)
    assert b"queued" in stuck.recv(4096)
    assert [mail.recipient for mail in script.mails] == ["m@x.test"]
    connection.close(politely=False)
    channel.close()


class _Stuck:
    """A socket whose kernel takes one large record and no more, and then hears that the other side is gone.

    As OpenSSL does, it writes what it is given record by record, and does not tell of the first where it cannot write the second.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self._full = sock, False

    def send(self, data: bytes) -> int:
        if self._full:
            raise BrokenPipeError
        if len(data) < smtp_connection._RECORD:
            return self._sock.send(data)
        self._full = True
        self._sock.settimeout(5)
        count = self._sock.send(data[: smtp_connection._RECORD])
        self._sock.setblocking(False)
        if len(data) > count:
            raise ssl.SSLWantWriteError
        return count

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


@pytest.mark.parametrize("extensions", [(), ("PIPELINING",)])
def test_several_connections_lose_and_double_nothing(
    send: Callable[..., dict[int, Flowed]], script: Script, extensions: tuple[str, ...]
) -> None:
    script.extensions = extensions
    assert _kinds(send(40, 4)) == [None] * 40
    assert sorted(mail.recipient for mail in script.mails) == sorted(f"m{tag}@x.test" for tag in range(40))
    assert 1 <= script.connections <= 4


class _Interrupt:
    """Raises KeyboardInterrupt in this thread as soon as so many lines of the dialogue have run."""

    def __init__(self, lines: int) -> None:
        self.left = lines

    def __enter__(self) -> None:
        sys.settrace(lambda frame, *_: self._line if "channels/smtp" in frame.f_code.co_filename else None)

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _line(self, _frame: Any, event: str, _told: Any) -> Any:
        self.left -= event == "line"
        if self.left == 0:
            sys.settrace(None)
            raise KeyboardInterrupt
        return self._line


@pytest.mark.parametrize("extensions", [(), ("PIPELINING",)])
# A connection that is being put away as the interrupt comes is left to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.integers(1, 2500))
def test_interrupt_amid_whatever_step_ends_it_and_gives_no_mail_to_another(
    server: SmtpServer, script: Script, extensions: tuple[str, ...], lines: int
) -> None:
    script.extensions = extensions
    script.mails.clear()
    values = {"host": "127.0.0.1", "port": server.port, "security": "none", "from_address": "shop@x.test", "timeout": 5}
    channel = SmtpChannel(values)
    ways, told, begun, ends = channel.flow(), [], 0, 0
    try:
        with _Interrupt(lines):
            while begun < 8 or ways.under_way:
                while begun < 8 and ways.room(2) > 0:
                    begun += 1
                    _put(ways, 2, begun - 1)
                told += ways.ended(wait=True)
    except KeyboardInterrupt:
        while ways.under_way:
            told += ways.ended(wait=True)
            ends += 1
            assert ends < 100
    ways.close()
    channel.close()
    assert len({end.tag for end in told}) == len(told)
    taken = [mail.recipient for mail in script.mails]
    assert len(set(taken)) == len(taken)
    for mail in script.mails:
        assert message_from_bytes(mail.data, policy=policy.default)["To"] == mail.recipient
    for end in told:
        assert (f"m{end.tag}@x.test" in taken) == (end.error is None) or isinstance(end.error, OutcomeUnknown)


class _Counted:
    """A socket that counts what it is asked for, and how often there was nothing to read."""

    def __init__(self, sock: socket.socket, calls: Counter[str]) -> None:
        self._sock, self._calls = sock, calls

    def send(self, data: bytes) -> int:
        self._calls["send"] += 1
        return self._sock.send(data)

    def recv(self, most: int) -> bytes:
        try:
            return self._sock.recv(most)
        except BlockingIOError:
            self._calls["nothing to read"] += 1
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def test_mail_is_written_at_once_and_nothing_is_read_in_vain(
    send: Callable[..., dict[int, Flowed]], script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()

    def counted(server: Server) -> Plain:
        smtp = open_session(server)
        assert smtp.sock is not None
        smtp.sock = _Counted(smtp.sock, calls)  # type: ignore[assignment]
        return smtp

    monkeypatch.setattr(smtp_connection, "open_session", counted)
    assert _kinds(send(40, 2)) == [None] * 40
    # Of each connection, the first is announced alone; one that opens late has none.
    assert set(calls) == {"send"}
    assert 40 < calls["send"] <= 40 + script.connections


def test_one_that_cannot_be_made_is_not_under_way(send: Callable[..., dict[int, Flowed]], server: SmtpServer) -> None:
    channel = SmtpChannel({"host": "127.0.0.1", "port": server.port, "security": "none", "from_address": "s@x.test"})
    ways = channel.flow()
    with pytest.raises(PermanentError):
        ways.put(1, dataclasses.replace(MESSAGE, text="", to="a@x.test", touchpoint_key="k"), 1)
    assert ways.under_way == 0
    ways.close()
    channel.close()


def test_refused_one_ends_alone(send: Callable[..., dict[int, Flowed]], script: Script) -> None:
    script.refused["m2@x.test"] = "550 5.1.1 no such user"
    assert _kinds(send(5)) == [None, None, RecipientRefused, None, None]
    assert (script.connections, len(script.mails)) == (1, 4)
    assert script.verbs.count("RSET") == 1


def test_body_that_is_refused_leaves_the_one_that_came_with_it(
    send: Callable[..., dict[int, Flowed]], script: Script
) -> None:
    script.once["BODY"] = "554 5.6.0 looks like spam"
    assert _kinds(send(3)) == [PermanentError, None, None]
    assert [mail.recipient for mail in script.mails] == ["m1@x.test", "m2@x.test"]


def test_of_two_that_went_together_only_the_first_is_in_doubt(
    send: Callable[..., dict[int, Flowed]], script: Script
) -> None:
    script.once["BODY"] = HANG_UP
    assert _kinds(send(4)) == [OutcomeUnknown, None, None, None]
    assert (script.connections, sorted(mail.recipient for mail in script.mails)) == (
        2,
        ["m1@x.test", "m2@x.test", "m3@x.test"],
    )


def test_one_that_came_with_a_body_answered_by_a_farewell_goes_over_another(
    send: Callable[..., dict[int, Flowed]], script: Script
) -> None:
    script.once["BODY"] = "421 4.3.2 shutting down"
    assert _kinds(send(3)) == [TransientError, None, None]
    assert (script.connections, len(script.mails)) == (2, 2)


def test_server_that_hangs_up_on_all_that_stand_idle_is_asked_anew(server: SmtpServer, script: Script) -> None:
    taken: list[socket.socket] = []
    process = server.process_request

    def keep(request: Any, address: Any) -> None:
        taken.append(request)
        process(request, address)

    server.process_request = keep  # type: ignore[method-assign]
    channel = SmtpChannel({"host": "127.0.0.1", "port": server.port, "security": "none", "from_address": "s@x.test"})
    ways: Any = channel.flow()
    _put(ways, 2, 0, 1)
    while ways.under_way or len(ways._open) + len(ways._opening) < 2 or ways._opening:
        ways.ended(wait=True)
    for one in taken:
        one.shutdown(socket.SHUT_RDWR)
    while ways._open:
        assert ways.ended(wait=False) == []
    _put(ways, 2, 2)
    while ways.under_way:
        assert [end.error for end in ways.ended(wait=True)] in ([], [None])
    ways.close()
    channel.close()
    assert [script.connections, len(script.mails)] == [3, 3]


def test_one_that_goes_out_with_a_body_gives_the_body_no_more_time(server: SmtpServer, script: Script) -> None:
    script.replies["BODY"] = SILENCE
    # With so long a time-out for each answer it is the mail's own that ends it.
    values = {"host": "127.0.0.1", "port": server.port, "security": "none", "from_address": "s@x.test", "timeout": 600}
    channel = SmtpChannel(values)
    first, second = (channel.built(dataclasses.replace(MESSAGE, to="m@x.test", touchpoint_key=key)) for key in "ab")
    connection, left = Connection(channel.server), [second]
    connection.begin(first)
    until = connection.until
    while left:
        assert connection.go_on(left.pop) == []
    assert connection.until == until
    connection.close(politely=False)


def test_worn_connections_are_left(
    send: Callable[..., dict[int, Flowed]], script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp_connection, "MAILS_PER_CONNECTION", 2)
    assert _kinds(send(7)) == [None] * 7
    assert (script.connections, len(script.mails)) == (4, 7)


def test_goodbyes_are_said_together(server: SmtpServer, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server answers none of them before it has heard all."""
    values = {"host": "127.0.0.1", "port": server.port, "security": "none", "from_address": "s@x.test", "timeout": 5}
    channel = SmtpChannel(values)
    flow(channel, 40, 4)
    usual, all_said = server.RequestHandlerClass._chosen, threading.Barrier(script.connections)  # type: ignore[attr-defined]

    def chosen(handler: Any, place: str, usually: str) -> str:
        if place == "QUIT":
            all_said.wait(5)
        return str(usual(handler, place, usually))

    monkeypatch.setattr(server.RequestHandlerClass, "_chosen", chosen)
    channel.close()
    assert script.verbs.count("QUIT") == script.connections > 1
    assert not all_said.broken


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("most", [1, 2])
def test_server_that_hangs_up_after_a_few_mails_takes_all(
    send: Callable[..., dict[int, Flowed]],
    script: Script,
    server: SmtpServer,
    monkeypatch: pytest.MonkeyPatch,
    most: int,
    width: int,
) -> None:
    """It says nothing of it: what it was told of the next mail with the last body is lost, and goes over a new connection."""
    write, taken = server.RequestHandlerClass._write, Counter[Any]()  # type: ignore[attr-defined]

    def then_hang_up(handler: Any, reply: str) -> None:
        write(handler, reply)
        taken[handler] += "queued" in reply
        if taken[handler] == most:
            write(handler, HANG_UP)

    monkeypatch.setattr(server.RequestHandlerClass, "_write", then_hang_up)
    assert _kinds(send(40, width)) == [None] * 40
    assert sorted(mail.recipient for mail in script.mails) == sorted(f"m{tag}@x.test" for tag in range(40))


def test_server_that_takes_fewer_connections_has_fewer(
    send: Callable[..., dict[int, Flowed]], script: Script, server: SmtpServer
) -> None:
    greeted = iter(["220 mail.test", *["421 too many connections"] * 100])
    usual = server.RequestHandlerClass._chosen  # type: ignore[attr-defined]

    def chosen(handler: Any, place: str, usually: str) -> str:
        return next(greeted) if place == "GREETING" else usual(handler, place, usually)

    server.RequestHandlerClass._chosen = chosen  # type: ignore[attr-defined]
    try:
        assert _kinds(send(20, 4)) == [None] * 20
    finally:
        server.RequestHandlerClass._chosen = usual  # type: ignore[attr-defined]
    # It is not asked for more again and again.
    assert (len(script.mails), script.connections) == (20, 4)


def test_server_that_is_not_there_is_told_of_each(server: SmtpServer) -> None:
    values = {"host": "127.0.0.1", "port": 9, "security": "none", "from_address": "shop@x.test", "timeout": 2}
    channel = SmtpChannel(values)
    assert _kinds(flow(channel, 5, 2)) == [TransientError] * 5
    channel.close()


def test_encrypted_mails_flow_too(
    send: Callable[..., dict[int, Flowed]], script: Script, server: SmtpServer, tmp_path: Path
) -> None:
    pem = certificate(tmp_path / "mail.pem")
    script.tls = tls_of(pem)
    trust = ssl.create_default_context(cafile=str(pem))
    trust.check_hostname = False
    assert _kinds(send(20, 3, tls=trust, security="starttls")) == [None] * 20
    assert len({mail.recipient for mail in script.mails}) == len(script.mails) == 20


_PLACES = st.sampled_from(["MAIL", "RCPT", "DATA", "BODY", "RSET"])
_REPLIES = st.sampled_from(
    [HANG_UP, "421 4.3.2 closing", "450 later", "550 5.1.1 no", "554 never", "250 ok", "354 go on", "999 what", "hello"]
)


@pytest.mark.slow
@given(
    faults=st.lists(st.tuples(_PLACES, st.integers(0, 12), _REPLIES), max_size=6),
    width=st.integers(1, 4),
    pipelining=st.booleans(),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_server_does_each_ends_once_and_what_was_taken_is_told_as_taken_or_in_doubt(
    faults: list[tuple[str, int, str]], width: int, pipelining: bool
) -> None:
    script = Script(("PIPELINING",) if pipelining else ())
    due = {(place, number): reply for place, number, reply in faults}
    counts: dict[str, int] = {}
    with SmtpServer(script) as server:
        usual = server.RequestHandlerClass._chosen  # type: ignore[attr-defined]

        def chosen(handler: Any, place: str, usually: str) -> str:
            with script.lock:
                number = counts[place] = counts.get(place, -1) + 1
            return due.get((place, number), usually)

        server.RequestHandlerClass._chosen = chosen  # type: ignore[attr-defined]
        try:
            values = {"host": "127.0.0.1", "port": server.port, "security": "none", "from_address": "shop@x.test"}
            channel = SmtpChannel({**values, "timeout": 2})
            ends = flow(channel, 10, width)
            channel.close()
        finally:
            server.RequestHandlerClass._chosen = usual  # type: ignore[attr-defined]
    assert sorted(ends) == list(range(10))
    taken = [mail.recipient for mail in script.mails]
    assert len(set(taken)) == len(taken)
    for tag, end in ends.items():
        arrived = f"m{tag}@x.test" in taken
        if end.error is None:
            assert arrived
        elif not isinstance(end.error, OutcomeUnknown):
            assert not arrived, end.error
