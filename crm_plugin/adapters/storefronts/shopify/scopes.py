"""What the app asks a shop for; `plugin.yaml` says why."""

from __future__ import annotations

# True for what we cannot do without. A scope that writes lets read as well.
SCOPES = {
    "read_customers": True,
    "read_orders": True,
    "read_products": True,
    "read_all_orders": False,
    "read_customer_merge": False,
    "write_customers": False,
    "write_discounts": False,
    "write_app_proxy": False,
}
REQUIRED = frozenset(scope for scope, needed in SCOPES.items() if needed)
# Not asked for when the app is installed: Shopify refuses it to an app that it has not approved for it.
LATER = frozenset({"read_all_orders"})
