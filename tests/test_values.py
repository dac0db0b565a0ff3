"""Money, ids, days and zones, secrets, redaction: the values everything else stands on."""

from __future__ import annotations

import logging
import stat
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import requests
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from crm_plugin import clock, http_client, ids, money, redaction
from crm_plugin.errors import ConfigError
from crm_plugin.store.base import from_micros, to_micros
from crm_plugin.store.members import full_name
from crm_plugin.store.secrets import SecretBox, key_file_box, new_key


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("298.55", "EUR", 29855),
        ("-53.81", "EUR", -5381),
        ("0.005", "EUR", 1),
        ("-0.005", "EUR", -1),
        ("1200", "JPY", 1200),
        ("1200.5", "JPY", 1201),
        ("1.2345", "KWD", 1235),
        (" 7 ", "GBP", 700),
    ],
)
def test_amount_reads_into_minor_units(text: str, currency: str, minor: int) -> None:
    assert money.parse_minor(text, currency) == minor


@pytest.mark.parametrize("text", ["", "abc", "NaN", "Infinity", "1,5", "12.3.4"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        money.parse_minor(text, "EUR")


@given(st.integers(-(10**15), 10**15), st.sampled_from(["EUR", "JPY", "KWD"]))
def test_minor_and_major_are_one(minor: int, currency: str) -> None:
    assert money.to_minor(money.to_major(minor, currency), currency) == minor


def test_conversion_rounds_once() -> None:
    assert money.convert_minor(1000, "USD", Decimal("0.92345"), "EUR") == 923
    assert money.convert_minor(1000, "JPY", Decimal("0.0061"), "EUR") == 610


def test_ids_ascend_and_never_repeat() -> None:
    source = ids.IdSource(node=5)
    taken = [*source.take(3), *source.take(5000), source.one(), *source.take(1), source.one()]
    assert taken == sorted(set(taken))
    assert all(0 < one < 2**63 for one in taken)
    assert source.take(0) == []


def test_ids_of_two_processes_differ() -> None:
    one, other = ids.IdSource(node=1).take(10_000), ids.IdSource(node=2).take(10_000)
    assert not set(one) & set(other)


@given(st.dates(date(1900, 1, 1), date(2200, 1, 1)))
def test_day_numbers_round_trip(day: date) -> None:
    assert clock.from_day_number(clock.day_number(day)) == day
    assert clock.day_number(day + timedelta(days=1)) - clock.day_number(day) == 1


@given(st.datetimes(datetime(1905, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))
def test_instants_round_trip(at: datetime) -> None:
    assert from_micros(to_micros(at)) == at


@pytest.mark.parametrize(
    ("day", "wall", "zone", "instant"),
    [
        (date(2026, 6, 1), time(10), "Asia/Shanghai", "2026-06-01T02:00:00+00:00"),
        (date(2026, 3, 29), time(2, 30), "Europe/Paris", "2026-03-29T01:30:00+00:00"),  # skipped: moved on by the gap
        (date(2026, 10, 25), time(2, 30), "Europe/Paris", "2026-10-25T00:30:00+00:00"),  # twice: the first
        (date(2026, 1, 1), time(0), "Pacific/Kiritimati", "2025-12-31T10:00:00+00:00"),
    ],
)
def test_wall_time_becomes_an_instant(day: date, wall: time, zone: str, instant: str) -> None:
    assert clock.at_local(day, wall, zone) == datetime.fromisoformat(instant)


def test_naive_times_and_unknown_zones_are_refused() -> None:
    with pytest.raises(ValueError, match="without a zone"):
        clock.require_aware(datetime(2026, 1, 1))
    for name in ("Mars/Olympus", "", "../etc/passwd", "Europe"):
        assert not clock.is_zone(name)


def test_key_file_is_private_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "secret.key"
    sealed = key_file_box(path).seal({"secret": "s3cr3t"})
    assert b"s3cr3t" not in sealed
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key_file_box(path).open(sealed) == {"secret": "s3cr3t"}


def test_old_key_still_opens_after_rotation() -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    sealed = SecretBox(old).seal({"a": 1})
    assert SecretBox(new, old).open(sealed) == {"a": 1}
    with pytest.raises(ConfigError, match="present key"):
        SecretBox(new).open(sealed)
    with pytest.raises(ConfigError, match="Fernet key"):
        SecretBox("too short")


def test_what_is_signed_is_believed_by_its_keys_alone() -> None:
    old, new = SecretBox(new_key()), SecretBox("A" * 43 + "=")
    signed = new.sign({"host": "mail.example"})
    assert signed.startswith(b'{"host": "mail.example"}')
    assert new.open(signed) == {"host": "mail.example"}
    for box, told in ((old, signed), (new, signed.replace(b"mail", b"evil")), (new, signed.partition(b".")[0])):
        with pytest.raises(ConfigError, match="present key"):
            box.open(told)


def test_excerpts_hold_no_secret() -> None:
    text = f'consumer_key=ck_{"a" * 40}&consumer_secret=cs_{"b" * 40} {{"password": "hunter2"}} cs_{"c" * 40}'
    shown = redaction.excerpt(text)
    for secret in ("a" * 10, "b" * 10, "c" * 10, "hunter2"):
        assert secret not in shown


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("Mon, 01 Jun 2026 12:01:00 GMT", 60.0),
        ("Mon, 01 Jun 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("²", None),
        ("Mon, 01 Jun 2026 12:01:00 +99999999999", None),
        ("", None),
    ],
)
def test_retry_after_reads_seconds_and_dates(value: str, seconds: float | None) -> None:
    response = requests.Response()
    response.headers["Retry-After"] = value
    assert http_client.retry_after(response, datetime(2026, 6, 1, 12, tzinfo=UTC)) == seconds


@pytest.mark.parametrize(
    ("first", "last", "shown"),
    [
        ("一诺", "周", "周一诺"),
        ("", "周", "周"),
        ("Ada", "Lovelace", "Ada Lovelace"),
        (" Ada  Maria ", "", "Ada Maria"),
        ("John", "Smith", "John Smith"),
        ("", "", ""),
    ],
)
def test_names_stand_as_they_are_written(first: str, last: str, shown: str) -> None:
    assert full_name(first, last) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "?consumer_key=ck_0123456789&consumer_secret=cs_0123456789&page=2",
            "?consumer_key=***&consumer_secret=***&page=2",
        ),
        ("Authorization: Basic Y2tfYWJjOmNzX2RlZg==", "Authorization: ***"),
        ("sent Bearer abc.def with it", "sent Bearer *** with it"),
        ('{"auth_token":"x", "page": 2}', '{"auth_token":***, "page": 2}'),
        ('{"password": "a b c", "user": "d"}', '{"password": ***, "user": "d"}'),
        ('OAuth oauth_signature="a%2Fb", oauth_version="1.0"', 'OAuth oauth_signature=***, oauth_version="1.0"'),
        ("https://user:pass@shop.example/", "https://user:***@shop.example/"),
        ("the key cs_ABCDEF1234567890", "the key cs_***"),
        ("X-Api-Key: abc", "X-Api-Key: ***"),
        ("Basic rules of a shop: 3 for 2", "Basic rules of a shop: 3 for 2"),
    ],
)
def test_secrets_are_taken_out(text: str, shown: str) -> None:
    assert redaction.redact(text) == shown


