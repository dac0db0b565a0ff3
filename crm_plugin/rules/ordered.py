"""Rules that nobody without an order can match: of these the facts alone have to be read, one table in place of several."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from crm_plugin.rules.fields import FIELDS
from crm_plugin.rules.nodes import Node, deep_fields
from crm_plugin.rules.windows import JOINED, TIER
from crm_plugin.store.tenants import Shop

# The groups of the catalogue whose fields are nothing for whoever has no row of facts.
_OF_ORDERS = ("purchases", "products")


def takes_an_order(shop: Shop, asked: Iterable[Node], as_of: date) -> bool:
    """Whether these rules ask for orders alone, and hold for nobody who has none."""
    # Few ask, and nothing else that sends does.
    from crm_plugin.rules.evaluate import Snapshot, evaluate

    nodes, nobody = list(asked), Snapshot(shop.currency)
    fields = [one for node in nodes for one in deep_fields(node)]
    of_orders = all(FIELDS[one.key].group in _OF_ORDERS and one.arg("since") not in (JOINED, TIER) for one in fields)
    return bool(fields) and of_orders and not any(evaluate(node, nobody, as_of) for node in nodes)
