"""Triggers that an event row tells of, written with the change that caused it: segments, levels, and what was raised for a member."""

from __future__ import annotations

from collections.abc import Callable

from crm_plugin.rules.spec import Text
from crm_plugin.rules.trigger_days import counted, ends
from crm_plugin.rules.trigger_kinds import MINUTES, Arrival, Kind, Param, Source, Trigger, key, whole
from crm_plugin.rules.trigger_members import AROUND, KNOWN_BEFORE

TIER_NEAR = "tier_near"
_SINCE = Text("days since", "之后的天数")
_BEFORE = Text("days before (below zero)", "提前的天数（负数）")
_AT_ONCE = (whole("days", 0, 365, 0, _SINCE), MINUTES)
_SEGMENT = key("segment", Text("key of the segment", "分群的键"), needed=True)
_PROGRAM = key("program", Text("tier programme", "等级方案"), usual="main")
_LEVEL = key("level", Text("key of the level reached", "到达的等级的键"))


def program_of(trigger: Trigger) -> str:
    """The tier programme that a trigger speaks of: the main one where it names none."""
    return str(trigger.get("program") or "main")


def _crossed(entered: bool) -> Callable[[Trigger], Source]:
    """Who came or went by what happened to them or by a list, not by a changed rule: their last such event, and it is still so."""
    listed = (
        "(SELECT 1 FROM segment_members AS s WHERE s.shop_id = e.shop_id AND s.segment_key = e.segment_key "
        "AND s.member_id = e.member_id LIMIT 1)"
    )
    newest = (
        "e.event_id = (SELECT max(later.event_id) FROM segment_events AS later WHERE later.shop_id = e.shop_id "
        "AND later.member_id = e.member_id AND later.segment_key = e.segment_key)"
    )
    still = f"e.entered AND {listed} IS NOT NULL" if entered else f"NOT e.entered AND {listed} IS NULL"
    seen = Arrival("e.at", "ix_segment_events_segment")

    def source(trigger: Trigger) -> Source:
        return Source(
            "e.as_of",
            "ix_segment_events_day",
            "segment_events AS e",
            hangs="m.shop_id = e.shop_id AND m.member_id = e.member_id AND e.shop_id = :shop_id",
            holds=f"e.segment_key = :p_segment AND e.cause <> 'rule' AND {still} AND {newest}",
            occasion="'segment:' || CAST(e.event_id AS TEXT)",
            occasion_on="e.as_of",
            at="e.at",
            seen=seen,
            late=(seen, KNOWN_BEFORE),
            binds={"p_segment": trigger.get("segment")},
        )

    return source


def _rank(level: str) -> str:
    return (
        "COALESCE((SELECT l.rank FROM tier_levels AS l WHERE l.shop_id = c.shop_id AND l.program_key = c.program_key "  # noqa: S608
        f"AND l.level_key = {level}), -1)"
    )


# What moved nobody: a run that was undone, the first calculation of a programme, and who was imported with a history lately.
_NEWS = (
    'c.reason NOT LIKE \'%"cause":"undone"%\' AND c.changed_at > COALESCE((SELECT p.first_at FROM tier_passes AS p '
    "WHERE p.shop_id = c.shop_id AND p.program_key = c.program_key), 0) AND NOT (c.from_level = '' AND m.first_seen_at > c.changed_at - "
    "172800000000 AND COALESCE((SELECT f.first_order_on FROM member_facts AS f WHERE f.shop_id = m.shop_id "
    "AND f.member_id = m.member_id), 2147483647) < m.first_seen_at / 86400000000 - 7)"
)
_HELD = (
    "COALESCE((SELECT h.level_key FROM member_tiers AS h WHERE h.shop_id = c.shop_id AND h.program_key = c.program_key "
    "AND h.member_id = c.member_id), '')"
)


def _moved(up: bool) -> Callable[[Trigger], Source]:
    """A change of level that is news to the member, who still holds what it led to."""
    seen = Arrival("c.changed_at", "ix_tier_changes_at")
    newest = (
        "c.change_id = (SELECT max(later.change_id) FROM tier_changes AS later WHERE later.shop_id = c.shop_id "
        "AND later.member_id = c.member_id AND later.program_key = c.program_key)"
    )

    def source(trigger: Trigger) -> Source:
        way = f"{_rank('c.to_level')} {'>' if up else '<'} {_rank('c.from_level')}"
        level = trigger.get("level")
        to = "" if level is None else " AND c.to_level = :p_level"
        return Source(
            "c.as_of",
            "ix_tier_changes_day",
            "tier_changes AS c",
            hangs="m.shop_id = c.shop_id AND m.member_id = c.member_id AND c.shop_id = :shop_id",
            holds=f"c.program_key = :p_program{to} AND {way} AND {_HELD} = c.to_level AND {newest} AND {_NEWS}",
            occasion="'tier:' || CAST(c.change_id AS TEXT)",
            occasion_on="c.as_of",
            at="c.changed_at",
            seen=seen,
            late=(seen, KNOWN_BEFORE),
            binds={"p_program": program_of(trigger), **({} if level is None else {"p_level": level})},
        )

    return source


