"""Every benchmark runs, however small the shop, and what it says is a number. No figure is judged here."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner

import benchmarks
from benchmarks.__main__ import main
from benchmarks.harness import REGISTRY, Options

pytestmark = pytest.mark.slow
_SMALL = {"members": 200, "repeats": 1}


@pytest.mark.parametrize("name", [name for name in REGISTRY if name != "sync.postgres"])
def test_small_run_gives_finite_ratios(name: str) -> None:
    results = list(REGISTRY[name](Options(**_SMALL, postgres=False)))
    assert results
    for result in results:
        assert math.isfinite(result.ratio)
        assert result.limit > 0


@pytest.mark.postgres
@pytest.mark.usefixtures("postgres")
def test_postgres_run_gives_a_finite_ratio() -> None:
    (result,) = REGISTRY["sync.postgres"](Options(**_SMALL))
    assert math.isfinite(result.ratio)
    assert list(REGISTRY["sync.postgres"](Options(**_SMALL, postgres=False))) == []


def test_each_is_described() -> None:
    told = (Path(benchmarks.__file__).parent / "README.md").read_text(encoding="utf-8")
    assert {line.split("`")[1] for line in told.splitlines() if line.startswith("| `")} == set(REGISTRY)


def test_figures_are_written_as_json(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    words = ["rendering.sandbox", "--members", "200", "--repeats", "1", "--json", str(path)]
    told = CliRunner().invoke(main, words)
    assert told.exit_code in (0, 1)
    document = json.loads(path.read_text())
    assert (document["members"], [result["name"] for result in document["results"]]) == (200, ["rendering: sandbox"])


def test_unknown_name_lists_those_there_are() -> None:
    told = CliRunner().invoke(main, ["syncing"])
    assert told.exit_code == 2
    assert "sync.page" in told.output
