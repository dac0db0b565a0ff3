"""The Saleor storefront; see README.md beside this file."""

from crm_plugin.adapters.storefronts.saleor.adapter import SaleorStorefront
from crm_plugin.adapters.storefronts.saleor.installer import SaleorInstaller

__all__ = ["SaleorInstaller", "SaleorStorefront"]