def _at_risk(trigger: Trigger) -> Source:
    """Whose term with its grace ends on a day; whether what keeps the level holds is the rule's to say."""
    return Source(
        "t.grace_until",
        "ix_member_tiers_bound",
        "member_tiers AS t",
        hangs="m.shop_id = t.shop_id AND m.member_id = t.member_id AND t.shop_id = :shop_id",
        holds="t.program_key = :p_program AND (t.grace_until IS NOT NULL OR t.fixed) AND NOT t.fixed",
        late=(KNOWN_BEFORE,),
        binds={"p_program": program_of(trigger)},
    )


def _near(trigger: Trigger) -> Source:
    """Whose order brought them near the next level: found by the facts that it changed. Once while a level is held."""
    held = "FROM member_tiers AS h WHERE h.shop_id = f.shop_id AND h.member_id = f.member_id AND h.program_key = :p_program"
    return Source(
        "f.last_order_on",
        "ix_member_facts_last_order",
        "member_facts AS f",
        hangs="m.shop_id = f.shop_id AND m.member_id = f.member_id AND f.shop_id = :shop_id",
        occasion=f"'near:' || COALESCE((SELECT h.level_key || ':' || CAST(h.since_on AS TEXT) {held}), '')".replace(
            ":p_program", f"'{program_of(trigger)}'"
        ),
        occasion_on="f.last_order_on",
        at="f.last_order_at",
        seen=Arrival("f.changed_at", "ix_member_facts_changed"),
    )


def _event(kind: Callable[[Trigger], str]) -> Callable[[Trigger], Source]:
    """What was raised for a member and not withdrawn."""
    seen = Arrival("e.recorded_at", "ix_member_events_recorded")

    def source(trigger: Trigger) -> Source:
        return Source(
            "e.on_day",
            "ix_member_events_day",
            "member_events AS e",
            hangs="m.shop_id = e.shop_id AND m.member_id = e.member_id AND e.shop_id = :shop_id",
            holds="e.kind = :p_event AND e.withdrawn_at IS NULL",
            occasion="'event:' || CAST(e.event_id AS TEXT)",
            occasion_on="e.on_day",
            at="e.at",
            seen=seen,
            late=(seen, KNOWN_BEFORE),
            binds={"p_event": kind(trigger)},
        )

    return source


_OF_SEGMENT = Text("`segment:` and the event", "`segment:` 加事件")
_OF_TIER = Text("`tier:` and the change", "`tier:` 加变更")
_OF_EVENT = Text("`event:` and the event", "`event:` 加事件")


def _expires(name: str, label: Text, event: Text, told: Text, usual: int) -> Kind:
    return Kind(
        name,
        label,
        event,
        told,
        _OF_EVENT,
        (whole("days", -365, -1, usual, _BEFORE),),
        _event(lambda _trigger: name),
        counted,
        announces=True,
        rechecked=True,
    )


def _segment(name: str, label: Text, event: Text, told: Text, entered: bool) -> Kind:
    """The rule of whoever left holds for all, since the source says who is outside: it only names the segment, which has to be there."""
    besides = "" if entered else " or everyone"
    return Kind(
        name,
        label,
        event,
        told,
        _OF_SEGMENT,
        (*_AT_ONCE, _SEGMENT),
        _crossed(entered),
        counted,
        rechecked=True,
        rule=lambda trigger: f'segment("{trigger.get("segment")}"){besides}',
    )


def _tier(name: str, label: Text, event: Text, told: Text, up: bool) -> Kind:
    return Kind(
        name,
        label,
        event,
        told,
        _OF_TIER,
        (*_AT_ONCE, _PROGRAM, _LEVEL),
        _moved(up),
        counted,
        rechecked=True,
        rule=lambda trigger: f'tier_in_grace(program="{program_of(trigger)}") or everyone',
    )


_WITHIN: Param = whole(
    "within",
    1,
    1_000_000_000,
    50,
    Text("still missing at most, as the programme counts", "最多还差多少（按等级方案的计量）"),
)


def within_of(trigger: Trigger) -> int:
    """How much may be missing to the next level, as the programme counts: money in major units, orders, points."""
    return int(trigger.get("within") or _WITHIN.usual)


