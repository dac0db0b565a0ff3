"""The webhooks that we keep in a store: one a topic, signed with a secret of ours, known by the address they call.

A store switches one off after some failures in a row and tells nobody. One that is only switched on again stays a single failure from
that; so it is made anew, which begins from nothing.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from crm_plugin.adapters.base import Problem, Severity
from crm_plugin.adapters.storefronts.woocommerce.batches import Refusal, odd, read_answer
from crm_plugin.adapters.storefronts.woocommerce.client import WooCommerceClient
from crm_plugin.adapters.storefronts.woocommerce.webhooks import TOPICS, signing_secret
from crm_plugin.errors import ActionRequired
from crm_plugin.phrases import phrase

_PATH = "webhooks"
_ACTIVE, _PAUSED = "active", "paused"


class _Hook(msgspec.Struct):
    id: int
    name: str | None = ""
    status: str | None = ""
    topic: str | None = ""
    delivery_url: str | None = ""


class _Made(msgspec.Struct):
    error: Refusal | None = None


class _Batch(msgspec.Struct):
    create: list[_Made] = []


class Subscriptions:
    """Makes, renews and takes away our webhooks in one store."""

    def __init__(self, client: WooCommerceClient, consumer_secret: str) -> None:
        self._client = client
        self._secret = signing_secret(consumer_secret)
        # The secret cannot be read back, so the name tells which one a webhook signs with.
        self._name = f"crm-plugin {hashlib.sha256(self._secret.encode()).hexdigest()[:12]}"

    def renew(self, address: str) -> list[Problem]:
        """See `Hears.subscribe`. A key that may not is told as a problem: such a store is read all the same."""
        try:
            return self._renew(address)
        except ActionRequired as error:
            hint = error.hint or phrase("Give us a key with the permission Read/Write.")
            return [Problem(error.code, error.message, hint, Severity.WARNING)]

    def _renew(self, address: str) -> list[Problem]:
        ours = self._ours(address)
        kept: dict[str, _Hook] = {}
        for one in ours:
            if one.name == self._name and one.topic in TOPICS and one.status in (_ACTIVE, _PAUSED):
                kept.setdefault(one.topic, one)
        problems = [_paused(one) for one in kept.values() if one.status == _PAUSED]
        missing = [topic for topic in TOPICS if topic not in kept]
        stale = [one.id for one in ours if one not in kept.values()]
        if missing or stale:
            problems += self._change(missing, stale, address)
        if ours and missing:
            said = phrase("%(count)s of the store's webhooks were missing or switched off.", count=len(missing))
            problems.append(Problem("webhooks_renewed", said, phrase("They were made anew."), Severity.INFO))
        return problems

    def remove(self, address: str) -> None:
        """See `Hears.unsubscribe`."""
        try:
            ours = self._ours(address)
            if ours:
                self._client.bring(f"{_PATH}/batch", {"delete": [one.id for one in ours]})
        except ActionRequired:
            # A store that took our keys away keeps them; what it sends is refused, and it gives up.
            return

    def _ours(self, address: str) -> list[_Hook]:
        found: list[_Hook] = []
        offset, more = 0, True
        while more:
            listing = self._client.list(_PATH, {"orderby": "id", "order": "asc"}, offset)
            found += [_hook(raw) for raw in listing.rows]
            offset, more = listing.next_offset, listing.more
        return [one for one in found if one.delivery_url == address]

    def _change(self, missing: list[str], stale: list[int], address: str) -> list[Problem]:
        made = [
            {"name": self._name, "topic": topic, "delivery_url": address, "secret": self._secret, "status": _ACTIVE}
            for topic in missing
        ]
        answer = self._client.bring(f"{_PATH}/batch", {"create": made, "delete": stale})
        told: list[_Made] = read_answer(answer, _Batch, _PATH, "$.create").create
        refused = [one.error for one in told if one.error is not None]
        return [_refused(refused)] if refused else []


def _hook(raw: msgspec.Raw) -> _Hook:
    try:
        return msgspec.json.decode(raw, type=_Hook, strict=False)
    except msgspec.MsgspecError as error:
        raise odd(_PATH, "$") from error


def _paused(hook: _Hook) -> Problem:
    said = phrase("The store's webhook for %(topic)s is paused.", topic=hook.topic)
    hint = phrase("In WooCommerce open Settings > Advanced > Webhooks and make it active, or delete it.")
    return Problem("webhook_paused", said, hint, Severity.INFO)


def _refused(refused: list[Refusal]) -> Problem:
    hint = phrase("It calls only addresses that are reachable from it, on the ports 80, 443 and 8080.")
    context: dict[str, Any] = {"count": len(refused)}
    return Problem("webhooks_refused", refused[0].said, hint, Severity.WARNING, context)
