"""Whatever is typed wrong or missing ends in one sentence that says what to do, exit code 1, and no trace of our code."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from cryptography.fernet import Fernet

from crm_plugin import cli
from crm_plugin.adapters.registry import channel_class, channel_names
from crm_plugin.cli import asking, common
from crm_plugin.rules import segments
from crm_plugin.rules.fields import FIELDS
from crm_plugin.runtime import Runtime
from crm_plugin.store import hook_counts, session
from crm_plugin.store.hook_counts import Odd
from crm_plugin.store.shops import shops
from crm_plugin.store.tenants import shop_named
from crm_plugin.touchpoints import health, journeys, senders
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.settings import ROW_SETTINGS, SETTINGS
from crm_plugin.touchpoints.states import Reason, State
from tests.cli.conftest import Run, Spoken
from tests.factories import NOON

ADD = ("shop", "add", "uci", "--platform", "csv", "--currency", "GBP", "--timezone", "Europe/London")


@pytest.fixture
def shop(run: Run) -> Run:
    assert run(*ADD)[0] == 0
    return run


def _refused(said: Spoken, *parts: str) -> None:
    assert said.code == 1
    assert "Traceback" not in said.err
    assert len(said.err.strip().splitlines()) == 1
    for part in parts:
        assert part in said.err


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("tick", "--bogus"), ("No such option", "crm-plugin tick --help")),
        (("import",), ("Missing argument", "crm-plugin import --help")),
        (("nonsense",), ("No such command", "crm-plugin --help")),
        (("outbox", "uci", "--limit", "0"), ("--limit", "x>=1")),
        (("outbox", "uci", "--limit", "many"), ("not a valid integer", "--help")),
        (("outbox", "uci", "--before", "9" * 20), ("--before", "range")),
        (("coupons", "load", "uci", "care", sys.executable), ("is no text in UTF-8",)),
        (("coupons", "ask", "uci", "care"), ("Say what comes off. Give --percent or --amount",)),
        (("coupons", "ask", "uci", "care", "--percent", "10"), ("CSV files cannot make codes", "put them into a pool")),
        ((*ADD[:2], "b", "--platform", "taobao"), ("--platform: Taobao/Tmall is connected on the page. `serve`",)),
        ((*ADD[:2], "b", "--platform", "medusa", "--url", "https://x.test"), ("--key: Secret API key is missing.",)),
        (("fields", "uci"), ("CSV files cannot show which keys plugins keep. The mapping file",)),
        (("shop", "gone", "uci", "people"), ("'people' is not one of 'members', 'orders', 'products'",)),
        (("shop", "gone", "uci", "orders"), ("Look again at what the last comparison found.",)),
        (("rehearse", "uci"), ("JOURNEY: No journey is on, so there is nothing to rehearse. Name one",)),
        (("tick", "none"), ("no shop named 'none'", "There are: uci.")),
        (("tick", "uci", "--at", "noon"), ("'noon' is not an instant", "2026-11-24T10:00")),
        (("tick", "--at", "2026-02-30T10:00"), ("is not an instant",)),
        (("outbox", "uci", "--state", "sent"), ("no state 'sent'", "accepted, delivered")),
        (("outbox", "uci", "--reason", "x"), ("no reason 'x'", "no_consent")),
        (("outbox", "uci", "--journey", "x"), ("no journey 'x'", "birthday")),
        (("journey", "on", "uci", "x"), ("no journey 'x'", "birthday")),
        (("member", "uci", "x"), ("no member 'x'", "e-mail address")),
        (("program", "load", "uci", "/nowhere.yaml"), ("/nowhere.yaml cannot be read", "No such file")),
        (("program", "load", "uci", "/"), ("cannot be read",)),
        (("program", "dump", "uci", "-o", "/nowhere/x"), ("/nowhere/x cannot be written", "-o")),
        (("sender", "set", "uci", "pigeon"), ("no sender 'pigeon'", "smtp, twilio")),
        (("sender", "set", "uci", "smtp", "hots=x"), ("no setting 'hots'", "host, port")),
        (("sender", "set", "uci", "smtp", "host"), ("no KEY=VALUE", "key=value")),
        (("sender", "set", "uci", "smtp"), ("missing", "host=VALUE")),
        (("sender", "test", "uci", "smtp", "me@x.test"), ("not set up",)),
        (("shop", "set", "uci", "color=red"), ("no setting 'color'", "brand")),
        (("shop", "set", "uci", "title="), ("`title` cannot be empty.",)),
        (("shop", "set", "uci", "locale=klingon"), ("locale: 'klingon' is not a language. Such as en or zh-CN.",)),
        (
            ("shop", "set", "uci", "quiet_hours=21-8"),
            ("quiet_hours: Quiet hours have a beginning and an end. Write {",),
        ),
        (("shop", "set", "uci", "rates={USD: x}"), ("rates: 'x' is not an exchange rate.",)),
        (("shop", "set", "uci", "brand={colour: red}"), ("There is no setting 'brand.colour'. Did you mean color?",)),
        (("shop", "set", "uci", "brand={a: ["), ("not valid YAML", "quotes")),
        (("import", "uci", "/nowhere.csv", "--mapping", "/nowhere.yaml"), ("/nowhere.yaml cannot be read",)),
        (("rule", "count", "uci", "spent( > 3"), ("line 1, column 6",)),
        (("rule", "count", "uci", "spent() > 3", "--as-of", "x"), ("--as-of: 'x' is not a day", "2026-11-24")),
        (("tick", "uci", "--at", "noon"), ("--at: 'noon' is not an instant.",)),
        (("demo", "--date", "x"), ("--date: 'x' is not a day.",)),
        (("demo", "--members", "3"), ("--members", "x>=20")),
        (
            ("import", "uci", "/nowhere.csv", "--mapping", "/dev/null"),
            ("--mapping: The mapping file /dev/null holds no",),
        ),
        (("shop", "add", "b", "--platform", "csv"), ("--currency: The currency is missing.",)),
        (("shop", "add", "b", "--platform", "csv", "--currency", "X"), ("--currency: 'X' is not a currency.",)),
        (("shop", "add", "b", "--platform", "csv", "--currency", "GBP"), ("--timezone: The time zone is missing.",)),
        ((*ADD[:2], "b", *ADD[3:-1], "London"), ("--timezone: 'London' is not a time zone.", "Europe/London")),
        ((*ADD[:2], "B", *ADD[3:]), ("NAME: 'B' cannot be a shop's name.",)),
        (ADD, ("NAME: There is a shop named 'uci' already.",)),
        ((*ADD[:2], "b", *ADD[3:], "--locale", "klingon"), ("--locale: 'klingon' is not a language.",)),
        (("shop", "add", "b", "--platform", "woocommerce"), ("--url: Store address is missing.",)),
        (("shop", "add", "b", "--platform", "woocommerce", "--url", "x"), ("--url: Store address must begin with",)),
        (
            ("shop", "add", "b", "--platform", "woocommerce", "--url", "https://x.test", "--key", "ck_1"),
            ("--secret: Consumer secret is missing.",),
        ),
    ],
)
def test_typing_error_is_one_sentence(
    shop: Run, say: Callable[..., Spoken], words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    _refused(say(*words), *parts)
    code, told = shop(*words)
    assert (code, list(told)) == (1, ["error"])
    assert told["error"]["message"]


@pytest.mark.parametrize(
    ("written", "part"), [(b"a: [1,\n b", "line 2"), (b"\xff\xfe\x00", "UTF-8"), (b"- a\n- b\n", "")]
)
def test_broken_file_is_named_with_its_place(
    shop: Run, say: Callable[..., Spoken], tmp_path: Path, written: bytes, part: str
) -> None:
    file = tmp_path / "broken.yaml"
    file.write_bytes(written)
    before = say("program", "dump", "uci").out
    _refused(say("program", "load", "uci", str(file)), part)
    said = say("import", "uci", str(file), "--mapping", str(file))
    _refused(said, str(file))
    assert say("program", "dump", "uci").out == before


@pytest.mark.parametrize(
    ("name", "value", "parts"),
    [
        ("CRM_DATABASE_URL", "nonsense", ("no address of a database", "sqlite:////")),
        ("CRM_DATABASE_URL", "mysql://u:geheim@h/d", ("mysql is no database", "postgresql://")),
        ("CRM_DATABASE_URL", "postgresql+nodriver://u:geheim@h/d", ("CRM_DATABASE_URL", "postgresql://")),
        ("CRM_DATABASE_URL", "postgresql://u:geheim@127.0.0.1:1/d", ("The database does not answer", "Is it running?")),
        ("CRM_DATABASE_URL", "postgresql://u:geheim@h:port/d", ("no address of a database",)),
        ("CRM_DATABASE_URL", "sqlite:////nowhere/crm.sqlite3", ("unable to open", "folder of /nowhere/crm.sqlite3")),
        ("CRM_SECRET_KEY", "short", ("not a Fernet key", "32 bytes")),
        ("CRM_DATA_DIR", "/dev/null/data", ("/dev/null/data cannot be made", "CRM_DATA_DIR")),
        ("CRM_LOG_LEVEL", "loud", ("CRM_LOG_LEVEL", "WARNING")),
    ],
)
def test_wrong_setting_of_the_machine_is_named(
    data_dir: Path,
    say: Callable[..., Spoken],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    parts: tuple[str, ...],
) -> None:
    monkeypatch.setenv(name, value)
    said = say("shop", "list")
    _refused(said, *parts)
    assert "geheim" not in said.err


def test_file_that_is_no_database_is_left_alone(
    data_dir: Path, say: Callable[..., Spoken], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "letter.txt").write_text("Dear customers, " * 99)
    monkeypatch.setenv("CRM_DATABASE_URL", f"sqlite:///{tmp_path / 'letter.txt'}")
    _refused(
        say("shop", "list"), "not a database", f"{tmp_path / 'letter.txt'} holds something else", "CRM_DATABASE_URL"
    )
    assert (tmp_path / "letter.txt").read_text().startswith("Dear customers")


@pytest.mark.parametrize("left", [50, 150_000])
def test_database_cut_short_asks_for_a_backup(shop: Run, say: Callable[..., Spoken], data_dir: Path, left: int) -> None:
    file = data_dir / "crm.sqlite3"
    held = file.read_bytes()[:left]
    file.write_bytes(held)
    for words in (("shop", "list"), ("doctor",), ("db", "upgrade")):
        _refused(say(*words), f"{file} is damaged or cut short", "backup")
    assert file.read_bytes() == held


def test_database_of_another_program_is_left_alone(
    data_dir: Path, say: Callable[..., Spoken], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE members (name)")
    monkeypatch.setenv("CRM_DATABASE_URL", f"sqlite:///{tmp_path / 'other.db'}")
    _refused(say("shop", "list"), "'members' that crm-plugin has not made", "CRM_DATABASE_URL")
    assert other.execute("SELECT name FROM sqlite_schema").fetchall() == [("members",)]
    other.close()


def test_database_of_a_newer_version_asks_for_that(shop: Run, say: Callable[..., Spoken], data_dir: Path) -> None:
    newer = sqlite3.connect(data_dir / "crm.sqlite3")
    newer.execute("UPDATE alembic_version SET version_num = '9999'")
    newer.commit()
    newer.close()
    for words in (("shop", "list"), ("doctor",), ("serve",), ("db", "upgrade")):
        _refused(say(*words), "revision 9999", "newer version", "backup")


def test_nobody_else_may_read_the_database(shop: Run, data_dir: Path) -> None:
    assert {file.stat().st_mode & 0o777 for file in data_dir.iterdir()} == {0o600}


def test_locked_database_asks_for_patience(
    shop: Run, say: Callable[..., Spoken], data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_BUSY_MS", 50)
    writer = sqlite3.connect(data_dir / "crm.sqlite3", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    try:
        _refused(say("tick", "uci"), "locked", "wait for it to end")
    finally:
        writer.rollback()
        writer.close()
    assert say("tick", "uci").code == 0


def test_read_only_database_asks_for_rights(
    shop: Run, say: Callable[..., Spoken], data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRM_DATABASE_URL", f"sqlite:///file:{data_dir / 'crm.sqlite3'}?mode=ro&uri=true")
    _refused(say("journey", "on", "uci", "birthday"), "readonly", "right to write")


@pytest.mark.parametrize("held", [b"", b"not a key"])
def test_spoilt_key_file_is_named_and_kept(shop: Run, say: Callable[..., Spoken], data_dir: Path, held: bytes) -> None:
    (data_dir / "secret.key").write_bytes(held)
    _refused(say("shop", "list"), "secret.key", "backup")
    assert (data_dir / "secret.key").read_bytes() == held


def test_other_key_is_told_by_doctor(shop: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_SECRET_KEY", Fernet.generate_key().decode())
    code, told = shop("doctor")
    assert (code, told["problems"][0]["problem"]) == (0, "Stored credentials cannot be read with the present key.")
    assert shop("tick", "uci")[0] == 0


@pytest.mark.parametrize("error", [RuntimeError("oh\nno"), KeyError("x")])
def test_fault_of_ours_shows_no_trace(
    shop: Run, say: Callable[..., Spoken], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(*_: Any) -> None:
        raise error

    monkeypatch.setattr(asking.rules, "count", broken)
    _refused(say("rule", "count", "uci", "spent() > 3"), "Something went wrong", type(error).__name__, "CRM_LOG_LEVEL")
    assert shop("rule", "count", "uci", "spent() > 3")[1]["error"]["code"] == "internal"


def test_wrong_statement_is_not_blamed_on_the_database(
    shop: Run, say: Callable[..., Spoken], monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice(connection: Any, *_: Any) -> None:
        row = dict(connection.execute(shops.select()).first()._mapping)
        connection.execute(shops.insert().values(**row))

    monkeypatch.setattr(asking.rules, "count", twice)
    _refused(say("rule", "count", "uci", "spent() > 3"), "Something went wrong: IntegrityError")


def test_logged_fault_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(common.Untraced("%(levelname)s %(message)s"))
    try:
        raise ValueError("oh")
    except ValueError as error:
        handler.handle(logging.LogRecord("x", logging.ERROR, "f", 1, "plan of x", None, (ValueError, error, None)))
    assert capsys.readouterr().err == "ERROR plan of x: ValueError: oh\n"


def test_interrupt_ends_cleanly(shop: Run, say: Callable[..., Spoken], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(asking.rules, "count", interrupted)
    said = say("rule", "count", "uci", "spent() > 3")
    assert (said.code, said.err.strip()) == (
        130,
        "Stopped. What was written is kept; the same command goes on from there.",
    )


def _wait_until_open(pid: int, name: str) -> None:
    """Until the process has that file open: before, while Python still imports, an interrupt is Python's own affair."""
    folder = Path(f"/proc/{pid}/fd")
    for _ in range(600):
        with suppress(OSError):
            if any(os.readlink(entry).endswith(name) for entry in folder.iterdir()):
                break
        time.sleep(0.1)


