"""Recipes: the journeys that come with the product. One folder under `templates/messages/` with a `recipe.yaml` is one recipe."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

from sqlalchemy import Connection

from crm_plugin.errors import InvalidInput, NotFound
from crm_plugin.phrases import phrase
from crm_plugin.rules.trigger_events import TIER_NEAR, program_of
from crm_plugin.rules.triggers import Trigger
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import documents, journeys, near
from crm_plugin.touchpoints.journey import Draft
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.render import Text
from crm_plugin.touchpoints.texts import add, texts, tidied

LOCALES = ("en", "zh-CN")
_RECIPE = "recipe.yaml"
# What a part of a text is called in a file's name, by channel: `email.en.subject.txt`, `sms.zh-CN.txt`.
_ENDINGS = {
    "email": {"subject.txt": "subject", "txt": "body_text", "html": "body_html"},
    "sms": {"txt": "body_text"},
    "inapp": {"title.txt": "subject", "txt": "body_text", "url.txt": "url"},
    "note": {"txt": "body_text"},
}


@dataclass(frozen=True)
class Recipe:
    """A ready-made journey. `description` is one line in each language, for whoever decides whether to switch it on.

    `stages` are those of a member's life that it speaks to. `start`: a new shop has it from the first day on. `replaces` is a recipe that
    says the same and should not run beside it.
    """

    key: str
    description: Mapping[str, str]
    stages: tuple[str, ...]
    start: bool
    replaces: str
    draft: Draft
    _document: Mapping[str, Any]

    @property
    def title(self) -> Mapping[str, str]:
        return self.draft.title

    @property
    def trigger(self) -> Trigger:
        return self.draft.trigger

    def as_journey(self) -> dict[str, Any]:
        """The journey as a programme file tells it, left switched as it is."""
        own = {} if self.draft.flow.steps else {"template": self.key}
        return {"key": self.key, **own, **deepcopy(dict(self._document))}

    @property
    def templates(self) -> dict[str, tuple[str, ...]]:
        """The channels that each of its templates is sent by."""
        found: dict[str, tuple[str, ...]] = {}
        for voice in self.draft.voices:
            found[voice.template_key] = tuple(dict.fromkeys((*found.get(voice.template_key, ()), *voice.channels)))
        return found


@cache
def recipes() -> tuple[Recipe, ...]:
    """All recipes, by key."""
    found = [folder.name for folder in _folder().iterdir() if folder.is_dir() and (folder / _RECIPE).is_file()]
    return tuple(_recipe(key) for key in sorted(found))


def recipe(key: str) -> Recipe:
    """The recipe of that key. Raises: NotFound with the keys there are."""
    for one in recipes():
        if one.key == key:
            return one
    raise _no_such(key)


def recipe_called(name: str) -> Recipe:
    """The recipe of that key or title, however it is hyphened, spaced or capitalized. Raises: NotFound with what may be meant."""
    found = _named().get(_letters(name))
    if found is None:
        raise _no_such(name)
    return recipe(found)


def _no_such(name: str) -> NotFound:
    close = difflib.get_close_matches(_letters(name), _named(), 3, 0.6)
    meant = list(dict.fromkeys(_named()[one] for one in close))
    hint = phrase("There are: %(names)s.", names=[one.key for one in recipes()])
    if meant:
        hint = phrase("Did you mean %(name)s?", name=meant[0])
    return NotFound(phrase("There is no recipe %(key)r.", key=name), hint=hint)


@cache
def _named() -> dict[str, str]:
    """Keys and titles, by their letters alone → the key."""
    titles = {_letters(title): one.key for one in recipes() for title in one.title.values()}
    return titles | {_letters(one.key): one.key for one in recipes()}


def _letters(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def recipe_texts(key: str) -> list[Text]:
    """A recipe's texts, by template, channel and locale. Raises: NotFound."""
    return list(_texts(recipe(key).key))


