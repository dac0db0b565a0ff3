"""Where a parcel is: WooCommerce itself does not know; tracking plugins keep a list of shipments in an entry of an order's meta data."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import msgspec

from crm_plugin.adapters.raw import any_json

# Of Shipment Tracking and of Advanced Shipment Tracking.
SHIPMENTS = "_wc_shipment_tracking_items"
_LONGEST = 500


def shipment_of(value: msgspec.Raw) -> dict[str, str]:
    """`tracking_number`, `tracking_carrier` and `tracking_url` of the last shipment with a number, those that are told; else nothing.

    The plugins make the links of carriers they know when a page is shown, and do not store them: only one that was typed in is told.
    """
    told = any_json(value)
    items = list(told.values()) if isinstance(told, dict) else told if isinstance(told, list) else []
    for item in reversed(items):
        if isinstance(item, dict) and (number := _text(item, "tracking_number")):
            carrier = _text(item, "custom_tracking_provider") or _text(item, "tracking_provider")
            found = {
                "tracking_number": number,
                "tracking_carrier": carrier,
                "tracking_url": _link(_text(item, "custom_tracking_link")),
            }
            return {name: text for name, text in found.items() if text}
    return {}


def _text(item: dict[str, Any], name: str) -> str:
    value = item.get(name)
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return text if len(text) <= _LONGEST and text.isprintable() else ""


def _link(text: str) -> str:
    try:
        parts = urlsplit(text)
    except ValueError:
        return ""
    return text if parts.scheme in ("http", "https") and parts.hostname else ""
