"""A shop at the network's edge: it executes our operations against the part of Shopify's schema that they use, over rows in memory.

Like a real one it answers only what was asked for, drops filters that it does not know with a warning, pages by cursor, takes points out of
a bucket, runs bulk queries whose lines may stand anywhere in the file, and hands out keys for an hour.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import requests
import responses
from graphql import DocumentNode, GraphQLResolveInfo, execute, get_named_type, parse, validate

from tests.adapters.storefronts.shopify.costs import cost, schema_of

STORAGE = "https://storage.example"
SHOP = "flower-shop.myshopify.com"
CLIENT_ID, SECRET = "client-1", "hush"
NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
Json = dict[str, Any]
_TERM = re.compile(r"(\w+):(>=|>|<=|<)?('[^']*'|\S+)")
_SORTS = {"UPDATED_AT": "updatedAt", "CREATED_AT": "createdAt"}
_KNOWN = {"updated_at": "updatedAt", "id": "id", "status": "status"}


class FakeShop:
    """`rows` by the root field that lists them; `versions` tells what each version's schema is."""

    def __init__(self, version: str = "2026-10") -> None:
        self.version = self.answers_as = version
        self.now = NOW
        # Where the files of bulk queries are.
        self.storage = STORAGE
        self.schema = schema_of(version)
        self.rows: dict[str, list[Json]] = {
            name: [] for name in ("customers", "orders", "abandonedCheckouts", "products")
        }
        self.scopes = [
            "read_customers",
            "write_customers",
            "read_orders",
            "read_all_orders",
            "read_products",
            "write_discounts",
        ]
        self.token, self.refresh_token = "shpat_1", "shprt_1"
        self.said: list[tuple[str, Json]] = []
        self.tokens_seen: list[str] = []
        self.available, self.most_cost = 2000.0, 1000
        # Called with the operation and its variables; what it answers is sent instead. "silent" cuts the answer off after the work is done.
        self.trouble: Callable[[str, Json], tuple[int, Json, Any] | str | None] = lambda _name, _variables: None
        self.oauth: Callable[[Json], tuple[int, Json]] = self._new_keys
        self.bulk: dict[str, Json] = {}
        self.bulk_states = ["RUNNING", "COMPLETED"]
        self.shuffle: Callable[[list[Json]], list[Json]] = lambda lines: lines
        self.discounts: dict[str, Json] = {}
        self.exchanged: list[Json] = []

    def listen(self, mock: responses.RequestsMock) -> None:
        """Answer under the shop's own domain."""
        for method, address in (("POST", rf"https://{SHOP}/.*"), ("GET", rf"{STORAGE}/.*")):
            mock.add_callback(method, re.compile(address), self._called)

    def reply(self, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Json, str]:
        """Status, headers and body of the answer to a request; the names of its headers are in small letters."""
        path = urlsplit(url).path
        if path.startswith("/bulk/"):
            assert "x-shopify-access-token" not in headers
            return 200, {}, self._file(path.rpartition("/")[2])
        told = json.loads(body)
        if path == "/admin/oauth/access_token":
            self.exchanged.append(told)
            status, answer = self.oauth(told)
            return status, {}, json.dumps(answer)
        assert path == f"/admin/api/{self.version}/graphql.json"
        return self._graphql(headers["x-shopify-access-token"], told["query"], told["variables"])

    def _called(self, request: requests.PreparedRequest) -> tuple[int, Json, str]:
        headers = {name.lower(): value for name, value in request.headers.items()}
        return self.reply(request.url or "", headers, bytes(request.body or b""))

    def asked(self, operation: str) -> list[Json]:
        """The variables with which this operation was asked."""
        return [variables for name, variables in self.said if name == operation]

    def find(self, gid: str) -> Json | None:
        """The row with this id, of any kind."""
        every = [row for rows in self.rows.values() for row in rows]
        every += [{**one, "product": product} for product in self.rows["products"] for one in product["variants"]]
        return next((row for row in every if row["id"] == gid), None)

    def _new_keys(self, _told: Json) -> tuple[int, Json]:
        self.token += "x"
        self.refresh_token += "x"
        scope = ",".join(self.scopes)
        lives = {"expires_in": 3600, "refresh_token_expires_in": 7776000}
        return 200, {"access_token": self.token, "refresh_token": self.refresh_token, "scope": scope, **lives}

    def _graphql(self, token: str, text: str, variables: Json) -> tuple[int, Json, str]:
        document = _parsed(text)
        name = operation_of(text)
        self.said.append((name, variables))
        self.tokens_seen.append(token)
        if token != self.token:
            return 401, {}, '{"errors":"[API] Invalid API key or access token"}'
        trouble = self.trouble(name, variables)
        if isinstance(trouble, tuple):
            return trouble[0], trouble[1], trouble[2] if isinstance(trouble[2], str) else json.dumps(trouble[2])
        body = self._executed(document, text, variables)
        if trouble == "silent":
            raise requests.ConnectionError("the answer was cut off")
        headers = {"X-Shopify-API-Version": self.answers_as, "Date": format_datetime(self.now, usegmt=True)}
        return 200, headers, json.dumps(body)

    def _executed(self, document: Any, text: str, variables: Json) -> Json:
        if wrong := _wrong(self.version, text):
            return {"errors": [{"message": message} for message in wrong]}
        points = cost(self.schema, text, variables.get("first", 1), len(variables.get("ids", ())))
        status = {"maximumAvailable": 2000.0, "currentlyAvailable": self.available, "restoreRate": 100.0}
        costs = {"requestedQueryCost": points, "actualQueryCost": None, "throttleStatus": status}
        if points > self.most_cost:
            extensions = {"code": "MAX_COST_EXCEEDED", "cost": points, "maxCost": self.most_cost}
            return {"errors": [{"message": "too much", "extensions": extensions}], "extensions": {"cost": costs}}
        if points > self.available:
            self.available += 1000
            return {
                "errors": [{"message": "Throttled", "extensions": {"code": "THROTTLED"}}],
                "extensions": {"cost": costs},
            }
        self.available -= points
        status["currentlyAvailable"] = self.available
        self.warnings: list[Json] = []
        answer = execute(
            self.schema, document, root_value=self, variable_values=variables, field_resolver=self._resolve,
            type_resolver=lambda value, *_: re.split(r"/", value["id"])[3] if "id" in value else "DiscountCodeBasic",
        )  # fmt: skip
        told: Json = {"data": answer.data, "extensions": {"cost": costs}}
        if self.warnings:
            told["extensions"]["search"] = self.warnings
        if answer.errors:
            raise AssertionError(answer.errors)
        return told

    def _resolve(self, source: Any, info: GraphQLResolveInfo, **given: Any) -> Any:
        name = info.field_name
        if source is self:
            if name in self.rows:
                return self._listed(self._found(self.rows[name], given.get("query")), given)
            return getattr(self, f"do_{name}")(**given)
        value = source.get(name)
        if get_named_type(info.return_type).name.endswith("Connection"):
            if name == "metafields":
                value = [one for one in value or [] if one["namespace"] == given["namespace"]]
            return self._listed(value or [], given)
        if name == "metafield":
            place = (given["namespace"], given["key"])
            return next((one for one in source["metafields"] if (one["namespace"], one["key"]) == place), None)
        return value

    def _found(self, rows: list[Json], query: str | None) -> list[Json]:
        for name, sign, raw in _TERM.findall(query or ""):
            if name not in _KNOWN:
                said = {"field": name, "message": f"Invalid search field '{name}'"}
                self.warnings.append({"query": query, "parsed": {}, "warnings": [said]})
            elif name != "status":
                wanted = raw.strip("'")
                rows = [row for row in rows if _matches(row[_KNOWN[name]], sign, wanted)]
        return rows

    def _listed(self, rows: list[Json], given: Json) -> Json:
        after = json.loads(given["after"]) if given.get("after") else None
        keyed = [(_place(row, given.get("sortKey"), at), row) for at, row in enumerate(rows)]
        return _part(keyed, given.get("first") or len(rows), after, bool(given.get("reverse")))

    # What the root fields answer.

    def do_shop(self) -> Json:
        return {"name": "Flower Shop", "myshopifyDomain": SHOP, "currencyCode": "EUR", "ianaTimezone": "Europe/Berlin"}

    def do_currentAppInstallation(self) -> Json:
        return {"accessScopes": [{"handle": scope} for scope in self.scopes]}

    def do_nodes(self, ids: list[str]) -> list[Json | None]:
        return [self.find(gid) for gid in ids]

    def do_order(self, id: str) -> Json | None:
        return self.find(id)

    do_product = do_order

    def do_productVariants(self, **given: Any) -> Json:
        every = [one for product in self.rows["products"] for one in product["variants"]]
        return self._listed(self._found(every, given.get("query")), given)

    def do_customersCount(self, **_: Any) -> Json:
        return {"count": len(self.rows["customers"])}

    def do_ordersCount(self, **_: Any) -> Json:
        return {"count": len(self.rows["orders"])}

    def do_productVariantsCount(self, **_: Any) -> Json:
        return {"count": sum(len(product["variants"]) for product in self.rows["products"])}

    def do_inventoryItem(self, id: str) -> Json:
        every = [{**one, "product": product} for product in self.rows["products"] for one in product["variants"]]
        return {"variants": [one for one in every if one["inventoryItem"]["id"] == id]}

    def do_bulkOperationRunQuery(self, query: str, **_: Any) -> Json:
        document = _parsed(query)
        assert _wrong(self.version, query) == []
        assert "nodes" not in query
        answer = execute(self.schema, document, root_value=self, field_resolver=self._resolve)
        assert not answer.errors
        (root,) = (answer.data or {}).values()
        lines: list[Json] = []
        for edge in root["edges"]:
            _flatten(edge["node"], None, lines)
        gid = f"gid://shopify/BulkOperation/{len(self.bulk) + 1}"
        created = self.now.isoformat().replace("+00:00", "Z")
        self.bulk[gid] = {
            "id": gid,
            "createdAt": created,
            "lines": self.shuffle(lines),
            "states": list(self.bulk_states),
        }
        return {"bulkOperation": {"id": gid, "status": "CREATED", "createdAt": created}, "userErrors": []}

    def do_bulkOperation(self, id: str) -> Json | None:
        one = self.bulk.get(id)
        if one is None:
            return None
        state = one["states"].pop(0) if len(one["states"]) > 1 else one["states"][0]
        number = id.rpartition("/")[2]
        url = f"{self.storage}/bulk/{number}" if state == "COMPLETED" and one["lines"] else None
        error = "INTERNAL_SERVER_ERROR" if state == "FAILED" else None
        counts = {
            "objectCount": str(len(one["lines"])),
            "fileSize": str(len(self._file(number).encode())) if url else None,
        }
        return {"id": id, "status": state, "errorCode": error, "createdAt": one["createdAt"], **counts, "url": url}

    def _file(self, number: str) -> str:
        return "".join(json.dumps(line) + "\n" for line in self.bulk[f"gid://shopify/BulkOperation/{number}"]["lines"])

    def do_tagsAdd(self, id: str, tags: list[str]) -> Json:
        row = self.find(id)
        if row is None:
            return _gone("id")
        held = {tag.lower() for tag in row["tags"]}
        row["tags"] += [tag for tag in tags if tag.lower() not in held]
        return {"node": row, "userErrors": []}

    def do_tagsRemove(self, id: str, tags: list[str]) -> Json:
        row = self.find(id)
        if row is None:
            return _gone("id")
        away = {tag.lower() for tag in tags}
        row["tags"] = [tag for tag in row["tags"] if tag.lower() not in away]
        return {"node": row, "userErrors": []}

    def do_metafieldDefinitionCreate(self, **_: Any) -> Json:
        return {
            "createdDefinition": None,
            "userErrors": [{"code": "TAKEN", "field": ["key"], "message": "Key is in use"}],
        }

    def do_metafieldsSet(self, metafields: list[Json]) -> Json:
        assert len(metafields) <= 25
        wrong = [
            {"code": "INVALID", "field": ["metafields", str(at), "ownerId"], "message": "Owner does not exist.", "elementIndex": at}
            for at, one in enumerate(metafields)
            if self.find(one["ownerId"]) is None
        ]  # fmt: skip
        if wrong:
            return {"metafields": None, "userErrors": wrong}
        for one in metafields:
            held = self.find(one["ownerId"])["metafields"]  # type: ignore[index]
            held[:] = [old for old in held if (old["namespace"], old["key"]) != (one["namespace"], one["key"])]
            held.append({"id": f"gid://shopify/Metafield/{one['ownerId'].rpartition('/')[2]}{one['key']}", **one})
        return {"metafields": metafields, "userErrors": []}

    def do_metafieldsDelete(self, metafields: list[Json]) -> Json:
        deleted = []
        for one in metafields:
            held = (self.find(one["ownerId"]) or {"metafields": []})["metafields"]
            kept = [old for old in held if (old["namespace"], old["key"]) != (one["namespace"], one["key"])]
            deleted.append(one if len(kept) < len(held) else None)
            held[:] = kept
        return {"deletedMetafields": deleted, "userErrors": []}

    def do_customerEmailMarketingConsentUpdate(self, input: Json) -> Json:
        row = self.find(input["customerId"])
        if row is None:
            return {"customer": None, **_gone("customerId")}
        told = input["emailMarketingConsent"]
        if row["defaultEmailAddress"]:
            row["defaultEmailAddress"] |= {
                "marketingState": told["marketingState"],
                "marketingOptInLevel": told["marketingOptInLevel"],
                "marketingUpdatedAt": told["consentUpdatedAt"],
            }
        return {"customer": row, "userErrors": []}

    def do_customerSmsMarketingConsentUpdate(self, input: Json) -> Json:
        row = self.find(input["customerId"])
        if row is None:
            return {"customer": None, **_gone("customerId")}
        told = input["smsMarketingConsent"]
        if row["defaultPhoneNumber"]:
            level, at = told["marketingOptInLevel"], told["consentUpdatedAt"]
            row["defaultPhoneNumber"]["smsMarketingConsent"] = {
                "state": told["marketingState"],
                "optInLevel": level,
                "updatedAt": at,
            }
        return {"customer": row, "userErrors": []}

    def _by_code(self, code: str) -> Json | None:
        for one in self.discounts.values():
            if any(held["code"] == code for held in one["codeDiscount"]["codes"]):
                return one
        return None

    def do_codeDiscountNodeByCode(self, code: str) -> Json | None:
        return self._by_code(code)

    def do_discountCodeBasicCreate(self, basicCodeDiscount: Json) -> Json:
        if self._by_code(basicCodeDiscount["code"]):
            error = {"code": "TAKEN", "field": ["basicCodeDiscount", "code"], "message": "Code must be unique"}
            return {"codeDiscountNode": None, "userErrors": [error]}
        gid = f"gid://shopify/DiscountCodeNode/{len(self.discounts) + 1}"
        codes = [_redeem(basicCodeDiscount["code"])]
        self.discounts[gid] = {
            "id": gid,
            "asked": basicCodeDiscount,
            "codeDiscount": {"title": basicCodeDiscount["title"], "codes": codes},
        }
        return {"codeDiscountNode": self.discounts[gid], "userErrors": []}

    def do_discountRedeemCodeBulkAdd(self, discountId: str, codes: list[Json]) -> Json:
        assert len(codes) <= 250
        made = []
        for one in codes:
            taken = self._by_code(one["code"]) is not None
            redeem = None if taken else _redeem(one["code"])
            if redeem:
                self.discounts[discountId]["codeDiscount"]["codes"].append(redeem)
            errors = [{"code": "TAKEN", "message": "Code must be unique"}] if taken else []
            made.append({"code": one["code"], "errors": errors, "discountRedeemCode": redeem})
        self.creation = {"id": "gid://shopify/DiscountRedeemCodeBulkCreation/1", "done": False, "codes": made}
        return {"bulkCreation": dict(self.creation), "userErrors": []}

    def do_discountRedeemCodeBulkCreation(self, id: str) -> Json:
        told = dict(self.creation)
        self.creation["done"] = True
        return told


