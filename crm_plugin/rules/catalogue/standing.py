"""Where a member stands with the shop: consent, suppression, tier, segments."""

from __future__ import annotations

from sqlalchemy import func

from crm_plugin.clock import day_number
from crm_plugin.rules.catalogue.common import CHANNELS, text_of
from crm_plugin.rules.nearness import at_risk, ends_in, in_grace, missing, next_level
from crm_plugin.rules.nodes import Field
from crm_plugin.rules.operands import DaysSince, Flag, Operand, Words
from crm_plugin.rules.rows import MARKETING, consent_of, listed_in, suppressed_on
from crm_plugin.rules.spec import KNOWN, FieldSpec, Kind, Moves, Parameter, Scope, Source, Text, Unit
from crm_plugin.rules.windows import PROGRAM

_CHANNEL = Parameter("channel", str, Text("channel", "渠道"), positional=True, choices=CHANNELS)
_TOPIC = Parameter("topic", str, Text("topic", "主题"))
_PROGRAM = Parameter("program", str, Text("tier programme", "等级体系"), default=PROGRAM, names="program")
_SEGMENT = Parameter("segment", str, Text("segment", "分群"), positional=True, names="segment")


def _consent(scope: Scope, field: Field) -> Operand:
    rows = consent_of(text_of(field, "channel") or "", text_of(field, "topic") or MARKETING)
    return Words(func.coalesce(scope.total(rows, "state", None), ""))


def _consents(scope: Scope, field: Field) -> Operand:
    rows = consent_of(text_of(field, "channel") or "", text_of(field, "topic") or MARKETING)
    return Flag(func.coalesce(scope.total(rows, "state", None), "") == "granted")


def _suppressed(scope: Scope, field: Field) -> Operand:
    return Flag(scope.among(suppressed_on(text_of(field, "channel") or "")))


def _tier(scope: Scope, field: Field) -> Operand:
    return Words(scope.tier(text_of(field, "program") or PROGRAM))


def _days_in_tier(scope: Scope, field: Field) -> Operand:
    return DaysSince(scope.tier_day(text_of(field, "program") or PROGRAM), day_number(scope.as_of))


def _segment(scope: Scope, field: Field) -> Operand:
    return Flag(scope.within(text_of(field, "segment") or ""))


def _days_in_segment(scope: Scope, field: Field) -> Operand:
    since = scope.total(listed_in(text_of(field, "segment") or ""), "since_on", None)
    return DaysSince(since, day_number(scope.as_of))


