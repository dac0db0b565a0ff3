"""Whoever answers a byte at a time holds no call longer than its deadline."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import requests

from crm_plugin import http_client

_WHOLE, _PAUSE, _DRIPS = 0.2, 0.02, 150
# After so many drips the answer is whole, and a call without a deadline comes to its end.
_ANSWERS = {
    "headers": [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Slow: ", *[b"x"] * _DRIPS, b"\r\n\r\n"],
    "body": [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % _DRIPS, *[b"x"] * _DRIPS],
}


@contextmanager
def _dripping(parts: list[bytes]) -> Iterator[int]:
    """A server that answers one call with these parts, a little apart; its port."""
    over = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with suppress(OSError):
            caller, _ = listening.accept()
            with caller as taken:
                taken.recv(65536)
                for part in parts:
                    taken.sendall(part)
                    if over.wait(_PAUSE):
                        return

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        over.set()
        listening.close()
        thread.join()


@pytest.mark.parametrize("what", _ANSWERS)
def test_dripping_answer_ends_with_the_deadline(what: str) -> None:
    with (
        _dripping(_ANSWERS[what]) as port,
        http_client.make_session(whole=_WHOLE) as session,
        pytest.raises(requests.RequestException),
    ):
        session.get(f"http://127.0.0.1:{port}/")


def test_answer_within_the_deadline_is_read() -> None:
    answer = [b"HTTP/1.1 200 OK\r\nContent-", b"Length: 2\r\n\r\no", b"k"]
    with _dripping(answer) as port, http_client.make_session() as session:
        assert session.get(f"http://127.0.0.1:{port}/").text == "ok"
