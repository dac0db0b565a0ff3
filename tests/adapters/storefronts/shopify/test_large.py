"""Forty thousand orders are read in the memory of a few pages of them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.adapters.storefronts.shopify import large

ORDERS = 40_000


@pytest.mark.slow
def test_large_history_is_read_in_flat_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-m", large.__name__, str(ORDERS)], capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    assert (told["orders"], told["lines"]) == (ORDERS, ORDERS * large.LINES)
    # The file alone is more than 80 MB.
    assert told["grown_mb"] < 40
