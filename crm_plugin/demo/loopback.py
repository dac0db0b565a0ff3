"""Small servers on this machine's own address, in threads, that stop at once and leave no connection open."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

HOST = "127.0.0.1"
# What a caller may send in one request; enough for any message.
_LARGEST = 32 * 2**20


class LoopbackServer(socketserver.ThreadingTCPServer):
    """A threaded server bound to the loopback address alone."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, port: int, handler: type[socketserver.BaseRequestHandler]) -> None:
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__((HOST, port), handler)

    @property
    def port(self) -> int:
        """The port in use, also when 0 was asked for."""
        return int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, so that one that is kept alive ends with the server."""
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection and close it."""
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that hangs up is no error of ours; anything else is told as usual."""
        import sys

        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def hang_up(self) -> None:
        """End all connections."""
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def running(server: LoopbackServer) -> Iterator[None]:
    """Serve in the background until the end of the block."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name=type(server).__name__, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.hang_up()
        server.server_close()
        thread.join()


class JsonHandler(BaseHTTPRequestHandler):
    """HTTP/1.1 with kept connections and JSON answers; a subclass fills `answer`."""

    protocol_version = "HTTP/1.1"
    # An answer in two packets would wait for the caller's acknowledgement of the first.
    disable_nagle_algorithm = True
    wbufsize = -1

    def answer(self, method: str, path: str, query: str, body: bytes) -> None:
        """Answer one request by `reply`; `path` is decoded, `query` is not."""
        raise NotImplementedError

    def reply(
        self, status: int, body: bytes | dict[str, Any] | list[Any], headers: dict[str, str] | None = None
    ) -> None:
        """Send an answer; bytes are JSON already."""
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a demo's terminal belongs to the demo."""

    def _handle(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > _LARGEST:
            self.close_connection = True
            self.reply(413, {"code": "too_large", "message": "The request is too large."})
            return
        address = urlsplit(self.path)
        self.answer(self.command, unquote(address.path), address.query, self.rfile.read(int(length)))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _handle
