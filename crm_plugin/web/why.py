"""Why a member holds a level, condition by condition, and what is missing for another: in the page's language."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from babel.dates import get_month_names
from babel.numbers import format_currency, format_percent
from flask_babel import get_locale, ngettext
from flask_babel import gettext as _

from crm_plugin.analytics.profile import LevelView, TierView
from crm_plugin.money import to_major
from crm_plugin.rules.called import Called
from crm_plugin.rules.explain import Explanation
from crm_plugin.rules.field_words import field_words, text_words
from crm_plugin.rules.fields import FIELDS, Kind, Unit
from crm_plugin.rules.flip_words import Manner, way_words
from crm_plugin.rules.nodes import And, Compare, Everyone, Field, Holds, Leaf, Node, Not, Or, Relation, Within
from crm_plugin.rules.operators import OPERATORS
from crm_plugin.rules.tier_words import field_of, reason_words, sentence_of
from crm_plugin.rules.words import leaf_words, words
from crm_plugin.web.formats import day, number
from crm_plugin.web.titles import chinese


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition as a reader sees it. `truth` None is unknown; `missing` is what would make it true, where that is a number."""

    text: str
    value: str
    truth: bool | None
    missing: str = ""


def lang() -> str:
    """The language of rules' sentences on this page."""
    return "zh" if chinese() else "en"


def sentence(node: Node, by: Called) -> str:
    """A rule as a sentence that begins with a capital letter; `by` is what the shop calls its own, as everywhere here."""
    return capital(words(node, lang(), by))


def capital(told: str) -> str:
    """The text with a capital letter in front."""
    return told[:1].upper() + told[1:]


def conditions(level: LevelView, by: Called) -> list[Condition]:
    """Every condition of a level's rule, said so that ✓ helps the member towards it."""
    return conditions_of(level.node, level.explanation, by)


def conditions_of(node: Node | None, explanation: Explanation | None, by: Called) -> list[Condition]:
    """The same for any rule that was explained; none where none was."""
    if node is None or explanation is None:
        return []
    explained = {leaf.node: leaf for leaf in explanation.leaves}
    found = []
    for leaf, negated in dict.fromkeys(_parts(node, False)):
        known = explained[leaf]
        truth = None if known.truth is None else known.truth != negated
        value = _value(leaf, known.value, by)
        missing = "" if truth else _missing(leaf, negated, known.value, by)
        found.append(Condition(_condition(leaf, negated, by), value, truth, missing))
    return found


def ways(level: LevelView, by: Called) -> list[str]:
    """What would turn a level's rule for the member, the smallest change first; empty where that is not known."""
    told = level.explanation
    if told.flip is None:
        return []

    def money(minor: int) -> str:
        return str(format_currency(to_major(minor, told.currency), told.currency, locale=get_locale()))

    how = Manner(lang(), money, day, by)
    return [way_words(one, told.as_of, how) for one in told.flip.ways]


def _value(leaf: Leaf, value: Any, by: Called) -> str:
    """The member's own value beside a condition; of a calculation the number it comes to."""
    if isinstance(leaf, Everyone):
        return ""
    if isinstance(leaf, Relation):
        return str(_("not known")) if value is None else str(number(value))
    if isinstance(leaf, Within):
        return str(_("yes") if value else _("no"))
    return value_words(leaf.field, value, by)


def alternatives(node: Node, negated: bool = False) -> bool:
    """Whether a part of the conditions is enough."""
    if isinstance(node, Not):
        return alternatives(node.item, not negated)
    if isinstance(node, And | Or):
        either = isinstance(node, Or) != negated and len(node.items) > 1
        return either or any(alternatives(item, negated) for item in node.items)
    return False


def earned(tier: TierView) -> LevelView | None:
    """The level that the next daily run gives: the highest whose rule holds now. One that is promised for a time is not lost by that.

    None for whoever by hand holds no level, whatever the rules say.
    """
    if tier.barred is not None:
        return None
    found = fits(tier)
    if tier.promised and tier.level is not None:
        keys = [level.key for level in tier.levels]
        lifted = found is not None and keys.index(found.key) > keys.index(tier.key)
        return found if lifted and not tier.standing.fixed else tier.level
    return found


def fits(tier: TierView) -> LevelView | None:
    """The highest level whose rule holds now, given or not."""
    return next((level for level in reversed(tier.levels) if level.explanation.matches), None)


