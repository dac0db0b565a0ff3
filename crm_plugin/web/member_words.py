"""What is known of a member, in words: birthday, country, language, their own time, and the story of what happened."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_skeleton, get_month_names
from flask_babel import get_locale
from flask_babel import gettext as _

from crm_plugin.analytics.timeline import Event, TermChanged, TierChanged
from crm_plugin.birthdays import Birthday, birthday_of
from crm_plugin.clock import is_known_zone, local_day, zone
from crm_plugin.places import place_of
from crm_plugin.rules.called import Called
from crm_plugin.rules.sql import PROGRAM_KEY
from crm_plugin.web import why
from crm_plugin.web.formats import day
from crm_plugin.web.titles import level_name, program_name

_LUNAR_DIGITS = "一二三四五六七八九"
_LUNAR_MONTHS = ("正", *"二三四五六七八九十", "冬", "腊")


@dataclass(frozen=True, slots=True)
class Told:
    """One line of the story; for a change of tier or of its term the title and the sentences that say why."""

    event: Event
    title: str = ""
    reasons: tuple[str, ...] = ()


def story(events: Iterable[Event], by: Called) -> list[Told]:
    """The timeline with what happened to tiers put in words; `by` is what the shop calls its own."""
    return [_told(event, by) for event in events]


def _told(event: Event, by: Called) -> Told:
    if not isinstance(event, TierChanged | TermChanged):
        return Told(event)
    if isinstance(event, TierChanged):
        title, reasons = _moved(event, by), why.change_reason(event.reason, by)
    else:
        title = _stayed(event.what, level_name(by, event.level, event.program) if event.level else "")
        reasons = why.term_reason(event.what, event.reason, by)
    if event.program != PROGRAM_KEY:
        title = f"{program_name(by, event.program)}{_(': ')}{title}"
    return Told(event, title, tuple(reasons))


def their_time(at: datetime, own: str, shops: str) -> str:
    """The wall clock where the member is; empty where it shows the same as the shop's, or this machine does not know the zone."""
    if not is_known_zone(own):
        return ""
    theirs, ours = at.astimezone(zone(own)), at.astimezone(zone(shops))
    if theirs.replace(tzinfo=None) == ours.replace(tzinfo=None):
        return ""
    clock = f"{theirs:%H:%M}"
    return clock if theirs.date() == ours.date() else f"{day(local_day(at, own))} {clock}"


def birthday(year: int | None, month_day: int | None) -> str:
    """A birthday as far as it is known: the day, the day without the year, or the month alone."""
    if not month_day:
        return ""
    if (born := birthday_of(month_day)).lunar:
        return _lunar_birthday(year, born)
    month, of_month = born.month, born.day
    locale = get_locale()
    if not of_month:
        return str(get_month_names("wide", context="stand-alone", locale=locale)[month])
    if year is not None:
        return str(format_date(date(year, month, of_month), "long", locale=locale))
    # A leap year, in which every birthday has its day.
    return str(format_skeleton("MMMMd", datetime(2024, month, of_month), locale=locale))  # noqa: DTZ001


def _lunar_birthday(year: int | None, born: Birthday) -> str:
    """Such as 八月十五 in Chinese; elsewhere by number, for the months have no names that are known there."""
    if get_locale().language == "zh":
        of_year = f"{year}年" if year else ""
        return f"农历{of_year}{'闰' if born.leap else ''}{_LUNAR_MONTHS[born.month - 1]}月{_lunar_day(born.day)}"
    month = _("leap month %(month)s", month=born.month) if born.leap else _("month %(month)s", month=born.month)
    when = _("day %(day)s of %(month)s", day=born.day, month=month) if born.day else month
    if year:
        return str(_("%(when)s of %(year)s in the Chinese lunar calendar", when=when, year=year))
    return str(_("%(when)s in the Chinese lunar calendar", when=when))


def _lunar_day(day: int) -> str:
    """As days are called there: 初五, 十五, 二十, 廿三, 三十; empty for none."""
    if day == 0:
        return ""
    tens, rest = divmod(day, 10)
    if rest == 0:
        return ("初十", "二十", "三十")[tens - 1]
    return ("初", "十", "廿")[tens] + _LUNAR_DIGITS[rest - 1]


def country(code: str) -> str:
    """A country's name."""
    return str(get_locale().territories.get(code, code))


def zone_words(name: str) -> str:
    """A member's zone, or the place of several that is all that is known."""
    code, state = place_of(name)
    if not code:
        return name.replace("_", " ")
    return str(_("Any zone of %(place)s", place=", ".join(part for part in (state, country(code)) if part)))


def language(tag: str) -> str:
    """A language's name, such as Chinese (China)."""
    if not tag:
        return ""
    try:
        return Locale.parse(tag, sep="-").get_display_name(get_locale()) or tag
    except (UnknownLocaleError, ValueError):
        return tag


def address_kind(kind: str) -> str:
    """What an identity is."""
    told: dict[str, Any] = {
        "email": _("E-mail"),
        "phone": _("Phone"),
        "account": _("Account in your store"),
        "guest": _("Guest"),
    }
    return str(told.get(kind, kind))


def _moved(event: TierChanged, by: Called) -> str:
    before, after = (level_name(by, key, event.program) for key in (event.from_level, event.to_level))
    if not event.from_level:
        return str(_("Came into the tier %(tier)s", tier=after))
    if not event.to_level:
        return str(_("Left the tier %(tier)s", tier=before))
    return str(_("Moved from tier %(before)s to %(after)s", before=before, after=after))


def _stayed(what: str, tier: str) -> str:
    """What happened to a tier that stayed, or was only spoken of; of an empty one, that no level was to be held."""
    told: dict[str, Any] = {
        "by_hand": _("Fixed by hand at no level"),
        "freed": _("No longer fixed by hand at no level"),
        "undone": _("Put back as it was before a run that was undone"),
    }
    if not tier:
        return str(told.get(what, what))
    told = {
        "renewed": _("Tier %(tier)s renewed", tier=tier),
        "grace": _("Days of grace began in the tier %(tier)s", tier=tier),
        "freed": _("Tier %(tier)s no longer fixed by hand", tier=tier),
        "by_hand": _("Tier %(tier)s fixed by hand", tier=tier),
        "invited": _("Invited to the tier %(tier)s", tier=tier),
        "accepted": _("Accepted the invitation to the tier %(tier)s", tier=tier),
        "declined": _("Declined the invitation to the tier %(tier)s", tier=tier),
        "expired": _("The invitation to the tier %(tier)s has expired", tier=tier),
        "undone": _("Tier %(tier)s put back as it was before a run that was undone", tier=tier),
    }
    return str(told.get(what, tier))
