"""The whole path by commands: a programme, a sender, a round at an instant, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from crm_plugin import rounds
from crm_plugin.demo import mail_sink
from crm_plugin.errors import TransientError
from crm_plugin.jobs import tasks
from crm_plugin.runtime import Runtime
from crm_plugin.store import members, shops
from crm_plugin.store.tenants import UNINSTALLED, shop_named
from tests.cli.conftest import Run, Spoken, greet
from tests.factories import member, write

AT = "2026-06-02T12:00"


@pytest.fixture
def shop(run: Run, sink: mail_sink.MailSink, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("CRM_PUBLIC_URL", "https://crm.example")
    greet(run, sink)
    return run


@pytest.mark.slow
def test_round_twice_sends_once(shop: Run, sink: mail_sink.MailSink) -> None:
    code, first = shop("tick", "shop", "--at", AT, "--yes")
    assert (code, first["at"], first["errors"]) == (0, "2026-06-02T12:00:00+02:00", {})
    assert (first["plan"]["planned"], first["dispatch"]["states"]) == (2, {"accepted": 2})
    code, second = shop("tick", "shop", "--at", AT, "--yes")
    assert (code, second["plan"]["planned"], second["dispatch"], second["tiers"], second["recovered"]) == (
        0,
        0,
        {"states": {}, "reasons": {}},
        None,
        {},
    )
    assert sorted(mail.recipients[0] for mail in sink.messages) == ["m0@x.test", "m1@x.test"]


@pytest.mark.slow
def test_round_without_a_name_is_for_all(shop: Run, sink: mail_sink.MailSink) -> None:
    greet(shop, sink, "other", 1)
    code, told = shop("tick", "--at", "2026-06-02T10:00Z", "--yes")
    assert (code, sorted(told)) == (0, ["other", "shop"])
    assert [told[name]["dispatch"]["states"] for name in ("other", "shop")] == [{"accepted": 1}, {"accepted": 2}]


@pytest.mark.slow
def test_shop_without_its_store_is_refused_by_name_and_then_erased(shop: Run, sink: mail_sink.MailSink) -> None:
    runtime = Runtime.open()
    with runtime.db.write() as connection:
        connection.execute(update(shops).values(status=UNINSTALLED, status_reason="taken_away"))
    said = "shop is not connected to its store (uninstalled): nothing is read, planned or sent for it."
    for words in (("tick", "shop"), ("plan", "shop"), ("sync", "shop"), ("problems", "shop", "--retry")):
        code, told = shop(*words)
        assert (code, told["error"]["message"]) == (1, said)
    assert shop("tick") == (0, {})
    assert sink.messages == []
    code, told = shop("shop", "erase", "shop", "--confirm", "1")
    assert (code, told["error"]["hint"]) == (1, "Say so with --confirm 2.")
    assert shop("shop", "erase", "shop", "--confirm", "2")[1]["erased"] is True
    with runtime.db.read() as connection:
        assert connection.execute(select(func.count()).select_from(members)).scalar() == 0
    runtime.close()


@pytest.mark.slow
def test_fault_of_one_shop_is_told_and_stops_no_other(
    shop: Run, sink: mail_sink.MailSink, monkeypatch: pytest.MonkeyPatch, say: Callable[..., Spoken]
) -> None:
    greet(shop, sink, "other", 1)
    plan = rounds.plan_shop

    def broken(db: Any, one: Any, now: Any) -> Any:
        if one.name == "other":
            raise KeyError("x")
        return plan(db, one, now)

    monkeypatch.setattr(rounds, "plan_shop", broken)
    code, told = shop("tick", "--at", AT, "--yes")
    assert (code, told["other"]["errors"], told["shop"]["errors"]) == (1, {"plan": "KeyError: 'x'"}, {})
    assert len(sink.messages) == 2
    spoken = say("tick", "other", "--at", AT, "--yes")
    assert spoken.code == 1
    assert "other, plan: KeyError: 'x'" in spoken.err
    assert "Traceback" not in spoken.err


def test_store_that_cannot_be_pulled_keeps_no_message_waiting(
    shop: Run, sink: mail_sink.MailSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise TransientError("The store does not answer.", hint="Try again later.")

    monkeypatch.setattr(tasks, "can_be_pulled", lambda _shop: True)
    monkeypatch.setattr(tasks, "sync", away)
    code, told = shop("tick", "shop", "--at", AT, "--yes", "--sync")
    assert (code, told["errors"]) == (1, {"sync": "The store does not answer. Try again later."})
    assert len(sink.messages) == 2


@pytest.mark.slow
def test_shop_of_files_is_not_pulled(shop: Run) -> None:
    code, told = shop("tick", "shop", "--at", AT, "--yes", "--sync")
    assert (code, "sync" in told) == (0, False)


@pytest.mark.slow
def test_lost_key_pauses_the_sender_and_planning_goes_on(
    shop: Run, sink: mail_sink.MailSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setenv("CRM_SECRET_KEY", "B" * 43 + "=")
        code, told = shop("tick", "shop", "--at", AT, "--yes")
        assert (code, told["plan"]["planned"], told["dispatch"]["reasons"]) == (0, 2, {"sender_paused": 2})
        [smtp] = [one for one in shop("sender", "list", "shop")[1] if one["adapter"] == "smtp"]
        assert smtp["status"] == "action_required"
    assert shop("sender", "check", "shop", "smtp") == (0, {"sender": "smtp", "problems": []})
    assert shop("tick", "shop", "--at", AT, "--yes")[1]["dispatch"]["states"] == {"accepted": 2}
    assert len(sink.messages) == 2


def test_round_is_told_in_words(shop: Run, say: Callable[..., Spoken]) -> None:
    assert say("tick", "shop", "--at", AT, "--yes").out == "shop: 2 planned; 2 accepted\n"
    assert say("tick", "shop", "--at", AT, "--yes").out == "shop: nothing to plan; nothing to send\n"


def test_round_ahead_of_time_is_asked_for_twice(shop: Run, say: Callable[..., Spoken]) -> None:
    ahead = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    refused = say("tick", "shop", "--at", ahead)
    assert (refused.code, "still to come" in refused.err, say("outbox", "shop").out) == (1, True, "")
    assert (say("tick", "shop", "--at", ahead, "--yes").code, say("tick", "shop", "--at", AT, "--yes").err) == (0, "")


@pytest.mark.slow
def test_outbox_is_listed_filtered_and_counted(shop: Run, say: Callable[..., Spoken]) -> None:
    shop("tick", "shop", "--at", AT, "--yes")
    code, rows = shop("outbox", "shop")
    assert (code, [(row["state"], row["address"]) for row in rows]) == (
        0,
        [("accepted", "m1@x.test"), ("accepted", "m0@x.test")],
    )
    assert rows[0]["due_at"] == "2026-06-02T08:00:00+00:00"
    assert shop("outbox", "shop", "--limit", "1", "--before", rows[0]["touchpoint_id"])[1] == rows[1:]
    assert shop("outbox", "shop", "--state", "skipped") == (0, [])
    assert shop("outbox", "shop", "--count") == (0, {"states": {"accepted": 2}, "reasons": {}})
    headings, line = (one.split("\t") for one in say("outbox", "shop", "--limit", "1").out.splitlines())
    assert headings[:3] == ["id", "due", "member"]
    assert (line[0], line[2:6]) == (rows[0]["touchpoint_id"], ["N1", "birthday", "email", "accepted"])


@pytest.mark.slow
def test_member_is_shown(shop: Run, say: Callable[..., Spoken]) -> None:
    shop("tick", "shop", "--at", AT, "--yes")
    code, told = shop("member", "shop", "m1@x.test")
    assert (code, told["external_id"], told["permissions"][0]["state"]) == (0, "1", "granted")
    assert [event["kind"] for event in told["timeline"]] == ["touchpoint", "consent"]
    assert shop("member", "shop", told["member_id"])[1] == told
    said = say("member", "shop", "1").out
    assert said.startswith(f"N1 (our id {told['member_id']}, the store's id 1, active)\n")
    for part in ("born --06-02", "Worth: 0 orders", "Tier: none", "email, marketing: granted since 2026-01-01"):
        assert part in said
    assert "birthday by email: accepted" in said


def test_member_whose_zone_is_open_is_shown(shop: Run, say: Callable[..., Spoken]) -> None:
    runtime = Runtime.open()
    with runtime.db.read() as connection:
        found = shop_named(connection, "shop")
    born = {"birth_month": 4, "birth_day": 12, "birth_lunar": True, "birth_leap": True}
    here = {"country": "US", "region": "TX"}
    write(runtime.db, found, [member("7", email="t@x.test", **here), member("8", email="l@x.test", **here, **born)])
    runtime.close()
    assert "t@x.test · US · any zone of US-TX\n" in say("member", "shop", "7").out
    assert "US-TX · born --leap-04-12 by the lunar calendar\n" in say("member", "shop", "8").out


@pytest.mark.slow
def test_programme_goes_out_and_in_again(shop: Run, say: Callable[..., Spoken], tmp_path: Path) -> None:
    file = tmp_path / "program.yaml"
    assert say("program", "dump", "shop", "-o", str(file)).code == 0
    assert file.read_text(encoding="utf-8") == say("program", "dump", "shop").out
    assert shop("program", "load", "shop", str(file))[0] == 0
    assert say("program", "dump", "shop").out == file.read_text(encoding="utf-8")
    code, document = shop("program", "dump", "shop")
    assert (code, {one["key"] for one in document["journeys"]} >= {"birthday", "lapse"}) == (0, True)


def test_journeys_are_switched(shop: Run, sink: mail_sink.MailSink) -> None:
    assert shop("journey", "off", "shop", "birthday") == (0, {"journey": "birthday", "enabled": False})
    assert {one["key"]: one["enabled"] for one in shop("journey", "list", "shop")[1]}["birthday"] is False
    assert shop("tick", "shop", "--at", AT, "--yes")[1]["plan"]["planned"] == 0
    assert sink.messages == []


def test_sender_keeps_what_is_not_told(shop: Run, sink: mail_sink.MailSink) -> None:
    assert shop("sender", "set", "shop", "smtp", "from_name=Lantern")[0] == 0
    assert shop("sender", "test", "shop", "smtp", "me@x.test")[0] == 0
    [mail] = sink.messages
    assert mail.recipients == ("me@x.test",)
    assert b"Lantern" in mail.data
    assert b"Test message from shop" in mail.data


def test_secret_comes_from_the_environment_or_is_asked_for(
    shop: Run, say: Callable[..., Spoken], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (
        "sender",
        "set",
        "shop",
        "twilio",
        "account_sid=AC1",
        "from_number=+15550100123",
        "base_url=http://127.0.0.1:1",
    )
    asked = say(*words, typed="geheim\n")
    assert "Auth token" in asked.err
    assert "geheim" not in asked.out + asked.err
    assert (asked.code, "Twilio cannot be reached" in asked.err) == (1, True)
    code, told = shop(*words)
    assert (code, told["error"]["field"]) == (1, "auth_token")
    monkeypatch.setenv("CRM_TWILIO_AUTH_TOKEN", "geheim")
    code, told = shop(*words)
    assert (code, told["error"]["code"]) == (1, "unreachable")
    assert "geheim" not in json.dumps(told)


def test_shops_are_listed_and_set(shop: Run) -> None:
    code, rows = shop("shop", "list")
    assert (code, [(row["name"], row["status"]) for row in rows]) == (0, [("shop", "connected")])
    code, told = shop("shop", "set", "shop", "title=Lantern & Leaf", 'quiet_hours={from: "20:00", to: "09:00"}')
    assert (code, told["title"], told["quiet_hours"]) == (0, "Lantern & Leaf", {"from": "20:00", "to": "09:00"})


def test_what_waited_too_long_is_missed_whatever_recovery_says(shop: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shop("plan", "shop", "--at", AT, "--yes")

    def broken(*_: Any) -> Any:
        raise TransientError("away")

    monkeypatch.setattr(rounds, "recover_shop", broken)
    _, told = shop("tick", "shop", "--at", "2026-07-20T12:00", "--yes")
    assert (told["errors"], told["recovered"]) == ({"recover": "away"}, {"missed": 2})
