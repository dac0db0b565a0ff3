"""WooCommerce as a storefront."""

from crm_plugin.adapters.storefronts.woocommerce.adapter import WooCommerceStorefront
from crm_plugin.adapters.storefronts.woocommerce.installer import WooCommerceInstaller

__all__ = ["WooCommerceInstaller", "WooCommerceStorefront"]