_SECRET_WORDS = [
    "secret",
    "Token",
    "passwd",
    "Password",
    "authorization",
    "nonce",
    "signature",
    "consumer_key",
    "api",
    "key",
    "\u212aey",
]
_PIECES = [
    *_SECRET_WORDS,
    "ck_",
    "CS_",
    "basic",
    "Bearer",
    "://",
    "@",
    "=",
    ":",
    "-",
    "_",
    " ",
    '"',
    "'",
    "abcdefgh12",
    "Zm9v=",
]


@given(st.lists(st.sampled_from(_PIECES), max_size=9).map("".join))
def test_text_without_a_sign_of_a_secret_holds_none(text: str) -> None:
    if redaction.redact(text) == text:
        # With a sign beside it, all of it is searched.
        assert redaction.redact(f"ck_ {text}") == f"ck_ {text}"


def test_answer_without_a_sign_of_a_secret_is_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(redaction, "_SECRETS")
    assert redaction.excerpt("2.0.0 Ok:\x07 queued\n as 4XyZ1234") == "2.0.0 Ok: queued as 4XyZ1234"


def test_addresses_asked_for_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    session = http_client.make_session()
    with caplog.at_level("DEBUG"):
        logging.getLogger("urllib3.connectionpool").debug("GET /wp-json?consumer_secret=cs_0123456789")
    session.close()
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("Europe/London", True),
        ("UTC", True),
        ("Asia/Calcutta", True),
        ("Etc/GMT-5", True),
        ("posix/Europe/London", False),
        ("right/Europe/London", False),
        ("localtime", False),
        ("Factory", False),
        ("europe/london", False),
        ("Mars/Base", False),
        ("", False),
        (None, False),
    ],
)
def test_zone_is_one_of_the_calendar(name: str | None, known: bool) -> None:
    assert clock.is_zone(name) is known
