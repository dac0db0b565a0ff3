"""Mappings as they are written: words stay words, and a few lines never become gigabytes."""

from __future__ import annotations

import pytest

from crm_plugin.errors import InvalidInput
from crm_plugin.sync.imports import LONGEST_MAPPING, parse_mapping


def test_words_of_a_mapping_stay_words() -> None:
    written = "kind: orders\norder_id: No\nplaced_at: 12:30\ntotal: 0010\ncurrency: {value: on}\nstatus:\n"
    assert parse_mapping(written) == {
        "kind": "orders",
        "order_id": "No",
        "placed_at": "12:30",
        "total": "0010",
        "currency": {"value": "on"},
        "status": None,
    }


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            "a: &a [1, 2]\nb: &b [*a, *a]\nkind: *b\n",
            "The mapping is not valid YAML, line 2, column 8: *name is not read here, write it out.",
        ),
        ("[" * 5000, "The mapping is not valid YAML"),
        ("kind: !!timestamp 2026-99-99\n", "The mapping is not valid YAML"),
        ("#" * (LONGEST_MAPPING + 1), f"The mapping is longer than {LONGEST_MAPPING} characters."),
        ("- kind\n", "The mapping holds no mapping."),
    ],
)
def test_mapping_that_is_none_is_refused(written: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_mapping(written)
    assert message in str(caught.value)
