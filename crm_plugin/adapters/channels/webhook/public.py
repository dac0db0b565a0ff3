"""Only addresses that anybody could call: a webhook must not reach into the network that this server stands in."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import requests

from crm_plugin.errors import PermanentError, TransientError
from crm_plugin.http_client import BoundedAdapter
from crm_plugin.phrases import phrase

Resolve = Callable[[str, int], list[str]]


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host. Raises: OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def place_of(url: str, look_up: Resolve, adapter: str) -> tuple[str, int, str]:
    """Host, port and the one address to call.

    Raises: PermanentError for what is not https, or is an address of a private, local or reserved network; TransientError when the name
    cannot be looked up now.
    """
    parts = urlsplit(url)
    try:
        port = parts.port or 443
    except ValueError:
        port = 0
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.password or not port:
        raise PermanentError(
            phrase("%(url)r cannot be called.", url=url),
            hint=phrase("Only addresses that begin with https://."),
            adapter=adapter,
            operation="send",
        )
    try:
        addresses = look_up(parts.hostname, port)
    except (OSError, UnicodeError) as error:
        told = phrase("%(host)s cannot be found.", host=parts.hostname)
        raise TransientError(told, adapter=adapter, operation="send") from error
    if not addresses or not all(_is_public(one) for one in addresses):
        raise PermanentError(
            phrase("%(host)s is not on the public internet.", host=parts.hostname),
            hint=phrase("A webhook is not sent into private networks."),
            adapter=adapter,
            operation="send",
        )
    return parts.hostname, port, addresses[0]


# All of IPv6 that is given out to anybody. What is beside it may lead into IPv4 networks (gateways of NAT64, compatible and mapped
# addresses), or was local to a site once.
_GIVEN_OUT = ipaddress.IPv6Network("2000::/3")


def _is_public(address: str) -> bool:
    try:
        told = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return False
    if isinstance(told, ipaddress.IPv6Address):
        inner = told.sixtofour
        if told not in _GIVEN_OUT or (inner is not None and not inner.is_global):
            return False
    return told.is_global and not told.is_multicast


# Seconds that a call takes at most, however its answer comes.
_WHOLE = 30.0


class Pinned(BoundedAdapter):
    """Connects to the address that was looked at, and to no other that the name may mean a moment later; TLS still asks for the name."""

    def __init__(self, host: str, address: str, whole: float = _WHOLE) -> None:
        self._host = host
        self._address = f"[{address}]" if ":" in address else address
        super().__init__(pool_connections=1, pool_maxsize=1, whole=whole)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, server_hostname=self._host, assert_hostname=self._host, **options)

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
        parts = urlsplit(request.url or "")
        port = f":{parts.port}" if parts.port else ""
        request.headers["Host"] = f"{self._host}{port}"
        request.url = parts._replace(netloc=f"{self._address}{port}").geturl()
        return super().send(request, **options)