@pytest.mark.slow
def test_real_interrupt_leaves_no_trace(shop: Run, data_dir: Path) -> None:
    """A real Ctrl-C while the command waits for the database."""
    writer = sqlite3.connect(data_dir / "crm.sqlite3", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    try:
        words = [sys.executable, "-m", "crm_plugin", "journey", "on", "uci", "birthday"]
        process = subprocess.Popen(words, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        _wait_until_open(process.pid, "crm.sqlite3")
        process.send_signal(signal.SIGINT)
        # SQLite's own wait cannot be interrupted; it ends when the other writer does.
        writer.rollback()
        out, err = process.communicate(timeout=60)
    finally:
        writer.close()
    assert process.returncode in (0, 130), err
    assert "Traceback" not in err + out


@pytest.mark.slow
def test_reader_that_has_read_enough_is_no_error(shop: Run, tmp_path: Path) -> None:
    words = f"{sys.executable} -m crm_plugin program dump uci | head -c 10"
    done = subprocess.run(words, shell=True, env=os.environ, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_error_of_a_flag_keeps_its_field_for_machines(shop: Run) -> None:
    code, told = shop("shop", "add", "b", "--platform", "csv")
    assert (code, told["error"]["field"], told["error"]["code"]) == (1, "currency", "invalid_input")
    code, told = shop("shop", "set", "uci", "rates={USD: x}")
    assert (code, told["error"]["field"]) == (1, "rates.USD")


def test_help_names_every_command(say: Callable[..., Spoken]) -> None:
    said = say("--help")
    assert said.code == 0
    assert "..." not in said.out.split("Commands:")[1]
    ours = {"db", "shop", "sync", "import", "program", "rule", "tiers", "tick", "outbox", "member", "problems"}
    for name in ours | {"doctor", "serve", "demo", "journey", "sender", "link"}:
        assert f"\n  {name} " in said.out


@pytest.mark.parametrize("formatter", [common.RedactingFormatter, common.Untraced])
def test_trace_of_a_request_holds_no_secret(formatter: type[logging.Formatter]) -> None:
    try:
        raise OSError("no answer from /wp-json/wc/v3/orders?consumer_secret=cs_0123456789abcdef")
    except OSError as error:
        record = logging.LogRecord("crm", logging.ERROR, "", 1, "broke off", (), (OSError, error, error.__traceback__))
    told = formatter("%(message)s").format(record)
    assert "OSError: no answer from /wp-json/wc/v3/orders?consumer_secret=***" in told
    assert "cs_0123456789abcdef" not in told


@pytest.mark.parametrize("address", ["foo", "ftp://x.example", "https://", "https://x.example/?a=1"])
def test_public_address_that_is_none_stops_the_start(run: Run, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("CRM_PUBLIC_URL", address)
    code, answer = run("doctor")
    assert (code, answer["error"]["code"]) == (1, "config")
    assert "https://crm.example.com" in answer["error"]["hint"]


def test_file_stays_out_of_a_stores_shop(shop: Run, tmp_path: Path) -> None:
    runtime = Runtime.open()
    with runtime.db.write() as connection:
        connection.execute(shops.update().values(platform="woocommerce"))
    runtime.close()
    (tmp_path / "m.yaml").write_text("kind: members\nmember_id: id\nemail: email\n")
    (tmp_path / "m.csv").write_text("id,email\n1,a@example.test\n")
    code, answer = shop("import", "uci", str(tmp_path / "m.csv"), "--mapping", str(tmp_path / "m.yaml"))
    assert (code, answer["error"]["code"]) == (1, "invalid_input")
    assert "--platform csv" in answer["error"]["hint"]
    assert shop("rule", "count", "uci", "everyone")[1]["count"] == 0


def test_doctor_leaves_a_paused_sender_paused(shop: Run) -> None:
    runtime = Runtime.open()
    with runtime.db.write() as connection:
        senders.pause(connection, shop_named(connection, "uci").shop_id, "inapp", "554 Relay access denied.", NOON)
    runtime.close()
    _, answer = shop("doctor")
    assert [told["problem"] for told in answer["problems"] if "paused" in told["problem"]] == [
        "In-app is paused: 554 Relay access denied."
    ]
    _, rows = shop("sender", "list", "uci")
    assert rows[0]["status"] == "action_required"


def test_doctor_and_sender_list_tell_of_a_rest_that_a_command_ends(shop: Run) -> None:
    runtime = Runtime.open()
    with runtime.db.write() as connection:
        shop_id = shop_named(connection, "uci").shop_id
        health.rest(connection, shop_id, "inapp", runtime.clock.now(), "451 later")
    runtime.close()
    told = [one for one in shop("doctor")[1]["problems"] if "left alone" in one["problem"]]
    assert [one["hint"].rpartition("`")[0].rpartition("`")[2] for one in told] == ["crm-plugin sender try uci inapp"]
    assert shop("sender", "list", "uci")[1][0]["rests_for"] == "451 later"
    assert shop("sender", "try", "uci", "inapp") == (0, {"sender": "inapp", "rested": True})
    assert shop("sender", "try", "uci", "inapp") == (0, {"sender": "inapp", "rested": False})
    assert shop("sender", "list", "uci")[1][0]["rests_until"] is None


@pytest.mark.slow
def test_journey_that_reaches_nobody_is_told_of(shop: Run) -> None:
    runtime = Runtime.open()
    with runtime.db.write() as connection:
        there = shop_named(connection, "uci")
        segments.save(connection, there, "vip", "orders() >= 1", NOON)
        told = {"key": "hello", "trigger": {"type": "birthday"}, "channels": ["inapp"], "template": "birthday"}
        draft = read_draft({**told, "audience": 'segment("vip")', "enabled": True})
        journeys.save(connection, there, draft, NOON)
        segments.forget(connection, there, "vip")
        alone = {**journeys.get(connection, there.shop_id, "birthday").as_dict(), "channels": ["email"]}
        journeys.save(connection, there, read_draft({**alone, "enabled": True}), NOON)
    runtime.close()
    _, answer = shop("doctor")
    told_of = {one["problem"]: one["hint"] for one in answer["problems"] if "journey" in one["problem"]}
    assert list(told_of) == [
        "The journey birthday is on, and no sender is set up for email.",
        "The journey hello stands still: There is no segment 'vip'.",
    ]
    assert all(told_of.values())
    code, round_ = shop("tick", "uci", "--at", "2026-07-01T10:00", "--yes")
    assert (code, round_["errors"]) == (1, {"journey hello": "There is no segment 'vip'."})


def test_round_before_any_journey_was_on_says_so(shop: Run) -> None:
    words = ("tick", "uci", "--at", "2026-05-01T10:00", "--yes")
    with_none = CliRunner().invoke(cli.main, words)
    shop("journey", "on", "uci", "birthday")
    before = CliRunner().invoke(cli.main, words)
    assert "No journey was on at this instant yet" not in with_none.stderr
    assert "uci: No journey was on at this instant yet, and none catches up" in before.stderr


def _commands(group: click.Group = cli.main, *path: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from _commands(command, *path, name)


COMMANDS = list(_commands())


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_explains_every_option(say: Callable[..., Spoken], words: tuple[str, ...]) -> None:
    command: click.Command = cli.main
    for word in words:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    said = say(*words, "-h")
    assert said.code == 0
    assert command.help
    assert "..." not in said.out.partition("Commands:")[2]
    assert [param.name for param in command.params if isinstance(param, click.Option) and not param.help] == []


def test_help_lists_what_can_be_written(say: Callable[..., Spoken]) -> None:
    for words, told in (
        (("rule",), FIELDS),
        (("shop", "set"), [setting.key for setting in (*ROW_SETTINGS, *SETTINGS)]),
        (("sender", "set"), [f"{name} {one.key}" for name in channel_names() for one in channel_class(name).settings]),
        (("outbox",), [*State, *Reason]),
    ):
        said = say(*words, "-h").out
        assert [word for word in told if word not in said] == []


def test_doctor_tells_what_a_hook_refused_lately(shop: Run) -> None:
    runtime = Runtime.open()
    now = runtime.clock.now()
    with runtime.db.write() as connection:
        shop_id = shop_named(connection, "uci").shop_id
        hook_counts.count(connection, shop_id, "twilio", {Odd.FORGED: 12, Odd.REPEATED: 3}, now)
        hook_counts.count(connection, shop_id, "twilio", {Odd.OVERSIZED: 1}, now - timedelta(days=2))
    runtime.close()
    _, answer = shop("doctor")
    told = [one["problem"] for one in answer["problems"] if "hook of Twilio" in one["problem"]]
    assert told == [f"12 reports to the hook of Twilio were refused so far, the last at {now:%Y-%m-%d %H:%M}Z: forged."]
