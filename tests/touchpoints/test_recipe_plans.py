"""Each recipe on a made-up shop: the right members get it and no others, and every text of it can be read in both languages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from crm_plugin.records import ConsentRecord, ConsentState, MemberRecord, OrderLineRecord, Record
from crm_plugin.rules import cadences, tiers
from crm_plugin.rules.policy_read import read_policy
from crm_plugin.store import checkouts, enrolment_events, enrolments, member_dates, members, tasks, touchpoints
from crm_plugin.store.events import raise_event, withdraw_event
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import batch as batches
from crm_plugin.touchpoints import journeys, questions
from crm_plugin.touchpoints.compose import scene_of
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.plan import plan_shop
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.recipes import install_one, recipe, recipe_texts
from crm_plugin.touchpoints.render import render
from crm_plugin.touchpoints.tokens import Answered
from tests.factories import make_shop, member, order, refund, write

# A Monday at noon; everything else is told in days from it.
START = datetime(2026, 6, 1, 12, tzinfo=UTC)
YES = (ConsentRecord(channel="inapp", state=ConsentState.GRANTED, at=START - timedelta(days=900)),)


def day(number: int) -> datetime:
    """Noon, so many days after the start."""
    return START + timedelta(days=number)


def who(key: str, **values: Any) -> MemberRecord:
    """A member who agreed to cards in the store; those of odd keys read Chinese."""
    chinese = key.isdecimal() and int(key) % 2 == 1
    told = {
        "joined_at": day(-400),
        "locale": "zh-CN" if chinese else "en",
        "consents": YES,
        "timezone": "UTC",
        **values,
    }
    return member(key, **told)


def bought(key: str, by: str, on: int, total: int = 5_000, **values: Any) -> Record:
    """An order of one product, paid at once."""
    line = OrderLineRecord(sku=f"S{key}", title=f"Thing {key}", total_minor=total, cost_minor=total // 2)
    told = {"lines": (line,), "placed_at": day(on), "paid_at": day(on), **values}
    return order(key, total, member_external_id=by, **told)


def back(key: str, of: str, on: int, amount: int = 5_000) -> Record:
    """Money given back for an order."""
    return refund(key, amount, order_external_id=of, refunded_at=day(on))


# What is done to the shop: by the database, the shop and the members' ids.
Act = Callable[[Database, Shop, Mapping[str, int]], None]


def raised(*told: tuple[str, str, int], withdrawn: Sequence[str] = ()) -> Act:
    """Events of a kind for members, about days; those of `withdrawn` are taken back."""

    def act(db: Database, shop: Shop, ids: Mapping[str, int]) -> None:
        with db.write() as connection:
            for kind, key, on in told:
                at, payload = day(min(on, 0)), {"points": 120}
                raise_event(connection, shop, kind, ids[key], day(-6), at=at, on=day(on).date(), payload=payload)
                if key in withdrawn:
                    withdraw_event(connection, shop, kind, ids[key], day(-1))

    return act


CLUB: dict[str, Any] = {
    "measure": "spent",
    "window": {"days": 90},
    "term": {"days": 100},
    "levels": [
        {"key": "silver", "title": {"en": "Silver", "zh-CN": "银卡"}, "entry": 100, "keep": 80},
        {"key": "gold", "title": {"en": "Gold", "zh-CN": "金卡"}, "entry": 500},
    ],
}


def club(on: int) -> Act:
    """The club begins, and everybody is brought to their level."""

    def act(db: Database, shop: Shop, _ids: Mapping[str, int]) -> None:
        with db.write() as connection:
            tiers.save_policy(connection, shop, read_policy(CLUB), day(on), actor="test")
        tiers.apply(db, shop, as_of=day(on).date(), now=day(on))

    return act


def then(*records: Record) -> Act:
    """Orders come in at noon of the first day, and levels follow."""

    def act(db: Database, shop: Shop, _ids: Mapping[str, int]) -> None:
        write(db, shop, records, day(0))
        tiers.apply(db, shop, as_of=day(0).date(), now=day(0) + timedelta(minutes=5))

    return act


def come(*people: MemberRecord) -> Act:
    """They come in at noon of the first day."""

    def act(db: Database, shop: Shop, _ids: Mapping[str, int]) -> None:
        write(db, shop, people, day(0))

    return act


def counted(db: Database, shop: Shop, _ids: Mapping[str, int]) -> None:
    """How long things last and members pause is counted."""
    cadences.count(db, shop, day(-1))


def reminded(*told: tuple[str, str, int]) -> Act:
    """Days of the year (month * 100 + day) that members asked to be reminded of, with whose they are."""

    def act(db: Database, _shop: Shop, ids: Mapping[str, int]) -> None:
        rows = [
            {"shop_id": 1, "date_id": 1 + number, "member_id": ids[key], "person": person, "month_day": month_day}
            for number, (key, person, month_day) in enumerate(told)
        ]
        with db.write() as connection:
            connection.execute(member_dates.insert(), [{**row, "recorded_at": day(-20)} for row in rows])

    return act


def left(*told: tuple[str, int, bool]) -> Act:
    """Checkouts by member, hour of the first day after noon, and whether they were finished."""

    def act(db: Database, _shop: Shop, ids: Mapping[str, int]) -> None:
        with db.write() as connection:
            for number, (key, hour, finished) in enumerate(told):
                at = day(0) + timedelta(hours=hour)
                connection.execute(
                    checkouts.insert().values(
                        shop_id=1,
                        checkout_id=1 + number,
                        external_id=f"c{number}",
                        member_id=ids[key],
                        url="https://shop.example/checkout",
                        lines=[{"title": "Cup", "quantity": 1}],
                        started_at=at,
                        touched_at=at,
                        touched_on=at.date(),
                        seen_at=at,
                        completed_at=at if finished else None,
                    )
                )

    return act


def both(*acts: Act) -> Act:
    """One after the other."""

    def act(db: Database, shop: Shop, ids: Mapping[str, int]) -> None:
        for one in acts:
            one(db, shop, ids)

    return act


def order_since(db: Database, shop: Shop, _ids: Mapping[str, int]) -> None:
    """The third member orders two hours after noon."""
    at = day(0) + timedelta(hours=2)
    write(db, shop, [bought("c", "3", 0, placed_at=at)], at)


def tea(by: str, on: int) -> Record:
    """A pound of tea, which lasts for thirty days."""
    line = OrderLineRecord(sku="TEA", title="Tea", total_minor=900, cost_minor=300)
    return bought(f"tea-{by}-{on}", by, on, 900, lines=(line,))


@dataclass(frozen=True, slots=True)
class Case:
    """What is in the store, on which day it is planned for (from the day before it was switched on), and who gets it.

    `before` is done when all is written and the recipe is not on yet, `after` at noon of the day; planned is at midnight after it.
    """

    recipe: str
    people: Sequence[MemberRecord]
    records: Sequence[Record]
    on: int
    gets: Sequence[str]
    before: Act | None = None
    after: Act | None = None
    # How long after the day's noon it is planned.
    hours: int = 12


CASES = (
    Case(
        "second_purchase",
        [who(str(number)) for number in range(1, 6)],
        [
            bought("a", "1", -21),
            # Two orders; one that was sent back; another day; a second order since.
            bought("b1", "2", -21),
            bought("b2", "2", -60),
            bought("c", "3", -21),
            bought("d", "4", -20),
            bought("e1", "5", -21),
            bought("e2", "5", -3),
            back("r1", "c", -10),
        ],
        0,
        ["1"],
    ),
    Case(
        "review_request",
        [who(str(number)) for number in range(1, 5)],
        [
            bought("a", "1", -10),
            bought("b", "2", -10),
            bought("c", "3", -9),
            bought("d", "4", -10),
            back("r1", "d", -2),
        ],
        0,
        ["1", "2"],
    ),
    Case(
        "cross_sell",
        [who(str(number)) for number in range(1, 4)],
        [
            bought("a0", "1", -90),
            bought("a1", "1", -35),
            # Their first order; one that went back.
            bought("b", "2", -35),
            bought("c0", "3", -90),
            bought("c1", "3", -35),
            back("r1", "c1", -20),
        ],
        0,
        ["1"],
    ),
    # A member who joins now; a guest, and those who were members before, are not welcomed.
    Case("welcome", [who("1")], (), 0, ["2"], after=come(who("2", joined_at=day(0)), who("3", joined_at=day(-90)))),
    Case(
        "anniversary",
        [
            who("1", joined_at=datetime(2024, 6, 1, 9, tzinfo=UTC)),
            # Never ordered; another day; joined this very day.
            who("2", joined_at=datetime(2024, 6, 1, 9, tzinfo=UTC)),
            who("3", joined_at=datetime(2024, 6, 2, 9, tzinfo=UTC)),
            who("4", joined_at=datetime(2026, 6, 1, 9, tzinfo=UTC)),
        ],
        [bought(key, key, -100) for key in ("1", "3", "4")],
        0,
        ["1"],
    ),
    # Silver and gold now; silver since the club began; nothing.
    Case(
        "tier_up",
        [who(str(number)) for number in range(1, 5)],
        [bought("b", "2", -10, 12_000), bought("c", "3", -10, 12_000)],
        0,
        ["1", "3"],
        before=club(-1),
        after=then(bought("a1", "1", 0, 15_000), bought("c1", "3", 0, 45_000), bought("d", "4", 0, 900)),
    ),
    # 40 short of gold; 60 short of silver; gold already.
    Case(
        "near_tier",
        [who(str(number)) for number in range(1, 4)],
        [bought("c", "3", -10, 60_000)],
        0,
        ["1"],
        before=club(-1),
        after=then(bought("a", "1", 0, 46_000), bought("b", "2", 0, 4_000), bought("c1", "3", 0, 100)),
        hours=25,
    ),
    # Silver until the 21st day: bought before the window, bought within it, and no level at all.
    Case(
        "tier_at_risk",
        [who(str(number)) for number in range(1, 4)],
        [bought("a", "1", -100, 15_000), bought("b0", "2", -100, 15_000), bought("b1", "2", -10, 9_000)],
        0,
        ["1"],
        before=club(-78),
    ),
    Case(
        "points_expiring",
        [who(str(number)) for number in range(1, 5)],
        (),
        0,
        ["1"],
        # Used meanwhile; another day; another kind.
        before=raised(
            *(("points_expiring", "1", 14), ("points_expiring", "2", 14)),
            *(("points_expiring", "3", 15), ("coupon_expiring", "4", 14)),
            withdrawn=("2",),
        ),
    ),
    Case(
        "complaint_follow_up",
        # Without a yes to marketing too, for it is none.
        [who("1", consents=()), *(who(str(number)) for number in range(2, 5))],
        (),
        0,
        ["1", "4"],
        # Settled; four days ago.
        before=raised(
            *(("complaint", "1", -5), ("complaint", "2", -5), ("complaint", "3", -4), ("complaint", "4", -5)),
            withdrawn=("2",),
        ),
    ),
    # A pause of 45 days where 30 are usual; of 45 where 60 are; ordered once; on time.
    Case(
        "slipping_away",
        [who(str(number)) for number in range(1, 5)],
        [
            *(bought(f"a{number}", "1", -45 - 30 * number) for number in range(3)),
            *(bought(f"b{number}", "2", -45 - 60 * number) for number in range(3)),
            bought("c", "3", -45),
            *(bought(f"d{number}", "4", -20 - 30 * number) for number in range(3)),
        ],
        0,
        ["1"],
        before=counted,
    ),
    # Runs out soon; bought again since; has plenty still. The other five say how long it lasts.
    Case(
        "replenishment",
        [who(key) for key in ("1", "2", "3", "11", "12", "13", "14", "15")],
        [
            *(tea(key, on) for key in ("11", "12", "13", "14", "15") for on in (-120, -90)),
            *(tea("1", -27), tea("2", -27), tea("2", -2), tea("3", -15)),
        ],
        0,
        ["1"],
        before=counted,
    ),
    # 15 June is in two weeks; another day.
    Case(
        "gift_reminder",
        [who(str(number)) for number in range(1, 3)],
        (),
        0,
        ["1"],
        before=reminded(("1", "Mum", 615), ("2", "Dad", 616)),
    ),
    # Left it; finished it; ordered since in another way; only just left it.
    Case(
        "abandoned_checkout",
        [who(str(number)) for number in range(1, 5)],
        (),
        0,
        ["1"],
        after=both(
            left(("1", 1, False), ("2", 1, True), ("3", 1, False), ("4", 11, False)),
            order_since,
        ),
    ),
    # 8 November, 26 November, 30 January.
    Case("festival_singles_day", [who("1"), who("2")], [bought("a", "1", -100)], 160, ["1"]),
    Case("festival_black_friday", [who("1"), who("2")], [bought("a", "1", -100)], 178, ["1"]),
    Case("festival_spring", [who("1"), who("2"), who("3", locale="de"), who("4", country="SG")], (), 243, ["1", "4"]),
)


def _world(db: Database, case: Case) -> Shop:
    with db.write() as connection:
        shop = make_shop(connection, url="https://shop.example", timezone="UTC")
        install_one(connection, shop, case.recipe, day(case.on - 1))
        # Who is held out is drawn by the member's id, which is another in each run.
        told = {**journeys.get(connection, 1, case.recipe).as_dict(), "holdout_pct": 0}
        journeys.save(connection, shop, read_draft(told), day(case.on - 1))
    write(db, shop, case.people, day(case.on - 1))
    for kind in (lambda one: not hasattr(one, "amount_minor"), lambda one: hasattr(one, "amount_minor")):
        if found := [one for one in case.records if kind(one)]:
            write(db, shop, found, day(case.on - 1))
    if case.before is not None:
        case.before(db, shop, _ids(db))
    with db.write() as connection:
        journeys.switch(connection, shop, case.recipe, True, day(case.on - 1))
    return shop


def _ids(db: Database) -> dict[str, int]:
    with db.read() as connection:
        rows = connection.execute(select(members.c.external_id, members.c.member_id))
        return {str(external): int(member_id) for external, member_id in rows}


def _planned(db: Database) -> list[Any]:
    m, t = members.c, touchpoints.c
    query = (
        select(touchpoints, m.external_id, m.locale)
        .join(members, (m.shop_id == t.shop_id) & (m.member_id == t.member_id))
        .where(t.state == "planned")
        .order_by(m.external_id)
    )
    with db.read() as connection:
        return list(connection.execute(query))


@pytest.mark.parametrize("case", [pytest.param(case, id=case.recipe) for case in CASES])
def test_the_right_members_get_it(sqlite_db: Database, case: Case) -> None:
    shop = _world(sqlite_db, case)
    plan_shop(sqlite_db, shop, day(case.on) - timedelta(hours=1))
    if case.after is not None:
        case.after(sqlite_db, shop, _ids(sqlite_db))
    at = day(case.on) + timedelta(hours=case.hours)
    assert plan_shop(sqlite_db, shop, at).problems == {}
    rows = _planned(sqlite_db)
    assert [row.external_id for row in rows] == list(case.gets)
    _all_can_be_read(sqlite_db, shop, case, rows)
    # Whoever got it gets it once.
    plan_shop(sqlite_db, shop, at + timedelta(minutes=30))
    assert len(_planned(sqlite_db)) == len(rows)


def _all_can_be_read(db: Database, shop: Shop, case: Case, rows: Sequence[Any]) -> None:
    """Every text of the recipe says something to each of them, in either language."""
    texts = recipe_texts(case.recipe)
    with db.read() as connection:
        known = batches.load(connection, shop, rows, day(case.on), texts)
    for row in rows:
        for text in texts:
            scene = scene_of(row, known, shop, policy_of(shop), text.locale)
            made = render(text, scene, policy_of(shop).brand)
            assert made.text.strip()
            assert "None" not in made.text + made.subject + made.html


# Recipes of several steps, lived day by day.


@dataclass(frozen=True, slots=True)
class Life:
    """What is in the store when the recipe is switched on, what happens later by day, and for how many days it is lived."""

    recipe: str
    people: Sequence[MemberRecord]
    records: Sequence[Record]
    later: Mapping[int, Sequence[Record]]
    answers: Mapping[int, Mapping[str, tuple[str, str]]]
    days: int


def _live(db: Database, life: Life) -> dict[str, list[str]]:
    """By member what became of them: "0 question", the day and the step that sent, made a task or ended it early."""
    case = Case(life.recipe, life.people, life.records, 0, ())
    shop = _world(db, case)
    for number in range(life.days + 1):
        at = day(number)
        if number in life.later:
            write(db, shop, life.later[number], at)
        for key, told in life.answers.get(number, {}).items():
            with db.write() as connection:
                query = select(members.c.member_id).where(members.c.external_id == key)
                answered = Answered(1, connection.execute(query).scalar_one(), *told)
                questions.answer(connection, answered, at)
        report = plan_shop(db, shop, at)
        assert report.problems == {}
        sent = {"state": "accepted", "settled_at": at, "accepted_at": at, "updated_at": at}
        with db.write() as connection:
            connection.execute(update(touchpoints).where(touchpoints.c.state == "planned").values(**sent))
        plan_shop(db, shop, at)
    return _lives(db, life.recipe)


def _lives(db: Database, key: str) -> dict[str, list[str]]:
    sends = {step.key for step in recipe(key).draft.flow.sends}
    v, e, m = enrolment_events.c, enrolments.c, members.c
    query = (
        select(m.external_id, v.what, v.step_key, v.at, v.reason)
        .join_from(enrolment_events, enrolments, (e.shop_id == v.shop_id) & (e.enrolment_id == v.enrolment_id))
        .join(members, (m.shop_id == e.shop_id) & (m.member_id == e.member_id))
        .order_by(m.external_id, v.seq)
    )
    found: dict[str, list[str]] = {}
    with db.read() as connection:
        for row in connection.execute(query):
            told, number = found.setdefault(row.external_id, []), (row.at - START).days
            if row.what == "begun" and row.step_key in sends:
                told.append(f"{number} {row.step_key}")
            elif row.what == "ended" and row.reason not in ("", "done"):
                told.append(f"{number} {row.reason}")
        t = tasks.c
        query = select(m.external_id, t.created_at, t.title, t.due_on).join_from(
            tasks, members, m.member_id == t.member_id
        )
        for row in connection.execute(query.order_by(t.task_id)):
            found[row.external_id].append(f"{(row.created_at - START).days} task: {row.title['en']}")
    return found


CALL = "task: Call them: three letters brought no order"
LAPSED = [who(f"{number:02}") for number in range(1, 13)]


def _twice(key: str, **values: Any) -> list[Record]:
    """Two orders of the same thing, the last 120 days before the start."""
    first = bought(f"{key}-1", key, -180, lines=(_line(key),), **values)
    return [first, bought(f"{key}-2", key, -120, lines=(_line(key),), **values)]


def _line(name: str, cost: int = 2_500) -> OrderLineRecord:
    return OrderLineRecord(sku=f"S{name}", title=f"Thing {name}", total_minor=5_000, cost_minor=cost)


WIN_BACK = Life(
    "win_back",
    LAPSED,
    [
        *_twice("01"),
        back("r1", "01-1", -170, 1_000),
        *_twice("02", coupon_codes=("SAVE",)),
        # Six things in two orders.
        *(
            bought(
                f"03-{number}", "03", -180 + 60 * number, lines=tuple(_line(f"03-{number}-{one}", 500) for one in "abc")
            )
            for number in (0, 1)
        ),
        *(one for key in ("04", "05", "06", "07", "10", "11") for one in _twice(key)),
        # Never earned anything; ordered once; sent most of it back.
        *(bought(f"08-{number}", "08", -180 + 60 * number, lines=(_line("08", 6_000),)) for number in (0, 1)),
        bought("09-1", "09", -120),
        *_twice("12"),
        back("r2", "12-1", -170, 5_000),
        back("r3", "12-2", -100, 1_000),
    ],
    {5: [bought("10-3", "10", 5)]},
    {
        3: {"04": ("why_left", "price"), "06": ("why_left", "no_need"), "07": ("why_left", "moved")},
        6: {"11": ("why_left", "rival")},
    },
    45,
)


@pytest.mark.slow
def test_winning_back_goes_by_the_reason_and_ends_with_a_call(db: Database) -> None:
    assert _live(db, WIN_BACK) == {
        "01": ["0 sorry_known", "14 again_after_sorry", "28 last", f"35 {CALL}"],
        "02": ["0 price_known", "14 again_after_price", "28 last", f"35 {CALL}"],
        "03": ["0 variety_known", "14 again_after_variety", "28 last", f"35 {CALL}"],
        "04": ["0 question", "7 price_told", "21 last", f"28 {CALL}"],
        "05": ["0 question", "7 again", "21 last", f"28 {CALL}"],
        "06": ["0 question"],
        "07": ["0 question", "7 settled"],
        # Bought on the fifth day: nothing more.
        "10": ["0 question", "7 goal"],
        "11": ["0 question", "7 rival_told", "21 last", f"28 {CALL}"],
    }


@pytest.mark.slow
def test_birthday_club_speaks_a_week_before_and_on_the_day(db: Database) -> None:
    people = [
        who("1", birth_month=6, birth_day=8),
        who("2", birth_month=6, birth_day=9),
        # Only the month is known, which begins too late for a word before; another month.
        who("3", birth_month=6),
        who("4", birth_month=9, birth_day=8),
        who("5"),
    ]
    # Told three days before: too late for the word before, in time for the day.
    later = {4: [who("5", birth_month=6, birth_day=8, updated_at=day(4))]}
    told = _live(db, Life("birthday_club", people, (), later, {}, 10))
    assert told == {"1": ["0 before", "7 day"], "2": ["1 before", "8 day"], "5": ["4 before", "7 day"]}
    t, m = touchpoints.c, members.c
    query = select(t.state).join_from(touchpoints, members, t.member_id == m.member_id).where(m.external_id == "5")
    with db.read() as connection:
        assert connection.execute(query.order_by(t.due_at)).scalars().all() == ["missed", "accepted"]


@pytest.mark.slow
def test_the_best_are_invited_once_and_welcomed_when_they_accept(db: Database) -> None:
    people = [who(str(number)) for number in range(1, 5)]
    six = [bought(f"{key}-{number}", key, -4 - 30 * number) for key in ("1", "2") for number in range(6)]
    # Too few orders; at a loss.
    five = [bought(f"3-{number}", "3", -4 - 30 * number) for number in range(5)]
    loss = [bought(f"4-{number}", "4", -4 - 30 * number, lines=(_line("4", 9_000),)) for number in range(6)]
    later = {10: [bought("1-9", "1", 10), bought("2-9", "2", 10)]}
    answers = {2: {"1": ("invitation", "yes"), "2": ("invitation", "no")}}
    told = _live(db, Life("vip_invitation", people, [*six, *five, *loss], later, answers, 30))
    assert told == {
        "1": ["0 invitation", "7 task: Welcome them in person: they accepted the invitation"],
        "2": ["0 invitation"],
    }
