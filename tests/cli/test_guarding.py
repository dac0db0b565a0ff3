"""A member's dial and journeys that stand still, from the command line."""

from __future__ import annotations

from crm_plugin.demo import mail_sink
from crm_plugin.runtime import Runtime
from crm_plugin.store import journey_waves
from tests.cli.conftest import LONG_AGO, Run, greet


def test_dial_is_turned_and_shown(run: Run, sink: mail_sink.MailSink) -> None:
    greet(run, sink)
    who = ("--member", "m0@x.test")
    assert run("dial", "shop", *who)[1] == {"frequency": "all", "per_month": None, "snooze_until": None}
    assert run("dial", "shop", *who, "--per-month", "2")[1]["frequency"] == "monthly"
    assert run("dial", "shop", *who)[1] == {"frequency": "monthly", "per_month": 2, "snooze_until": None}
    code, told = run("dial", "shop", *who, "--snooze", "2001-01-01")
    assert (code, "A pause ends in the future" in str(told)) == (1, True)
    code, told = run("dial", "shop", *who, "--snooze", "soon")
    assert (code, "'soon' is not an instant" in str(told)) == (1, True)


def test_journey_that_stands_still_is_let_go(run: Run, sink: mail_sink.MailSink) -> None:
    greet(run, sink)
    assert run("journey", "held", "shop")[1] == []
    assert "Nothing of the journey birthday is held back" in str(run("journey", "release", "shop", "birthday")[1])
    runtime = Runtime.open()
    told = {"state": "held", "cause": "bounces", "version": 1, "since": LONG_AGO, "until": LONG_AGO}
    with runtime.db.write() as connection:
        shop = connection.exec_driver_sql("SELECT shop_id FROM shops").scalar_one()
        connection.execute(
            journey_waves.insert().values(shop_id=shop, journey_key="birthday", updated_at=LONG_AGO, **told)
        )
    runtime.close()
    (held,) = run("journey", "held", "shop")[1]
    assert (held["journey"], held["state"], held["cause"], held["waiting"]) == ("birthday", "held", "bounces", 0)
    assert run("journey", "release", "shop", "birthday")[1]["messages"] == 0
    assert run("journey", "held", "shop")[1] == []
