"""Messages in the storefront itself."""

from crm_plugin.adapters.channels.inapp.adapter import InAppChannel

__all__ = ["InAppChannel"]
