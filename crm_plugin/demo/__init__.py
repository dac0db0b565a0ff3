"""A made-up shop to try the product on: its history, a server in WooCommerce's form, and sinks that take mail and texts."""
