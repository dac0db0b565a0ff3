"""Storefronts and channels: one folder, one test folder, one registry line each."""
