"""Storefront adapters: where members and orders come from."""
