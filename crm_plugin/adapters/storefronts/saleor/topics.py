"""Which events we ask Saleor to tell us, what each one's query reads, and what it means: one table for the manifest and for the reader."""

from __future__ import annotations

from typing import NamedTuple

from crm_plugin.records import StoreEventKind, Stream


class Topic(NamedTuple):
    """One event: its type in queries, the field that holds what it is about, and what we do about it.

    `fields` are asked of that field. In a list each entry is an event; the ids of `within` stand for the record itself.
    """

    type: str
    field: str
    kind: StoreEventKind
    stream: Stream | None = None
    fields: str = "id updatedAt"
    within: str = ""


_CHANGED, _DELETED = StoreEventKind.CHANGED, StoreEventKind.DELETED


def _of(names: str, field: str, stream: Stream, kind: StoreEventKind = _CHANGED, **more: str) -> dict[str, Topic]:
    return {
        name: Topic("".join(p.title() for p in name.split("_")), field, kind, stream, **more) for name in names.split()
    }


MEMBERS = {
    **_of("CUSTOMER_CREATED CUSTOMER_UPDATED CUSTOMER_METADATA_UPDATED", "user", Stream.MEMBERS),
    **_of("CUSTOMER_DELETED ACCOUNT_DELETED", "user", Stream.MEMBERS, _DELETED),
}
ORDERS = {
    **_of(
        "ORDER_CREATED ORDER_CONFIRMED ORDER_PAID ORDER_FULLY_PAID ORDER_UPDATED ORDER_FULFILLED ORDER_CANCELLED ORDER_REFUNDED "
        "ORDER_FULLY_REFUNDED ORDER_EXPIRED ORDER_METADATA_UPDATED",
        "order",
        Stream.ORDERS,
    ),
    **_of("ORDER_BULK_CREATED", "orders", Stream.ORDERS),
}
CHECKOUTS = _of("CHECKOUT_CREATED CHECKOUT_UPDATED", "checkout", Stream.CHECKOUTS)
PRODUCTS = {
    **_of("PRODUCT_VARIANT_CREATED PRODUCT_VARIANT_UPDATED", "productVariant", Stream.PRODUCTS, fields="id"),
    **_of("PRODUCT_VARIANT_DELETED", "productVariant", Stream.PRODUCTS, _DELETED, fields="id"),
    **_of("PRODUCT_UPDATED", "product", Stream.PRODUCTS, fields="id variants { id }", within="variants"),
}
APP = {
    "APP_STATUS_CHANGED": Topic("AppStatusChanged", "app", StoreEventKind.SUSPENDED, fields="id isActive"),
    "APP_DELETED": Topic("AppDeleted", "app", StoreEventKind.UNINSTALLED, fields="id isActive"),
}
# The webhooks of the manifest: each has a name, its events, and the permission without which Saleor does not tell them.
WEBHOOKS = {
    "Members": (MEMBERS, "MANAGE_USERS"),
    "Orders": (ORDERS, "MANAGE_ORDERS"),
    "Checkouts": (CHECKOUTS, "MANAGE_CHECKOUTS"),
    "Products": (PRODUCTS, "MANAGE_PRODUCTS"),
    "App": (APP, ""),
}
TOPICS = {name: topic for topics, _ in WEBHOOKS.values() for name, topic in topics.items()}


def query_of(topics: dict[str, Topic]) -> str:
    """The subscription that a webhook of these events is sent the result of."""
    told = "\n".join(f"    ... on {one.type} {{ {one.field} {{ {one.fields} }} }}" for one in topics.values())
    return f"subscription Events {{\n  event {{\n    ...Told\n{told}\n  }}\n}}\n"
