"""Cuts out of Shopify's whole Admin schemas what our operations use: `python -m tests.adapters.storefronts.shopify.subset FOLDER`.

The folder holds `admin_<version>.json.gz` of the npm package `@shopify/dev-mcp` (dist/data). What is cut out is kept in `schema/`, beside
the licence it is under. Answers 1 when an operation is not valid against the whole schema.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from pathlib import Path
from typing import Any

from graphql import (
    GraphQLInterfaceType,
    GraphQLSchema,
    GraphQLUnionType,
    TypeInfo,
    TypeInfoVisitor,
    Visitor,
    build_client_schema,
    get_named_type,
    parse,
    type_from_ast,
    validate,
    visit,
)

from crm_plugin.adapters.storefronts.shopify import operations
from crm_plugin.adapters.storefronts.shopify.versions import SUPPORTED

SCHEMAS = Path(__file__).resolve().parent / "schema"
_BUILT_IN = {"String", "Int", "Float", "Boolean", "ID"}
Json = dict[str, Any]


class _Used(Visitor):
    """Which fields of which types a document asks for."""

    def __init__(self, info: TypeInfo, fields: dict[str, set[str]], inputs: set[str], schema: GraphQLSchema) -> None:
        super().__init__()
        self._info, self._fields, self._inputs, self._schema = info, fields, inputs, schema

    def enter_field(self, node: Any, *_: Any) -> None:
        parent, field = self._info.get_parent_type(), self._info.get_field_def()
        self._fields.setdefault(parent.name, set()).add(node.name.value)
        self._fields.setdefault(get_named_type(field.type).name, set())

    def enter_inline_fragment(self, node: Any, *_: Any) -> None:
        self._fields.setdefault(node.type_condition.name.value, set())

    def enter_variable_definition(self, node: Any, *_: Any) -> None:
        self._inputs.add(get_named_type(type_from_ast(self._schema, node.type)).name)


def whole(path: Path) -> tuple[GraphQLSchema, Json]:
    """A whole schema, and its types as the introspection names them."""
    told = json.loads(gzip.decompress(path.read_bytes()))["data"]
    return build_client_schema(told, assume_valid=True), {one["name"]: one for one in told["__schema"]["types"]}


def problems(schema: GraphQLSchema, version: str) -> list[str]:
    """What is wrong with our operations in this version."""
    found = [(name, validate(schema, parse(operations.text(name, version)))) for name in operations.names()]
    return [f"{version} {name}: {error.message}" for name, errors in found for error in errors]


def cut(schema: GraphQLSchema, types: Json, version: str) -> str:
    """The part of a schema that our operations use, as SDL."""
    fields: dict[str, set[str]] = {}
    inputs: set[str] = set()
    for name in operations.names():
        info = TypeInfo(schema)
        visit(parse(operations.text(name, version)), TypeInfoVisitor(info, _Used(info, fields, inputs, schema)))
    for name in list(fields):
        for field in types[name].get("fields") or ():
            if field["name"] in fields[name]:
                inputs |= {_named(one["type"]) for one in field["args"]}
    _with_nested(inputs, types)
    for name in [
        name for name in fields if isinstance(schema.type_map[name], (GraphQLInterfaceType, GraphQLUnionType))
    ]:
        for possible in schema.get_possible_types(schema.type_map[name]):  # type: ignore[arg-type]
            if possible.name in fields and "fields" in types[name]:
                fields[possible.name] |= fields[name]
    kept = (inputs - _BUILT_IN) | set(fields)
    parts = [_told(types[name], fields.get(name, set()), set(fields)) for name in sorted(kept) if name not in _BUILT_IN]
    return (
        "schema {\n  query: QueryRoot\n  mutation: Mutation\n}\n\n" + "\n\n".join(part for part in parts if part) + "\n"
    )


def _with_nested(inputs: set[str], types: Json) -> None:
    open_ = list(inputs)
    while open_:
        for field in types[open_.pop()].get("inputFields") or ():
            name = _named(field["type"])
            if name not in inputs and not field.get("isDeprecated"):
                inputs.add(name)
                open_.append(name)


def _told(one: Json, used: set[str], all_: set[str]) -> str:
    name, kind = one["name"], one["kind"]
    if kind == "SCALAR":
        return f"scalar {name}"
    if kind == "ENUM":
        return f"enum {name} {{\n" + "\n".join(f"  {value['name']}" for value in one["enumValues"]) + "\n}"
    if kind == "UNION":
        members = [possible["name"] for possible in one["possibleTypes"] if possible["name"] in all_]
        return f"union {name} = {' | '.join(sorted(members))}"
    if kind == "INPUT_OBJECT":
        rows = [_value(field) for field in one["inputFields"] if not field.get("isDeprecated")]
        return f"input {name} {{\n" + "\n".join(f"  {row}" for row in rows) + "\n}"
    rows = [_field(field) for field in one["fields"] if field["name"] in used]
    above = sorted(face["name"] for face in one["interfaces"] or () if face["name"] in all_)
    words = "interface" if kind == "INTERFACE" else "type"
    implements = f" implements {' & '.join(above)}" if above else ""
    return f"{words} {name}{implements} {{\n" + "\n".join(f"  {row}" for row in rows) + "\n}"


def _field(field: Json) -> str:
    given = ", ".join(_value(one) for one in field["args"] if not one.get("isDeprecated"))
    old = f" @deprecated(reason: {json.dumps(field['deprecationReason'])})" if field.get("isDeprecated") else ""
    return f"{field['name']}{f'({given})' if given else ''}: {_type(field['type'])}{old}"


def _value(one: Json) -> str:
    default = f" = {one['defaultValue']}" if one.get("defaultValue") is not None else ""
    return f"{one['name']}: {_type(one['type'])}{default}"


def _type(one: Json) -> str:
    if one["kind"] == "NON_NULL":
        return f"{_type(one['ofType'])}!"
    return f"[{_type(one['ofType'])}]" if one["kind"] == "LIST" else str(one["name"])


def _named(one: Json) -> str:
    return str(one["name"]) if one.get("name") else _named(one["ofType"])


def main(folder: str) -> int:
    """Write the part of each version that is spoken; 1 when an operation is not valid in one."""
    wrong: list[str] = []
    for version in SUPPORTED:
        schema, types = whole(Path(folder) / f"admin_{version}.json.gz")
        found = problems(schema, version)
        wrong += found
        if not found:
            text = re.sub(r"\n{3,}", "\n\n", cut(schema, types, version))
            (SCHEMAS / f"admin_{version}.graphql").write_text(text, encoding="utf-8")
    sys.stderr.writelines(f"{line}\n" for line in wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
