"""Which shop holds a store. A store is one shop's alone, whether it was installed from its platform's side or its keys were typed in."""

from __future__ import annotations

from urllib.parse import urlsplit

from sqlalchemy import Connection, text

from crm_plugin.adapters.registry import installer_class
from crm_plugin.errors import InvalidInput, TransientError
from crm_plugin.phrases import phrase
from crm_plugin.store.tenants import Shop, all_shops, shop_of
from crm_plugin.sync import standing
from crm_plugin.sync.standing import Standing

_USUAL_PORTS = {"http": 80, "https": 443}


class StoreIsHeld(InvalidInput):
    """Another shop holds the store; `shop_id` names it to who may see that shop, and is in no message."""

    def __init__(self, shop_id: int | None = None) -> None:
        super().__init__(
            phrase("Another shop here holds this store."),
            field="url",
            hint=phrase("A store belongs to one shop alone. Disconnect and erase the other one first."),
        )
        self.shop_id = shop_id


def lock(connection: Connection) -> None:
    """One at a time looks who holds a store and then takes it, until the end of the transaction: two would each find it free."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('stores', 0))"))


def holder_of(connection: Connection, platform: str, reference: str) -> Shop | None:
    """The shop of a store by its own name for itself; one whose keys were typed in is known by its address, where that is the name.

    To the letter: who comes in by this name takes the shop over, and what only looks alike may be somebody else's.
    """
    found = shop_of(connection, platform, reference)
    if found is not None or not reference:
        return found
    typed_in = (one for one in all_shops(connection) if one.platform == platform and not one.reference)
    return next((one for one in typed_in if _reference(platform, one.url) == reference), None)


def require_free(connection: Connection, platform: str, url: str, shop: Shop | None = None) -> None:
    """See that the store at this address, or one whose name for itself looks like it, is no other shop's.

    Raises: StoreIsHeld where it is not `shop`'s but that of another; TransientError while that is being erased.

    Two shops whose keys were typed in for one store before that was refused may each go on, and neither comes back from being away.
    """
    reference = _reference(platform, url)
    own = None if shop is None else shop.shop_id
    other = next((one for one in _holders(connection, platform, reference) if one.shop_id != own), None)
    if other is None:
        return
    if standing.of(other) is Standing.ERASING:
        raise being_erased(platform)
    is_own = shop is not None and shop.is_awake and _place_of(shop) == _place(reference)
    if not is_own or other.reference:
        raise StoreIsHeld(other.shop_id)


def being_erased(platform: str) -> TransientError:
    """What is told to whoever connects a store that is being erased: what is to go goes first, then it comes as a new one."""
    return TransientError(
        phrase("Everything that was kept of this store is being erased."),
        hint=phrase("Begin again in a few minutes."),
        adapter=platform,
        operation="install",
    )


def _holders(connection: Connection, platform: str, reference: str) -> list[Shop]:
    """Those whose store it is, first one that was installed: that is the store's without doubt."""
    wanted = _place(reference)
    ours = (one for one in all_shops(connection) if wanted and one.platform == platform)
    return sorted((one for one in ours if _place_of(one) == wanted), key=lambda one: not one.reference)


def _reference(platform: str, url: str) -> str:
    installer = installer_class(platform)
    return "" if installer is None or not url else installer.reference_of(url)


def _place_of(shop: Shop) -> str:
    """Where a shop's store is, in the form in which places are compared; empty for one that lost its store to another shop."""
    if standing.of(shop) is Standing.HELD_ELSEWHERE:
        return ""
    return _place(shop.reference or _reference(shop.platform, shop.url))


def _place(reference: str) -> str:
    """A store's name for itself without what makes no other store of it: http or https, small or large letters, a slash at the end."""
    try:
        parts = urlsplit(reference if "://" in reference else f"//{reference}")
        port = "" if parts.port in (None, _USUAL_PORTS.get(parts.scheme)) else f":{parts.port}"
    except ValueError:
        # Whoever asks for a page names what they like.
        return ""
    host = (parts.hostname or "").removesuffix(".")
    return f"{host}{port}{parts.path.rstrip('/')}".lower()
