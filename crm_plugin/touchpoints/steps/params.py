"""The parameters of a step, read one by one; whatever does not fit is refused with its field."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from crm_plugin.errors import InvalidInput
from crm_plugin.phrases import phrase

_KEY = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_LONGEST = 200


def mapping_of(told: Any, field: str) -> Mapping[str, Any]:
    """What was told, when it is names and values. Raises: InvalidInput."""
    if not isinstance(told, Mapping):
        raise InvalidInput(
            phrase("%(value)r is not a list of names and values.", value=told),
            field=field,
            hint=phrase("{name: value}"),
        )
    return told


class Params:
    """Names and values of one step; a name that is not `known` is refused at once."""

    def __init__(self, told: Any, field: str, known: Sequence[str]) -> None:
        self._told = mapping_of(told, field)
        self._field = field
        unknown = sorted(str(name) for name in self._told if name not in known)
        if unknown:
            self.refuse(
                phrase("There is no %(unknown)s here.", unknown=unknown),
                phrase("There are: %(names)s.", names=list(known)),
            )

    def __contains__(self, name: str) -> bool:
        return name in self._told

    def __getitem__(self, name: str) -> Any:
        return self._told.get(name)

    def refuse(self, message: str, hint: str = "", name: str = "") -> NoReturn:
        """Raises: InvalidInput with the step's field, or that of one of its parameters."""
        raise InvalidInput(message, field=f"{self._field}.{name}" if name else self._field, hint=hint)

    def get(self, name: str, otherwise: Any) -> Any:
        return self._told.get(name, otherwise)

    def alone(self, *names: str) -> None:
        """Refuse what cannot stand beside these."""
        besides = [name for name in self._told if name not in names]
        if besides:
            self.refuse(phrase("%(names)s cannot stand there.", names=besides), name=besides[0])

    def text(self, name: str, longest: int = _LONGEST) -> str:
        value = self._told.get(name)
        if not isinstance(value, str) or not value.strip() or len(value) > longest:
            self.refuse(
                phrase("`%(name)s` is missing, or is no text of at most %(most)s characters.", name=name, most=longest),
                name=name,
            )
        return value

    def key(self, name: str) -> str:
        return self.check_key(self._told.get(name), name)

    def check_key(self, value: Any, name: str = "") -> str:
        if not isinstance(value, str) or not _KEY.fullmatch(value):
            self.refuse(phrase("%(key)r cannot be a key.", key=value), phrase("Small letters, digits, _ and -."), name)
        return value

    def number(self, name: str, low: int, high: int) -> int:
        value = self._told.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.refuse(
                phrase(
                    "`%(name)s` must be a whole number from %(low)s to %(high)s, not %(value)r.",
                    name=name,
                    low=low,
                    high=high,
                    value=value,
                ),
                name=name,
            )
        return value

    def one_of(self, name: str, words: Sequence[str]) -> str:
        value = self._told.get(name)
        if value not in words:
            self.refuse(
                phrase("`%(name)s` is %(value)r.", name=name, value=value),
                phrase("Use one of: %(names)s.", names=list(words)),
                name,
            )
        return str(value)

    def words(self, name: str, known: Sequence[str] = ()) -> list[str]:
        """A list of texts, each once; of those that are known, where these are named."""
        value = self._told.get(name)
        told = value if isinstance(value, list | tuple) else [value]
        if not told or not all(isinstance(one, str) and 0 < len(one.strip()) <= _LONGEST for one in told):
            self.refuse(phrase("`%(name)s` is missing, or is no list of words.", name=name), name=name)
        if unknown := [one for one in told if known and one not in known]:
            self.refuse(
                phrase("`%(name)s` is %(value)r.", name=name, value=unknown[0]),
                phrase("Out of: %(names)s.", names=list(known)),
                name,
            )
        return list(dict.fromkeys(str(one).strip() for one in told))

    def flag(self, name: str) -> bool:
        value = self._told.get(name, False)
        if not isinstance(value, bool):
            self.refuse(phrase("`%(name)s` is %(value)r.", name=name, value=value), phrase("Use true or false."), name)
        return value
