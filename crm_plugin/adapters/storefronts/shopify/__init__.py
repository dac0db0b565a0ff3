"""Shopify: the GraphQL Admin API, as an app that is installed from its store."""

from crm_plugin.adapters.storefronts.shopify.adapter import ShopifyStorefront
from crm_plugin.adapters.storefronts.shopify.installer import ShopifyInstaller

__all__ = ["ShopifyInstaller", "ShopifyStorefront"]
