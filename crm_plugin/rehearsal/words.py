"""A rehearsal as lines of text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import date

from crm_plugin.rehearsal.result import Result

_WIDEST = 24


def in_words(result: Result, asked: Iterable[int] = ()) -> list[str]:
    """The answer first, then the days, what was held back and why, and what is taken for granted; `asked` are members to tell of."""
    lines = [_answer(result), *_calendar(result)]
    for title, part in (
        ("Held back", [f"{count:>9,}  {reason}" for reason, count in result.reasons()]),
        ("Put off, then sent or held back", [f"{count:>9,}  {reason}" for reason, count in result.put_off.items()]),
        ("Coupons handed out", [f"{count:>9,}  {pool}" for pool, count in result.coupons.items()]),
        ("Fullest days", [*_loads(result)]),
        ("What members get", [*_contacts(result), *_nothing(result, asked)]),
        ("Steps that they take", [*_steps(result)]),
        ("Stood still", [f"{key}: {problem}" for key, problem in result.problems.items()]),
        ("Taken for granted", list(result.assumes)),
        ("Not known of the past, so as it is now", [f"{one.count:>9,}  {one.what}" for one in result.unknown]),
    ):
        if part:
            lines += ["", f"{title}:", *(f"  {line}" for line in part)]
    return lines


def _answer(result: Result) -> str:
    about = result.journey or "all journeys that are on"
    told = [
        f"{result.messages:,} messages to {result.members:,} members",
        f"{result.held_back:,} held back",
        *([f"{result.waits:,} still waiting at the end"] if result.waits else []),
        *([f"{result.parts:,} parts of text messages, {_cost(result)}"] if result.parts else []),
        *([f"{result.levels:,} changes of level"] if result.levels else []),
        *([f"{result.levels_today:,} more due at its beginning"] if result.levels_today else []),
    ]
    return f"{result.shop}, {about}, {result.first} to {result.last} ({result.timezone}): {'; '.join(told)}."


def _cost(result: Result) -> str:
    if result.cost is None:
        return "at a price that is not known (--sms-price, or the settings of the sender)"
    return f"{result.cost:,.2f} {result.currency}"


def _calendar(result: Result) -> Iterator[str]:
    days: defaultdict[date, list[str]] = defaultdict(list)
    for one in result.sends:
        parts = f" ({one.parts:,} parts)" if one.parts else ""
        days[one.on].append(f"{one.journey} by {one.channel} {one.messages:,}{parts}")
    counts = {day: count for day, count in result.by_day().items() if count}
    most = max(counts.values(), default=0)
    for day, count in counts.items():
        bar = "█" * max(1, round(_WIDEST * count / most))
        yield f"{day:%a} {day}  {count:>9,}  {bar:<{_WIDEST}}  {_joined(days[day])}"


def _loads(result: Result) -> Iterator[str]:
    for one in result.loads:
        done = f"{one.done_at:%Y-%m-%d %H:%M}"
        yield f"{one.channel}: {one.messages:,} on {one.on}, at {one.per_hour:,} an hour the last has left by {done}"


def _contacts(result: Result) -> Iterator[str]:
    for one in result.contacts:
        what = one.state if not one.reason else f"{one.state} ({one.reason})"
        said = f": {one.subject or one.text[:80]}" if one.subject or one.text else ""
        channel = f" by {one.channel}" if one.channel else ""
        yield f"{one.at:%Y-%m-%d %H:%M}  member {one.member_id}  {one.journey}{channel}, {what}{said}"


def _steps(result: Result) -> Iterator[str]:
    for one in result.steps:
        step = f" {one.step}" if one.step else ""
        more = ", ".join(told for told in (one.reason, one.detail) if told)
        yield f"{one.at:%Y-%m-%d %H:%M}  member {one.member_id}  {one.journey}: {one.what}{step}{f' ({more})' if more else ''}"


def _nothing(result: Result, asked: Iterable[int]) -> Iterator[str]:
    told = {one.member_id for one in result.contacts} | {one.member_id for one in result.steps}
    for member_id in asked:
        if member_id not in told:
            yield f"member {member_id}  nothing, and nothing was held back: no journey had an occasion for them"


def _joined(told: Iterable[str]) -> str:
    return ", ".join(told)
