"""How a merchant comes in from Saleor's dashboard: the token that Saleor posts and our call back within that request, and the visits later.

Whoever can reach us may post a token and name any API: it is believed because that API, called back, says that the token is this app's.
Which APIs may be called at all is narrowed by a list, or to https on the public internet.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from urllib.parse import parse_qsl, quote, urlsplit

import msgspec
import requests

from crm_plugin.adapters.base import Setting
from crm_plugin.adapters.channels.webhook.public import Pinned, Resolve, place_of, resolve
from crm_plugin.adapters.raw import UNREADABLE, any_json
from crm_plugin.adapters.storefronts.calls import Calls
from crm_plugin.adapters.storefronts.installing import AppFacts, Frame, Installed, Installer, Visitor
from crm_plugin.adapters.storefronts.saleor.client import ADAPTER, SaleorClient
from crm_plugin.adapters.storefronts.saleor.known import App
from crm_plugin.adapters.storefronts.saleor.manifest import build
from crm_plugin.adapters.storefronts.saleor.settings import PERMISSIONS
from crm_plugin.adapters.storefronts.saleor.signing import KeyRing, check_token, fetch_jwks, jwks_of, read_claims
from crm_plugin.adapters.storefronts.saleor.webhooks import api_address, store_of
from crm_plugin.errors import ActionRequired, AdapterError, InvalidInput, PermanentError, WebhookRejected
from crm_plugin.http_client import make_session
from crm_plugin.phrases import phrase
from crm_plugin.records import RawRequest

# Saleor takes the installation back after eighteen seconds; two calls of ours come within it.
_CALL_SECONDS = 6.0
_NEEDED = "MANAGE_USERS"
_BEARER = re.compile(r"bearer\s+(\S+)", re.IGNORECASE)


class SaleorInstaller(Installer):
    """Saleor's way in."""

    platform = ADAPTER
    leads_anywhere = True
    app_settings: ClassVar[tuple[Setting, ...]] = (
        Setting(
            "app_id",
            "Id of the app",
            help="In the manifest; one Saleor holds each id once.",
            required=False,
            default="crm-plugin",
        ),
        Setting(
            "allowed_api_urls",
            "Allowed API addresses",
            help="Comma separated; when empty, any public https address may install.",
            required=False,
            default="",
        ),
    )

    def __init__(
        self,
        app: Mapping[str, Any],
        public_url: str,
        *,
        clock: Callable[[], float] = time.time,
        look_up: Resolve = resolve,
    ) -> None:
        super().__init__(app, public_url)
        self._clock = clock
        self._look_up = look_up
        self._allowed = {api_address(one) for one in re.split(r"[,\s]+", self.app["allowed_api_urls"]) if one}

    @property
    def manifest_url(self) -> str:
        """What the merchant pastes into the dashboard."""
        return f"{self.public_url}/install/saleor/manifest.json"

    def manifest_files(self, facts: AppFacts) -> dict[str, str]:
        """The manifest that is served at `manifest_url`."""
        told = build(
            facts,
            app_id=self.app["app_id"],
            page=f"{self.public_url}/install/saleor/page",
            token=f"{self.public_url}/install/saleor/token",
            hooks=f"{self.public_url}/events/saleor",
        )
        return {"manifest.json": json.dumps(told, ensure_ascii=False, indent=2) + "\n"}

    @classmethod
    def reference_of(cls, url: str) -> str:
        """See the contract: the API's address, which one whose token was typed in is kept with."""
        return api_address(url)

    def begin(self, told: Mapping[str, str], state: str, back: str) -> str:
        """The dashboard's own page for installing from a manifest; `told["dashboard"]` is the dashboard's address.

        Saleor hands nothing on: that the token belongs to the merchant is proven by the call back, not by `state`.
        """
        del state, back
        dashboard = told.get("dashboard", "").strip().rstrip("/")
        if not dashboard.startswith(("https://", "http://")):
            raise InvalidInput(
                phrase("Enter the dashboard's address, such as https://shop.example/dashboard."), field="dashboard"
            )
        return f"{dashboard}/apps/install?manifestUrl={quote(self.manifest_url, safe='')}"

    def finish(self, request: RawRequest, told: Mapping[str, str], back: str) -> Installed:
        """Take the token that Saleor posts, and ask that Saleor, while it waits, whether the token is ours there."""
        del told, back
        body = any_json(request.body)
        token = body.get("auth_token") if isinstance(body, dict) else None
        if not isinstance(token, str) or not token or len(token) > 500:
            raise WebhookRejected("There is no token.", status=400)
        api_url = store_of(request)
        try:
            with self._session(api_url) as session:
                app = _app(api_url, token, session)
                self._refuse_another(api_url, app.id, session)
                jwks = fetch_jwks(api_url, session)
        except AdapterError as error:
            raise WebhookRejected(f"{api_url} does not vouch for the token: {error.message}", status=403) from error
        if not jwks["keys"]:
            raise WebhookRejected(f"{api_url} publishes no keys.", status=403)
        return Installed(
            reference=api_url,
            url=_origin(api_url),
            credentials={"api_url": api_url, "token": token, "app_id": app.id, "jwks": dict(jwks)},
            title=urlsplit(api_url).hostname or "",
            scopes=frozenset(one.code for one in app.permissions or ()),
        )

    def named(self, request: RawRequest) -> str:
        """The API that the dashboard put into the address."""
        return api_address(dict(parse_qsl(urlsplit(request.url).query)).get("saleorApiUrl", ""))

    def visit(self, request: RawRequest) -> Visitor | None:
        """Who opened our page in the dashboard, by the token in the header; the store is the one that the token names."""
        found = _BEARER.fullmatch(request.headers.get("authorization", "").strip())
        if found is None:
            return None
        token = found[1]
        reference = api_address(read_claims(token).iss)
        kept = self.known(reference)
        if kept is None:
            raise WebhookRejected("The token is of a store that is not connected.")
        now = self._clock()
        claims = check_token(token, KeyRing(reference, jwks_of(kept.get("jwks"))), now)
        if claims.type != "thirdparty" or not claims.app or claims.app != kept.get("app_id"):
            raise WebhookRejected("The token is for another app.")
        if _NEEDED not in claims.user_permissions:
            raise WebhookRejected("This person may not see the store's customers.", status=403)
        return Visitor(
            reference,
            claims.email or claims.user_id,
            may_manage=set(claims.user_permissions) >= {name for name, needed in PERMISSIONS.items() if needed},
            expires_in=max(0.0, claims.exp - now),
        )

    def frame(self, reference: str) -> Frame:
        """The dashboard may frame us: under the API's own name, or where the merchant said it is."""
        kept = self.known(reference) or {}
        origin = _origin(str(kept.get("dashboard_url") or reference))
        return Frame(
            ancestors=(origin,),
            scripts=(f"{self.public_url}/static/saleor-bridge.js",),
            metas={"saleor-dashboard": origin},
        )

    def _refuse_another(self, api_url: str, app_id: str, session: requests.Session) -> None:
        """A token of any app opens the API: while ours is alive there, another's does not take its place. Raises: AdapterError."""
        kept = self.known(api_url) or {}
        if not kept.get("token") or kept.get("app_id") in ("", None, app_id):
            return
        try:
            _app(api_url, str(kept["token"]), session)
        except (WebhookRejected, ActionRequired, PermanentError):
            # Deleted and installed anew: its old token is dead.
            return
        raise WebhookRejected("The store is connected as another app.", status=403)

    def _session(self, api_url: str) -> requests.Session:
        """What may call this API. Raises: WebhookRejected for one that may not be called, AdapterError for one that cannot be now."""
        session = make_session(whole=_CALL_SECONDS)
        if api_url in self._allowed:
            return session
        if self._allowed:
            raise WebhookRejected("This Saleor may not install the app here.", status=403)
        host, _, address = place_of(api_url, self._look_up, ADAPTER)
        session.mount("https://", Pinned(host, address, _CALL_SECONDS))
        return session


def _app(api_url: str, token: str, session: requests.Session) -> App:
    client = SaleorClient(api_url, token, Calls(ADAPTER, attempts=1, session=session))
    try:
        found = msgspec.json.decode(client.ask("app").get("app", msgspec.Raw(b"null")), type=App | None)
    except UNREADABLE as error:
        raise WebhookRejected("The store's answer cannot be read.", status=403) from error
    if found is None:
        raise WebhookRejected("The store does not know the token.", status=403)
    return found


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
