"""What each operation may cost in points, as the shop reckons it: `python -m tests.adapters.storefronts.shopify.costs`.

The rule is the one that recorded answers of real shops follow, but for a few that are a little dearer: an object costs 1; a list of
`first` rows 2 and floor(2 ln first) times its row; a count 10; a mutation 10 and what it answers; money and addresses nothing.
"""

from __future__ import annotations

import math
import sys
from functools import lru_cache
from typing import Any

from graphql import FieldNode, GraphQLSchema, build_schema, get_named_type, is_leaf_type, parse
from graphql.language import OperationDefinitionNode, OperationType, SelectionSetNode

from crm_plugin.adapters.storefronts.shopify import operations
from crm_plugin.adapters.storefronts.shopify.client import FIRST
from crm_plugin.adapters.storefronts.shopify.versions import SUPPORTED
from tests.adapters.storefronts.shopify.subset import SCHEMAS

_FREE = {"MoneyBag", "MoneyV2", "MailingAddress", "PageInfo"}
_MUTATION, _COUNT = 10, 10
# A list of ids costs its row for each.
IDS = 10


@lru_cache
def schema_of(version: str) -> GraphQLSchema:
    """The part of this version's schema that our operations use."""
    return build_schema((SCHEMAS / f"admin_{version}.graphql").read_text(encoding="utf-8"), assume_valid=True)


@lru_cache(maxsize=1024)
def cost(schema: GraphQLSchema, text: str, first: int = FIRST, ids: int = IDS) -> int:
    """Points that the operation asks for with this many rows a page, or this many ids."""
    (operation,) = parse(text).definitions
    assert isinstance(operation, OperationDefinitionNode)
    root = schema.mutation_type if operation.operation is OperationType.MUTATION else schema.query_type
    base = _MUTATION if operation.operation is OperationType.MUTATION else 0
    return base + _selected(schema, root, operation.selection_set, first, ids)


def _selected(schema: GraphQLSchema, parent: Any, chosen: SelectionSetNode, first: int, ids: int) -> int:
    total = 0
    for node in chosen.selections:
        if isinstance(node, FieldNode):
            total += _field(schema, parent, node, first, ids)
        else:
            inner = schema.type_map[node.type_condition.name.value]  # type: ignore[union-attr]
            total += _selected(schema, inner, node.selection_set, first, ids)  # type: ignore[union-attr]
    return total


def _field(schema: GraphQLSchema, parent: Any, node: FieldNode, first: int, ids: int) -> int:
    kind = get_named_type(parent.fields[node.name.value].type)
    if is_leaf_type(kind) or kind.name in _FREE or node.selection_set is None:
        return 0
    if kind.name == "Count":
        return _COUNT
    inner = _selected(schema, kind, node.selection_set, first, ids)
    if kind.name.endswith("Connection"):
        given = {one.name.value: getattr(one.value, "value", None) for one in node.arguments}
        return 2 + math.floor(2 * math.log(int(given.get("first") or first))) * inner
    if node.name.value == "nodes" and parent is schema.query_type:
        return ids * (1 + inner)
    # A page's own `nodes` and `edges` are its list, which is counted already; a row of it is an object.
    return inner if node.name.value == "edges" else 1 + inner


def main() -> int:
    """One line an operation: its points in each version."""
    schemas = {version: schema_of(version) for version in SUPPORTED}
    sys.stdout.write(f"{'operation':24}" + "".join(f"{version:>10}" for version in schemas) + "\n")
    for name in operations.names():
        if name.startswith("bulk_") and name not in ("bulk_run", "bulk_state"):
            points = [f"{'free':>10}" for _ in schemas]
        else:
            points = [f"{cost(schema, operations.text(name, version)):10}" for version, schema in schemas.items()]
        sys.stdout.write(f"{name:24}{''.join(points)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
