"""Triggers that a member's own row tells of."""

from __future__ import annotations

import re
from datetime import date, datetime, time
from typing import Any

from crm_plugin.birthdays import AFTER, BEFORE
from crm_plugin.calendars import FESTIVALS
from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.rules.spec import Text
from crm_plugin.rules.trigger_days import anniversaries, birthdays, counted, everybody, one_day
from crm_plugin.rules.trigger_kinds import MINUTES, Arrival, Kind, Param, Source, Trigger, choice, whole

BIRTHDAY = "birthday"
FIXED_DATE = "fixed_date"

# A member's day or zone has changed; who is new comes late too.
ANYONE = Arrival("m.changed_at", "ix_members_changed", of_member=True)
# Who is new has nothing that is older; a first reading of a whole store would be joined for nothing.
KNOWN_BEFORE = Arrival("m.changed_at", "ix_members_changed", of_member=True, where="m.changed_at > m.first_seen_at")
LEAP_DAY = choice(
    "leap_day",
    Text("29 February in other years", "平年的 2 月 29 日生日"),
    ((BEFORE, Text("on 28 February", "按 2 月 28 日")), (AFTER, Text("on 1 March", "按 3 月 1 日"))),
)
AROUND = Text("days before (below zero) or after", "提前（负数）或推后的天数")


def _birthday(_trigger: Trigger) -> Source:
    return Source("m.birth_md", "ix_members_birthday", by_zone=True, late=(ANYONE,))


JOINED, FIRST_ORDER = "joined", "first_order"


def _joined(_trigger: Trigger) -> Source:
    return Source(
        "m.joined_on",
        "ix_members_joined",
        holds="m.joined_on IS NOT NULL",
        occasion="'joined'",
        occasion_on="m.joined_on",
        at="m.joined_at",
        seen=Arrival("m.changed_at", "ix_members_changed"),
        late=(ANYONE,),
    )


def _anniversary(trigger: Trigger) -> Source:
    if trigger.get("of") == FIRST_ORDER:
        return Source(
            "f.first_order_on",
            "ix_member_facts_first_order",
            "member_facts AS f",
            hangs="m.shop_id = f.shop_id AND m.member_id = f.member_id AND f.shop_id = :shop_id",
            late=(Arrival("f.changed_at", "ix_member_facts_changed"), KNOWN_BEFORE),
        )
    return Source("m.joined_on", "ix_members_joined", late=(ANYONE,))


def _everybody(_trigger: Trigger) -> Source:
    return Source("", "ix_members_zone", by_zone=True, late=(KNOWN_BEFORE,))


def _day_text(value: Any) -> str:
    """A day of each year such as 12-24, or of one year such as 2026-12-24."""
    try:
        if isinstance(value, str) and _DAY.fullmatch(value):
            date.fromisoformat(value if len(value) > len("12-24") else f"2000-{value}")
            return value
    except ValueError:
        pass
    raise InvalidInput(
        phrase("`date` is %(value)r.", value=value),
        field="date",
        hint=phrase("A day of each year such as 12-24, or of one year such as 2026-12-24."),
    )


def _one_of_two(trigger: Trigger) -> None:
    if (trigger.get("date") is None) == (trigger.get("festival") is None):
        raise InvalidInput(
            phrase("fixed_date takes a `date` or a `festival`."),
            field="date",
            hint=phrase("One of the two."),
        )


def _moment(value: Any) -> str:
    """A local day and time such as 2026-11-11 10:00."""
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        try:
            return datetime.fromisoformat(value.replace("T", " ")).strftime("%Y-%m-%d %H:%M")
        except ValueError:
            pass
    raise InvalidInput(
        phrase("`at` is %(value)r.", value=value),
        field="at",
        hint=phrase(
            "A day and a time such as 2026-11-11 10:00, which each member has in their own zone; left out: as soon as it is on."
        ),
    )


def _time_of(trigger: Trigger) -> time | None:
    told = trigger.get("at")
    return time.fromisoformat(told[11:]) if told else None


_DAY = re.compile(r"([0-9]{4}-)?[0-9]{2}-[0-9]{2}")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}")
_SINCE = Text("days since", "之后的天数")
_FESTIVALS = tuple((one, Text(told.en, told.zh)) for one, told in FESTIVALS.items())

