"""Customer notes on WooCommerce orders, which the store mails itself."""

from crm_plugin.adapters.channels.woocommerce_note.adapter import WooCommerceNoteChannel

__all__ = ["WooCommerceNoteChannel"]
