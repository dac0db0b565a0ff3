"""The demo as `./dev demo --check` plays it, small: whatever is checked there has to hold on any day."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from crm_plugin.demo.check import LANGUAGES, PAGES, check
from crm_plugin.demo.run import run


@pytest.mark.slow
@pytest.mark.parametrize("on", [date(2026, 2, 28), date(2026, 3, 29)], ids=["leap birthdays", "clocks change"])
def test_demo_plays_its_day(tmp_path: Path, on: date) -> None:
    with run(tmp_path / "demo", members=150, on=on, port=0) as demo:
        check(demo)
        report = demo.report
    assert report.wrong == []
    assert (report.accounts, report.orders) == (demo.made.counts["accounts"], demo.made.counts["orders"])
    assert report.mails == report.sent["email"] > 0
    assert set(report.tiers) == {"leaf", "blossom", "lantern"}
    assert len(report.pages) == len(LANGUAGES) * (len(PAGES) + 3)