KINDS = (
    Kind(
        BIRTHDAY,
        Text("Birthday", "生日"),
        Text("a member's birthday", "会员生日"),
        Text(
            "Days before or after a member's birthday. 29 February is kept on 28 February or 1 March in other years; when only the "
            "month is known, on its first day; a lunar one once in each lunar year. What announces a birthday is left out once the day has "
            "begun.",
            "会员生日之前或之后的若干天。2 月 29 日在平年按 2 月 28 日或 3 月 1 日；只知道月份时按当月第一天；农历生日每个农历年过一次。"
            "提前的祝福在生日当天开始后不再发送。",
        ),
        Text(
            "the year of the birthday, of a lunar one the lunar year: a date that is corrected later is not kept twice in a year",
            "生日所在的年份（农历生日为农历年）：之后更正的日期一年内不会过两次",
        ),
        (whole("days", -60, 60, 0, AROUND), LEAP_DAY),
        _birthday,
        birthdays,
        announces=True,
    ),
    Kind(
        JOINED,
        Text("Joined", "加入会员"),
        Text("a member joined", "加入会员"),
        Text(
            "At once when somebody becomes a member, minutes or days later.", "加入会员后立即，或若干分钟、若干天后。"
        ),
        Text("`joined`: once for each member", "`joined`：每位会员一次"),
        (whole("days", 0, 730, 0, _SINCE), MINUTES),
        _joined,
        counted,
        rechecked=True,
    ),
    Kind(
        "anniversary",
        Text("Anniversary", "周年"),
        Text("the anniversary", "周年日"),
        Text(
            "Days before or after the day in each later year on which a member joined or first ordered. 29 February is kept on the 28th "
            "in other years.",
            "会员加入日或首单日在此后每一年的同一天之前或之后若干天。2 月 29 日在平年按 2 月 28 日。",
        ),
        Text("the year of the anniversary", "周年所在的年份"),
        (
            whole("days", -60, 60, 0, AROUND),
            choice(
                "of",
                Text("of what", "什么的周年"),
                ((JOINED, Text("of joining", "加入会员")), (FIRST_ORDER, Text("of the first order", "首次下单"))),
            ),
        ),
        _anniversary,
        anniversaries,
        announces=True,
    ),
    Kind(
        FIXED_DATE,
        Text("Fixed date or festival", "固定日期或节日"),
        Text("that day", "该日"),
        Text(
            "Days before or after a day that is the same for all: of each year, of one year, or a festival of the calendar.",
            "对所有人相同的某一天之前或之后若干天：每年的某天、某一年的某天，或一个节日。",
        ),
        Text(
            "the year of the day; of a day in one year `date:` and the day, so that another day is another occasion",
            "该日所在的年份；只属于某一年的日期为 `date:` 加日期，换一个日期就是另一次",
        ),
        (
            whole("days", -60, 60, 0, AROUND),
            Param(
                "date",
                Text("day, such as 12-24 or 2026-12-24", "日期，如 12-24 或 2026-12-24"),
                "12-24 | 2026-12-24",
                _day_text,
            ),
            choice("festival", Text("festival", "节日"), _FESTIVALS, usual=False),
        ),
        _everybody,
        everybody,
        announces=True,
        check=_one_of_two,
    ),
    Kind(
        "campaign",
        Text("One-off campaign", "一次性活动"),
        Text("the campaign", "活动"),
        Text(
            "Once to all of the audience: as soon as the journey is on, or at a day and time that each member has in their own zone.",
            "向全部受众发送一次：旅程一开启即发送，或在每位会员所在时区的指定日期和时间。",
        ),
        Text("`campaign`: once for each member", "`campaign`：每位会员一次"),
        (
            Param(
                "at",
                Text("day and time, such as 2026-11-11 10:00", "日期和时间，如 2026-11-11 10:00"),
                "2026-11-11 10:00",
                _moment,
            ),
        ),
        _everybody,
        one_day,
        time_of=_time_of,
        begins=lambda trigger: trigger.get("at") is None,
    ),
)