def value_words(field: Field, value: Any, by: Called) -> str:
    """A field's value as people read it."""
    spec = FIELDS[field.key]
    if value is None:
        return str(_("not known"))
    if spec.kind is Kind.FLAG:
        return str(_("yes") if value else _("no"))
    if spec.kind is Kind.TEXT:
        return text_words(field, str(value), chinese(), by) if value else str(_("none"))
    if spec.unit is Unit.MONEY:
        return str(format_currency(Decimal(str(value)), by.currency, locale=get_locale()))
    if spec.unit is Unit.SHARE:
        return str(format_percent(Decimal(str(value)), locale=get_locale(), decimal_quantization=False))
    if spec.unit is Unit.DAYS and value == int(value):
        return str(ngettext("%(num)s day", "%(num)s days", int(value)))
    if spec.unit is Unit.MONTH:
        return str(get_month_names("wide", context="stand-alone", locale=get_locale())[int(value)])
    return number(value)


def change_reason(reason: Mapping[str, Any], by: Called) -> list[str]:
    """Why a level changed, in sentences: the cause, then the figures that decided."""
    cause = reason.get("cause", "rule")
    told = []
    if cause == "level_removed":
        told.append(_("The level was taken away."))
    elif cause == "deleted":
        told.append(_("The member was deleted in your store."))
    elif cause != "rule":
        return [reason_words(str(cause), reason, 0, lang(), by, _iso_day)]
    if reason.get("rule"):
        told.append(_("It is for %(rule)s.", rule=sentence_of(str(reason["rule"]), lang(), by)))
    elif cause == "rule" and reason.get("lost_rule"):
        told.append(_("No longer one of the %(rule)s.", rule=sentence_of(str(reason["lost_rule"]), lang(), by)))
    figures = [_figure(text, value, by) for text, value in (reason.get("values") or {}).items()]
    if figures:
        told.append(_("On that day: %(figures)s.", figures=_(", ").join(figures)))
    return [str(one) for one in told]


def term_reason(what: str, reason: Mapping[str, Any], by: Called) -> list[str]:
    """Through when, why and on what figures a level goes on, or an invitation to it."""
    told = []
    if what == "grace" and reason.get("grace_until"):
        last = _iso_day(reason["grace_until"])
        told.append(_("What keeps it was not reached; days of grace run through %(day)s.", day=last))
    elif what == "invited":
        last = _iso_day(reason.get("until"))
        told.append(_("To be accepted by %(day)s.", day=last) if last else _("It can be accepted at any time."))
    elif reason.get("valid_until") or reason.get("until"):
        told.append(_("It holds through %(day)s.", day=_iso_day(reason.get("valid_until") or reason["until"])))
    if reason.get("reason"):
        told.append(_("The reason given: %(reason)s", reason=reason["reason"]))
    figures = [_figure(text, value, by) for text, value in (reason.get("values") or {}).items()]
    if figures:
        told.append(_("On that day: %(figures)s.", figures=_(", ").join(figures)))
    return [str(one) for one in told]


def _iso_day(told: Any) -> str:
    """A day of the history as people write it; empty without one."""
    return day(date.fromisoformat(str(told))) if told else ""


def _parts(node: Node, negated: bool) -> Iterator[tuple[Leaf, bool]]:
    if isinstance(node, And | Or):
        for item in node.items:
            yield from _parts(item, negated)
    elif isinstance(node, Not):
        yield from _parts(node.item, not negated)
    else:
        yield node, negated


def _condition(leaf: Leaf, negated: bool, by: Called) -> str:
    told = leaf_words(Not(leaf) if negated else leaf, lang(), by)
    # In a list the sentence's joints are in the way.
    told = told.removeprefix("whose ").removeprefix("who ")
    return told[:1].upper() + told[1:]


def _missing(leaf: Leaf, negated: bool, value: Any, by: Called) -> str:
    """How much more would do, for what can be counted up."""
    if not isinstance(leaf, Compare) or not isinstance(value, int | Decimal) or isinstance(leaf.value, str):
        return ""
    op = OPERATORS[leaf.op].negated if negated else leaf.op
    gap = leaf.value - value
    if op not in (">=", ">") or gap < 0:
        return ""
    unit = FIELDS[leaf.field.key].unit
    if unit is Unit.MONEY:
        amount = value_words(leaf.field, gap, by)
        return str(_("%(amount)s more", amount=amount) if op == ">=" else _("over %(amount)s more", amount=amount))
    whole = int(gap) + (op == ">")
    if unit is Unit.DAYS:
        return str(ngettext("in %(num)s day", "in %(num)s days", whole))
    return str(_("%(count)s more", count=number(whole)))


def _figure(text: str, value: Any, by: Called) -> str:
    field = field_of(text)
    if field is None:
        return f"{text}: {value}"
    if FIELDS[field.key].kind is Kind.FLAG:
        return _condition(Holds(field), not value, by)
    label = field_words(field, lang(), by)
    try:
        told = value_words(field, value, by)
    except (InvalidOperation, ValueError, TypeError):
        told = str(value)
    return str(_("%(what)s: %(value)s", what=label, value=told))
