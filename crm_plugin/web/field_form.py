"""The form in which a merchant says which key of the store is the birthday, consent, cost; beside it real values and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flask_babel import gettext as _
from flask_babel import ngettext

from crm_plugin.adapters.base import Setting
from crm_plugin.adapters.registry import storefront_class
from crm_plugin.adapters.storefronts.birthday_texts import CERTAIN, DAY_FIRST, MONTH_FIRST, Birthday, Guess, guess_order
from crm_plugin.adapters.storefronts.metadata import BIRTHDAY, CONSENT, COST, KEYS, NONE, SMS, split_keys
from crm_plugin.birthdays import Birthday as Day
from crm_plugin.records import ConsentState
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import fields
from crm_plugin.sync.field_samples import shown
from crm_plugin.sync.fields import Field, Found
from crm_plugin.web import formats
from crm_plugin.web.forms import Form
from crm_plugin.web.languages import sentences
from crm_plugin.web.member_words import birthday as in_words
from crm_plugin.web.reading import name_of

# In place of a key: what the settings say already where that is no key of this list, and the keys that are usual.
KEPT, USUAL = "=", ""
SHOWN_LINES, _SAMPLES = 10, 3
_WORDED = (CONSENT, SMS)
_YES, _NO, _NOTHING = "yes", "no", ""


@dataclass(frozen=True, slots=True)
class Option:
    """One key to choose: in which lists it stands, and some of its values."""

    key: str
    places: str
    samples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """One value and how it is read; `read` is empty for one that is not. A word has its place in the form."""

    text: str
    shown: str
    read: str = ""
    count: int = 0


@dataclass(slots=True)
class Part:
    """What is asked of one purpose. `key` is the one whose values are in `lines`; `read` and `different` count its different values."""

    purpose: str
    title: str
    help: str
    usual: str
    kept: str = ""
    likely: list[Option] = field(default_factory=list)
    others: list[Option] = field(default_factory=list)
    key: str = ""
    lines: list[Line] = field(default_factory=list)
    read: int = 0
    different: int = 0
    guess: Guess | None = None


def titles(currency: str) -> dict[str, tuple[str, str]]:
    """What each purpose is called, and what it is for."""
    return {
        BIRTHDAY: (
            _("Birthday"),
            _("For greetings. Where day and month could be either, nothing is read until you say which comes first."),
        ),
        CONSENT: (
            _("Consent to e-mail"),
            _("Who said yes may get promotional mail. Who said no gets none, whatever else is known."),
        ),
        SMS: (_("Consent to texts"), _("Who said yes may get promotional text messages.")),
        COST: (
            _("Cost of a product"),
            _("What one piece costs you, in %(currency)s with a point before the decimals.", currency=currency),
        ),
    }


def filled(shop: Shop, found: Found, values: Mapping[str, Any]) -> Form:
    """The form as the settings stand."""
    told: dict[str, Any] = {"birthday_order": values.get("birthday_order") or CERTAIN}
    for purpose in fields.purposes(shop):
        told[purpose] = _choice(_setting(shop, purpose), values, found)
    return Form(told)


def parts(shop: Shop, found: Found, values: Mapping[str, Any], form: Form) -> list[Part]:
    """What is asked, with what the chosen keys hold; the order of dates that they prove is chosen where none was."""
    made = []
    for purpose in fields.purposes(shop):
        part = Part(purpose, *titles(shop.currency)[purpose], _usual(shop, purpose, found))
        if _choice(_setting(shop, purpose), values, found) == KEPT:
            part.kept = str(values.get(KEYS[purpose]))
        likely, others = fields.candidates(found, purpose, shop.currency)
        part.likely, part.others = [_option(one) for one in likely], [_option(one) for one in others]
        one = chosen(shop, found, values, purpose, form)
        if one is not None:
            part.key = one.key
            _SHOW[purpose](part, one, shop, values, form)
        made.append(part)
    return made


def chosen(shop: Shop, found: Found, values: Mapping[str, Any], purpose: str, form: Form) -> Field | None:
    """The field that the form's choice stands for; None where there is none such in the store."""
    choice = form.text(purpose)
    if choice not in (KEPT, USUAL):
        return found.fields.get(choice)
    keys = values.get(KEYS[purpose]) if choice == KEPT else _setting(shop, purpose).default
    return next(iter(fields.in_use(str(keys or ""), found, purpose)), None)


