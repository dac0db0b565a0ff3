"""The senders of a shop: which there are, their settings, whether they are well, and opening one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, select, update

from crm_plugin.adapters.base import Problem, SettingType, Severity
from crm_plugin.adapters.channels.base import CALLBACK_SETTING, PRICE_SETTING, ChannelAdapter
from crm_plugin.adapters.registry import app_values, channel_class, channel_names, platform_of, storefront_class
from crm_plugin.errors import ActionRequired, ConfigError, InvalidInput, NotFound
from crm_plugin.phrases import joined, phrase
from crm_plugin.store import connections, shops
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import inapp

# What the members' inbox needs nobody to set up.
_BUILT_IN = frozenset({"inapp"})
PAUSED = "action_required"


@dataclass(frozen=True, slots=True)
class Sender:
    """One sender of a shop as pages and commands show it; secrets are never in it."""

    adapter: str
    channel: str
    label: str
    enabled: bool
    status: str
    status_detail: str
    built_in: bool
    updated_at: datetime | None = None


def senders(connection: Connection, shop: Shop) -> list[Sender]:
    """The shop's senders: those set up, and those that need no setting up here."""
    rows = {
        row.adapter: row for row in connection.execute(select(connections).where(connections.c.shop_id == shop.shop_id))
    }
    found = []
    for name in channel_names():
        built_in = name in _BUILT_IN or (platform_of(name) or None) == shop.platform
        row = rows.get(name)
        if row is None and not built_in:
            continue
        adapter = channel_class(name)
        if row is not None:
            found.append(
                Sender(
                    name,
                    adapter.channel,
                    adapter.label,
                    bool(row.enabled),
                    row.status,
                    row.status_detail,
                    built_in,
                    row.updated_at,
                )
            )
        else:
            found.append(Sender(name, adapter.channel, adapter.label, True, "ok", "", True))
    return found


def available(connection: Connection, shop: Shop) -> dict[str, str]:
    """Channel → the adapter that serves it: the store's own before others, for it may be all that reaches its members.

    A paused sender counts: its messages wait for it within their validity.
    """
    there = [sender for sender in senders(connection, shop) if sender.enabled]
    there.sort(key=lambda sender: bool(platform_of(sender.adapter)), reverse=True)
    return {sender.channel: sender.adapter for sender in reversed(there)}


def paused(connection: Connection, shop_id: int) -> dict[str, str]:
    """Adapters that wait for the merchant, with what to do."""
    columns = connections.c
    query = select(columns.adapter, columns.status_detail).where(columns.shop_id == shop_id, columns.status == PAUSED)
    return {row.adapter: row.status_detail for row in connection.execute(query)}


def resting(connection: Connection, shop_id: int) -> set[str]:
    """Adapters that send nothing now: they wait for the merchant, or were switched off."""
    columns = connections.c
    idle = (columns.status == PAUSED) | columns.enabled.is_(False)
    return set(connection.execute(select(columns.adapter).where(columns.shop_id == shop_id, idle)).scalars())


def open_channel(
    db: Database, box: SecretBox, shop: Shop, adapter_name: str, now: datetime, *, public_url: str = ""
) -> ChannelAdapter:
    """The sender, ready to send; one that reports deliveries is told our own hook unless the merchant named another address.

    Raises: NotFound when it is not set up, ConfigError when its settings cannot be read with the present key.
    """
    cls = channel_class(adapter_name)
    values = settings_of(db, box, shop, adapter_name)
    if platform := cls.uses_storefront:
        values = {**values, **app_values(storefront_class(platform).app_settings, platform)}
    takes_callback = any(setting.key == CALLBACK_SETTING for setting in cls.settings)
    if takes_callback and not values.get(CALLBACK_SETTING) and _seen_from_outside(public_url):
        values = {**values, CALLBACK_SETTING: hook_url(public_url, shop, adapter_name)}
    channel = cls(values)
    bind = getattr(channel, "bind", None)
    if bind is not None:
        bind(inapp.sink(db, shop.shop_id, lambda: now))
    return channel


def hook_url(public_url: str, shop: Shop, adapter_name: str) -> str:
    """Where a sender of this shop reports deliveries."""
    return f"{public_url.rstrip('/')}/hooks/{shop.name}/{adapter_name}"


def _seen_from_outside(public_url: str) -> bool:
    # A provider refuses a message whose callback it could never reach.
    host = urlsplit(public_url).hostname or ""
    return host not in ("", "localhost", "127.0.0.1", "::1")


def settings_of(db: Database, box: SecretBox, shop: Shop, adapter_name: str) -> dict[str, Any]:
    """The settings of a sender. Raises: NotFound when it is not set up."""
    cls = channel_class(adapter_name)
    with db.read() as connection:
        if cls.uses_storefront:
            sealed = connection.execute(select(shops.c.credentials).where(shops.c.shop_id == shop.shop_id)).scalar()
        else:
            sealed = connection.execute(
                select(connections.c.settings).where(
                    connections.c.shop_id == shop.shop_id, connections.c.adapter == adapter_name
                )
            ).scalar()
    if not sealed:
        if adapter_name in _BUILT_IN:
            return {}
        raise _not_set_up(cls, shop)
    return box.open(sealed)


def _not_set_up(cls: type[ChannelAdapter], shop: Shop) -> NotFound:
    return NotFound(
        phrase("%(label)s is not set up for %(name)s.", label=cls.label, name=shop.name),
        hint=phrase("Set it up on the Connections page."),
    )


