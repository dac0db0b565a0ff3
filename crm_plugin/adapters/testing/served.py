"""A made-up store on a real connection of this machine, where an answer can break off and a wait is a wait."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from crm_plugin.adapters.testing.edge import Answered, Asked, NoAnswer
from crm_plugin.adapters.testing.store import Store

_SPACES = b" " * 65536


@contextmanager
def serve(store: Store) -> Iterator[str]:
    """Serve the store until the end of the block; its address, which the store keeps as `served_at` too."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(store, threading.Lock()))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    store.served_at = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield store.served_at
    finally:
        store.served_at = ""
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(store: Store, lock: threading.Lock) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                with lock:
                    answered = store.handle(Asked(self.command, f"{store.served_at}{self.path}", headers, body))
            except NoAnswer:
                # To the caller a lost answer looks the same, early or late.
                self.close_connection = True
                return
            # A caller that has read enough hangs up.
            with suppress(OSError):
                self._send(answered)

        def _send(self, answered: Answered) -> None:
            self.close_connection = answered.cut or answered.endless
            self.send_response(answered.status)
            for name, value in answered.headers.items():
                self.send_header(name, value)
            if not answered.endless:
                self.send_header("Content-Length", str(len(answered.body)))
            self.end_headers()
            self.wfile.write(answered.arriving)
            while answered.endless:
                self.wfile.write(_SPACES)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    return Handler
