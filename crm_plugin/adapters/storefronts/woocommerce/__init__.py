"""WooCommerce as a storefront."""

from crm_plugin.adapters.storefronts.woocommerce.adapter import WooCommerceStorefront

__all__ = ["WooCommerceStorefront"]
