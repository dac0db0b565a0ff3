"""How the server that `serve` runs speaks with those who call it."""

from __future__ import annotations

import socket

import pytest
from flask import Flask

from crm_plugin.web.server import HOST, listening


@pytest.mark.parametrize("word", ["close", "Close"])
def test_connection_ends_when_asked_to(word: str) -> None:
    with listening(Flask("empty"), HOST, 0) as address:
        port = int(address.rpartition(":")[2])
        with socket.create_connection((HOST, port), timeout=30) as caller:
            caller.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: {word}\r\n\r\n".encode())
            told = b""
            while piece := caller.recv(2**16):
                told += piece
    assert told.startswith(b"HTTP/1.1 404")
    # Not only once the server had tired of waiting.
    assert b"\r\nConnection: close\r\n" in told