def told(shop: Shop, found: Found, values: Mapping[str, Any], form: Form) -> dict[str, Any]:
    """The settings that the form tells; what is missing stands at its field, and nothing is to be kept then."""
    settings: dict[str, Any] = {"birthday_order": form.text("birthday_order") or CERTAIN}
    kept_words = dict(values.get("consent_words") or {})
    for purpose in fields.purposes(shop):
        choice = form.text(purpose)
        able = {one.key for listed in fields.candidates(found, purpose, shop.currency) for one in listed}
        if choice not in (KEPT, USUAL, NONE) and choice not in able:
            form.errors[purpose] = _("The store does not have this key any more. Choose another.")
            continue
        if choice != KEPT:
            settings[KEYS[purpose]] = choice
        one = chosen(shop, found, values, purpose, form)
        if purpose == BIRTHDAY and one is not None:
            _require_order(one, form)
        if purpose in _WORDED and choice != KEPT:
            kept_words.pop(purpose, None)
            if choice not in (USUAL, NONE) and one is not None and (said := _said(one, purpose, form)):
                kept_words[purpose] = said
    if {CONSENT, SMS} & set(fields.purposes(shop)):
        settings["consent_words"] = kept_words or None
    return settings


def _require_order(one: Field, form: Form) -> None:
    if form.text("birthday_order") == CERTAIN and guess_order(one.values).has_to_be_told:
        form.errors["birthday_order"] = _("Say which comes first: none of the values shows it.")


def _said(one: Field, purpose: str, form: Form) -> dict[str, list[str]] | None:
    """The words that were said to mean yes and no; None where all are read as usual anyway."""
    usual = {text: state for text, _count, state in fields.words(one, None)}
    says = _posted_words(one, purpose, form)
    if says is None:
        if None in usual.values():
            form.errors[purpose] = _("Say below which of its values mean yes, then save.")
        return None
    if _YES not in says.values():
        form.errors[purpose] = _(
            "None of its values means yes, so nobody would have agreed. Choose which do, or another key."
        )
    if all(_WORD_OF[state] == says.get(text, _NOTHING) for text, state in usual.items()):
        return None
    return {word: [text for text, said in says.items() if said == word] for word in (_YES, _NO)}


_WORD_OF = {ConsentState.GRANTED: _YES, ConsentState.WITHDRAWN: _NO, None: _NOTHING}


def _posted_words(one: Field, purpose: str, form: Form) -> dict[str, str] | None:
    """What was said of each value; None where the values that were shown are another key's."""
    if form.text(f"{purpose}-shown") != one.key:
        return None
    told: dict[str, str] = {}
    for number in range(fields.MOST_WORDS):
        text, says = form.text(f"{purpose}-word-{number}"), form.text(f"{purpose}-says-{number}")
        if text in one.values and says in (_YES, _NO, _NOTHING):
            told[text] = says
    return told


def _show_birthdays(part: Part, one: Field, _shop: Shop, _values: Mapping[str, Any], form: Form) -> None:
    part.guess = guess = guess_order(one.values)
    order = form.text("birthday_order")
    if order == CERTAIN and guess.order != CERTAIN:
        order = form.values["birthday_order"] = guess.order
    rows = fields.birthdays(one, order)
    _count(part, [(text, _day(born)) for text, born in rows])


