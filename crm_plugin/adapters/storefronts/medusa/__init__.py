"""The Medusa storefront; see README.md beside this file."""

from crm_plugin.adapters.storefronts.medusa.adapter import MedusaStorefront
from crm_plugin.adapters.storefronts.medusa.installer import MedusaInstaller

__all__ = ["MedusaInstaller", "MedusaStorefront"]
