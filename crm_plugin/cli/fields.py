"""The keys under which plugins keep birthdays, consent and costs in the store: fields."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import click

from crm_plugin.adapters.registry import storefront_class
from crm_plugin.adapters.storefronts.birthday_texts import CERTAIN, guess_order
from crm_plugin.adapters.storefronts.metadata import BIRTHDAY, CONSENT, KEYS, SMS
from crm_plugin.cli.common import ACTOR, answer, as_json_option, aside, main, opened_shop, require_awake, shop_argument
from crm_plugin.cli.stores import pair
from crm_plugin.errors import InvalidInput
from crm_plugin.jobs import tasks
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import connect, fields
from crm_plugin.sync.field_samples import shown
from crm_plugin.sync.fields import Field, Found

# Values that are shown of each key.
_SOME = 3


@main.command("fields")
@shop_argument
@click.option(
    "--set",
    "told",
    multiple=True,
    metavar="WHAT=KEY",
    help="Say which key it is, such as birthday=dob; `birthday=` goes back to the usual ones.",
)
@as_json_option
def fields_(name: str, told: tuple[str, ...], as_json: bool) -> None:
    """Which keys plugins keep in the store, and which are read.

    The newest records are asked for now, and each key is shown with what it is read as and some of its values, of which none names anybody.
    WHAT is birthday, consent, sms or cost. After a change all is read once more from the beginning, by the next `sync` or by `serve`.
    Words of consent and the order of a birthday's parts are said on the page, where the values stand beside them.
    """
    with opened_shop(name) as (runtime, shop):
        if not fields.can_show(shop):
            raise InvalidInput(
                f"{storefront_class(shop.platform).label} cannot show which keys plugins keep.", hint=_elsewhere(shop)
            )
        require_awake(shop)
        found = fields.ask(runtime.db, runtime.box, shop)
        if found.refused:
            raise found.refused[0]
        kept = connect.credentials_of(runtime.db, runtime.box, shop)
        if told:
            settings = _settings(fields.purposes(shop), found, dict(map(pair, told)), kept)
            fields.save(runtime.db, runtime.box, shop, settings, runtime.clock.now(), ACTOR)
            aside("Everything is read once more by it, from the beginning.")
            kept = {**kept, **settings}
    read_as = fields.read_as(shop, kept, found)
    rows = sorted(found.fields.values(), key=lambda one: (-one.count, one.key))
    answer([_row(one, read_as) for one in rows], as_json, "The newest records hold no such keys.")


def _settings(
    purposes: Collection[str], found: Found, told: Mapping[str, str], kept: Mapping[str, Any]
) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    words = dict(kept.get("consent_words") or {})
    for what, key in told.items():
        if what not in purposes:
            raise InvalidInput(
                f"There is no {what!r} to be told.", field="set", hint=f"There are: {', '.join(purposes)}."
            )
        if key and key not in found.fields:
            raise InvalidInput(
                f"The newest records hold no key {key!r}.", field="set", hint="Without --set all are shown."
            )
        if key and what == BIRTHDAY:
            settings["birthday_order"] = _order(found.fields[key], kept)
        elif key and what in (CONSENT, SMS):
            _require_words(found.fields[key])
        settings[KEYS[what]] = key
        words.pop(what, None)
    return {**settings, "consent_words": words or None} if {CONSENT, SMS} & set(told) else settings


def _order(one: Field, kept: Mapping[str, Any]) -> str:
    """In which order day and month stand in a birthday. Raises: InvalidInput where a person has to say it."""
    told, guess = kept.get("birthday_order") or CERTAIN, guess_order(one.values)
    if told == CERTAIN and guess.has_to_be_told:
        raise _unclear(f"The values of {one.key!r} do not show whether day or month comes first.")
    return guess.order if told == CERTAIN else str(told)


def _require_words(one: Field) -> None:
    """Raises: InvalidInput for words that nobody has looked at: they are not taken for anything."""
    if any(state is None for _text, _count, state in fields.words(one, None)):
        raise _unclear(f"Some values of {one.key!r} mean neither yes nor no by themselves.")


def _unclear(said: str) -> InvalidInput:
    return InvalidInput(said, field="set", hint="Say on the page, Connections > Fields, what they mean.")


def _elsewhere(shop: Shop) -> str:
    """Where a store tells birthdays and consent that shows no keys."""
    return "" if tasks.can_be_pulled(shop) else "The mapping file of `import` says which column is what."


def _row(one: Field, read_as: Mapping[str, str]) -> dict[str, Any]:
    places = {stream.value: count for stream, count in one.places.items()}
    return {
        "key": one.key,
        "read_as": read_as.get(one.key, ""),
        "records": places,
        "values": [shown(one.key, text) for text, _ in one.values.most_common(_SOME)],
    }
