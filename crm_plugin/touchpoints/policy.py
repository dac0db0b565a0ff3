"""What a merchant decided once for all messages: quiet hours, brand, address, where buttons lead. Read from `shops.settings`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from crm_plugin.errors import InvalidInput
from crm_plugin.rules.triggers import QuietHours, read_time
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.guard_settings import (
    DEFAULT_CAPS,
    Blast,
    Cases,
    Limit,
    blast_of,
    limits_of,
    read_blast,
    read_caps,
    read_cases,
)
from crm_plugin.touchpoints.links import Tracking, read_tracking
from crm_plugin.touchpoints.quiet import Rest
from crm_plugin.touchpoints.settings import COLOR, read_quiet

DEFAULT_QUIET = ("21:00", "08:00")
DEFAULT_COLOR = "#1f4d3d"


@dataclass(frozen=True, slots=True)
class Brand:
    """How messages look; `on_color` is text on the brand's colour, chosen for contrast."""

    color: str = DEFAULT_COLOR
    on_color: str = "#ffffff"
    logo_url: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """One shop's decisions, checked. An empty `sender_name` leaves the name to the connection that sends."""

    quiet: QuietHours
    brand: Brand
    address: str = ""
    cta_url: str = ""
    sender_name: str = ""
    # How often one member is written to.
    limits: tuple[Limit, ...] = ()
    # What is added to the quiet hours, and the zone of whoever has none.
    rest: Rest = field(default_factory=Rest)
    zone: str = "UTC"
    # What many messages at once are held against.
    blast: Blast = field(default_factory=Blast)
    # What keeps promotion away from a member.
    cases: Cases = field(default_factory=Cases)
    # What is counted of mails.
    tracking: Tracking = field(default_factory=Tracking)


def policy_of(shop: Shop) -> Policy:
    """The shop's decisions. What cannot be read falls back to the default: a wrong setting must not open the night."""
    told = shop.settings
    quiet = told.get("quiet_hours")
    try:
        hours = read_quiet(quiet) if quiet is not None else _default_quiet()
    except InvalidInput:
        hours = _default_quiet()
    brand = told.get("brand") if isinstance(told.get("brand"), dict) else {}
    return Policy(
        quiet=hours,
        brand=_brand(brand or {}),
        address=str(told.get("address", "")),
        cta_url=str(told.get("cta_url", "")) or shop.url,
        sender_name=str(told.get("sender_name", "")),
        rest=_rest(quiet),
        zone=shop.timezone,
        cases=Cases(**_read_or(read_cases, told.get("open_cases"), {})),
        blast=blast_of(_read_or(read_blast, told.get("blast"), {})),
        tracking=_tracking(told.get("tracking")),
        limits=limits_of(_read_or(read_caps, told.get("caps"), DEFAULT_CAPS)),
    )


def _rest(told: Any) -> Rest:
    """What is added to the quiet hours; what cannot be read adds nothing."""
    if not isinstance(told, Mapping):
        return Rest()
    channels = told.get("channels")
    own: dict[str, QuietHours] = {}
    for channel, hours in channels.items() if isinstance(channels, Mapping) else ():
        with suppress(InvalidInput):
            own[channel] = read_quiet(hours)
    return Rest(own, told.get("sundays") is True, told.get("holidays") is True)


def _tracking(told: Any) -> Tracking:
    """What is counted; nothing where that cannot be read: a wrong setting must not count what nobody agreed to."""
    try:
        return Tracking(**read_tracking(told)) if told else Tracking()
    except InvalidInput:
        return Tracking(clicks=False)


def _read_or(read: Callable[[Any], Any], told: Any, default: Any) -> Any:
    """A setting as it was kept; the default for one that is not there or cannot be read."""
    try:
        return read(told) if told else default
    except InvalidInput:
        return default


def _default_quiet() -> QuietHours:
    return QuietHours(read_time(DEFAULT_QUIET[0]), read_time(DEFAULT_QUIET[1]))


def _brand(told: Mapping[str, Any]) -> Brand:
    color = str(told.get("color", ""))
    if not COLOR.fullmatch(color):
        color = DEFAULT_COLOR
    logo = str(told.get("logo_url", ""))
    return Brand(color, _text_on(color), logo if logo.startswith("https://") else "")


def _text_on(color: str) -> str:
    """Black or white, whichever has the higher contrast on the colour (WCAG relative luminance)."""
    parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#ffffff" if 1.05 / (luminance + 0.05) >= (luminance + 0.05) / 0.05 else "#000000"
