"""Which adapters there are: our own by import path, others by the entry point group `crm_plugin.adapters`.

An entry point's object is an adapter class. Classes are imported when first asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from crm_plugin.adapters.base import Adapter, Capability, Setting
from crm_plugin.adapters.channels.base import ChannelAdapter
from crm_plugin.adapters.storefronts.base import StorefrontAdapter
from crm_plugin.adapters.storefronts.installing import Installer
from crm_plugin.errors import ConfigError

_STOREFRONTS = {
    "woocommerce": "crm_plugin.adapters.storefronts.woocommerce:WooCommerceStorefront",
    "taobao": "crm_plugin.adapters.storefronts.taobao:TaobaoStorefront",
    "csv": "crm_plugin.adapters.storefronts.csv:CsvStorefront",
    "saleor": "crm_plugin.adapters.storefronts.saleor:SaleorStorefront",
    "shopify": "crm_plugin.adapters.storefronts.shopify:ShopifyStorefront",
    "medusa": "crm_plugin.adapters.storefronts.medusa:MedusaStorefront",
}
# How a merchant comes in from a platform that has a marketplace, or hands out keys by itself.
_INSTALLERS: dict[str, str] = {
    "saleor": "crm_plugin.adapters.storefronts.saleor:SaleorInstaller",
    "shopify": "crm_plugin.adapters.storefronts.shopify:ShopifyInstaller",
    "taobao": "crm_plugin.adapters.storefronts.taobao.install:TaobaoInstaller",
    "medusa": "crm_plugin.adapters.storefronts.medusa:MedusaInstaller",
    "woocommerce": "crm_plugin.adapters.storefronts.woocommerce:WooCommerceInstaller",
}
_CHANNELS = {
    "smtp": "crm_plugin.adapters.channels.smtp:SmtpChannel",
    "twilio": "crm_plugin.adapters.channels.twilio:TwilioChannel",
    "woocommerce_note": "crm_plugin.adapters.channels.woocommerce_note:WooCommerceNoteChannel",
    "taobao_sms": "crm_plugin.adapters.channels.taobao_sms:TaobaoSmsChannel",
    "inapp": "crm_plugin.adapters.channels.inapp:InAppChannel",
    "webhook": "crm_plugin.adapters.channels.webhook:WebhookChannel",
}
# Of those that use a store's connection, the platform: others need not import a storefront to know that a sender is not theirs.
_PLATFORMS = {"woocommerce_note": "woocommerce", "taobao_sms": "taobao"}


def storefront_names() -> list[str]:
    """Names of all storefront adapters, our own first."""
    return [*_STOREFRONTS, *(n for n, c in _foreign().items() if issubclass(c, StorefrontAdapter))]


def channel_names() -> list[str]:
    """Names of all channel adapters, our own first."""
    return [*_CHANNELS, *(n for n, c in _foreign().items() if issubclass(c, ChannelAdapter))]


def is_channel(name: str) -> bool:
    """Whether there is a channel adapter of that name. Nothing of ours is imported."""
    return name in _CHANNELS or name in channel_names()


def storefront_class(name: str) -> type[StorefrontAdapter]:
    """The storefront adapter of that name. Raises: ConfigError listing those there are."""
    found = _load(_STOREFRONTS[name]) if name in _STOREFRONTS else _foreign().get(name)
    if found is None or not issubclass(found, StorefrontAdapter):
        raise ConfigError(f"There is no platform {name!r}.", hint=f"Use one of: {', '.join(storefront_names())}.")
    return found


def installer_names() -> list[str]:
    """Platforms from which a merchant can come in, our own first."""
    return [*_INSTALLERS, *(name for name, cls in _foreign().items() if getattr(cls, "installer", None) is not None)]


def installer_class(name: str) -> type[Installer] | None:
    """How a merchant comes in from that platform; None where keys are typed in."""
    if name in _INSTALLERS:
        module, _, attribute = _INSTALLERS[name].partition(":")
        found = getattr(import_module(module), attribute)
    else:
        found = getattr(_foreign().get(name), "installer", None)
    assert found is None or (isinstance(found, type) and issubclass(found, Installer))
    return found


def app_values(settings: Iterable[Setting], platform: str) -> dict[str, str]:
    """What the environment tells of the app as a whole: CRM_<PLATFORM>_<KEY> for each setting, where it is set."""
    names = {setting.key: f"CRM_{platform}_{setting.key}".upper() for setting in settings}
    return {key: os.environ[name].strip() for key, name in names.items() if os.environ.get(name, "").strip()}


def label_of(name: str) -> str:
    """What people call a platform or sender of that name."""
    known = {*storefront_names(), *channel_names()}
    if name not in known:
        return name
    return (storefront_class(name) if name in storefront_names() else channel_class(name)).label


def channel_class(name: str) -> type[ChannelAdapter]:
    """The channel adapter of that name. Raises: ConfigError listing those there are."""
    found = _load(_CHANNELS[name]) if name in _CHANNELS else _foreign().get(name)
    if found is None or not issubclass(found, ChannelAdapter):
        raise ConfigError(f"There is no sender {name!r}.", hint=f"Use one of: {', '.join(channel_names())}.")
    return found


def able(names: Iterable[str], capability: Capability) -> list[str]:
    """Those of these senders that can do that; others than these are not imported, and what is not installed can do nothing."""
    return [name for name in names if is_channel(name) and capability in channel_class(name).capabilities]


def platform_of(name: str) -> str:
    """The platform whose connection a sender uses; empty where it has its own. Nothing of ours is imported."""
    return _PLATFORMS.get(name, "") if name in _CHANNELS else channel_class(name).uses_storefront


@cache
def _load(path: str) -> type[Adapter]:
    module, _, attribute = path.partition(":")
    loaded = getattr(import_module(module), attribute)
    assert isinstance(loaded, type)
    assert issubclass(loaded, Adapter)
    return loaded


@cache
def _foreign() -> dict[str, type[Adapter]]:
    found: dict[str, type[Adapter]] = {}
    for point in entry_points(group="crm_plugin.adapters"):
        loaded = point.load()
        if not (isinstance(loaded, type) and issubclass(loaded, Adapter)):
            raise ConfigError(f"The entry point {point.name!r} is not an adapter class.")
        if point.name not in _STOREFRONTS and point.name not in _CHANNELS:
            found[point.name] = loaded
    return found
