"""Every operation is valid in every version that is spoken, and within what one query may cost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from graphql import parse, validate
from graphql.validation import NoDeprecatedCustomRule

from crm_plugin.adapters.storefronts.shopify import operations
from crm_plugin.adapters.storefronts.shopify.client import FIRST
from crm_plugin.adapters.storefronts.shopify.versions import FALLBACKS, SUPPORTED, VERSION
from tests.adapters.storefronts.shopify import costs, subset

BULK = [name for name in operations.names() if name.startswith("bulk_") and name not in ("bulk_run", "bulk_state")]


@pytest.mark.slow
@pytest.mark.parametrize("version", SUPPORTED)
def test_operations_are_valid(version: str) -> None:
    schema = costs.schema_of(version)
    assert subset.problems(schema, version) == []
    if version == VERSION:
        old = {
            name: validate(schema, parse(operations.text(name, version)), [NoDeprecatedCustomRule])
            for name in operations.names()
        }
        assert {name for name, used in old.items() if used} == set()


def test_fallbacks_are_needed_and_used() -> None:
    for version, changes in FALLBACKS.items():
        schema = costs.schema_of(version)
        for new, _old in changes:
            told = [name for name in operations.names() if new in operations.text(name, VERSION)]
            assert told == ["bulk_members", "members", "members_by_id"]
            assert all(validate(schema, parse(operations.text(name, VERSION))) for name in told)


def test_a_first_page_costs_half_of_what_it_may() -> None:
    schema = costs.schema_of(VERSION)
    told = {name: costs.cost(schema, operations.text(name, VERSION), FIRST) for name in operations.names()}
    assert max(told[name] for name in told if name not in BULK) <= 500
    # Of these two the figures were seen in answers of real shops.
    assert (told["tags_add"], told["members_count"]) == (11 + 1 + 1, 10)


def test_bulk_queries_keep_their_rules() -> None:
    for name in BULK:
        text = operations.text(name, VERSION)
        assert "nodes" not in text
        assert text.count("edges {") <= 5
        assert "$" not in text.replace("$app", "")


def test_birthday_may_be_kept_elsewhere() -> None:
    told = operations.text("members", VERSION, "custom.geburtstag")
    assert 'metafield(namespace: "custom", key: "geburtstag")' in told
    assert "facts" not in told


def test_costs_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert costs.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(operations.names())
    assert lines[0].split() == ["operation", *SUPPORTED]


@pytest.mark.skipif("CRM_SHOPIFY_SCHEMAS" not in os.environ, reason="names a folder with Shopify's whole schemas")
def test_whole_schemas_say_the_same() -> None:
    for version in SUPPORTED:
        schema, types = subset.whole(Path(os.environ["CRM_SHOPIFY_SCHEMAS"]) / f"admin_{version}.json.gz")
        assert subset.problems(schema, version) == []
        kept = (subset.SCHEMAS / f"admin_{version}.graphql").read_text(encoding="utf-8")
        assert subset.cut(schema, types, version) == kept
