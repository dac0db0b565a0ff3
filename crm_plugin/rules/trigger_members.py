"""Triggers that a member's own row tells of."""

from __future__ import annotations

from crm_plugin.birthdays import AFTER, BEFORE
from crm_plugin.rules.spec import Text
from crm_plugin.rules.trigger_days import birthdays
from crm_plugin.rules.trigger_kinds import Arrival, Kind, Source, Trigger, choice, whole

BIRTHDAY = "birthday"

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
)