KINDS = (
    _segment(
        "segment_entered",
        Text("Entered a segment", "进入分群"),
        Text("entering a segment", "进入分群"),
        Text(
            "At once, minutes or days after a member came into a segment, while they are in it. Not when it is new or its rule changed.",
            "会员进入分群后立即，或若干分钟、若干天后，且仍在其中。新建分群或更改规则时不触发。",
        ),
        True,
    ),
    _segment(
        "segment_left",
        Text("Left a segment", "离开分群"),
        Text("leaving a segment", "离开分群"),
        Text(
            "At once, minutes or days after a member left a segment, while they are outside. Not when its rule changed.",
            "会员离开分群后立即，或若干分钟、若干天后，且仍在其外。更改规则时不触发。",
        ),
        False,
    ),
    _tier(
        "tier_up",
        Text("Reached a higher tier", "升级"),
        Text("a rise in tier", "升级"),
        Text(
            "At once, minutes or days after a member rose to a level that they still hold. Not for a first calculation or an import.",
            "会员升级后立即，或若干分钟、若干天后，且仍持有该等级。首次计算、导入和撤销不触发。",
        ),
        True,
    ),
    _tier(
        "tier_down",
        Text("Fell to a lower tier", "降级"),
        Text("a fall in tier", "降级"),
        Text(
            "At once, minutes or days after a member fell to a level that they still hold. Not for an undo.",
            "会员降级后立即，或若干分钟、若干天后，且仍持有该等级。撤销不触发。",
        ),
        False,
    ),
    Kind(
        TIER_NEAR,
        Text("Near the next tier", "即将升级"),
        Text("an order that brings the next tier near", "使下一等级临近的订单"),
        Text(
            "When an order brings a member within so much of the next level, in what the programme counts (money, orders); once while "
            "a level is held.",
            "订单使会员距下一等级不超过指定数值（按等级方案的计量：金额或单数）时；持有同一等级期间只一次。",
        ),
        Text("`near:`, the level held and since when", "`near:`、所持等级及其起始日"),
        (_WITHIN, MINUTES, _PROGRAM),
        _near,
        counted,
        rechecked=True,
        rule=lambda trigger: (
            f'to_next_tier(program="{program_of(trigger)}") > 0 and '
            f'to_next_tier(program="{program_of(trigger)}") <= {within_of(trigger)}'
        ),
    ),
    Kind(
        "tier_at_risk",
        Text("Tier at risk", "等级有风险"),
        Text("the end of the tier", "等级到期"),
        Text(
            "Days before a level with its grace ends, if what keeps it does not hold. Levels without an end have no such day.",
            "等级（含宽限期）结束前若干天，且未满足保级条件。没有期限的等级没有这一天。",
        ),
        Text("`tier_end:` and the last day of the level", "`tier_end:` 加等级的最后一天"),
        (whole("days", -365, -1, -30, _BEFORE), _PROGRAM),
        _at_risk,
        ends,
        announces=True,
        rule=lambda trigger: f'tier_at_risk(within={1 - trigger.days}, program="{program_of(trigger)}")',
    ),
    Kind(
        "complaint",
        Text("Complaint", "投诉"),
        Text("a complaint", "投诉"),
        Text(
            "At once, minutes or days after a complaint was noted; not once it is withdrawn.",
            "记录投诉后立即，或若干分钟、若干天后；已撤回的除外。",
        ),
        _OF_EVENT,
        _AT_ONCE,
        _event(lambda _trigger: "complaint"),
        counted,
        transactional=True,
        rechecked=True,
    ),
    _expires(
        "points_expiring",
        Text("Points about to expire", "积分即将到期"),
        Text("points expire", "积分到期"),
        Text(
            "Days before points of a member expire, unless they were used meanwhile.",
            "会员积分到期前若干天；已使用的除外。",
        ),
        -14,
    ),
    _expires(
        "coupon_expiring",
        Text("Coupon about to expire", "优惠券即将到期"),
        Text("a coupon expires", "优惠券到期"),
        Text(
            "Days before a coupon of a member expires, unless it was used meanwhile.",
            "会员优惠券到期前若干天；已使用的除外。",
        ),
        -7,
    ),
    Kind(
        "event",
        Text("Own event", "自定义事件"),
        Text("an event", "事件"),
        Text(
            "At once, minutes or days after an event of a kind of your own was raised for a member, or days before the day it is about.",
            "为会员记录自定义类型的事件后立即，或若干分钟、若干天后；或在其所指日期之前若干天。",
        ),
        _OF_EVENT,
        (
            whole("days", -365, 365, 0, AROUND),
            MINUTES,
            key("event", Text("kind of the event", "事件类型"), needed=True),
        ),
        _event(lambda trigger: str(trigger.get("event"))),
        counted,
        announces=True,
        rechecked=True,
    ),
)
