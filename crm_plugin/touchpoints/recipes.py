"""Recipes: the journeys that come with the product. One folder under `templates/messages/` with a `recipe.yaml` is one recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

from sqlalchemy import Connection

from crm_plugin.errors import InvalidInput, NotFound
from crm_plugin.phrases import phrase
from crm_plugin.rules.triggers import Trigger, params_of
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import documents, journeys
from crm_plugin.touchpoints.render import Text
from crm_plugin.touchpoints.texts import put, texts, tidied

LOCALES = ("en", "zh-CN")
_RECIPE = "recipe.yaml"
# What a part of a text is called in a file's name, by channel: `email.en.subject.txt`, `sms.zh-CN.txt`.
_ENDINGS = {
    "email": {"subject.txt": "subject", "txt": "body_text", "html": "body_html"},
    "sms": {"txt": "body_text"},
    "inapp": {"title.txt": "subject", "txt": "body_text", "url.txt": "url"},
    "note": {"txt": "body_text"},
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """A ready-made journey. `description` is one line in each language, for whoever decides whether to switch it on."""

    key: str
    title: dict[str, str]
    description: dict[str, str]
    trigger: Trigger
    channels: tuple[str, ...]
    kind: str
    topic: str
    send_at: str
    validity_days: int

    def as_journey(self) -> dict[str, Any]:
        """The journey as a programme file tells it, left switched as it is."""
        return {
            "key": self.key,
            "title": dict(self.title),
            "trigger": {"type": self.trigger.type, **params_of(self.trigger)},
            "channels": list(self.channels),
            "template": self.key,
            "topic": self.topic,
            "kind": self.kind,
            "send_at": self.send_at,
            "validity_days": self.validity_days,
        }


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
    raise NotFound(
        phrase("There is no recipe %(key)r.", key=key),
        hint=phrase("There are: %(names)s.", names=[one.key for one in recipes()]),
    )


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


def install(connection: Connection, shop: Shop, now: datetime) -> list[str]:
    """Add the recipes a shop does not have yet, switched off, with their texts; answers their keys.

    Nothing that is there is touched: neither a journey of that key nor, where the template has any text already, its texts.
    """
    present = {journey.key for journey in journeys.all_journeys(connection, shop.shop_id)}
    written = {text.template_key for text in texts(connection, shop.shop_id)}
    added = []
    for one in recipes():
        if one.key in present:
            continue
        journeys.save(connection, shop, journeys.read_draft(one.as_journey()), now)
        for text in recipe_texts(one.key) if one.key not in written else ():
            put(connection, shop.shop_id, text, now)
        added.append(one.key)
    return added


def _folder() -> Any:
    return files("crm_plugin") / "templates" / "messages"


def _recipe(key: str) -> Recipe:
    document = documents.read((_folder() / key / _RECIPE).read_text(encoding="utf-8"), f"{key}/{_RECIPE}")
    if not isinstance(document, Mapping):
        raise InvalidInput(phrase("%(place)s holds no recipe.", place=f"{key}/{_RECIPE}"))
    told = dict(document)
    description = told.pop("description", {})
    draft = journeys.read_draft({**told, "key": key})
    return Recipe(
        key=key,
        title=draft.title,
        description=dict(description),
        trigger=draft.trigger,
        channels=draft.channels,
        kind=draft.kind,
        topic=draft.topic,
        send_at=draft.send_at,
        validity_days=draft.validity_days,
    )
