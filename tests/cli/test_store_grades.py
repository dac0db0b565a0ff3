"""`tiers grades`: shown, looked at, set."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import responses

from crm_plugin.cli.common import opened
from crm_plugin.sync.connect import add_shop
from tests.adapters.storefronts.taobao.fake_top import URL, VALUES, Top
from tests.cli.conftest import Run, Spoken


def test_what_would_change_is_shown_first(run: Run, say: Callable[..., Spoken]) -> None:
    top = Top(now=datetime.now(UTC))
    with responses.RequestsMock() as mock:
        mock.add_callback(responses.POST, URL, lambda request: (200, {}, top.answered(request.body.decode())))
        with opened() as runtime:
            keys = dict(VALUES)
            add_shop(runtime.db, runtime.box, name="t", platform="taobao", credentials=keys, now=runtime.clock.now())
        told = say("tiers", "grades", "t", "--amounts", "100,200.5", "--off", ",5")
        assert "100.00 CNY" in told.out
        assert "--set" in told.err
        assert top.calls["taobao.crm.grade.set"] == 0
        code, changes = run("tiers", "grades", "t", "--orders", "1,5", "--off", "0,5", "--set")
        assert (code, [one["from_then"] for one in changes]) == (0, ["1 orders", "5 orders"])
        assert [one["off"] for one in run("tiers", "grades", "t")[1]] == ["0 %", "5 %"]
        # Taobao wants more off for each higher grade.
        told = say("tiers", "grades", "t", "--orders", "1,5", "--off", "5,5", "--set")
        assert (told.code, "isv.invalid-parameter discount" in told.err) == (1, True)
