"""How the connection to a store is, in words: what happened, what to do, and where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import g, url_for
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from sqlalchemy import Connection

from crm_plugin.adapters.base import Problem
from crm_plugin.adapters.registry import app_values, installer_class, storefront_class, storefront_names
from crm_plugin.errors import ConfigError, CrmError
from crm_plugin.jobs.installing import installer_of
from crm_plugin.store import leases, pending
from crm_plugin.store.pending import Begun
from crm_plugin.store.tenants import CONNECTED, UNINSTALLED, Shop
from crm_plugin.sync import connect, keeper, standing
from crm_plugin.sync.standing import Standing
from crm_plugin.web import formats
from crm_plugin.web.languages import sentences
from crm_plugin.web.site import site


@dataclass(frozen=True, slots=True)
class StoreState:
    """A badge with its tone, what happened, what it means and what to do; `detail` is the store's own word, `action` leads to `href`."""

    standing: Standing
    tone: str
    badge: Any
    title: Any
    help: Any
    since: datetime | None = None
    detail: str = ""
    href: str = ""
    action: Any = ""

    @property
    def is_well(self) -> bool:
        return self.standing is Standing.WELL


_YOU, _OFF = _l("Needs you"), _l("Switched off")
_WORDS: dict[Standing, tuple[str, Any, Any, Any]] = {
    Standing.WELL: ("good", _l("Connected"), _l("Your store lets us in"), ""),
    Standing.KEYS: (
        "bad",
        _YOU,
        _l("Your store no longer takes our keys"),
        _l("Nothing is lost: what is new there is read as soon as there are new ones."),
    ),
    Standing.PERMISSION: (
        "bad",
        _YOU,
        _l("Your store does not allow what is needed"),
        _l("The keys are good, but a right is missing. Once it is given, everything goes on where it stopped."),
    ),
    Standing.REFUSED: (
        "bad",
        _YOU,
        _l("Your store turns us away"),
        _l("No right is known to be missing: a firewall or a setting of your store stands before it. Ask its host."),
    ),
    Standing.CLOSED: (
        "bad",
        _YOU,
        _l("Your store is closed"),
        _l("Its platform lets nobody in. Once it is open again, everything goes on where it stopped."),
    ),
    Standing.ADDRESS: (
        "bad",
        _YOU,
        _l("Your store is not found at its address"),
        _l("Keys are never sent to another address than the one that was given."),
    ),
    Standing.CLOCK: (
        "bad",
        _YOU,
        _l("Your store says that the clock here is wrong"),
        _l("Ask whoever looks after your server."),
    ),
    Standing.CURRENCY: (
        "bad",
        _YOU,
        _l("Your store counts in another currency now"),
        _l("Sums stay in the currency of before. Connect it as a shop of its own to begin anew."),
    ),
    Standing.OTHER: (
        "bad",
        _YOU,
        _l("Your store no longer lets us in"),
        _l("Nothing is lost: it goes on where it stopped once this is put right."),
    ),
    Standing.SWITCHED_OFF: (
        "warn",
        _OFF,
        _l("The app is switched off in your store"),
        _l("Nothing is read, planned or sent. Switch it on there, and everything goes on by itself."),
    ),
    Standing.HELD_ELSEWHERE: (
        "bad",
        _OFF,
        _l("Another shop here holds this store"),
        _l("A store belongs to one shop alone, the one that it was installed for last. What is known here stays."),
    ),
    Standing.TAKEN_AWAY: (
        "bad",
        _l("Taken away"),
        _l("The app was taken away in your store"),
        _l("Nothing is read, planned or sent. Install it again, and everything goes on where it stopped."),
    ),
    Standing.DISCONNECTED: (
        "",
        _l("Disconnected"),
        _l("You have disconnected this store"),
        _l("Nothing is read, planned or sent. Connect it again, and everything goes on where it stopped."),
    ),
    Standing.ERASING: (
        "warn",
        _l("Being erased"),
        _l("Everything that is kept of this store is being erased"),
        _l("It takes a few minutes, and cannot be taken back."),
    ),
}
# What new keys, or the same ones with more rights, put right.
_BY_KEYS = frozenset(
    {
        *(Standing.KEYS, Standing.PERMISSION, Standing.REFUSED, Standing.ADDRESS, Standing.OTHER),
        Standing.DISCONNECTED,
        Standing.TAKEN_AWAY,
    }
)


