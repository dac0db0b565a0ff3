"""The app's webhooks in one Saleor. Those of the manifest come with the installation; an app that was made by hand makes its own.

They are known by the address that they call: the app's common one, or that of the store here.
"""

from __future__ import annotations

from typing import Any

import msgspec

from crm_plugin.adapters.base import Problem, Severity
from crm_plugin.adapters.raw import UNREADABLE
from crm_plugin.adapters.storefronts.saleor.client import ADAPTER, SaleorClient, unauthorised
from crm_plugin.adapters.storefronts.saleor.operations import document, with_fragments
from crm_plugin.adapters.storefronts.saleor.topics import WEBHOOKS, Topic, query_of
from crm_plugin.adapters.storefronts.saleor.writing import Refusal, read, refused
from crm_plugin.errors import ActionRequired, MalformedResponse, PermanentError
from crm_plugin.phrases import phrase

_COMMON, _OWN = f"/events/{ADAPTER}", "/hooks/"


class _Word(msgspec.Struct, rename="camel"):
    event_type: str = ""


class _Hook(msgspec.Struct, rename="camel"):
    id: str
    is_active: bool = True
    target_url: str = ""
    async_events: list[_Word] = []
    subscription_query: str | None = ""

    @property
    def events(self) -> frozenset[str]:
        return frozenset(one.event_type.upper() for one in self.async_events)


class _Named(msgspec.Struct):
    code: str


class _App(msgspec.Struct):
    id: str
    permissions: list[_Named] | None = None
    webhooks: list[_Hook] | None = None


class _Done(msgspec.Struct):
    errors: list[Refusal] = []


class Subscriptions:
    """Makes, revives and takes away the webhooks that call `address`; `app_id` is known once they were looked at."""

    def __init__(self, client: SaleorClient, address: str) -> None:
        self._client = client
        self._address = address
        self._server = address.rpartition(_OWN)[0]
        self.app_id = ""

    def renew(self) -> list[Problem]:
        """See `Hears.subscribe`. A Saleor that does not let us is told as a problem: it is read all the same."""
        try:
            return self._renew()
        except (ActionRequired, PermanentError) as error:
            return [Problem(error.code, error.message, self._hint(), Severity.WARNING)]

    def remove(self) -> None:
        """See `Hears.unsubscribe`; those of the manifest go with the app."""
        try:
            for one in self._app().webhooks or ():
                if one.target_url == self._address:
                    self._change("webhook_remove", {"id": one.id})
        except (ActionRequired, PermanentError):
            # An app that is no longer there has no webhooks either.
            return

    def _renew(self) -> list[Problem]:
        app = self._app()
        self.app_id = app.id
        granted = {one.code for one in app.permissions or ()}
        ours = [one for one in app.webhooks or () if one.target_url in (self._address, self._server + _COMMON)]
        mended = 0
        for name, (topics, permission) in WEBHOOKS.items():
            if permission and permission not in granted:
                continue
            held = [one for one in ours if one.events & set(topics)]
            # Those of the manifest first: where both are, all would be told twice.
            held.sort(key=lambda one: one.target_url == self._address)
            mended += self._bring(name, topics, held[0] if held else None)
            for one in held[1:]:
                self._change("webhook_remove", {"id": one.id})
        if not ours or not mended:
            return []
        said = phrase("%(count)s of the store's webhooks were missing or switched off.", count=mended)
        return [Problem("webhooks_renewed", said, phrase("They were made anew."), Severity.INFO)]

    def _bring(self, name: str, topics: dict[str, Topic], held: _Hook | None) -> bool:
        """Whether something had to be mended."""
        told: dict[str, Any] = {
            "asyncEvents": list(topics), "query": with_fragments(query_of(topics)), "isActive": True,
        }  # fmt: skip
        if held is None:
            own = {"name": f"CRM plugin: {name}", "targetUrl": self._address}
            self._change("webhook_make", {"input": {**own, **told}})
            return True
        is_whole = held.events >= set(topics) and _plain(held.subscription_query or "") == _plain(told["query"])
        if is_whole and held.is_active:
            return False
        self._change("webhook_change", {"id": held.id, "input": told})
        return not held.is_active

    def _app(self) -> _App:
        raw = self._client.ask("webhooks").get("app", msgspec.Raw(b"null"))
        try:
            found = msgspec.json.decode(raw, type=_App | None)
        except UNREADABLE as error:
            raise MalformedResponse(
                phrase("The store's answer has another form than asked for."),
                adapter=ADAPTER,
                operation="webhooks",
                path="$.data.app",
            ) from error
        if found is None:
            raise unauthorised(adapter=ADAPTER, operation="webhooks")
        return found

    def _change(self, name: str, variables: dict[str, Any]) -> None:
        done = read(self._client.change(name, document(name), variables), "made", _Done, name)
        if done.errors:
            raise refused(done.errors[0], name)

    def _hint(self) -> str:
        return phrase(
            "In Saleor's dashboard, under Extensions, install the app from %(manifest)s; until then changes are found by reading "
            "every few minutes.",
            manifest=f"{self._server}/install/{ADAPTER}/manifest.json",
        )


def _plain(query: str) -> str:
    return " ".join(query.split())
