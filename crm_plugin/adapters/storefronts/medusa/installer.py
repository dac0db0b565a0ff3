"""Our page inside Medusa's admin. Keys are typed in, for Medusa has no marketplace; the companion vouches for who opens the page."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from crm_plugin.adapters.storefronts.installing import Frame, Installer, Visitor
from crm_plugin.adapters.storefronts.medusa.client import ADAPTER, store_address
from crm_plugin.adapters.storefronts.medusa.webhooks import check_pass, read_pass
from crm_plugin.errors import WebhookRejected
from crm_plugin.records import RawRequest

_BEARER = re.compile(r"bearer\s+(\S+)", re.IGNORECASE)


class MedusaInstaller(Installer):
    """Visits from Medusa's admin. A store's `reference` is its backend's address, which its companion's option `store` says."""

    platform = ADAPTER

    def __init__(self, app: Mapping[str, Any], public_url: str, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(app, public_url)
        self._clock = clock

    @classmethod
    def reference_of(cls, url: str) -> str:
        """See the contract."""
        return store_address(url)

    def named(self, request: RawRequest) -> str:
        """See the contract: the store that the companion's page puts into the address."""
        return _named(dict(parse_qsl(urlsplit(request.url).query)).get("store", ""))

    def visit(self, request: RawRequest) -> Visitor | None:
        """Who opened our page in the admin, by the companion's pass in the header."""
        found = _BEARER.fullmatch(request.headers.get("authorization", "").strip())
        if found is None:
            return None
        kept = self.known(_named(read_pass(found[1]).store))
        if kept is None:
            raise WebhookRejected("The pass is of a store that is not connected.")
        now = self._clock()
        told = check_pass(found[1], str(kept.get("webhook_secret") or ""), now)
        return Visitor(_named(told.store), told.actor, expires_in=told.exp - now)

    def frame(self, reference: str) -> Frame:
        """The admin may frame us, where the backend is or where the merchant said it is."""
        kept = self.known(reference) or {}
        parts = urlsplit(str(kept.get("admin_url") or kept.get("url") or ""))
        if not parts.netloc:
            return Frame(ancestors=())
        origin = f"{parts.scheme}://{parts.netloc}"
        script = f"{self.public_url}/static/medusa-bridge.js"
        return Frame(ancestors=(origin,), scripts=(script,), metas={"medusa-admin": origin})


def _named(told: str) -> str:
    """The address that somebody names, in one form; empty for what is none."""
    try:
        return store_address(told)
    except ValueError:
        return ""