def badge_of(shop: Shop) -> tuple[str, Any]:
    """The badge alone, with its tone, where many shops are listed."""
    return _WORDS[_why(shop)][:2]


def _why(shop: Shop) -> Standing:
    why = standing.of(shop)
    if shop.status != CONNECTED and why is Standing.WELL:
        # Of a time before reasons were kept.
        return Standing.TAKEN_AWAY if shop.status == UNINSTALLED else Standing.OTHER
    return why


def state_of(connection: Connection, shop: Shop) -> StoreState:
    """How it is now."""
    now, why = site().runtime.clock.now(), _why(shop)
    tone, badge, title, help_ = _WORDS[why]
    if why is Standing.WELL and _is_renewing(connection, shop, now):
        tone, badge, help_ = (
            "info",
            _("Keys are being renewed"),
            _("What is asked of the store waits for them a moment."),
        )
    parts = [str(help_)]
    if (erased_on := standing.erased_on(shop)) is not None:
        day = formats.instant_day(erased_on)
        parts.append(_("What is kept is erased by %(day)s at the latest, as its platform demands.", day=day))
    href, action = ("", "") if shop.status == CONNECTED else _what_to_do(shop, why)
    begun = None if shop.status == CONNECTED else next(iter(_begun_for(connection, shop)), None)
    if begun is not None:
        parts.append(
            _("You began to connect it at %(when)s and have not agreed yet.", when=formats.moment(begun.begun_at))
        )
        action = _("Go on")
    detail = shop.status_detail if shop.status != CONNECTED else ""
    return StoreState(why, tone, badge, title, sentences(parts), shop.status_at, detail, href, action)


def soon(shop: Shop) -> list[Problem]:
    """What the merchant has to do before long; of a store that lets us in no more its state tells."""
    runtime = site().runtime
    if shop.status != CONNECTED:
        return []
    try:
        kept = connect.credentials_of(runtime.db, runtime.box, shop)
    except ConfigError:
        # The key that sealed them is gone, which is told elsewhere.
        return []
    cls = storefront_class(shop.platform)
    storefront = cls.listening({**kept, **app_values(cls.app_settings, shop.platform)})
    return storefront.soon(runtime.clock.now())


def agreeing_again(shop: Shop) -> str:
    """Where the merchant of a store that was installed from its platform's side agrees once more; empty where that is no address."""
    cls = installer_class(shop.platform)
    if cls is None or cls.begun_here or not shop.reference or g.get("visit") is not None:
        return ""
    return url_for("install.begin", platform=shop.platform)


def unfinished(connection: Connection) -> list[Begun]:
    """Installs that were begun here within the hour and wait for the merchant to agree, each store once."""
    runtime = site().runtime
    begun_here = [name for name in storefront_names() if (cls := installer_class(name)) is not None and cls.begun_here]
    found: dict[tuple[str, str], Begun] = {}
    for begun in pending.waiting(connection, runtime.box, begun_here, runtime.clock.now()):
        found.setdefault((begun.platform, begun.url), begun)
    return list(found.values())


def _begun_for(connection: Connection, shop: Shop) -> Iterable[Begun]:
    cls = installer_class(shop.platform)
    if cls is None or not cls.begun_here or not shop.url:
        return ()
    own = cls.reference_of(shop.url)
    return (one for one in unfinished(connection) if one.platform == shop.platform and cls.reference_of(one.url) == own)


def _is_renewing(connection: Connection, shop: Shop, now: datetime) -> bool:
    return any(one.name == keeper.NAME for one in leases.held(connection, shop.shop_id, now))


def _what_to_do(shop: Shop, why: Standing) -> tuple[str, str]:
    """Where the merchant puts it right, and what the button says; empty where there is nothing to press."""
    if why not in _BY_KEYS:
        return "", ""
    cls = installer_class(shop.platform)
    if cls is not None and cls.begun_here and g.get("visit") is None and site().public_url.startswith("https://"):
        return url_for("pages.connect", platform=shop.platform, url=shop.url), _("Connect it again")
    if cls is not None and not cls.begun_here and shop.reference:
        home = _home(shop)
        return (home, _("Open the app in your store")) if home else ("", "")
    action = _("Enter new keys") if shop.is_awake else _("Connect it again")
    return url_for("pages.connections_store", shop=shop.name), action


def _home(shop: Shop) -> str:
    try:
        return installer_of(site().runtime, shop.platform).home(shop.reference)
    except CrmError:
        return ""
