"""The app's manifest as Saleor fetches it: who we are, what we ask for, where our page is, and which events we want to be told."""

from __future__ import annotations

from typing import Any

from crm_plugin.adapters.storefronts.installing import AppFacts
from crm_plugin.adapters.storefronts.saleor.operations import with_fragments
from crm_plugin.adapters.storefronts.saleor.topics import WEBHOOKS, query_of

# `where` of Saleor's dashboard, which knows apps by these.
_MOUNTS = (("NAVIGATION_CUSTOMERS", "APP_PAGE"), ("CUSTOMER_DETAILS_MORE_ACTIONS", "POPUP"))
# The oldest whose vouchers have many codes; what is newer than the next is tried and told of by `check`.
REQUIRED = ">=3.18 <4"


def build(facts: AppFacts, *, app_id: str, page: str, token: str, hooks: str) -> dict[str, Any]:
    """The manifest. `page` is our page in the dashboard's frame, `token` takes the app's token, `hooks` the webhooks."""
    told: dict[str, Any] = {
        "id": app_id,
        "name": facts.title,
        "version": facts.version,
        "about": facts.description,
        "author": facts.name,
        "requiredSaleorVersion": REQUIRED,
        "permissions": list(facts.scopes),
        "appUrl": page,
        "tokenTargetUrl": token,
        "extensions": [
            {"label": facts.title, "mount": mount, "target": target, "url": page, "permissions": ["MANAGE_USERS"]}
            for mount, target in _MOUNTS
        ],
        "webhooks": [
            {
                "name": f"{facts.title}: {name}",
                "asyncEvents": list(topics),
                "query": with_fragments(query_of(topics)),
                "targetUrl": hooks,
                "isActive": True,
            }
            for name, (topics, permission) in WEBHOOKS.items()
            if not permission or permission in facts.scopes
        ],
    }
    if facts.homepage:
        told["homepageUrl"] = told["supportUrl"] = facts.homepage
    return told
