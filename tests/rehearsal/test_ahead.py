"""A rehearsal of days to come, what it tells of them, and what it leaves alone."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from crm_plugin.errors import InvalidInput, NotFound
from crm_plugin.records import ConsentRecord, ConsentState
from crm_plugin.rehearsal import Ask, Result, in_words, rehearse
from crm_plugin.rehearsal import scratch as scratch_module
from crm_plugin.store import connections, consent, members, metadata
from crm_plugin.store.session import Database
from crm_plugin.sync.pull import Progress
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints import program, publishing
from crm_plugin.touchpoints.journey_document import read_draft
from tests.factories import make_shop, member, write
from tests.rehearsal.story import BEGIN, Story, begin

FIRST = date(2026, 3, 20)


@pytest.fixture
def story(sqlite_db: Database, tmp_path: Path) -> Story:
    """A shop in which four people live. What is rehearsed is played on a copy in SQLite, whatever the shop is kept in."""
    return _story(sqlite_db, tmp_path)


@pytest.fixture
def either(db: Database, tmp_path: Path) -> Story:
    """The same shop on each kind of database, for what is read from it or may not be written to it."""
    return _story(db, tmp_path)


def _story(db: Database, folder: Path) -> Story:
    """Three with a birthday, one of whom refuses, and one without."""
    told = begin(db, folder, 1, people=0, on=["birthday"])
    born = {"timezone": "Europe/Berlin", "phone": ""}
    told.person(BEGIN, birth_month=3, birth_day=22, **born)
    told.person(BEGIN, birth_month=3, birth_day=24, **born)
    told.person(BEGIN, birth_month=3, birth_day=24, **{**born, "timezone": "America/New_York"})
    told.person(BEGIN, birth_month=None, birth_day=None, **born)
    return told


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where copies are made; none may be left there."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


def _yes(story: Story, *, refuses: int = 0) -> None:
    """All agree to e-mail, but for one."""
    with story.db.write() as connection:
        for table in ("member_consents", "consents"):
            connection.execute(metadata.tables[table].delete())
    with story.db.write() as connection:
        for number, member_id in enumerate(_ids(story), 1):
            state = ConsentState.WITHDRAWN if number == refuses else ConsentState.GRANTED
            consent.record(
                connection,
                1,
                member_id,
                channel="email",
                topic="marketing",
                state=state,
                at=BEGIN,
                source="page",
                recorded_at=BEGIN,
            )


def _ids(story: Story) -> list[int]:
    with story.db.read() as connection:
        return list(connection.execute(select(members.c.member_id).order_by(members.c.external_id)).scalars())


def _everything(db: Database) -> dict[str, tuple[int, str]]:
    """Table → rows and checksum of all that is in it."""
    found = {}
    with db.read() as connection:
        for table in metadata.sorted_tables:
            rows = sorted(repr(tuple(row)) for row in connection.execute(select(table)))
            found[table.name] = len(rows), hashlib.sha256("\n".join(rows).encode()).hexdigest()
    return found


@pytest.mark.slow
def test_birthdays_ahead_by_day_and_reason(story: Story) -> None:
    _yes(story, refuses=2)
    seen = rehearse(story.runtime, story.shop, Ask(FIRST, FIRST + timedelta(days=6), "birthday"))
    assert [(one.on.day, one.journey, one.channel, one.messages) for one in seen.sends] == [
        (22, "birthday", "email", 1),
        (24, "birthday", "email", 1),
    ]
    assert [(one.on.day, one.reason, one.messages) for one in seen.held] == [(24, "no_consent", 1)]
    assert (seen.messages, seen.held_back, seen.members, seen.waits) == (2, 1, 2, 0)
    assert seen.by_day()[date(2026, 3, 23)] == 0
    assert seen.cost == 0
    assert seen.problems == {}


@pytest.mark.slow
def test_nothing_in_the_shop_changes(either: Story) -> None:
    either.buys(BEGIN)
    either.live(BEGIN, BEGIN + timedelta(days=5))
    before = _everything(either.db)
    for first in (FIRST - timedelta(days=3), FIRST + timedelta(days=2), FIRST + timedelta(days=6)):
        rehearse(either.runtime, either.shop, Ask(first, first + timedelta(days=3)))
    assert _everything(either.db) == before
    assert before["touchpoints"][0] > 0


@pytest.mark.slow
def test_journey_that_is_off_is_rehearsed_as_if_on(story: Story) -> None:
    _yes(story)
    story.buys(BEGIN)
    seen = rehearse(story.runtime, story.shop, Ask(FIRST, FIRST + timedelta(days=3), "idle"))
    assert [(one.on, one.journey) for one in seen.sends] == [(FIRST + timedelta(days=1), "idle")]


@pytest.mark.slow
def test_draft_stands_for_what_is_saved(either: Story) -> None:
    _yes(either)
    told = {"key": "birthday", "trigger": {"type": "birthday", "days": -1}, "channels": ["email"], "send_at": "12:00"}
    seen = rehearse(either.runtime, either.shop, Ask(FIRST, FIRST + timedelta(days=5), draft=read_draft(told)))
    assert [(one.on.day, one.messages) for one in seen.sends] == [(21, 1), (23, 2)]


@pytest.mark.slow
def test_draft_that_is_being_edited_is_what_is_played(story: Story) -> None:
    _yes(story)
    told = {"key": "birthday", "trigger": {"type": "birthday", "days": -1}, "channels": ["email"], "send_at": "12:00"}
    with story.db.write() as connection:
        publishing.save_draft(connection, story.shop, told, BEGIN)
    seen = rehearse(story.runtime, story.shop, Ask(FIRST, FIRST + timedelta(days=5), "birthday"))
    assert [(one.on.day, one.messages) for one in seen.sends] == [(21, 1), (23, 2)]
    assert "The journey is as it is drafted, and not as it was published." in seen.assumes


@pytest.mark.slow
def test_quiet_hours_that_are_not_saved(story: Story) -> None:
    _yes(story)
    quiet = {"quiet_hours": {"from": "09:00", "to": "13:00"}}
    ids = tuple(_ids(story))
    seen = rehearse(
        story.runtime, story.shop, Ask(FIRST, FIRST + timedelta(days=5), "birthday", settings=quiet, member_ids=ids)
    )
    assert [(one.at.hour, one.at.day, one.state) for one in seen.contacts] == [
        (13, 22, "accepted"),
        (13, 24, "accepted"),
        (18, 24, "accepted"),
    ]


@pytest.mark.slow
def test_members_messages_can_be_read(story: Story) -> None:
    _yes(story)
    first = _ids(story)[0]
    (one,) = rehearse(story.runtime, story.shop, Ask(FIRST, FIRST + timedelta(days=5), member_ids=(first,))).contacts
    assert (one.member_id, one.journey, one.occasion, one.subject) == (first, "birthday", "2026", "Hello First1")
    assert one.text.startswith("Hello First1, it is Shop 1. https://crm.example/u/")


@pytest.mark.slow
def test_figures_are_the_same_whether_texts_are_kept(story: Story) -> None:
    _yes(story, refuses=2)
    with story.db.write() as connection:
        connection.execute(metadata.tables["members"].update().values(phone="+4915112345999"))
        connection.execute(metadata.tables["journeys"].update().values(channels=["email", "sms"]))
        for member_id in _ids(story)[1:]:
            said = {"channel": "sms", "topic": "marketing", "state": ConsentState.GRANTED, "source": "page"}
            consent.record(connection, 1, member_id, **said, at=BEGIN, recorded_at=BEGIN)
    ask = Ask(FIRST, FIRST + timedelta(days=6), "birthday")
    counted = rehearse(story.runtime, story.shop, ask)
    kept = rehearse(story.runtime, story.shop, replace(ask, every_text=True))
    assert [(one.on.day, one.channel, one.messages, one.parts) for one in counted.sends] == [
        (22, "email", 1, 0),
        (24, "email", 1, 0),
        (24, "sms", 1, 1),
    ]
    assert kept == counted


@pytest.mark.slow
def test_text_messages_cost_their_parts(story: Story) -> None:
    yes = (ConsentRecord(channel="sms", state=ConsentState.GRANTED, at=BEGIN),)
    long, phone = "名字" * 40, "+4915112345999"
    story.person(
        BEGIN, timezone="Europe/Berlin", phone=phone, first_name=long, birth_month=3, birth_day=21, consents=yes
    )
    with story.db.write() as connection:
        connection.execute(metadata.tables["journeys"].update().values(channels=["sms"]))
    ask = Ask(FIRST, FIRST + timedelta(days=2), "birthday")
    unknown = rehearse(story.runtime, story.shop, ask)
    assert (unknown.messages, unknown.parts, unknown.cost) == (1, 2, None)
    assert (
        "2 parts of text messages, at a price that is not known (--sms-price, or the settings of the sender)"
        in in_words(unknown)[0]
    )
    with story.db.write() as connection:
        sender, sealed = metadata.tables["connections"], story.runtime.box.seal({"part_price": "0.05"})
        connection.execute(sender.update().where(sender.c.adapter == "twilio").values(settings=sealed))
    assert rehearse(story.runtime, story.shop, ask).cost == Decimal("0.10")
    known = rehearse(story.runtime, story.shop, replace(ask, part_price=Decimal("0.075")))
    assert known.cost == Decimal("0.150")


@pytest.mark.slow
def test_line_before_a_slow_sender(story: Story) -> None:
    _yes(story)
    seen = rehearse(story.runtime, story.shop, Ask(FIRST, FIRST + timedelta(days=5), per_hour={"email": 1, "sms": 9}))
    (load,) = seen.loads
    assert (load.channel, load.on.day, load.messages) == ("email", 24, 2)
    # At ten in Berlin and at ten in New York, 15:00 in Berlin, an hour each.
    assert f"{load.done_at:%m-%d %H:%M}" == "03-24 16:00"


@pytest.mark.slow
def test_channel_without_sender_as_if_it_had_one(story: Story) -> None:
    _yes(story)
    with story.db.write() as connection:
        connection.execute(connections.delete())
    ask = Ask(FIRST, FIRST + timedelta(days=5), "birthday")
    assert rehearse(story.runtime, story.shop, ask).reasons() == [("no_sender", 3)]
    assert rehearse(story.runtime, story.shop, replace(ask, all_channels=True)).messages == 3


@pytest.mark.slow
def test_sender_that_waits_for_the_merchant_counts_as_mended(story: Story) -> None:
    _yes(story)
    with story.db.write() as connection:
        connection.execute(connections.update().values(status="action_required"))
    assert rehearse(story.runtime, story.shop, Ask(FIRST, FIRST + timedelta(days=5), "birthday")).messages == 3


@pytest.mark.slow
def test_outage_ahead_misses_what_is_stale(story: Story) -> None:
    _yes(story)
    down = (datetime(2026, 3, 21, tzinfo=UTC), datetime(2026, 3, 26, tzinfo=UTC))
    seen = rehearse(story.runtime, story.shop, Ask(FIRST, FIRST + timedelta(days=8), "birthday", outages=[down]))
    assert seen.reasons() == [("window_over", 1)]
    assert [(one.on.day, one.messages) for one in seen.sends] == [(26, 2)]


@pytest.mark.slow
def test_progress_counts_the_days(story: Story) -> None:
    heard: list[Progress] = []
    rehearse(story.runtime, story.shop, Ask(FIRST, FIRST + timedelta(days=2)), progress=heard.append)
    days = [one for one in heard if one.stream == "days"]
    assert (days[0].done, days[-1].done, days[-1].total) == (0, 3, 3)
    assert Progress("members", 4, None) in heard


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_copy_is_gone_when_it_is_stopped(story: Story, scratch: Path, error: type[BaseException]) -> None:
    there: list[int] = []

    def stop(told: Progress) -> None:
        if told.stream == "days":
            there.append(len(list(scratch.iterdir())))
            raise error

    with pytest.raises(error):
        rehearse(story.runtime, story.shop, Ask(FIRST, FIRST + timedelta(days=2)), progress=stop)
    assert there == [1]


@pytest.mark.slow
def test_copy_of_a_killed_process_is_removed_and_no_other(
    story: Story, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch_module, "_BEGINS", -1)
    for name in ("crm-rehearsal-dead", "crm-rehearsal-live", "crm-rehearsal-new", "other"):
        (scratch / name).mkdir()
    for name in ("crm-rehearsal-dead", "crm-rehearsal-live", "other"):
        (scratch / name / "lock").touch()
    with (scratch / "crm-rehearsal-live" / "lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        rehearse(story.runtime, story.shop, Ask(FIRST, FIRST))
    left = sorted(scratch.iterdir())
    assert [one.name for one in left] == ["crm-rehearsal-live", "crm-rehearsal-new", "other"]
    for one in left:
        shutil.rmtree(one)


@pytest.mark.slow
def test_address_is_taken_for_granted_while_none_is_set(story: Story) -> None:
    _yes(story)
    told = "The public address (CRM_PUBLIC_URL) is set by then: without it no marketing by mail leaves."
    ask = Ask(FIRST, FIRST + timedelta(days=6), "birthday")
    with_one = rehearse(story.runtime, story.shop, ask)
    bare = replace(story.runtime, config=replace(story.runtime.config, public_url=""))
    without = rehearse(bare, story.shop, ask)
    assert (without.messages, with_one.messages) == (3, 3)
    assert without.put_off == {}
    assert (told in without.assumes, told in with_one.assumes) == (True, False)


@pytest.mark.slow
def test_changes_of_level_that_are_due_already_are_told_apart(story: Story) -> None:
    for number in range(2):
        story.buys(BEGIN + number * timedelta(hours=1))
    seen = rehearse(story.runtime, story.shop, Ask(FIRST, FIRST + timedelta(days=40), "birthday"))
    assert (seen.levels_today, seen.levels) == (1, 1)


@pytest.mark.slow
def test_copy_holds_no_secret(either: Story, scratch: Path) -> None:
    held: list[bytes] = []

    def look(told: Progress) -> None:
        if told.stream == "days":
            held.extend(file.read_bytes() for file in scratch.rglob("scratch.sqlite3*"))

    rehearse(either.runtime, either.shop, Ask(FIRST, FIRST), progress=look)
    assert held
    assert not any(b"sealed" in one for one in held)


@pytest.mark.parametrize(
    ("ask", "field", "words"),
    [
        (Ask(FIRST, FIRST - timedelta(days=1)), "to", "ends before it begins"),
        (Ask(FIRST, FIRST + timedelta(days=366)), "to", "367 days are too many."),
        (Ask(date(2019, 1, 1), date(2019, 2, 1)), "from", "too far from today"),
        (Ask(date(2027, 3, 1), date(2027, 4, 1)), "from", "too far from today"),
        (Ask(FIRST, FIRST, part_price=Decimal("NaN")), "sms_price", "cannot cost NaN"),
        (Ask(FIRST, FIRST, per_hour={"fax": 3}), "rate", "fax=3 is no rate."),
        (Ask(FIRST, FIRST, per_hour={"sms": 0}), "rate", "sms=0 is no rate."),
        (Ask(FIRST, FIRST, outages=[(BEGIN, BEGIN)]), "outage", "An outage ends before it begins."),
    ],
)
def test_what_cannot_be_rehearsed_is_refused(story: Story, ask: Ask, field: str, words: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        rehearse(story.runtime, story.shop, ask)
    assert refused.value.field == field
    assert words in refused.value.message


def test_unknown_journey_is_named(story: Story) -> None:
    with pytest.raises(NotFound):
        rehearse(story.runtime, story.shop, Ask(FIRST, FIRST, "nothing"))


def test_book_without_a_journey_is_refused(either: Story) -> None:
    with either.db.write() as connection:
        connection.execute(metadata.tables["journeys"].update().values(enabled=False))
    with pytest.raises(InvalidInput, match="No journey is on"):
        rehearse(either.runtime, either.shop, Ask(FIRST, FIRST))


@pytest.mark.slow
def test_steps_are_taken_and_coupons_handed_out(either: Story) -> None:
    _yes(either)
    steps = [
        {"key": "first", "send": {"template": "birthday", "channels": ["email"]}},
        {"key": "rest", "wait": {"days": 2}},
        {"key": "code", "coupon": {"pool": "gift"}},
        {"key": "second", "send": {"template": "more", "channels": ["email"]}},
    ]
    told = {"key": "club", "trigger": {"type": "birthday", "days": 0}, "steps": steps}
    with either.db.write() as connection:
        pool = {"shop_id": 1, "pool_key": "gift", "created_at": BEGIN}
        connection.execute(metadata.tables["coupon_pools"].insert().values(**pool))
        for place in range(5):
            code = {"shop_id": 1, "pool_key": "gift", "code": f"G{place}", "place": place}
            connection.execute(metadata.tables["coupon_codes"].insert().values(**code))
        program.load(connection, either.shop, {"journeys": [told]}, BEGIN)
        journey_store.switch(connection, either.shop, "birthday", False, BEGIN)
    seen = rehearse(either.runtime, either.shop, Ask(FIRST, FIRST + timedelta(days=8), "club"))
    assert [(one.on.day, one.messages) for one in seen.sends] == [(22, 1), (24, 3), (26, 2)]
    assert seen.coupons == {"gift": 3}
    assert "        3  gift" in in_words(seen)[in_words(seen).index("Coupons handed out:") + 1]


@pytest.mark.slow
def test_words_of_a_rehearsal(story: Story) -> None:
    _yes(story, refuses=2)
    seen: Result = rehearse(story.runtime, story.shop, Ask(FIRST, FIRST + timedelta(days=6), "birthday"))
    assert in_words(seen)[:4] == [
        "shop-1, birthday, 2026-03-20 to 2026-03-26 (Europe/Berlin): 2 messages to 2 members; 1 held back.",
        f"Sun 2026-03-22          1  {'█' * 24}  birthday by email 1",
        f"Tue 2026-03-24          1  {'█' * 24}  birthday by email 1",
        "",
    ]
    assert (
        "From now on nothing new comes: no order, no member, no consent, no refusal. Only the days pass."
        in seen.assumes
    )


@pytest.mark.slow
def test_other_shops_stay_out(story: Story) -> None:
    with story.db.write() as connection:
        other = make_shop(connection, 2)
    write(story.db, other, [member("9", email="nine@x.test")], BEGIN)
    heard: list[Any] = []
    rehearse(story.runtime, story.shop, Ask(FIRST, FIRST), progress=heard.append)
    with story.db.read() as connection:
        assert connection.execute(select(func.count()).select_from(members)).scalar_one() == 5
    assert Progress("members", 4, None) in heard


@pytest.mark.slow
def test_campaign_leaves_at_its_own_time(story: Story) -> None:
    _yes(story)
    trigger = {"type": "campaign", "at": "2026-03-25 19:10"}
    told = {"key": "spring", "trigger": trigger, "channels": ["email"], "template": "birthday"}
    seen = rehearse(story.runtime, story.shop, Ask(FIRST, FIRST + timedelta(days=6), draft=read_draft(told)))
    # A round that comes later finds the night; in Berlin it is the next day when it is that evening in New York.
    assert {one.on.day: one.messages for one in seen.sends} == {25: 3, 26: 1}
