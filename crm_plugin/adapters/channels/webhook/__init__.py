"""Calls to addresses of the shop's own systems."""

from crm_plugin.adapters.channels.webhook.adapter import WebhookChannel

__all__ = ["WebhookChannel"]
