"""What is told of a journey that stands still because much goes out at once."""

from __future__ import annotations

from dataclasses import dataclass

from flask_babel import gettext as _
from flask_babel import ngettext
from sqlalchemy import Connection

from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import radius, waves
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.waves import Wave
from crm_plugin.web.formats import moment, number
from crm_plugin.web.languages import sentences


@dataclass(frozen=True, slots=True)
class Held:
    """One such journey in words; `typed` where the number has to be typed to let it go."""

    title: str
    text: str
    figures: str
    count: int
    typed: bool


def held_of(connection: Connection, shop: Shop, key: str) -> Held | None:
    """What is held back of a journey; None where nothing is."""
    wave = waves.all_waves(connection, shop.shop_id).get(key)
    if wave is None or wave.state not in (waves.HELD, waves.CANARY):
        return None
    count = radius.held_back(connection, shop.shop_id, key)
    return Held(title(wave), why(wave), _figures(wave), count, policy_of(shop).blast.asks(count))


def title(wave: Wave) -> str:
    """Whether it stands still or only waits."""
    if wave.state == waves.CANARY:
        return str(_("A small part goes first; the rest waits until %(when)s", when=moment(wave.until)))
    return str(_("This journey stands still"))


def why(wave: Wave) -> str:
    """Why it is so."""
    if wave.state == waves.CANARY:
        told = ngettext(
            "%(count)s message was due at once.",
            "%(count)s messages were due at once.",
            wave.waiting,
            count=number(wave.waiting),
        )
        return sentences((told, _("If nothing looks wrong by then, the rest goes out by itself.")))
    causes = {
        waves.FORECAST: _("More than three times as many messages fell due today as were expected."),
        waves.COMPLAINTS: _("Too many of its messages were reported as spam."),
        waves.BOUNCES: _("Too many of its messages came back."),
    }
    return sentences((causes.get(wave.cause, ""), _("Look at its audience and its text before you let it go.")))


def _figures(wave: Wave) -> str:
    seen = wave.detail
    if wave.state == waves.CANARY or not seen:
        return ""
    if wave.cause == waves.FORECAST:
        return str(
            _(
                "Fallen due today: %(today)s; expected: %(expected)s.",
                today=number(seen["today"]),
                expected=number(seen["expected"]),
            )
        )
    return str(
        _(
            "Sent in 24 hours: %(sent)s; reported: %(reported)s; came back: %(back)s.",
            sent=number(seen["sent"]),
            reported=number(seen["complaints"]),
            back=number(seen["bounces"]),
        )
    )
