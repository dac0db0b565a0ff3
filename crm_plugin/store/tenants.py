"""Finding a shop; what the rest of the code carries about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row, select

from crm_plugin.errors import NotFound
from crm_plugin.phrases import phrase
from crm_plugin.store.shops import shops

# All is well; the merchant must act; the app was taken away, or switched off, in the store.
CONNECTED, ACTION_REQUIRED, UNINSTALLED, SUSPENDED = "connected", "action_required", "uninstalled", "suspended"


@dataclass(frozen=True, slots=True)
class Shop:
    """One tenant, without its credentials."""

    shop_id: int
    name: str
    title: str
    platform: str
    url: str
    currency: str
    timezone: str
    locale: str
    status: str = "connected"
    status_detail: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    # The platform's own name for the store; empty where keys were typed in.
    reference: str = ""
    # Why the connection is as it is (`sync/standing.py`), and since when.
    status_reason: str = ""
    status_at: datetime | None = None

    @property
    def is_awake(self) -> bool:
        """Whether anything is to be done for it: not where the merchant has taken the app away, or switched it off, in the store."""
        return self.status not in (UNINSTALLED, SUSPENDED)

    @property
    def rates(self) -> dict[str, Decimal]:
        """Exchange rates the merchant set: units of the shop's currency for one unit of the other."""
        return {code: Decimal(str(rate)) for code, rate in self.settings.get("rates", {}).items()}


def shop_named(connection: Connection, name: str) -> Shop:
    """The shop of that name. Raises: NotFound listing the names there are."""
    row = connection.execute(select(shops).where(shops.c.name == name)).first()
    if row is None:
        names = [n for (n,) in connection.execute(select(shops.c.name).order_by(shops.c.name))]
        hint = phrase("There are: %(names)s.", names=names) if names else phrase("Add one with `crm-plugin shop add`.")
        raise NotFound(phrase("There is no shop named %(name)r.", name=name), hint=hint)
    return _shop(row)


def shop_by_id(connection: Connection, shop_id: int) -> Shop:
    """The shop with that id. Raises: NotFound."""
    found = shop_or_none(connection, shop_id)
    if found is None:
        raise NotFound(phrase("That shop is no longer here."))
    return found


def shop_or_none(connection: Connection, shop_id: int) -> Shop | None:
    """The shop with that id; None when it is no longer here."""
    row = connection.execute(select(shops).where(shops.c.shop_id == shop_id)).first()
    return None if row is None else _shop(row)


def shop_of(connection: Connection, platform: str, reference: str) -> Shop | None:
    """The store of a platform by its own name for itself; None when there is none."""
    if not reference:
        return None
    query = select(shops).where(shops.c.platform == platform, shops.c.reference == reference)
    row = connection.execute(query).first()
    return None if row is None else _shop(row)


def all_shops(connection: Connection) -> list[Shop]:
    """Every shop, by name."""
    return [_shop(row) for row in connection.execute(select(shops).order_by(shops.c.name))]


def _shop(row: Row[Any]) -> Shop:
    return Shop(
        shop_id=row.shop_id,
        name=row.name,
        title=row.title,
        platform=row.platform,
        url=row.url,
        currency=row.currency,
        timezone=row.timezone,
        locale=row.locale,
        status=row.status,
        status_detail=row.status_detail,
        settings=row.settings or {},
        reference=row.reference,
        status_reason=row.status_reason,
        status_at=row.status_at,
    )