def _part(keyed: list[tuple[list[Any], Json]], first: int, after: list[Any] | None, backward: bool) -> Json:
    """A page of rows by their place in the order, as it is when it is asked for."""
    keyed = sorted(keyed, key=lambda one: one[0], reverse=backward)
    if after is not None:
        keyed = [one for one in keyed if (one[0] < after if backward else one[0] > after)]
    rows = [row for _, row in keyed[:first]]
    end = json.dumps(keyed[:first][-1][0]) if rows else None
    return {
        "nodes": rows,
        "edges": [{"node": row} for row in rows],
        "pageInfo": {"hasNextPage": first < len(keyed), "endCursor": end},
    }


def _place(row: Json, sort: str | None, at: int) -> list[Any]:
    """Where a row stands in a list of this order; one below another row where it stands there."""
    if sort not in _SORTS and sort != "ID":
        return [at]
    number = int(row["id"].rpartition("/")[2])
    return [number] if sort == "ID" else [row[_SORTS[sort]], number]


def _matches(value: str, sign: str, wanted: str) -> bool:
    if value.startswith("gid:"):
        ours, theirs = int(value.rpartition("/")[2]), int(wanted)
        return {">": ours > theirs, ">=": ours >= theirs, "": ours == theirs}[sign]
    return {">=": value >= wanted, ">": value > wanted, "<": value < wanted, "<=": value <= wanted}[sign]


def _flatten(node: Json, parent: str | None, lines: list[Json]) -> None:
    below = {name: value for name, value in node.items() if isinstance(value, dict) and "edges" in value}
    line = {name: value for name, value in node.items() if name not in below}
    lines.append(line if parent is None else {**line, "__parentId": parent})
    for value in below.values():
        for edge in value["edges"]:
            _flatten(edge["node"], node["id"], lines)


def _gone(field: str) -> Json:
    return {"userErrors": [{"code": "INVALID", "field": [field], "message": "Customer does not exist"}]}


def _redeem(code: str) -> Json:
    return {"id": f"gid://shopify/DiscountRedeemCode/{sum(map(ord, code))}", "code": code}


def operation_of(text: str) -> str:
    """The name of the operation in a document."""
    found = re.match(r"\s*(?:query|mutation)\s+(\w+)", text)
    return found[1] if found else ""


@lru_cache
def _parsed(text: str) -> DocumentNode:
    return parse(text)


@lru_cache
def _wrong(version: str, text: str) -> list[str]:
    return [error.message for error in validate(schema_of(version), _parsed(text))]
