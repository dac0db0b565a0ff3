"""The zone of a store that tells only how far it is from UTC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crm_plugin.clock import is_zone

# Zones that stand all year at an offset of half hours or quarters, for stores that tell only that.
_BETWEEN = {
    -9.5: "Pacific/Marquesas",
    3.5: "Asia/Tehran",
    4.5: "Asia/Kabul",
    5.5: "Asia/Kolkata",
    5.75: "Asia/Kathmandu",
    6.5: "Asia/Yangon",
    8.75: "Australia/Eucla",
    9.5: "Australia/Darwin",
}


def zone_of(root: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The store's zone; one that tells only an offset gets a zone that always stands there, with a note."""
    name = str(root.get("timezone_string") or "")
    if is_zone(name):
        return name, ()
    try:
        hours = float(root.get("gmt_offset") or 0)
    except (TypeError, ValueError):
        hours = 0.0
    # The sign of these names is turned round: Etc/GMT-1 is one hour ahead.
    fixed = f"Etc/GMT{-int(hours):+d}" if int(hours) else "UTC"
    return _BETWEEN.get(hours, fixed), (
        "The store tells only an offset from UTC, so summer time is not known: choose a city in WordPress > Settings.",
    )
