"""What we ask of the Admin API: each operation is a file of its own here. What is read in bulk begins with `bulk_`."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from importlib.resources import files

from crm_plugin.adapters.storefronts.shopify.versions import worded

# Where Shopify itself keeps a birthday; operations name it, and a shop that keeps it elsewhere has another put in its place.
BIRTHDAY = "facts.birth_date"


def names() -> list[str]:
    """All operations, by name."""
    return sorted(
        one.name.removesuffix(".graphql") for one in files(__name__).iterdir() if one.name.endswith(".graphql")
    )


@lru_cache(maxsize=128)
def text(name: str, version: str, birthday: str = BIRTHDAY) -> str:
    """The operation as it is sent to a shop that keeps birthdays under this name space and key."""
    told = worded(files(__name__).joinpath(f"{name}.graphql").read_text(encoding="utf-8"), version)
    return told if birthday == BIRTHDAY else told.replace(_metafield(BIRTHDAY), _metafield(birthday))


def _metafield(place: str) -> str:
    namespace, _, key = place.rpartition(".")
    return f"metafield(namespace: {json.dumps(namespace)}, key: {json.dumps(key)})"


def is_place(place: str) -> bool:
    """Whether this names a metafield: its name space and key, as an operation may hold them."""
    return re.fullmatch(r"\$?[A-Za-z0-9_:-]{2,255}\.[A-Za-z0-9_-]{2,64}", place) is not None
