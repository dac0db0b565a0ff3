"""The steps of a journey in words: what each does, how those who come to it go on, and why somebody leaves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_babel import ngettext

from crm_plugin.errors import CrmError
from crm_plugin.rules import compile_rule
from crm_plugin.rules.called import Called
from crm_plugin.rules.words import words
from crm_plugin.touchpoints.steps.document import Step
from crm_plugin.touchpoints.steps.tally import Tally
from crm_plugin.web import formats
from crm_plugin.web.journey_words import by
from crm_plugin.web.titles import chinese, level_name, named
from crm_plugin.web.why import capital

# What a kind of step is called where one is chosen.
KINDS: dict[str, Any] = {
    "send": _l("Send a message"),
    "wait": _l("Wait"),
    "branch": _l("Go on by a rule"),
    "split": _l("Split by chance"),
    "coupon": _l("Hand out a coupon"),
    "tag": _l("Set a tag"),
    "tier": _l("Give a level"),
    "task": _l("A task for a person"),
    "webhook": _l("Tell another system"),
    "end": _l("End"),
}
# What a call may tell another system.
TOLD: dict[str, Any] = {
    "occasion": _l("The occasion"),
    "member": _l("The member"),
    "order": _l("The order"),
    "coupon": _l("The coupon that was handed out"),
}
WEEKDAYS: dict[str, Any] = {
    "mon": _l("Monday"),
    "tue": _l("Tuesday"),
    "wed": _l("Wednesday"),
    "thu": _l("Thursday"),
    "fri": _l("Friday"),
    "sat": _l("Saturday"),
    "sun": _l("Sunday"),
}
# What a wait can wait for.
EVENTS: dict[str, Any] = {
    "order_placed": _l("an order"),
    "delivered": _l("the message to arrive"),
    "opened": _l("the message to be opened"),
    "clicked": _l("a link in the message to be followed"),
}
# Why somebody left, or how they came to the end.
ENDINGS: dict[str, Any] = {
    "done": _l("came to the end"),
    "goal": _l("reached the goal"),
    "audience": _l("no longer meant"),
    "member_gone": _l("deleted in your store"),
    "journey_off": _l("the journey was switched off"),
    "archived": _l("the journey was archived"),
    "holdout": _l("held out to compare"),
}
NO_COUNTS = Tally()


@dataclass(frozen=True, slots=True)
class Line:
    """One step as it is shown. `lists` are those it goes on in, each with what leads into it and its key."""

    key: str
    kind: str
    text: str
    tally: Tally
    lists: tuple[tuple[str, str, tuple[Line, ...]], ...] = ()

    @property
    def title(self) -> Any:
        """What a step of this kind is called."""
        return KINDS[self.kind]


@dataclass(frozen=True, slots=True)
class Outline:
    """Where the words of steps come from: what the shop calls its own, how messages begin, what was counted."""

    called: Called
    begins: Mapping[str, str] = field(default_factory=dict)
    tallies: Mapping[str, Tally] = field(default_factory=dict)

    def lines(self, steps: Iterable[Step]) -> tuple[Line, ...]:
        """The steps in their order, those of the lists within inside them."""
        return tuple(self._line(step) for step in steps)

    def _line(self, step: Step) -> Line:
        lists = tuple((name, into(step, name), self.lines(listed)) for name, listed in step.lists.items())
        return Line(step.key, step.kind, self.text(step), self.tallies.get(step.key, NO_COUNTS), lists)

    def text(self, step: Step) -> str:
        """What a step does."""
        return str(_TOLD[step.kind](self, step.told))

    def _send(self, told: Mapping[str, Any]) -> str:
        begins = self.begins.get(told["template"]) or told["template"]
        return capital(str(_("%(channels)s: “%(text)s”", channels=by(told["channels"]), text=begins)))

    def _branch(self, told: Mapping[str, Any]) -> str:
        return str(_("If they are among %(rule)s", rule=rule_words(told["rule"], self.called)))

    def _tier(self, told: Mapping[str, Any]) -> str:
        level = level_name(self.called, told["level"], told["program"])
        if told.get("invite"):
            return str(_("Invite them to the level %(level)s", level=level))
        if "until_days" in told:
            return str(
                ngettext(
                    "Fix the level %(level)s for %(num)s day: %(reason)s",
                    "Fix the level %(level)s for %(num)s days: %(reason)s",
                    told["until_days"],
                    level=level,
                    reason=told["reason"],
                )
            )
        return str(_("Fix the level %(level)s: %(reason)s", level=level, reason=told["reason"]))


def rule_words(rule: str, called: Called) -> str:
    """A rule as it stands inside a sentence; one that cannot be read as it is written."""
    try:
        return words(compile_rule(rule).node, "zh" if chinese() else "en", called)
    except CrmError:
        return rule


def into(step: Step, name: str) -> str:
    """What leads into one of the lists that a step goes on in."""
    if step.kind == "split":
        return str(_("%(share)s %% of them (%(arm)s)", share=step.told["arms"][name], arm=name))
    if step.kind == "wait":
        return str(_("If it came in time") if name == "then" else _("If not"))
    return str(_("If so") if name == "then" else _("Otherwise"))


def span(told: Mapping[str, Any]) -> str:
    """A time of days, hours and minutes."""
    parts = []
    if days := told.get("days", 0):
        parts.append(ngettext("%(num)s day", "%(num)s days", days))
    if hours := told.get("hours", 0):
        parts.append(ngettext("%(num)s hour", "%(num)s hours", hours))
    if minutes := told.get("minutes", 0):
        parts.append(ngettext("%(num)s minute", "%(num)s minutes", minutes))
    return str(_(" and ").join(parts))


def _wait(_outline: Outline, told: Mapping[str, Any]) -> str:
    if "event" in told:
        return str(
            ngettext(
                "Wait up to %(num)s day for %(event)s",
                "Wait up to %(num)s days for %(event)s",
                told["within_days"],
                event=EVENTS[told["event"]],
            )
        )
    if "until" not in told:
        return str(_("Wait %(span)s", span=span(told)))
    until = told["until"]
    if "weekday" in until:
        return str(_("Wait until %(weekday)s, %(time)s", weekday=WEEKDAYS[until["weekday"]], time=until["at"]))
    if "occasion" not in until:
        return str(_("Wait until it is %(time)s", time=until["at"]))
    return _until_day(until["occasion"], until["at"])


def _until_day(days: int, time: str) -> str:
    if days == 0:
        return str(_("Wait until the day it is about, %(time)s", time=time))
    if days < 0:
        return str(
            ngettext(
                "Wait until %(num)s day before the day it is about, %(time)s",
                "Wait until %(num)s days before the day it is about, %(time)s",
                -days,
                time=time,
            )
        )
    return str(
        ngettext(
            "Wait until %(num)s day after the day it is about, %(time)s",
            "Wait until %(num)s days after the day it is about, %(time)s",
            days,
            time=time,
        )
    )


def _split(_outline: Outline, told: Mapping[str, Any]) -> str:
    arms = _(", ").join(f"{name} {share} %" for name, share in told["arms"].items())
    return str(_("Split them by chance: %(arms)s", arms=arms))


def _tag(_outline: Outline, told: Mapping[str, Any]) -> str:
    parts = []
    if add := told.get("add"):
        parts.append(_("set the tag %(tags)s", tags=_quoted(add)))
    if remove := told.get("remove"):
        parts.append(_("take away the tag %(tags)s", tags=_quoted(remove)))
    return capital(str(_(", ").join(parts)))


def _quoted(tags: Sequence[str]) -> str:
    return str(_(", ").join(str(_("“%(name)s”", name=tag)) for tag in tags))


def _task(_outline: Outline, told: Mapping[str, Any]) -> str:
    text = str(
        ngettext(
            "A task, due after %(num)s day: “%(title)s”",
            "A task, due after %(num)s days: “%(title)s”",
            told["due_days"],
            title=named(told["title"]),
        )
        if told["due_days"]
        else _("A task, due the same day: “%(title)s”", title=named(told["title"]))
    )
    return str(_("%(task)s, for %(owner)s", task=text, owner=told["owner"])) if told["owner"] else text


_TOLD: dict[str, Any] = {
    "send": Outline._send,
    "wait": _wait,
    "branch": Outline._branch,
    "split": _split,
    "coupon": lambda _outline, told: _("Hand out a coupon of “%(pool)s”", pool=told["pool"]),
    "tag": _tag,
    "tier": Outline._tier,
    "task": _task,
    "webhook": lambda _outline, told: _("Tell %(host)s", host=urlsplit(told["url"]).hostname),
    "end": lambda _outline, _told: _("It ends here"),
}


def arm_words(lines: Sequence[Line], counted: bool) -> str:
    """What a list of steps holds, all that stand within it told together: how many, how many of them send, and who is there now."""
    within = list(_within(lines))
    sends, here = sum(one.kind == "send" for one in within), sum(one.tally.inside for one in within)
    parts = [ngettext("%(num)s step", "%(num)s steps", len(within))]
    if sends:
        parts.append(ngettext("%(num)s message", "%(num)s messages", sends))
    if counted and here:
        parts.append(ngettext("%(count)s here now", "%(count)s here now", here, count=formats.number(here)))
    return str(_(", ").join(parts))


def _within(lines: Iterable[Line]) -> Iterator[Line]:
    for line in lines:
        yield line
        for _name, _into, inner in line.lists:
            yield from _within(inner)


def left_words(left: Mapping[str, int]) -> list[tuple[int, str]]:
    """Those who left a step: how many and why, the most first."""
    rows = sorted(left.items(), key=lambda one: (-one[1], one[0]))
    return [(count, str(ENDINGS.get(reason, reason))) for reason, count in rows]
