"""What a journey lacks to run: looked over whole before it is published or switched on, each fault with its place.

A place in a step is `steps.KEY` or `steps.KEY.NAME`; one of the journey itself is the name of its field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from sqlalchemy import Connection, exists, literal, select

from crm_plugin.clock import local_day
from crm_plugin.errors import CrmError, InvalidInput, RuleError
from crm_plugin.phrases import phrase
from crm_plugin.rules import compile_rule
from crm_plugin.rules.book import resolved
from crm_plugin.rules.policies import in_force
from crm_plugin.rules.triggers import kind_of, read_time
from crm_plugin.rules.unmet import unmet
from crm_plugin.store import coupon_codes
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import near, senders, texts
from crm_plugin.touchpoints.questions import QUESTIONS
from crm_plugin.touchpoints.render import CALLED, Text
from crm_plugin.touchpoints.steps.document import Step, walk
from crm_plugin.touchpoints.steps.kinds import minutes_of

if TYPE_CHECKING:
    from datetime import datetime, time

    from crm_plugin.touchpoints.journey import Journey

# The longest way through a journey: whoever came in on an occasion of one year is out before that of the next.
LONGEST_DAYS = 365
_DAY = 24 * 60


def require(connection: Connection, shop: Shop, journey: Journey, now: datetime) -> None:
    """Raises: InvalidInput or RuleError for the first fault, naming its place; those that follow are found once it is mended."""
    for fault in faults(connection, shop, journey, now):
        raise fault


def faults(connection: Connection, shop: Shop, journey: Journey, now: datetime) -> Iterator[CrmError]:
    """Everything that is wrong with it, in the order in which it is written."""
    yield from _rules(connection, shop, journey)
    yield from near.faults(connection, shop, journey.trigger, now)
    if journey.flow.steps:
        yield from _unreachable(journey)
        yield from _too_long(journey)
    yield from _words(connection, shop, journey)
    yield from _senders(connection, shop, journey)
    yield from _calls(connection, shop, journey)
    for step in walk(journey.flow.steps):
        if step.kind == "coupon":
            yield from _stock(connection, shop, step)
        elif step.kind == "tier":
            yield from _level(connection, shop, step, now)


def _at(step: str, name: str = "") -> str:
    """A place in a step; without one, in the journey itself."""
    return ".".join(part for part in ("steps" if step else "", step, name) if part)


def _rules(connection: Connection, shop: Shop, journey: Journey) -> Iterator[CrmError]:
    """Rules that ask for a segment, level or journey that is not there."""
    for place, rule in _asked(journey).items():
        try:
            if rule:
                resolved(connection, shop.shop_id, compile_rule(rule).node)
        except RuleError as error:
            where = ": ".join(part for part in (place, error.path) if part)
            yield type(error)(error.message, line=error.line, column=error.column, path=where, hint=error.hint)


def _asked(journey: Journey) -> dict[str, str]:
    """The rules of a journey by their places; empty where there is none."""
    told = {"audience": journey.audience_text, "trigger": kind_of(journey.trigger).rule(journey.trigger)}
    told |= {"goal": journey.flow.goal_text}
    return told | {_at(step.key): step.told["rule"] for step in walk(journey.flow.steps) if step.kind == "branch"}


def _unreachable(journey: Journey) -> Iterator[CrmError]:
    path = journey.flow.path
    reached: set[str] = set()
    ahead = [journey.flow.steps[0].key]
    while ahead:
        key = ahead.pop()
        if key and key not in reached:
            reached.add(key)
            ahead += path[key].goes.values()
    for key in path:
        if key not in reached:
            yield InvalidInput(
                phrase("Nobody comes to the step %(step)s: every way ends before it.", step=key),
                field=_at(key),
                hint=phrase("Take it out, or the end before it."),
            )


def _too_long(journey: Journey) -> Iterator[CrmError]:
    """Waits after which nothing that follows is worth anything: past the day that is announced, or for more than a year."""
    before = journey.trigger.days
    announces = kind_of(journey.trigger).announces and before < 0

    def longest(steps: Sequence[Step], minutes: int) -> Iterator[tuple[Step, int]]:
        """Each step with the longest time until it, and at last the whole."""
        for step in steps:
            yield step, minutes
            after = _after(step, minutes, journey)
            inner = {name: list(longest(listed, after)) for name, listed in step.lists.items()}
            for found in inner.values():
                yield from found
            ways = [_after(*found[-1], journey) for found in inner.values() if found]
            minutes = max([after, *ways])

    for step, minutes in longest(journey.flow.steps, 0):
        days = _after(step, minutes, journey) / _DAY
        if days > LONGEST_DAYS:
            yield InvalidInput(
                phrase(
                    "At the step %(step)s somebody may be inside for %(days)s days.", step=step.key, days=round(days)
                ),
                field=_at(step.key),
                hint=phrase("At most %(days)s: make the waits shorter.", days=LONGEST_DAYS),
            )
            return
        late = minutes / _DAY + before
        if announces and step.kind == "send" and late > step.told.get("validity_days", journey.validity_days):
            yield InvalidInput(
                phrase(
                    "The step %(step)s may come %(days)s days after what the journey is about, when it is worth nothing any more.",
                    step=step.key,
                    days=round(late),
                ),
                field=_at(step.key),
                hint=phrase("Make the waits before it shorter, or its validity longer."),
            )


def _after(step: Step, minutes: int, journey: Journey) -> int:
    """How long somebody may have been inside when they leave a step that they came to after so many minutes."""
    if step.kind != "wait":
        return minutes
    until = step.told.get("until", {})
    if "occasion" in until:
        # It ends on a day that does not move with what lies before; they came in so many days from the occasion, at the journey's hour.
        days = int(until["occasion"]) - journey.trigger.days
        return max(minutes, days * _DAY + _of_day(read_time(until["at"])) - _of_day(journey.send_at))
    if until:
        return minutes + (7 if "weekday" in until else 1) * _DAY
    return minutes + (int(step.told["within_days"]) * _DAY if "event" in step.told else minutes_of(step.told))


def _of_day(at: time) -> int:
    return at.hour * 60 + at.minute


def _words(connection: Connection, shop: Shop, journey: Journey) -> Iterator[CrmError]:
    """Where it has no words, words that do not do, or none in a language that others of the journey speak."""
    with_order = kind_of(journey.trigger).about_order
    written: dict[str, list[Text]] = {}
    voices = _voices(journey)
    for _key, voice in voices:
        if voice.template_key not in written:
            written[voice.template_key] = texts.texts(connection, shop.shop_id, voice.template_key)
    spoken = {
        text.locale for _key, voice in voices for text in written[voice.template_key] if text.channel in voice.channels
    }
    for key, voice in voices:
        own = written[voice.template_key]
        try:
            texts.require(shop, voice.channels, own, with_order=with_order, marketing=voice.kind == "marketing")
        except InvalidInput as error:
            field = ".".join(part for part in (_at(key), error.field) if part)
            yield InvalidInput(error.message, field=field, line=error.line, hint=error.hint)
            continue
        yield from _languages(key, voice.channels, own, spoken)


def _voices(journey: Journey) -> list[tuple[str, Journey]]:
    """The keys of the steps that send, with the journey as it speaks there; "" and itself without steps."""
    keys = [step.key for step in journey.flow.sends] if journey.flow.steps else [""]
    return list(zip(keys, journey.voices, strict=True))


def _languages(step: str, channels: Sequence[str], own: Sequence[Text], spoken: set[str]) -> Iterator[CrmError]:
    for channel in channels:
        missing = sorted(spoken - {text.locale for text in own if text.channel == channel})
        if not missing:
            continue
        named = {"channel": CALLED[channel], "locales": missing}
        told = phrase(
            "The journey has no %(channel)s text in %(locales)s, in which its other messages are written.", **named
        )
        if step:
            told = phrase(
                "The step %(step)s has no %(channel)s text in %(locales)s, in which other messages of the journey are written.",
                step=step,
                **named,
            )
        hint = phrase("Write it, or take that language out of the others.")
        yield InvalidInput(told, field=_at(step, "template"), hint=hint)


def _senders(connection: Connection, shop: Shop, journey: Journey) -> Iterator[CrmError]:
    there: Mapping[str, str] = senders.available(connection, shop)
    for step, voice in _voices(journey):
        if not any(channel in there for channel in voice.channels):
            hint = phrase("Set one up under Connections, or take the channel out.")
            yield InvalidInput(_no_sender(step, voice.channels), field=_at(step, "channels"), hint=hint)


def _no_sender(step: str, channels: Sequence[str]) -> str:
    if not step:
        return phrase("The journey has no sender for %(channels)s.", channels=list(channels))
    return phrase("The step %(step)s has no sender for %(channels)s.", step=step, channels=list(channels))


def _calls(connection: Connection, shop: Shop, journey: Journey) -> Iterator[CrmError]:
    if "webhook" in senders.available(connection, shop):
        return
    for step in walk(journey.flow.steps):
        if step.kind == "webhook":
            yield InvalidInput(
                _no_sender(step.key, ["webhook"]),
                field=_at(step.key),
                hint=phrase("Set one up under Connections, or take the channel out."),
            )


def warnings(connection: Connection, shop: Shop, journey: Journey) -> list[str]:
    """What does not keep it from running, and should be known: channels that nobody sends by, beside others that somebody does; values
    that a rule asks for and no member has.
    """
    there = senders.available(connection, shop)
    told = [
        _no_sender(step, missing)
        for step, voice in _voices(journey)
        if (missing := [channel for channel in voice.channels if channel not in there])
    ]
    own = _tags_of(journey)
    for rule in dict.fromkeys(_asked(journey).values()):
        # One that cannot be read is among the faults.
        with suppress(RuleError):
            node = resolved(connection, shop.shop_id, compile_rule(rule).node) if rule else None
            told += [] if node is None else unmet(connection, shop, node, coming=own)
    return list(dict.fromkeys(told))


def _tags_of(journey: Journey) -> set[str]:
    """Tags that members come by on their way through it: those of its steps, and of the answers to what is asked in messages."""
    answers = {one.tag_of(answer) for one in QUESTIONS.values() for answer in one.answers}
    given = {tag for step in walk(journey.flow.steps) if step.kind == "tag" for tag in step.told.get("add", ())}
    return answers | given


def _stock(connection: Connection, shop: Shop, step: Step) -> Iterator[CrmError]:
    c = coupon_codes.c
    free = (c.shop_id == shop.shop_id, c.pool_key == step.told["pool"], c.handed_at.is_(None))
    if not connection.execute(select(exists(select(literal(1)).where(*free)))).scalar():
        yield InvalidInput(
            phrase("The pool %(pool)s of the step %(step)s has no codes left.", pool=step.told["pool"], step=step.key),
            field=_at(step.key, "pool"),
            hint=phrase("Fill it on the page Coupons, or with crm-plugin coupons."),
        )


def _level(connection: Connection, shop: Shop, step: Step, now: datetime) -> Iterator[CrmError]:
    told = step.told
    try:
        kept = in_force(connection, shop.shop_id, told["program"], local_day(now, shop.timezone))
    except CrmError as error:
        yield InvalidInput(error.message, field=_at(step.key, "program"), hint=error.hint)
        return
    level = next((one for one in kept.policy.levels if one.key == told["level"]), None)
    if level is None:
        hint = phrase("There are: %(names)s.", names=list(kept.policy.keys))
        yield InvalidInput(
            phrase("There is no tier %(tier)r.", tier=told["level"]), field=_at(step.key, "level"), hint=hint
        )
    elif told.get("invite") and not level.invitation:
        yield InvalidInput(
            phrase("The level %(key)s is earned, nobody is invited to it.", key=level.key),
            field=_at(step.key, "invite"),
            hint=phrase("Fix it by hand, or give the level invitation: true."),
        )