def _show_words(part: Part, one: Field, _shop: Shop, values: Mapping[str, Any], form: Form) -> None:
    kept = (values.get("consent_words") or {}).get(part.purpose) if form.text(part.purpose) in (KEPT, one.key) else None
    says = _posted_words(one, part.purpose, form) or {}
    rows = fields.words(one, kept)[: fields.MOST_WORDS]
    part.lines = [
        Line(text, shown(one.key, text), says.get(text, _WORD_OF[state]), count) for text, count, state in rows
    ]


def _show_costs(part: Part, one: Field, shop: Shop, _values: Mapping[str, Any], _form: Form) -> None:
    rows = fields.costs(one, shop.currency)
    _count(part, [(text, "" if cost is None else formats.money(cost, shop.currency)) for text, cost in rows])


_SHOW: dict[str, Callable[[Part, Field, Shop, Mapping[str, Any], Form], None]] = {
    BIRTHDAY: _show_birthdays,
    CONSENT: _show_words,
    SMS: _show_words,
    COST: _show_costs,
}


def _count(part: Part, rows: Sequence[tuple[str, str]]) -> None:
    """The lines, of what is not read some first, for that is what there is to do something about."""
    part.different, part.read = len(rows), sum(bool(read) for _text, read in rows)
    unread = [row for row in rows if not row[1]][: SHOWN_LINES // 2]
    read = [row for row in rows if row[1]][: SHOWN_LINES - len(unread)]
    part.lines = [Line(text, shown(part.key, text), said) for text, said in (*unread, *read)]


def _day(born: Birthday | None) -> str:
    return "" if born is None else in_words(born.year, Day(born.month, born.day, born.lunar, born.leap).number)


def _choice(setting: Setting, values: Mapping[str, Any], found: Found) -> str:
    kept = str(values.get(setting.key) or "")
    if kept in ("", str(setting.default)):
        return USUAL
    if kept == NONE or kept in found.fields:
        return kept
    return KEPT


def _usual(shop: Shop, purpose: str, found: Found) -> str:
    """The usual keys in words, and which of them is there; empty where there are none."""
    keys = str(_setting(shop, purpose).default or "")
    if not keys:
        return ""
    here = fields.in_use(keys, found, purpose)
    there = _("Your store has %(key)s.", key=here[0].key) if here else _("Your store has none of them.")
    return sentences((_("%(keys)s.", keys=", ".join(split_keys(keys))), there))


def _setting(shop: Shop, purpose: str) -> Setting:
    settings = storefront_class(shop.platform).settings
    return next(setting for setting in settings if setting.key == KEYS[purpose])


def _option(one: Field) -> Option:
    places = _(", ").join(
        f"{name_of(stream.value)} {formats.number(count)}" for stream, count in one.places.most_common()
    )
    return Option(one.key, places, samples(one))


def samples(one: Field) -> tuple[str, ...]:
    """Some of its values, as they may be shown."""
    return tuple(dict.fromkeys(shown(one.key, text) for text, _count in one.values.most_common(_SAMPLES * 2)))[
        :_SAMPLES
    ]


def orders() -> list[tuple[str, str]]:
    """The orders of dates by name."""
    return [
        (CERTAIN, _("Only what is certain")),
        (DAY_FIRST, _("The day comes first: 05/06 is 5 June")),
        (MONTH_FIRST, _("The month comes first: 05/06 is 6 May")),
    ]


def proof(guess: Guess) -> str:
    """What the values show of their order, in words."""
    told = []
    if guess.day_first:
        told.append(
            ngettext(
                "%(num)s value shows that the day comes first.",
                "%(num)s values show that the day comes first.",
                guess.day_first,
            )
        )
    if guess.month_first:
        told.append(
            ngettext(
                "%(num)s value shows that the month comes first.",
                "%(num)s values show that the month comes first.",
                guess.month_first,
            )
        )
    if guess.unsure:
        told.append(
            ngettext(
                "%(num)s value could be read either way.", "%(num)s values could be read either way.", guess.unsure
            )
        )
    return sentences(told)