def part_price(db: Database, box: SecretBox, shop: Shop) -> Decimal | None:
    """What one part of a text message costs, in the shop's currency, as the settings of its sender say; None where none says it."""
    with db.read() as connection:
        adapter = available(connection, shop).get("sms")
    if adapter is None:
        return None
    try:
        told = settings_of(db, box, shop, adapter).get(PRICE_SETTING)
    except (NotFound, ConfigError):
        return None
    return Decimal(told) if told else None


def shown_settings(db: Database, box: SecretBox, shop: Shop, adapter_name: str) -> dict[str, Any]:
    """The settings without secrets, for a form."""
    try:
        values = settings_of(db, box, shop, adapter_name)
    except NotFound:
        return {}
    secret = _secrets(channel_class(adapter_name))
    return {key: value for key, value in values.items() if key not in secret}


def _secrets(cls: type[ChannelAdapter]) -> set[str]:
    return {setting.key for setting in cls.settings if setting.type is SettingType.SECRET}


def _kept(box: SecretBox, channel: ChannelAdapter) -> bytes:
    """Its settings as they are stored: encrypted, but where its secrets are told from the rest and none of them is given.

    A process that sends by it does not need the cipher then.
    """
    secret = _secrets(type(channel))
    is_open = bool(secret) and not any(channel.values.get(key) for key in secret)
    return box.sign(channel.values) if is_open else box.seal(channel.values)


def save_connection(
    db: Database,
    box: SecretBox,
    shop: Shop,
    adapter_name: str,
    values: Mapping[str, Any],
    now: datetime,
    *,
    probe: bool = True,
) -> list[Problem]:
    """Keep a sender's settings after it has answered to them; an empty secret keeps the one that is there.

    Returns: warnings. Raises: InvalidInput for what was typed, ActionRequired when the provider refuses: nothing is kept then.
    """
    cls = channel_class(adapter_name)
    if cls.uses_storefront:
        raise InvalidInput(phrase("%(label)s uses the store's own connection.", label=cls.label), field="adapter")
    try:
        present = settings_of(db, box, shop, adapter_name)
    except NotFound:
        present = {}
    secret = _secrets(cls)
    given = {key: value for key, value in values.items() if not (key in secret and value in (None, ""))}
    kept = {key: value for key, value in present.items() if key in secret}
    channel = cls({**kept, **given})
    try:
        warnings = channel.check() if probe else []
        for problem in warnings:
            if problem.severity is Severity.ERROR:
                raise ActionRequired(problem.message, hint=problem.hint, code=problem.code, adapter=adapter_name)
    finally:
        channel.close()
    row = {
        "channel": cls.channel,
        "settings": _kept(box, channel),
        "enabled": True,
        "status": "ok" if probe else "unchecked",
        "status_detail": "",
        "updated_at": now,
    }
    with db.write() as connection:
        if not _update(connection, shop.shop_id, adapter_name, row):
            connection.execute(connections.insert().values(shop_id=shop.shop_id, adapter=adapter_name, **row))
    return warnings


def _update(connection: Connection, shop_id: int, adapter_name: str, values: Mapping[str, Any]) -> bool:
    """Write into the sender's row; False when it has none yet."""
    mine = (connections.c.shop_id == shop_id) & (connections.c.adapter == adapter_name)
    return connection.execute(update(connections).where(mine).values(**values)).rowcount > 0


def switch(db: Database, shop: Shop, adapter_name: str, enabled: bool, now: datetime) -> None:
    """Use a sender or stop using it. Raises: NotFound when it is not set up and not built in."""
    cls = channel_class(adapter_name)
    with db.write() as connection:
        if _update(connection, shop.shop_id, adapter_name, {"enabled": enabled, "updated_at": now}):
            return
        if adapter_name not in _BUILT_IN and cls.uses_storefront != shop.platform:
            raise _not_set_up(cls, shop)
        connection.execute(
            connections.insert().values(
                shop_id=shop.shop_id,
                adapter=adapter_name,
                channel=cls.channel,
                settings=b"",
                enabled=enabled,
                status="ok",
                updated_at=now,
            )
        )


def pause(connection: Connection, shop_id: int, adapter_name: str, detail: str, now: datetime) -> None:
    """The merchant must act: nothing is sent by this adapter until it is checked again."""
    _status(connection, shop_id, adapter_name, PAUSED, detail, now)


def resume(connection: Connection, shop_id: int, adapter_name: str, now: datetime) -> None:
    """A paused sender has shown that it works again."""
    columns = connections.c
    connection.execute(
        update(connections)
        .where(columns.shop_id == shop_id, columns.adapter == adapter_name, columns.status == PAUSED)
        .values(status="ok", status_detail="", updated_at=now)
    )


def check(db: Database, box: SecretBox, shop: Shop, adapter_name: str, now: datetime) -> list[Problem]:
    """Probe a sender and keep what came of it; a sender that answers again is no longer paused. Raises: as `open_channel`."""
    channel = open_channel(db, box, shop, adapter_name, now)
    try:
        problems = channel.check()
    finally:
        channel.close()
    wrong = next((problem for problem in problems if problem.severity is Severity.ERROR), None)
    with db.write() as connection:
        status, detail = (PAUSED, joined(wrong.message, wrong.hint)) if wrong else ("ok", "")
        _status(connection, shop.shop_id, adapter_name, status, detail, now)
    return problems


def _status(connection: Connection, shop_id: int, adapter_name: str, status: str, detail: str, now: datetime) -> None:
    values = {"status": status, "status_detail": detail, "updated_at": now}
    if not _update(connection, shop_id, adapter_name, values):
        cls = channel_class(adapter_name)
        connection.execute(
            connections.insert().values(
                shop_id=shop_id, adapter=adapter_name, channel=cls.channel, settings=b"", enabled=True, **values
            )
        )
