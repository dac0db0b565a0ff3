"""What a merchant sets for the guards, as a file or a form tells it: limits for each member, the blast radius, open cases."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, TypeGuard

from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase
from crm_plugin.touchpoints.states import Reason

SPANS = {"day": timedelta(days=1), "week": timedelta(days=7)}
# What holds until the merchant says otherwise.
DEFAULT_CAPS: dict[str, Any] = {"day": 1, "week": 3}
_CHANNELS = ("email", "sms", "inapp", "note")
_MOST = 100
_HINT = phrase("Write {day: 1, week: 3, channels: {sms: {week: 1}}}; 0 means without limit.")


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `most` messages to one member in any `span`; on one channel, or on all of them together when it is empty."""

    span: timedelta
    most: int
    channel: str = ""
    reason: Reason = Reason.FREQUENCY_CAP


@dataclass(frozen=True, slots=True)
class Blast:
    """How far a mistake may reach: above how many at once a canary goes first, what share that is, for how long the rest waits, above how
    many a number has to be typed, and which shares of reports and returns stop a journey. A 0 switches one off.
    """

    above: int = 1000
    canary_pct: int = 5
    hold_hours: int = 2
    confirm_above: int = 1000
    complaints_pct: Decimal = Decimal("0.3")
    bounces_pct: Decimal = Decimal(5)

    def asks(self, count: int) -> bool:
        """Whether so many messages or people have to be typed as a number before they go."""
        return 0 < self.confirm_above < count


_BLAST = {"above": (0, 10**9), "canary_pct": (1, 50), "hold_hours": (1, 72), "confirm_above": (0, 10**9)}
_SHARES = ("complaints_pct", "bounces_pct")
_BLAST_HINT = phrase("Write {above: 1000, canary_pct: 5, hold_hours: 2}; `above` 0 means never.")


def read_blast(told: Any) -> dict[str, Any]:
    """The blast radius as its fields are called; what is not named stays as it is usual. Raises: InvalidInput."""
    if not isinstance(told, Mapping):
        raise InvalidInput(
            phrase("What stops many messages at once is written by name."), field="blast", hint=_BLAST_HINT
        )
    refuse_unknown(told, (*_BLAST, *_SHARES), "blast")
    found: dict[str, Any] = {}
    for name, (low, high) in _BLAST.items():
        value = told.get(name)
        if value is None:
            continue
        if not _is_whole(value, low, high):
            raise _out_of(f"blast.{name}", low, high, value)
        found[name] = value
    for name in _SHARES:
        if told.get(name) is not None:
            found[name] = _share(told[name], f"blast.{name}")
    return found


def blast_of(told: Mapping[str, Any]) -> Blast:
    """A checked setting as it is used."""
    values: dict[str, Any] = {name: Decimal(value) if name in _SHARES else value for name, value in told.items()}
    return Blast(**values)


def _share(told: Any, field: str) -> str:
    try:
        value = Decimal(str(told)) if not isinstance(told, bool) else Decimal("NaN")
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or not 0 <= value <= 100:
        raise _out_of(field, 0, 100, told)
    return format(value.normalize(), "f")


def _out_of(field: str, low: int, high: int, told: Any, hint: str = _BLAST_HINT) -> InvalidInput:
    return InvalidInput(
        phrase(
            "`%(field)s` must be a number from %(low)s to %(high)s, not %(told)r.",
            field=field,
            low=low,
            high=high,
            told=told,
        ),
        field=field,
        hint=hint,
    )


@dataclass(frozen=True, slots=True)
class Cases:
    """For how many days back a complaint and a return keep promotion away, and after how many a parcel is late; 0 switches one off."""

    complaint_days: int = 30
    return_days: int = 30
    late_parcel_days: int = 14


_CASES = ("complaint_days", "return_days", "late_parcel_days")


def read_cases(told: Any) -> dict[str, int]:
    """Open cases as their fields are called; what is not named stays as it is usual. Raises: InvalidInput."""
    hint = phrase("Write {complaint_days: 30, return_days: 30, late_parcel_days: 14}; 0 switches one off.")
    if not isinstance(told, Mapping):
        raise InvalidInput(phrase("Open cases are written by name."), field="open_cases", hint=hint)
    refuse_unknown(told, _CASES, "open_cases")
    for name, value in told.items():
        if not _is_whole(value, 0, _LONGEST_CASE):
            raise _out_of(f"open_cases.{name}", 0, _LONGEST_CASE, value, hint)
    return dict(told)


_LONGEST_CASE = 90


def read_caps(told: Any) -> dict[str, Any]:
    """Frequency caps as {"day": 1, "week": 3, "channels": {"sms": {"week": 1}}}; what is not named, or 0, has no limit.

    Raises: InvalidInput.
    """
    if not isinstance(told, Mapping):
        raise InvalidInput(phrase("Limits are written by day, week and channel."), field="caps", hint=_HINT)
    refuse_unknown(told, (*SPANS, "channels"), "caps")
    found: dict[str, Any] = {span: _count(told[span], f"caps.{span}") for span in SPANS if told.get(span) is not None}
    channels = told.get("channels") or {}
    if not isinstance(channels, Mapping):
        raise InvalidInput(phrase("Limits are written by day, week and channel."), field="caps.channels", hint=_HINT)
    refuse_unknown(channels, _CHANNELS, "caps.channels")
    own: dict[str, dict[str, int]] = {}
    for channel, limits in channels.items():
        place = f"caps.channels.{channel}"
        if not isinstance(limits, Mapping):
            raise InvalidInput(phrase("Limits are written by day, week and channel."), field=place, hint=_HINT)
        refuse_unknown(limits, tuple(SPANS), place)
        told_here = {span: _count(limits[span], f"{place}.{span}") for span in SPANS if limits.get(span) is not None}
        if told_here:
            own[channel] = told_here
    return {**found, **({"channels": own} if own else {})}


def limits_of(told: Mapping[str, Any]) -> tuple[Limit, ...]:
    """The limits that a checked setting comes to."""
    found = [Limit(SPANS[span], told[span]) for span in SPANS if told.get(span)]
    for channel, own in told.get("channels", {}).items():
        found += [Limit(SPANS[span], own[span], channel) for span in SPANS if own.get(span)]
    return tuple(found)


def _count(told: Any, field: str) -> int:
    if not _is_whole(told, 0, _MOST):
        raise InvalidInput(
            phrase(
                "`%(field)s` must be a whole number from 0 to %(most)s, not %(told)r.",
                field=field,
                most=_MOST,
                told=told,
            ),
            field=field,
            hint=_HINT,
        )
    return told


def _is_whole(told: Any, low: int, high: int) -> TypeGuard[int]:
    return not isinstance(told, bool) and isinstance(told, int) and low <= told <= high


def refuse_unknown(told: Mapping[str, Any], known: tuple[str, ...], inside: str) -> None:
    """Names that are none of the known ones, of a setting's inside or (where `inside` is empty) of settings. Raises: InvalidInput."""
    for key in told:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = (
                phrase("Did you mean %(name)s?", name=near[0]) if near else phrase("There are: %(names)s.", names=known)
            )
            field = f"{inside}.{key}" if inside else str(key)
            raise InvalidInput(phrase("There is no setting %(field)r.", field=field), field=field, hint=hint)
