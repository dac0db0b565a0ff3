"""A shop's own settings: what there is to set, how what was typed is checked, how it is kept. `policy` reads what was kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlsplit

from babel import Locale, UnknownLocaleError
from sqlalchemy import Connection, select, update

from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.rules.triggers import QuietHours, read_time
from crm_plugin.store import audit, shops, touchpoints
from crm_plugin.store.tenants import Shop, shop_by_id
from crm_plugin.touchpoints.guard_settings import read_blast, read_caps, read_cases, refuse_unknown
from crm_plugin.touchpoints.links import read_tracking
from crm_plugin.touchpoints.states import WAITING, Reason

# What the audit log calls it.
SAVED = "settings.saved"
# For how long words and payloads are kept, when the shop says nothing; and the bounds of what it may say.
KEEP_DAYS, FEWEST_DAYS, MOST_DAYS = 730, 30, 36500
COLOR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True, slots=True)
class ShopSetting:
    """One setting of a shop: what it is called, what it does, and how what was typed is read."""

    key: str
    label: str
    help: str
    read: Callable[[Any], Any]


_ONE_LINE = re.compile(r"[^\x00-\x1f\x7f]*")
_LONGEST_LINE = 120
_LONGEST_ADDRESS = 500
_LINK = re.compile(r"https?://[^\s\x00-\x1f\"'<>\\]+", re.IGNORECASE)
_CURRENCY = re.compile(r"[A-Z]{3}")
# Regions are written in capitals, scripts with one.
_LOCALE_CASE = {2: str.upper, 4: str.capitalize}
_LOCALE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")


def read_quiet(told: Any) -> QuietHours:
    """Quiet hours as {"from": "21:00", "to": "08:00"}; equal times mean none. Raises: InvalidInput."""
    hint = phrase('Write {from: "21:00", to: "08:00"}; equal times mean no quiet hours.')
    if not isinstance(told, Mapping) or not {"from", "to"} <= set(told):
        raise InvalidInput(phrase("Quiet hours have a beginning and an end."), field="quiet_hours", hint=hint)
    try:
        return QuietHours(read_time(str(told["from"])), read_time(str(told["to"])))
    except InvalidInput as error:
        raise InvalidInput(error.message, field="quiet_hours", hint=hint) from error


def _read_quiet_hours(told: Any) -> dict[str, Any]:
    """Quiet hours with what a shop adds to them: {…, "channels": {"sms": {…}}, "sundays": true, "holidays": true}."""
    found: dict[str, Any] = _hours(read_quiet(told))
    refuse_unknown(told, ("from", "to", "channels", "sundays", "holidays"), "quiet_hours")
    channels = told.get("channels") or {}
    if not isinstance(channels, Mapping):
        raise InvalidInput(
            phrase("Quiet hours of a channel are written under its name."),
            field="quiet_hours.channels",
            hint=_HOURS_HINT,
        )
    refuse_unknown(channels, ("email", "sms", "note"), "quiet_hours.channels")
    own = {name: _hours(read_quiet(hours)) for name, hours in channels.items()}
    for name in ("sundays", "holidays"):
        if not isinstance(told.get(name, False), bool):
            raise InvalidInput(
                phrase("`%(field)s` is true or false.", field=f"quiet_hours.{name}"), field=f"quiet_hours.{name}"
            )
        if told.get(name):
            found[name] = True
    return {**found, **({"channels": own} if own else {})}


_HOURS_HINT = phrase('Write {from: "21:00", to: "08:00", channels: {sms: {from: "20:00", to: "10:00"}}}.')


def _hours(hours: QuietHours) -> dict[str, str]:
    return {"from": hours.start.strftime("%H:%M"), "to": hours.end.strftime("%H:%M")}


def _read_brand(told: Any) -> dict[str, str]:
    if not isinstance(told, Mapping):
        raise InvalidInput(phrase("The brand is a colour and a logo."), field="brand", hint=_BRAND_HINT)
    refuse_unknown(told, ("color", "logo_url"), "brand")
    color, logo = _text(told.get("color"), "brand.color"), _text(told.get("logo_url"), "brand.logo_url")
    if color and not COLOR.fullmatch(color):
        raise InvalidInput(
            phrase("%(color)r is not a colour.", color=color), field="brand.color", hint=phrase("Write it as #1f4d3d.")
        )
    if logo and not (logo.startswith("https://") and _is_link(logo)):
        raise InvalidInput(
            phrase("The logo's address %(logo)r cannot be used.", logo=logo),
            field="brand.logo_url",
            hint=phrase("It must begin with https://, or mail programs will not show it."),
        )
    return {name: value for name, value in (("color", color.lower()), ("logo_url", logo)) if value}


_BRAND_HINT = phrase('Write {color: "#1f4d3d", logo_url: https://…}.')


def _read_address(told: Any) -> str:
    address = "\n".join(line.strip() for line in _text(told, "address").splitlines())
    if len(address) > _LONGEST_ADDRESS:
        raise InvalidInput(
            phrase("The address is longer than %(most)s characters.", most=_LONGEST_ADDRESS),
            field="address",
        )
    return address


def _read_cta_url(told: Any) -> str:
    link = _text(told, "cta_url")
    if link and not _is_link(link):
        raise InvalidInput(
            phrase("%(link)r is not a web address.", link=link),
            field="cta_url",
            hint=phrase("It begins with https://, such as https://shop.example."),
        )
    return link


def _read_line(told: Any, field: str) -> str:
    line = _text(told, field)
    if len(line) > _LONGEST_LINE or not _ONE_LINE.fullmatch(line):
        raise InvalidInput(
            phrase(
                "`%(field)s` is one line of at most %(most)s characters.",
                field=field,
                most=_LONGEST_LINE,
            ),
            field=field,
        )
    return line


def _read_rates(told: Any) -> dict[str, str]:
    hint = phrase('Write what one unit is worth in the shop\'s currency: {USD: "0.92"}.')
    if not isinstance(told, Mapping):
        raise InvalidInput(phrase("Exchange rates are written by currency."), field="rates", hint=hint)
    found: dict[str, str] = {}
    for code, told_rate in told.items():
        if not isinstance(code, str) or not _CURRENCY.fullmatch(code):
            raise InvalidInput(
                phrase("%(code)r is not a currency.", code=code),
                field="rates",
                hint=phrase("Three capital letters, such as USD."),
            )
        try:
            rate = Decimal(_text(told_rate, f"rates.{code}"))
        except InvalidOperation:
            rate = Decimal("NaN")
        # Far outside these bounds it is a slip of the keyboard, and sums would no longer fit.
        if not Decimal("1e-9") <= rate <= Decimal("1e9") if rate.is_finite() else True:
            raise InvalidInput(
                phrase("%(told)r is not an exchange rate.", told=told_rate), field=f"rates.{code}", hint=hint
            )
        found[code] = format(rate.normalize(), "f")
    return dict(sorted(found.items()))


def _read_write_back(told: Any) -> list[str]:
    """Raises: InvalidInput."""
    names = [told] if isinstance(told, str) else told
    if not isinstance(names, list) or not all(name in WRITE_BACK for name in names):
        raise InvalidInput(
            phrase("`write_back` is a list of %(names)s.", names=list(WRITE_BACK)),
            field="write_back",
            hint=phrase("Leave it out to write nothing."),
        )
    return [name for name in WRITE_BACK if name in names]


def _read_keep_days(told: Any) -> str:
    """Days as a text, for 0 has a meaning of its own: for ever."""
    days = _text(told, "keep_days")
    if days and not (days.isascii() and days.isdigit() and (days == "0" or FEWEST_DAYS <= int(days) <= MOST_DAYS)):
        raise InvalidInput(
            phrase("%(days)r is no number of days to keep messages for.", days=days),
            field="keep_days",
            hint=phrase("%(fewest)s to %(most)s, or 0 for ever.", fewest=FEWEST_DAYS, most=MOST_DAYS),
        )
    return str(int(days)) if days else ""


def keep_days(shop: Shop) -> int:
    """For how many days words and payloads are kept; 0 is for ever."""
    try:
        return int(_read_keep_days(shop.settings.get("keep_days")) or KEEP_DAYS)
    except InvalidInput:
        # What cannot be read takes nothing away.
        return 0


# What the store may be asked to hold as well; `sync/store_writes.py` writes it.
WRITE_BACK = ("tags", "consent")


def read_locale(told: Any) -> str:
    """A language such as en or zh-CN, as we write it. Raises: InvalidInput."""
    first, *rest = _text(told, "locale").replace("_", "-").split("-")
    tag = "-".join([first.lower(), *(_LOCALE_CASE.get(len(part), str)(part) for part in rest)])
    try:
        if not _LOCALE.fullmatch(tag):
            raise ValueError(tag)
        Locale.parse(tag, sep="-")
    except (UnknownLocaleError, ValueError) as error:
        raise InvalidInput(
            phrase("%(tag)r is not a language.", tag=tag), field="locale", hint=phrase("Such as en or zh-CN.")
        ) from error
    return tag


# What is kept in `shops.settings`; an empty value takes a setting back to its default.
SETTINGS = (
    ShopSetting(
        "quiet_hours", "Quiet hours", "Nobody is written to between these times of their own day.", _read_quiet_hours
    ),
    ShopSetting(
        "caps",
        "Limits",
        "How many marketing messages one member gets at most in a day and in a week, over all journeys and by channel.",
        read_caps,
    ),
    ShopSetting(
        "open_cases",
        "Open cases",
        "For how long a complaint, a return or a late parcel keeps promotion away from a member.",
        read_cases,
    ),
    ShopSetting(
        "blast",
        "Many at once",
        "Above how many messages of one journey a small share goes first, and what makes a journey stand still.",
        read_blast,
    ),
    ShopSetting(
        "tracking",
        "What is counted",
        "Whether clicks and opens of marketing mails are counted where the sender tells none; opens only by consent.",
        read_tracking,
    ),
    ShopSetting("brand", "Brand", "The colour of buttons and a logo for the head of every mail.", _read_brand),
    ShopSetting(
        "address", "Postal address", "Stands at the foot of every mail; many countries demand it.", _read_address
    ),
    ShopSetting(
        "cta_url", "Button address", "Where the button of a message leads; the shop when empty.", _read_cta_url
    ),
    ShopSetting(
        "sender_name",
        "Sender name",
        "What the inbox shows; the sender's own setting when empty.",
        lambda told: _read_line(told, "sender_name"),
    ),
    ShopSetting(
        "rates",
        "Exchange rates",
        "What one unit of another currency is worth in the shop's; orders without a rate are in no sum.",
        _read_rates,
    ),
    ShopSetting(
        "write_back",
        "Written into the store",
        "What the store is to hold as well, where it can: tags that journeys gave, consent that was said here.",
        _read_write_back,
    ),
    ShopSetting(
        "keep_days",
        "Days to keep",
        "After how many days the words of messages and what providers told us go; 730 when not set, 0 keeps them for ever.",
        _read_keep_days,
    ),
)
# What is kept in the shop's own row; these have no default and cannot be emptied.
ROW_SETTINGS = (
    ShopSetting("title", "Name", "The shop's name as customers know it.", lambda told: _read_line(told, "title")),
    ShopSetting("locale", "Language", "The language messages fall back to.", read_locale),
)


def read_settings(told: Mapping[str, Any]) -> dict[str, Any]:
    """Check settings as a file or form tells them; answers those that were told, None for one to be taken back.

    Raises: InvalidInput naming the setting.
    """
    readers = {setting.key: setting.read for setting in (*ROW_SETTINGS, *SETTINGS)}
    refuse_unknown(told, tuple(readers), "")
    found: dict[str, Any] = {}
    for key, value in told.items():
        read = readers[key](value) if value is not None else None
        if not read and key in (setting.key for setting in ROW_SETTINGS):
            raise InvalidInput(phrase("`%(key)s` cannot be empty.", key=key), field=key)
        found[key] = read or None
    return found


def save_settings(
    connection: Connection, shop: Shop, told: Mapping[str, Any], now: datetime, *, actor: str = ""
) -> Shop:
    """Keep the settings that are told and leave the others; answers the shop as it is then. An `actor` goes into the audit log.

    Raises: InvalidInput.
    After a change of rates the caller has the sums counted anew (`sync.facts.rebuild`): this package does not reach there.
    """
    read = read_settings(told)
    if shop.currency in (read.get("rates") or {}):
        raise InvalidInput(
            phrase("%(currency)s is the shop's own currency.", currency=shop.currency),
            field="rates",
            hint=phrase("Take its rate out."),
        )
    columns = shops.c
    # Locked, so that two forms saved at once do not undo each other.
    row = connection.execute(
        select(columns.settings, *(columns[one.key] for one in ROW_SETTINGS))
        .where(columns.shop_id == shop.shop_id)
        .with_for_update(key_share=True)
    ).one()
    present = {**(row.settings or {}), **{one.key: getattr(row, one.key) for one in ROW_SETTINGS}}
    changed = sorted(key for key, value in read.items() if present.get(key) != value)
    if changed:
        wanted = {key: value for key, value in {**present, **read}.items() if value is not None}
        own = {one.key: wanted.pop(one.key) for one in ROW_SETTINGS}
        connection.execute(update(shops).where(columns.shop_id == shop.shop_id).values(**own, settings=wanted))
        if "caps" in changed:
            _look_again(connection, shop.shop_id, now)
        if actor:
            audit.note(connection, shop.shop_id, actor, SAVED, {"changed": changed}, now)
    return shop_by_id(connection, shop.shop_id)


def _look_again(connection: Connection, shop_id: int, now: datetime) -> None:
    """What was put off by the limits there were is held against those there are."""
    t = touchpoints.c
    waiting = t.state.in_([state.value for state in WAITING])
    put_off = (t.shop_id == shop_id) & waiting & (t.reason == Reason.FREQUENCY_CAP.value) & (t.next_try_at > now)
    connection.execute(update(touchpoints).where(put_off, t.reason != "").values(next_try_at=now))


def told_settings(shop: Shop) -> dict[str, Any]:
    """The settings of a shop as `read_settings` takes them; what was never set, or cannot be read, is left out."""
    found: dict[str, Any] = {"title": shop.title, "locale": shop.locale}
    for setting in SETTINGS:
        value = shop.settings.get(setting.key)
        try:
            read = setting.read(value) if value else None
        except InvalidInput:
            continue
        if read:
            found[setting.key] = read
    return found


def _text(told: Any, field: str) -> str:
    if isinstance(told, bool) or not isinstance(told, str | int | float | Decimal | None):
        raise InvalidInput(phrase("`%(field)s` is a text, not %(told)r.", field=field, told=told), field=field)
    return "" if told is None else str(told).strip()


def _is_link(link: str) -> bool:
    try:
        return bool(_LINK.fullmatch(link) and urlsplit(link).hostname)
    except ValueError:
        return False
