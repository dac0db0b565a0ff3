"""Shopify's way in: installed from its App Store, where keys come with the first visit; or by address, where they come for a code."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlencode, urlsplit

from crm_plugin.adapters.base import Setting, SettingType
from crm_plugin.adapters.storefronts.installing import AppFacts, Frame, Installed, Installer, Shopper, Visitor
from crm_plugin.adapters.storefronts.shopify import app_files
from crm_plugin.adapters.storefronts.shopify.errors import ADAPTER
from crm_plugin.adapters.storefronts.shopify.oauth import APP_SETTINGS, OAuth, Reply, secrets_of
from crm_plugin.adapters.storefronts.shopify.scopes import LATER, SCOPES
from crm_plugin.adapters.storefronts.shopify.signatures import proxy_call, read_id_token, shop_domain, signed_query
from crm_plugin.errors import InvalidInput, WebhookRejected
from crm_plugin.phrases import phrase
from crm_plugin.records import RawRequest

ADMIN = "https://admin.shopify.com"
# It has to be loaded from there, on every page, before any other script.
APP_BRIDGE = "https://cdn.shopify.com/shopifycloud/app-bridge.js"
_BEARER = re.compile(r"bearer\s+(\S+)", re.IGNORECASE)


class ShopifyInstaller(Installer):
    """Shopify's way in."""

    platform = ADAPTER
    app_settings: ClassVar[tuple[Setting, ...]] = (
        *APP_SETTINGS,
        Setting("base_url", "API address", SettingType.URL, required=False, default=""),
    )

    def __init__(self, app: Mapping[str, Any], public_url: str, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(app, public_url)
        self._clock = clock
        self._oauth = OAuth(self.app, self.app["base_url"])

    @classmethod
    def reference_of(cls, url: str) -> str:
        """See the contract: the shop's own domain."""
        return shop_domain(urlsplit(url).hostname or "")

    def manifest_files(self, facts: AppFacts) -> dict[str, str]:
        """`shopify.app.toml`, and the extension that shows messages in the storefront: what `shopify app deploy` publishes."""
        toml = app_files.app_toml(
            facts, client_id=self.app["client_id"], public_url=self.public_url, version=self.app["api_version"]
        )
        return {"shopify.app.toml": toml, **app_files.extension_files()}

    def begin(self, told: Mapping[str, str], state: str, back: str) -> str:
        """Where the merchant agrees, for an app that the App Store does not install by itself. `told["shop"]` is the shop's domain.

        Raises: InvalidInput, and WebhookRejected for a query that only looks like Shopify's.
        """
        if "hmac" in told:
            signed_query(urlencode(told), secrets_of(self.app), self._clock())
        shop = shop_domain(told.get("shop", ""))
        if not shop:
            said = phrase(
                "%(told)r is no domain of a Shopify shop: it ends with .myshopify.com.", told=told.get("shop", "")
            )
            raise InvalidInput(said, field="shop")
        asked = {
            "client_id": self.app["client_id"],
            "scope": ",".join(scope for scope in SCOPES if scope not in LATER),
            "redirect_uri": back,
            "state": state,
        }
        return f"https://{shop}/admin/oauth/authorize?{urlencode(asked)}"

    def finish(self, request: RawRequest, told: Mapping[str, str], back: str) -> Installed:
        """Take the code that Shopify sends the merchant back with, signed and of the shop that we sent them to."""
        del back
        query = signed_query(urlsplit(request.url).query, secrets_of(self.app), self._clock())
        shop = shop_domain(query.get("shop", ""))
        if not shop or shop != shop_domain(told.get("shop", shop)):
            raise WebhookRejected("the answer is of another shop", status=403)
        if not query.get("code"):
            raise WebhookRejected("the merchant has not agreed", status=400)
        return self._installed(shop, self._oauth.redeem(shop, query["code"]))

    def named(self, request: RawRequest) -> str:
        """The shop that the admin put into the address."""
        return shop_domain(parse_qs(urlsplit(request.url).query).get("shop", [""])[0])

    def visit(self, request: RawRequest) -> Visitor | None:
        """Who opened our page in the admin, by the ID token in the header or, where a page is opened, in its address.

        One in an address may be old, as after a reload: it is nobody then, and App Bridge has a new one.
        """
        found = _BEARER.fullmatch(request.headers.get("authorization", "").strip())
        if found is not None:
            return self._visitor(found[1])
        try:
            return self._visitor(parse_qs(urlsplit(request.url).query)["id_token"][0])
        except (KeyError, WebhookRejected):
            return None

    def exchange(self, visitor: Visitor) -> Installed:
        """Keys for the visit. Raises: WebhookRejected when the token's minute is over: App Bridge then comes with a new one."""
        return self._installed(visitor.reference, self._oauth.exchange(visitor.reference, visitor.exchange))

    def shopper(self, request: RawRequest) -> Shopper | None:
        """Who is signed in in the storefront that called through the app proxy."""
        call = proxy_call(urlsplit(request.url).query, secrets_of(self.app), self._clock())
        return Shopper(call.shop, call.customer)

    def home(self, reference: str) -> str:
        """See the contract."""
        return f"https://{reference}/admin/apps/{self.app['client_id']}" if shop_domain(reference) else ""

    def frame(self, reference: str) -> Frame:
        """The admin of this very shop, and nobody else, may frame us."""
        if not shop_domain(reference):
            return Frame(("'none'",))
        return Frame(
            ancestors=(f"https://{reference}", ADMIN),
            scripts=(APP_BRIDGE,),
            metas={"shopify-api-key": self.app["client_id"]},
            connects=(ADMIN,),
        )

    def _visitor(self, token: str) -> Visitor:
        now = self._clock()
        told = read_id_token(token, self.app["client_id"], secrets_of(self.app), now)
        if not told.sub:
            raise WebhookRejected("the token is of nobody of the shop's staff", status=403)
        return Visitor(told.shop, told.sub, exchange=token, expires_in=max(0.0, told.exp - now))

    def _installed(self, shop: str, reply: Reply) -> Installed:
        return Installed(
            reference=shop,
            url=f"https://{shop}",
            credentials={"shop": shop, **reply.keys(self._clock())},
            title=shop.partition(".")[0],
            scopes=reply.scopes,
        )
