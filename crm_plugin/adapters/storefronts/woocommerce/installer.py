"""How a store lets us in by a click: WooCommerce's own page asks the merchant, makes a key and posts it to us, then sends the browser back.

Nothing signs that post, and it does not say which store it comes from: the state that it bears is good once, belongs to the address that
the merchant told, and the key has to open the store at that address. Any answer but 200 makes the store take its key back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec

from crm_plugin.adapters.base import Severity
from crm_plugin.adapters.raw import UNREADABLE
from crm_plugin.adapters.storefronts.installing import AppFacts, Frame, Installed, Installer
from crm_plugin.adapters.storefronts.woocommerce.adapter import WooCommerceStorefront
from crm_plugin.adapters.storefronts.woocommerce.client import store_address
from crm_plugin.adapters.storefronts.woocommerce.packing import texts
from crm_plugin.errors import ActionRequired, InvalidInput, WebhookRejected
from crm_plugin.phrases import phrase
from crm_plugin.records import RawRequest

ADAPTER = "woocommerce"
_READS = frozenset({"read", "read_write"})
_KEY, _SECRET = re.compile(r"ck_[0-9A-Za-z]{20,80}"), re.compile(r"cs_[0-9A-Za-z]{20,80}")


class _Keys(msgspec.Struct):
    user_id: str | int
    consumer_key: str
    consumer_secret: str
    key_permissions: str = ""


_KEYS = msgspec.json.Decoder(_Keys)


class WooCommerceInstaller(Installer):
    """`/wc-auth/v1/authorize`; the merchant told us the store's `url`."""

    platform = ADAPTER
    begun_here = True

    @classmethod
    def reference_of(cls, url: str) -> str:
        """Host and path: http or https, and a leading www, make no other store."""
        parts = urlsplit(store_address(url))
        return f"{parts.netloc.removeprefix('www.')}{parts.path}".lower()

    def manifest_files(self, facts: AppFacts) -> dict[str, str]:
        """The companion plugin: what a store wants to be told of us, it is told by that."""
        del facts
        return texts()

    def state_of(self, request: RawRequest) -> str:
        """See the contract."""
        try:
            return str(_KEYS.decode(request.body).user_id)
        except UNREADABLE:
            return ""

    def begin(self, told: Mapping[str, str], state: str, back: str) -> str:
        """See the contract. Raises: InvalidInput for an address that is none, or where no store could hand its key to us."""
        if urlsplit(self.public_url).scheme != "https":
            raise InvalidInput(
                phrase("A store hands its key over only by https, which this server does not have."),
                hint=phrase("Enter a key by hand."),
                field="url",
            )
        asked = {
            "app_name": "crm-plugin",
            "scope": "read_write",
            "user_id": state,
            "return_url": f"{back}?{urlencode({'state': state})}",
            "callback_url": f"{self.public_url}/install/{ADAPTER}/keys",
        }
        return f"{_address(told)}/wc-auth/v1/authorize?{urlencode(asked)}"

    def finish(self, request: RawRequest, told: Mapping[str, str], back: str) -> Installed:
        """Take the key that the store posts, once it opens the store that was told. Without a post there is nothing to take.

        Raises: ActionRequired when the merchant did not agree, or the key does not open that store; WebhookRejected for no key at all.
        """
        if request.method != "POST":
            raise self._nothing_came(request)
        keys = _read(request.body)
        if keys.key_permissions not in _READS:
            raise ActionRequired(
                phrase("The store's key may not read."),
                hint=phrase("Begin again, and agree to reading."),
                adapter=ADAPTER,
                code="not_agreed",
            )
        url = _address(told)
        reference = self.reference_of(url)
        own = {"url": url, "key": keys.consumer_key, "secret": keys.consumer_secret}
        credentials: dict[str, Any] = {**(self.known(reference) or {}), **own}
        _require_open(credentials)
        return Installed(reference, url, credentials, scopes=frozenset(keys.key_permissions.split("_")))

    def frame(self, reference: str) -> Frame:
        """The store's admin opens our page beside its own, not inside."""
        del reference
        return Frame(())

    @staticmethod
    def _nothing_came(request: RawRequest) -> ActionRequired:
        if "success=0" in urlsplit(request.url).query.split("&"):
            return ActionRequired(
                phrase("You did not agree in the store."),
                hint=phrase("Begin again."),
                adapter=ADAPTER,
                code="not_agreed",
            )
        return ActionRequired(
            phrase("You agreed, but the store's key did not arrive here."),
            hint=phrase("The store must reach this server by https on port 443. Or enter a key by hand."),
            adapter=ADAPTER,
            code="no_key",
        )


def _address(told: Mapping[str, str]) -> str:
    """The store's address as it was told; https where no scheme was. Raises: InvalidInput."""
    typed = told.get("url", "").strip()
    typed = typed if "://" in typed or not typed else f"https://{typed}"
    try:
        parts = urlsplit(typed)
        is_address = (
            parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.username and parts.port != 0
        )
    except ValueError:
        is_address = False
    if not is_address or not typed.isprintable() or " " in typed:
        raise InvalidInput(
            phrase("That is no store's address."),
            hint=phrase("As in the browser, such as https://shop.example."),
            field="url",
        )
    return store_address(typed)


def _read(body: bytes) -> _Keys:
    try:
        keys = _KEYS.decode(body)
    except UNREADABLE as error:
        raise WebhookRejected("There is no key in it.", status=400) from error
    if not _KEY.fullmatch(keys.consumer_key) or not _SECRET.fullmatch(keys.consumer_secret):
        raise WebhookRejected("What is in it is no key.", status=400)
    return keys


def _require_open(credentials: Mapping[str, Any]) -> None:
    storefront = WooCommerceStorefront(credentials)
    try:
        for problem in storefront.check():
            if problem.severity is Severity.ERROR:
                raise ActionRequired(problem.message, hint=problem.hint, adapter=ADAPTER, code=problem.code)
    finally:
        storefront.close()