@cache
def _texts(key: str) -> tuple[Text, ...]:
    """Those of the folder have the recipe's key, those of a folder within it the two with a - between them."""
    folder = _folder() / key
    within = sorted(part.name for part in folder.iterdir() if part.is_dir())
    found = [
        *_read_texts(folder, key),
        *(text for part in within for text in _read_texts(folder / part, f"{key}-{part}")),
    ]
    return tuple(found)


def _read_texts(folder: Any, template: str) -> list[Text]:
    parts: dict[tuple[str, str], dict[str, str]] = {}
    for file in folder.iterdir():
        channel, _, rest = file.name.partition(".")
        locale, _, ending = rest.partition(".")
        if channel not in _ENDINGS or not file.is_file():
            continue
        part = _ENDINGS[channel].get(ending)
        if part is None:
            raise InvalidInput(
                phrase("%(place)s is no part of a text.", place=f"{template}/{file.name}"),
                hint=phrase("See templates/messages/README.md."),
            )
        parts.setdefault((channel, locale), {})[part] = file.read_text(encoding="utf-8")
    return [tidied(Text(template, *place, **told)) for place, told in sorted(parts.items())]  # type: ignore[arg-type]


def shipped_texts(template_key: str) -> list[Text]:
    """The texts that come with the product for a template, which is a recipe's or one of its messages; none where there is none."""
    return [text for one in recipes() for text in _texts(one.key) if text.template_key == template_key]


def install(connection: Connection, shop: Shop, now: datetime) -> list[str]:
    """Add the recipes that a new shop begins with and does not have yet, switched off, with their texts; answers their keys.

    Nothing that is there is touched: neither a journey of that key nor, where a template has any text already, its texts.
    """
    present = {journey.key for journey in journeys.all_journeys(connection, shop.shop_id)}
    added = [one for one in recipes() if one.start and one.key not in present]
    for one in added:
        _add(connection, shop, one, now)
    return [one.key for one in added]


def install_one(connection: Connection, shop: Shop, key: str, now: datetime) -> list[str]:
    """Add one recipe as `install` does; answers the templates whose texts were added.

    What is near the next level goes by what the shop's levels take. Raises: NotFound, InvalidInput when it is there.
    """
    wanted = recipe(key)
    if wanted.key in {journey.key for journey in journeys.all_journeys(connection, shop.shop_id)}:
        raise InvalidInput(
            phrase("The journey %(key)s is there already.", key=key),
            field="recipe",
            hint=phrase("Nothing of it was changed. Edit it under Journeys."),
        )
    return _add(connection, shop, wanted, now)


def _add(connection: Connection, shop: Shop, one: Recipe, now: datetime) -> list[str]:
    written = {text.template_key for text in texts(connection, shop.shop_id)}
    told = one.as_journey()
    if one.trigger.type == TIER_NEAR:
        within = near.usual(connection, shop, program_of(one.trigger), now)
        told["trigger"] |= {"within": within} if within is not None else {}
    journeys.save(connection, shop, read_draft(told), now)
    added = [text for text in recipe_texts(one.key) if text.template_key not in written]
    add(connection, shop.shop_id, added, now)
    return list(dict.fromkeys(text.template_key for text in added))


def _folder() -> Any:
    return files("crm_plugin") / "templates" / "messages"


def _recipe(key: str) -> Recipe:
    document = documents.read((_folder() / key / _RECIPE).read_text(encoding="utf-8"), f"{key}/{_RECIPE}")
    if not isinstance(document, Mapping):
        raise InvalidInput(phrase("%(place)s holds no recipe.", place=f"{key}/{_RECIPE}"))
    told = dict(document)
    own = {name: told.pop(name, None) for name in ("description", "stages", "start", "replaces")}
    return Recipe(
        key=key,
        description=dict(own["description"] or {}),
        stages=tuple(own["stages"] or ()),
        start=own["start"] is True,
        replaces=str(own["replaces"] or ""),
        draft=read_draft({"template": key, **told, "key": key} if "steps" not in told else {**told, "key": key}),
        _document=told,
    )
