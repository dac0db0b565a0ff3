"""The app's files for Shopify's own command line (`shopify app deploy`): its entry, and the extension of the storefront's theme."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

from crm_plugin.adapters.storefronts.installing import AppFacts
from crm_plugin.adapters.storefronts.shopify.scopes import LATER
from crm_plugin.adapters.storefronts.shopify.webhooks import COMPLIANCE, SUBSCRIBED

# What Shopify shows of a name at most.
_LONGEST_NAME = 30
EXTENSION = "extensions/crm-messages"
# Where the storefront reaches us: merchants may change it in their shop, and then in the embed's settings.
PROXY_PREFIX, PROXY_PATH = "apps", "crm"


def app_toml(facts: AppFacts, *, client_id: str, public_url: str, version: str) -> str:
    """`shopify.app.toml`: addresses, scopes, webhooks for every shop at once, and the app proxy."""
    events = _text(f"{public_url}/events/shopify")
    optional = [scope for scope in facts.scopes if scope in LATER]
    lines = [
        f"client_id = {_text(client_id)}",
        f"name = {_text(facts.title[:_LONGEST_NAME])}",
        f"application_url = {_text(f'{public_url}/install/shopify/page')}",
        "embedded = true",
        "",
        "[access_scopes]",
        f"scopes = {_text(','.join(scope for scope in facts.scopes if scope not in LATER))}",
        *([f"optional_scopes = {_list(optional)}"] if optional else []),
        "",
        "[auth]",
        f"redirect_urls = {_list([f'{public_url}/install/shopify/back'])}",
        "",
        "[webhooks]",
        f"api_version = {_text(version)}",
        "",
        "[[webhooks.subscriptions]]",
        f"topics = {_list(SUBSCRIBED)}",
        f"uri = {events}",
        "",
        "[[webhooks.subscriptions]]",
        f"compliance_topics = {_list(COMPLIANCE)}",
        f"uri = {events}",
        "",
        "[app_proxy]",
        f"url = {_text(f'{public_url}/inapp/shopify')}",
        f"prefix = {_text(PROXY_PREFIX)}",
        f"subpath = {_text(PROXY_PATH)}",
    ]
    return "\n".join(lines) + "\n"


def extension_files() -> dict[str, str]:
    """The theme app extension: an embed that shows a signed-in customer the messages for them."""
    root = files(__package__).joinpath("extension")
    return {f"{EXTENSION}/{name}": file.read_text(encoding="utf-8") for name, file in _below(root, "")}


def _below(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for one in sorted(folder.iterdir(), key=lambda file: file.name):
        if one.is_dir():
            yield from _below(one, f"{prefix}{one.name}/")
        else:
            yield f"{prefix}{one.name}", one


def _text(value: str) -> str:
    # A basic string of TOML is written as one of JSON is.
    return json.dumps(value, ensure_ascii=False)


def _list(values: Iterable[str]) -> str:
    return f"[{', '.join(_text(value) for value in values)}]"
