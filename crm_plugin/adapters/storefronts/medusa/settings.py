"""What a merchant tells of a Medusa store."""

from __future__ import annotations

from crm_plugin.adapters.base import Setting, SettingType
from crm_plugin.adapters.storefronts import metadata

SETTINGS: tuple[Setting, ...] = (
    Setting("url", "Store address", SettingType.URL, "The backend's, such as https://api.shop.example."),
    Setting(
        "key",
        "Secret API key",
        SettingType.SECRET,
        "Begins with sk_; Medusa, Settings > Developer > Secret API keys.",
    ),
    Setting(
        "webhook_secret",
        "Webhook secret",
        SettingType.SECRET,
        "The same as in the options of the companion package.",
        False,
    ),
    Setting(
        "admin_url", "Admin address", SettingType.URL, "Where the admin is not under the backend's own name.", False
    ),
    Setting("timezone", "Time zone", help="Medusa tells none, such as Asia/Taipei.", required=False, default="UTC"),
    Setting(
        "product_url",
        "Product link",
        help="With {handle} in it, such as https://shop.example/products/{handle}.",
        required=False,
    ),
    Setting(
        "guests_are_members",
        "Customers without an account are members",
        SettingType.BOOLEAN,
        "For stores that enter their customers in the admin.",
        required=False,
        default=False,
    ),
    *metadata.settings(cost="cost"),
)
