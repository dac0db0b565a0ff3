"""`serve`: pages, clock and workers in one process, on this machine's address unless another is asked for."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from cheroot.server import HTTPConnection, HTTPRequest
from cheroot.wsgi import Server as WsgiServer

from crm_plugin.errors import ConfigError

_log = logging.getLogger(__name__)
THREADS = 8
HOST = "127.0.0.1"


class _Request(HTTPRequest):
    """One that hears `Connection: Close` too, as WordPress may write it, which else waits ten seconds for the end of the connection."""

    def read_request_headers(self) -> bool:
        """See cheroot, which compares with `close` alone."""
        is_read: bool = super().read_request_headers()  # type: ignore[no-untyped-call]
        if self.inheaders.get(b"Connection", b"").strip().lower() == b"close":
            self.close_connection = True
        return is_read


class _Connection(HTTPConnection):
    RequestHandlerClass = _Request


@contextmanager
def listening(app: Any, host: str, port: int) -> Iterator[str]:
    """Answer requests in the background until the end of the block; gives the address.

    Raises: ConfigError when the port is taken or the address is not this machine's.
    """
    server = WsgiServer((host, port), app, numthreads=THREADS, request_queue_size=64)
    server.max_request_header_size = 64 * 1024
    server.ConnectionClass = _Connection
    try:
        server.prepare()
    except OSError as error:
        raise ConfigError(
            f"The server cannot listen on {host}:{port}: {error.strerror or error}.",
            hint="Choose another port with --port.",
        ) from error
    thread = threading.Thread(target=server.serve, name="web", daemon=True)
    thread.start()
    shown = HOST if host in ("0.0.0.0", "::") else host  # noqa: S104
    try:
        yield f"http://{shown}:{server.bind_addr[1]}"
    finally:
        server.stop()
        thread.join(timeout=10)


def wait_for_the_end() -> None:
    """Until Ctrl-C or a polite kill."""
    ended = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        ended.set()

    previous = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ended.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
