"""CSV files as a storefront: members, orders, or order lines; plain or gzip; any column names, by a mapping."""

from crm_plugin.adapters.storefronts.csv.adapter import CsvStorefront

__all__ = ["CsvStorefront"]
