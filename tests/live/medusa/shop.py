"""What the running Medusa sells and to whom, made over its own API: region, shipping, a product, customers and orders."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.live.medusa.server import LiveMedusa

_ADDRESS = {
    "first_name": "Mei", "last_name": "Lin", "address_1": "1 Road", "city": "Taipei", "postal_code": "100",
    "country_code": "tw", "phone": "+886912000004",
}  # fmt: skip


@dataclass
class Shop:
    """The ids of what was made."""

    region: str = ""
    option: str = ""
    place: str = ""
    variant: str = ""
    product: str = ""
    publishable: str = ""
    accounts: list[str] = field(default_factory=list)
    orders: list[str] = field(default_factory=list)


def set_up(live: LiveMedusa) -> Shop:
    """A shop in Taiwan that sells one tea at 300 and ships for 60."""
    shop = Shop()
    call = live.call
    store = call("GET", "/admin/stores")["stores"][0]
    currencies = [{"currency_code": "twd", "is_default": True}, {"currency_code": "eur"}]
    call("POST", f"/admin/stores/{store['id']}", {"name": "Teas", "supported_currencies": currencies})
    channel = call("GET", "/admin/sales-channels")["sales_channels"][0]["id"]
    keys = call("GET", "/admin/api-keys?type=publishable")["api_keys"]
    if not keys:
        keys = [call("POST", "/admin/api-keys", {"title": "Shop", "type": "publishable"})["api_key"]]
        call("POST", f"/admin/api-keys/{keys[0]['id']}/sales-channels", {"add": [channel]})
    shop.publishable = keys[0]["token"]
    region = {"name": "Taiwan", "currency_code": "twd", "countries": ["tw"], "payment_providers": ["pp_system_default"]}
    shop.region = call("POST", "/admin/regions", region)["region"]["id"]
    call("POST", "/admin/tax-regions", {"country_code": "tw", "provider_id": "tp_system"})
    place = shop.place = call("POST", "/admin/stock-locations", {"name": "Taipei"})["stock_location"]["id"]
    call("POST", f"/admin/stock-locations/{place}/fulfillment-providers", {"add": ["manual_manual"]})
    call("POST", f"/admin/stock-locations/{place}/sales-channels", {"add": [channel]})
    sets = call(
        "POST",
        f"/admin/stock-locations/{place}/fulfillment-sets?fields=*fulfillment_sets",
        {"name": "Post", "type": "shipping"},
    )
    fulfillment = sets["stock_location"]["fulfillment_sets"][0]["id"]
    zone = {"name": "Taiwan", "geo_zones": [{"type": "country", "country_code": "tw"}]}
    zones = call("POST", f"/admin/fulfillment-sets/{fulfillment}/service-zones?fields=*service_zones", zone)
    profile = call("GET", "/admin/shipping-profiles")["shipping_profiles"][0]["id"]
    option = {
        "name": "Post", "provider_id": "manual_manual", "price_type": "flat", "shipping_profile_id": profile,
        "service_zone_id": zones["fulfillment_set"]["service_zones"][0]["id"],
        "type": {"label": "Post", "description": "Post", "code": "post"},
        "prices": [{"currency_code": "twd", "amount": 60}],
        "rules": [
            {"attribute": "enabled_in_store", "operator": "eq", "value": "true"},
            {"attribute": "is_return", "operator": "eq", "value": "false"},
        ],
    }  # fmt: skip
    shop.option = call("POST", "/admin/shipping-options", option)["shipping_option"]["id"]
    product = {
        "title": "Tea", "status": "published", "shipping_profile_id": profile, "sales_channels": [{"id": channel}],
        "options": [{"title": "Size", "values": ["100 g"]}],
        "variants": [{
            "title": "100 g", "sku": "TEA", "manage_inventory": False, "options": {"Size": "100 g"}, "metadata": {"cost": "120"},
            "prices": [{"currency_code": "twd", "amount": 300}, {"currency_code": "eur", "amount": 9.95}],
        }],
    }  # fmt: skip
    made = call("POST", "/admin/products", product)["product"]
    shop.product, shop.variant = made["id"], made["variants"][0]["id"]
    return shop


def register(live: LiveMedusa, shop: Shop, email: str, **more: Any) -> str:
    """An account, as a customer makes it in the storefront. Answers the token it is signed in with."""
    password = {"email": email, "password": "live-password"}
    token = live.call("POST", "/auth/customer/emailpass/register", password)["token"]
    given = live._session.headers.get("Authorization")
    try:
        live._session.headers["Authorization"] = f"Bearer {token}"
        made = live.call(
            "POST", "/store/customers", {"email": email, "first_name": "Mei", **more}, publishable=shop.publishable
        )
        shop.accounts.append(made["customer"]["id"])
    finally:
        live._session.headers["Authorization"] = given or ""
    return str(live.call("POST", "/auth/customer/emailpass", password)["token"])


def order(live: LiveMedusa, shop: Shop, email: str, token: str = "") -> dict[str, Any]:
    """An order that somebody places in the storefront, signed in where a token is given; nothing is captured yet."""
    given = live._session.headers.pop("Authorization")
    if token:
        live._session.headers["Authorization"] = f"Bearer {token}"
    try:
        key = {"publishable": shop.publishable}
        cart = {
            "region_id": shop.region, "email": email, "shipping_address": _ADDRESS, "billing_address": _ADDRESS,
            "items": [{"variant_id": shop.variant, "quantity": 1}],
        }  # fmt: skip
        name = live.call("POST", "/store/carts", cart, **key)["cart"]["id"]
        live.call("POST", f"/store/carts/{name}/shipping-methods", {"option_id": shop.option}, **key)
        paying = live.call("POST", "/store/payment-collections", {"cart_id": name}, **key)["payment_collection"]["id"]
        live.call(
            "POST", f"/store/payment-collections/{paying}/payment-sessions", {"provider_id": "pp_system_default"}, **key
        )
        made: dict[str, Any] = live.call("POST", f"/store/carts/{name}/complete", {}, **key)["order"]
    finally:
        live._session.headers["Authorization"] = given
    shop.orders.append(made["id"])
    return made


def give_back(live: LiveMedusa, shop: Shop, made: dict[str, Any]) -> str:
    """All of an order is sent, and comes back. Answers the return's id."""
    items = [{"id": one["id"], "quantity": one["quantity"]} for one in made["items"]]
    whole = {"items": items, "location_id": shop.place}
    live.call("POST", f"/admin/orders/{made['id']}/fulfillments", whole)
    told = {"order_id": made["id"], "location_id": shop.place}
    name = str(live.call("POST", "/admin/returns", told)["return"]["id"])
    for path, payload in (
        ("request-items", {"items": items}), ("request", {}), ("receive", {}), ("receive-items", {"items": items}), ("receive/confirm", {}),
    ):  # fmt: skip
        live.call("POST", f"/admin/returns/{name}/{path}", payload)
    return name