ROWS = (
    FieldSpec(
        "consents",
        Kind.FLAG,
        Text("agreed to {topic} by {channel}", "同意接收{channel}{topic}"),
        Text("Said yes, and nothing else since.", "明确同意且之后没有撤回。"),
        Text("No when nothing was ever said.", "从未表态时为否。"),
        (Source.CONSENTS,),
        _consents,
        parameters=(_CHANNEL, _TOPIC),
        without=Text("did not agree to {topic} by {channel}", "没有同意接收{channel}{topic}"),
        example=('"email"', ""),
    ),
    FieldSpec(
        "consent",
        Kind.TEXT,
        Text("last word on {topic} by {channel}", "对{channel}{topic}的最后表态"),
        Text(
            'granted, withdrawn, or "" when nothing was ever said.',
            'granted（同意）、withdrawn（撤回），从未表态时为 ""。',
        ),
        Text('"" when nothing was ever said.', '从未表态时为 ""。'),
        (Source.CONSENTS,),
        _consent,
        parameters=(_CHANNEL, _TOPIC),
        form=("granted|withdrawn|", 'Write "granted", "withdrawn" or "".'),
        empty_is_known=True,
        example=('"sms"', '== "withdrawn"'),
    ),
    FieldSpec(
        "suppressed",
        Kind.FLAG,
        Text("have an address that must not be written to by {channel}", "地址已被禁止发送{channel}"),
        Text("Bounced for good, complained, or blocked by hand.", "永久退信、被投诉或人工禁止。"),
        KNOWN,
        (Source.CONSENTS, Source.PROFILE),
        _suppressed,
        parameters=(Parameter("channel", str, Text("channel", "渠道"), positional=True, choices=CHANNELS[:2]),),
        without=Text("have no address that must not be written to by {channel}", "地址未被禁止发送{channel}"),
        example=('"email"', ""),
    ),
    FieldSpec(
        "tier",
        Kind.TEXT,
        Text("tier", "会员等级"),
        Text('Key of the level held; "" is no level.', '当前等级的标识；"" 表示没有等级。'),
        Text('"" when no level is held.', '没有等级时为 ""。'),
        (Source.TIERS,),
        _tier,
        parameters=(_PROGRAM,),
        empty_is_known=True,
        example=("", '== "gold"'),
    ),
    FieldSpec(
        "days_in_tier",
        Kind.NUMBER,
        Text("number of days in the tier", "处于当前等级的天数"),
        Text("0 on the day the level was reached.", "达到等级当天为 0。"),
        Text("Unknown when no level is held.", "没有等级时为未知。"),
        (Source.TIERS,),
        _days_in_tier,
        Unit.DAYS,
        (_PROGRAM,),
        moves=Moves.DAILY,
        counts_from=("member_tiers", "since_on"),
        example=("", ">= 180"),
    ),
    FieldSpec(
        "tier_next",
        Kind.TEXT,
        Text("next tier", "下一等级"),
        Text(
            'Key of the next level that can be earned; "" at the top.', '下一个可以达到的等级的标识；最高等级时为 ""。'
        ),
        Text('"" when there is none.', '没有时为 ""。'),
        (Source.TIERS,),
        next_level,
        parameters=(_PROGRAM,),
        empty_is_known=True,
        example=("", '== "gold"'),
    ),
    FieldSpec(
        "to_next_tier",
        Kind.NUMBER,
        Text("amount missing to the next tier", "距下一等级还差的数值"),
        Text(
            "The entry of the next level less what its programme measures; 0 when it is reached.",
            "下一等级的门槛减去该体系衡量的数值，已达到时为 0。",
        ),
        Text("Unknown at the top and where a rule earns the level.", "最高等级或按规则达到的等级为未知。"),
        (Source.TIERS,),
        missing,
        parameters=(_PROGRAM,),
        example=("", "<= 50"),
    ),
    FieldSpec(
        "tier_ends_in",
        Kind.NUMBER,
        Text("number of days until the tier ends", "距等级到期的天数"),
        Text(
            "Until the term and its days of grace are over; 0 on the last day. As it stands now.",
            "到有效期及宽限期结束为止，最后一天为 0。按当前状态计算。",
        ),
        Text("Unknown when no level is held, or without a term.", "没有等级或没有有效期时为未知。"),
        (Source.TIERS,),
        ends_in,
        Unit.DAYS,
        (_PROGRAM,),
        moves=Moves.OWN_PACE,
        example=("", "<= 14"),
    ),
    FieldSpec(
        "tier_in_grace",
        Kind.FLAG,
        Text("are in the days of grace of the tier", "处于等级宽限期"),
        Text(
            "The term is over and what keeps the level did not hold. As it stands now.",
            "有效期已结束且未能保级。按当前状态计算。",
        ),
        KNOWN,
        (Source.TIERS,),
        in_grace,
        parameters=(_PROGRAM,),
        without=Text("are not in the days of grace of the tier", "未处于等级宽限期"),
        example=("", ""),
    ),
    FieldSpec(
        "tier_at_risk",
        Kind.FLAG,
        Text("are about to lose the tier", "即将失去等级"),
        Text(
            "In grace; or within so many days of the end (30 when nothing is said) what keeps the level does not hold.",
            "处于宽限期，或在到期前若干天内（默认 30 天）不满足保级条件。",
        ),
        KNOWN,
        (Source.TIERS,),
        at_risk,
        parameters=(Parameter("within", int, Text("within … days", "多少天之内")), _PROGRAM),
        without=Text("are not about to lose the tier", "没有即将失去等级"),
        moves=Moves.OWN_PACE,
        example=("within=14", ""),
    ),
    FieldSpec(
        "segment",
        Kind.FLAG,
        Text("are in the segment “{segment}”", "属于分群“{segment}”"),
        Text("A saved segment; its rule is asked as if it stood here.", "已保存的分群，按其规则判断。"),
        Text("No for whoever its rule is unknown.", "分群规则结果未知时为否。"),
        tuple(Source),
        _segment,
        parameters=(_SEGMENT,),
        without=Text("are not in the segment “{segment}”", "不属于分群“{segment}”"),
        example=('"regulars"', ""),
    ),
    FieldSpec(
        "days_in_segment",
        Kind.NUMBER,
        Text("number of days in the segment “{segment}”", "处于分群“{segment}”的天数"),
        Text("0 on the day of entering.", "进入当天为 0。"),
        Text("Unknown when not in it.", "不在其中时为未知。"),
        (Source.SEGMENTS,),
        _days_in_segment,
        Unit.DAYS,
        (_SEGMENT,),
        moves=Moves.DAILY,
        counts_from=("segment_members", "since_on"),
        example=('"regulars"', ">= 30"),
    ),
)
