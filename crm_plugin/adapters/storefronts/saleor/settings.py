"""What a merchant tells of a Saleor store, and what the app asks leave for."""

from __future__ import annotations

from crm_plugin.adapters.base import Setting, SettingType
from crm_plugin.adapters.storefronts import metadata

# What we ask for, and whether we can do without it.
PERMISSIONS = {
    "MANAGE_USERS": True,
    "MANAGE_ORDERS": True,
    "MANAGE_PRODUCTS": True,
    "MANAGE_CHECKOUTS": False,
    "MANAGE_DISCOUNTS": False,
}
SETTINGS: tuple[Setting, ...] = (
    Setting("api_url", "API address", SettingType.URL, "As Saleor tells it, such as https://shop.example/graphql/."),
    Setting("token", "App token", SettingType.SECRET, "Saleor hands it to the app when it is installed."),
    Setting("app_id", "App id", required=False, hidden=True, beside="token"),
    # What Saleor signs with.
    Setting("jwks", "Public keys", SettingType.JSON, required=False, hidden=True, beside="token"),
    Setting("webhook_secret", "Webhook secret", SettingType.SECRET, "Only for webhooks made with a secret key.", False),
    Setting(
        "channel",
        "Channel",
        help="Prices and the currency are this channel's; the first when empty.",
        required=False,
    ),
    Setting("timezone", "Time zone", help="Saleor tells none, such as Asia/Taipei.", required=False, default="UTC"),
    Setting("dashboard_url", "Dashboard address", SettingType.URL, "Where it is not under the API's own name.", False),
    Setting(
        "checkout_url",
        "Checkout link",
        help="With {id} or {token} in it; leads back into a checkout.",
        required=False,
    ),
    Setting(
        "product_url",
        "Product link",
        help="With {slug} in it, such as https://shop.example/p/{slug}.",
        required=False,
    ),
    Setting(
        "storefront_origins",
        "Storefront addresses",
        help="Comma separated, such as https://shop.example: pages there may show customers their messages.",
        required=False,
    ),
    *metadata.settings(),
)
