"""Keys: had for an ID token or for a code, and renewed.

An access token lives an hour, its refresh token 90 days; both are replaced together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import requests

from crm_plugin.adapters.base import Setting, SettingType
from crm_plugin.adapters.storefronts.shopify import errors
from crm_plugin.adapters.storefronts.shopify.versions import SUPPORTED, VERSION
from crm_plugin.adapters.storefronts.unanswered import unanswered
from crm_plugin.errors import ActionRequired, AdapterError, TransientError, WebhookRejected
from crm_plugin.http_client import BodyTooLarge, make_session, read_body
from crm_plugin.phrases import phrase

# Of the app as a whole: CRM_SHOPIFY_CLIENT_ID and so on.
APP_SETTINGS: tuple[Setting, ...] = (
    Setting("client_id", "Client id of the app", required=False, default=""),
    Setting("client_secret", "Client secret of the app", SettingType.SECRET, required=False, default=""),
    Setting("client_secret_before", "Client secret before the present one", SettingType.SECRET, required=False, default=""),
    Setting("api_version", "Version of the Admin API", SettingType.CHOICE, required=False, default=VERSION, choices=SUPPORTED),
)  # fmt: skip

_EXCHANGE = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
    "requested_token_type": "urn:shopify:params:oauth:token-type:offline-access-token",
    "expiring": "1",
}
_ATTEMPTS = 3
_MOST_BYTES = 64 * 1024


class Reply(msgspec.Struct):
    """What keys come as; the times are seconds from now, absent for a token that never runs out."""

    access_token: str
    scope: str = ""
    expires_in: float | None = None
    refresh_token: str = ""

    @property
    def scopes(self) -> frozenset[str]:
        """What was agreed to."""
        return frozenset(one.strip() for one in self.scope.split(",") if one.strip())

    def keys(self, now: float) -> dict[str, Any]:
        """As the adapter's settings have them; `now` is in seconds since 1970."""
        ends = 0 if self.expires_in is None else int(now + self.expires_in)
        return {"access_token": self.access_token, "refresh_token": self.refresh_token, "expires_at": ends}


class _Refusal(msgspec.Struct):
    error: str = ""


def secrets_of(app: Mapping[str, Any]) -> tuple[str, ...]:
    """The app's secrets that may have signed what comes in, the present one first."""
    return tuple(app[key] for key in ("client_secret", "client_secret_before") if app.get(key))


class OAuth:
    """Calls to a shop's token endpoint. `base_url` is another address than the shop's own, for tests."""

    def __init__(
        self, app: Mapping[str, Any], base_url: str = "", *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._app = app
        self._base_url = base_url
        self._sleep = sleep

    def exchange(self, shop: str, id_token: str) -> Reply:
        """Keys for the ID token of somebody who opened the app. Raises: WebhookRejected when the token's minute is over."""
        return self._ask(shop, "token_exchange", {**_EXCHANGE, "subject_token": id_token})

    def redeem(self, shop: str, code: str) -> Reply:
        """Keys for the code at the end of an installation by address."""
        return self._ask(shop, "code", {"code": code, "expiring": "1"})

    def refresh(self, shop: str, refresh_token: str) -> Reply:
        """A new pair; asked again with the same refresh token it answers again, until the new pair has been used.

        Raises: ActionRequired "reopen" for a refresh token that is no longer taken.
        """
        return self._ask(shop, "refresh", {"grant_type": "refresh_token", "refresh_token": refresh_token})

    def _ask(self, shop: str, operation: str, fields: Mapping[str, str]) -> Reply:
        url = f"{self._base_url or f'https://{shop}'}/admin/oauth/access_token"
        known = {"client_id": self._app["client_id"], "client_secret": self._app["client_secret"]}
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                response, body = _post(url, {**known, **fields})
            except (requests.RequestException, BodyTooLarge) as error:
                failed = unanswered(error, adapter=errors.ADAPTER, operation=operation, store=url)
            else:
                if response.status_code == 200:
                    return _read(body, operation)
                failed = _refused(response, body, operation, shop)
            if not isinstance(failed, TransientError) or attempt == _ATTEMPTS:
                raise failed
            self._sleep(2.0 ** (attempt - 1))
        raise AssertionError("the last attempt returns or raises")


def _post(url: str, fields: Mapping[str, str]) -> tuple[requests.Response, bytes]:
    session = make_session(pool=1)
    with (
        session,
        session.post(
            url, json=dict(fields), headers={"Accept": "application/json"}, allow_redirects=False, stream=True
        ) as response,
    ):
        return response, read_body(response, _MOST_BYTES)


def _read(body: bytes, operation: str) -> Reply:
    try:
        return msgspec.json.decode(body, type=Reply)
    except msgspec.DecodeError as error:
        # Not what came: it may hold keys.
        raise errors.for_body(b"", operation) from error


def _refused(response: requests.Response, body: bytes, operation: str, shop: str) -> AdapterError:
    try:
        told = msgspec.json.decode(body, type=_Refusal).error
    except msgspec.DecodeError:
        told = ""
    if told == "invalid_subject_token":
        # The visitor's browser gets a new token and comes again.
        raise WebhookRejected("the ID token is no longer taken")
    if told == "invalid_client":
        return ActionRequired(
            phrase("Shopify does not know the app by this client id and secret, or the shop has taken it away."),
            hint=phrase(
                "Check CRM_SHOPIFY_CLIENT_ID and CRM_SHOPIFY_CLIENT_SECRET; then open the app in the shop's admin."
            ),
            code="reopen",
            adapter=errors.ADAPTER,
            operation=operation,
            status=response.status_code,
        )
    # Which word ends a refresh token's life is told differently in different places: all refusals but passing ones are final.
    if operation == "refresh" and response.status_code in (400, 401, 403):
        return errors.for_keys(operation, renewable=True)
    return errors.for_status(response, body, operation, shop, datetime.now(UTC))
