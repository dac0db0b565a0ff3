"""Tier policies and what happened to a member's level, in English and Chinese sentences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from crm_plugin.errors import RuleError
from crm_plugin.rules.called import UNNAMED, Called
from crm_plugin.rules.field_words import field_words, value_words
from crm_plugin.rules.fields import FIELDS, Kind, Unit
from crm_plugin.rules.nodes import Field, Holds, Known, Not
from crm_plugin.rules.parse import parse
from crm_plugin.rules.policy import DAYS, END_OF_NEXT_YEAR, END_OF_YEAR, NEVER, ONE_STEP, STRAIGHT, Policy
from crm_plugin.rules.spec import Text
from crm_plugin.rules.words import leaf_words, words

# What happened, without figures. `{lost}` is who keeps the level that was lost, `{rule}` who earns the new one.
_CAUSES = {
    "deleted": Text("The member was deleted in the store.", "该会员在店铺中已被删除。"),
    "level_removed": Text("The level was taken away.", "该等级已被取消。"),
    "term_over": Text("The term is over and was not renewed.", "等级有效期已结束，未能续期。"),
    "invitation": Text("The invitation was accepted.", "已接受邀请。"),
    "undone": Text("An earlier run was undone.", "撤销了之前的一次执行。"),
    "renewed": Text("The term was renewed.", "等级有效期已续期。"),
    "grace": Text("The term is over; the days of grace have begun.", "等级有效期已结束，进入宽限期。"),
    "freed": Text("No longer fixed by hand.", "不再由人工固定。"),
    "by_hand": Text("Fixed by hand.", "由人工固定。"),
    "invited": Text("Invited to the level.", "已受邀加入该等级。"),
    "accepted": Text("The invitation was accepted.", "已接受邀请。"),
    "declined": Text("The invitation was declined.", "已谢绝邀请。"),
    "expired": Text("The invitation has expired.", "邀请已过期。"),
}
_RULE = Text("It is for {rule}.", "适用于{rule}。")
_LOST = Text("No longer one of the {rule}.", "不再属于{rule}。")
_POLICY = Text("By a new policy, version {version}.", "按新政策（第 {version} 版）。")
_REASON = Text("Reason: {reason}.", "原因：{reason}。")
_THROUGH = Text("Through {day}.", "至 {day} 为止。")
_GRACE_THROUGH = Text("Grace through {day}.", "宽限至 {day}。")
_VALUES = Text("On that day: {values}.", "当天：{values}。")


def reason_words(
    cause: str,
    reason: Mapping[str, Any],
    version: int,
    lang: str,
    by: Called = UNNAMED,
    day: Callable[[str], str] = str,
) -> str:
    """Why a level or its term changed, in sentences. `by` is what the shop calls its own, `day` how it writes a day such as 2026-12-31."""
    said = [_CAUSES[cause].in_language(lang)] if cause in _CAUSES else []
    if reason.get("new_policy"):
        said.append(_POLICY.in_language(lang).format(version=version))
    if reason.get("rule"):
        said.append(_RULE.in_language(lang).format(rule=sentence_of(str(reason["rule"]), lang, by)))
    elif reason.get("lost_rule"):
        said.append(_LOST.in_language(lang).format(rule=sentence_of(str(reason["lost_rule"]), lang, by)))
    if reason.get("reason"):
        said.append(_REASON.in_language(lang).format(reason=reason["reason"]))
    said += _days(cause, reason, lang, day)
    figures = [figure_words(text, value, lang, by) for text, value in (reason.get("values") or {}).items()]
    if figures:
        said.append(_VALUES.in_language(lang).format(values=("，" if _chinese(lang) else ", ").join(figures)))
    return ("" if _chinese(lang) else " ").join(said)


def _days(cause: str, reason: Mapping[str, Any], lang: str, day: Callable[[str], str]) -> list[str]:
    if cause == "grace":
        return [_GRACE_THROUGH.in_language(lang).format(day=day(str(reason["grace_until"])))]
    last = reason.get("valid_until") or reason.get("until")
    return [_THROUGH.in_language(lang).format(day=day(str(last)))] if last else []


def policy_words(policy: Policy, lang: str) -> list[str]:
    """What a policy promises beside its levels, a sentence each: term, grace, descent."""
    if policy.descent == NEVER:
        return [_DESCENTS[NEVER].in_language(lang)]
    said = [_term(policy, lang)]
    if policy.grace_days:
        text = Text("Whoever then misses it has {n} more days.", "未达标者另有 {n} 天宽限期。")
        said.append(text.in_language(lang).format(n=policy.grace_days))
    said.append(_DESCENTS[policy.descent].in_language(lang))
    return said


_DESCENTS = {
    STRAIGHT: Text("Then the member goes to the highest level still kept.", "之后降到仍能保持的最高等级。"),
    ONE_STEP: Text("Then the member goes down one level at a time.", "之后每次下降一级。"),
    NEVER: Text("Nobody ever goes down.", "等级只升不降。"),
}
_TERMS = {
    END_OF_YEAR: Text("A level holds through the end of the year.", "等级有效至当年年底。"),
    END_OF_NEXT_YEAR: Text("A level holds through the end of the next year.", "等级有效至次年年底。"),
}


def _term(policy: Policy, lang: str) -> str:
    if policy.term == DAYS:
        return Text("A level holds for {n} days.", "等级有效期为 {n} 天。").in_language(lang).format(n=policy.term_days)
    none = Text("A level holds as long as it is kept.", "等级在满足保级条件期间一直有效。")
    return _TERMS.get(policy.term, none).in_language(lang)


def sentence_of(text: str, lang: str, by: Called = UNNAMED) -> str:
    """The sentence of a rule that was kept as text; the text itself where it can no longer be read."""
    try:
        return words(parse(text), lang, by)
    except RuleError:
        return text


def figure_words(text: str, value: Any, lang: str, by: Called = UNNAMED) -> str:
    """A figure that decided, such as `spent(days=365)` and 120: what was asked as people call it, and the member's value."""
    field = field_of(text)
    if field is None:
        return f"{text} {_plain(value, lang)}"
    if isinstance(value, bool) and FIELDS[field.key].kind is Kind.FLAG:
        return leaf_words(Holds(field) if value else Not(Holds(field)), lang, by).removeprefix("who ")
    return f"{field_words(field, lang, by)} {_value(field, value, lang, by)}"


def _value(field: Field, value: Any, lang: str, by: Called) -> str:
    spec = FIELDS[field.key]
    if value is not None and spec.unit is Unit.MONEY:
        return by.amount(str(value))
    return (
        value_words(field, value, lang, by)
        if isinstance(value, str) and spec.kind is Kind.TEXT
        else _plain(value, lang)
    )


def field_of(text: str) -> Field | None:
    """The field of a text such as `spent(days=365)`; None where it is no longer one."""
    for rule in (text, f"known({text})"):
        try:
            node = parse(rule)
        except RuleError:
            continue
        if isinstance(node, Holds | Known):
            return node.field
    return None


def _plain(value: Any, lang: str) -> str:
    if value is None:
        return "未知" if _chinese(lang) else "not known"
    if isinstance(value, bool):
        return ("是" if value else "否") if _chinese(lang) else ("yes" if value else "no")
    return value.isoformat() if isinstance(value, date) else str(value)


def _chinese(lang: str) -> bool:
    return lang.lower().startswith("zh")
