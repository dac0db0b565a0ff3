"""The CRM plugin for online stores: members, worth, tiers and messages at the right moment."""

__version__ = "0.1.0"
