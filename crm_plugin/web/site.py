"""What every request finds: the runtime, the queue, and the shop that the address names."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import cast

from flask import current_app, g

from crm_plugin.clock import local_day
from crm_plugin.errors import NotFound
from crm_plugin.jobs.asked import Jobs
from crm_plugin.phrases import phrase
from crm_plugin.runtime import Runtime
from crm_plugin.store.tenants import Shop, all_shops, shop_named
from crm_plugin.web.kept import Kept

_KEY = "crm_plugin"


@dataclass(frozen=True, slots=True)
class Site:
    """One application's world."""

    runtime: Runtime
    queue: Jobs
    kept: Kept = field(default_factory=Kept)

    @property
    def public_url(self) -> str:
        return self.runtime.config.public_url


def install(app: object, site: Site) -> None:
    """Hang the site on an application."""
    app.extensions[_KEY] = site  # type: ignore[attr-defined]


def site() -> Site:
    """The present application's site."""
    return cast(Site, current_app.extensions[_KEY])


def the_shop() -> Shop:
    """The shop that the address names, read once a request. Raises: NotFound."""
    if "shop" not in g:
        raise NotFound(phrase("No shop is named in this address."), hint=phrase("Begin at the first page."))
    return cast(Shop, g.shop)


def load_shop(name: str) -> Shop:
    """Read the shop for this request. Raises: NotFound listing those there are."""
    with site().runtime.db.read() as connection:
        g.shop = shop_named(connection, name)
    visit = g.get("visit")
    if visit is not None and visit.shop_id != g.shop.shop_id:
        del g.shop
        raise NotFound(phrase("There is no shop named %(name)r.", name=name))
    return cast(Shop, g.shop)


def shops() -> list[Shop]:
    """All shops of this installation that this request may see, by name: in a platform's admin the one whose admin it is."""
    visit = g.get("visit")
    with site().runtime.db.read() as connection:
        return [one for one in all_shops(connection) if visit is None or one.shop_id == visit.shop_id]


def today(shop: Shop) -> date:
    """The present day in the shop's zone."""
    return local_day(site().runtime.clock.now(), shop.timezone)
