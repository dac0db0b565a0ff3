"""Forms: what was typed, what is wrong with it, field by field, so that nobody types anything twice."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import request

from crm_plugin.errors import CrmError, InvalidInput, RuleError
from crm_plugin.phrases import phrase
from crm_plugin.web.i18n import explained
from crm_plugin.web.ids import LARGEST
from crm_plugin.web.languages import sentences

# Python itself refuses to read thousands of digits.
_WHOLE = re.compile(r"-?[0-9]{1,19}")


def as_whole(told: str) -> int | None:
    """The whole number that a text is; None for any other, and for one longer than any that is kept."""
    number = int(told) if _WHOLE.fullmatch(told) else None
    return number if number is not None and abs(number) <= LARGEST else None


@dataclass(slots=True)
class Form:
    """Values by field name, and errors by field name; the error of "" concerns the whole form."""

    values: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    @classmethod
    def posted(cls, *lists: str, defaults: Mapping[str, Any] | None = None) -> Form:
        """What was sent, stripped; the fields in `lists` may be sent several times and become lists."""
        values: dict[str, Any] = dict(defaults or {})
        for name in request.form:
            values[name] = request.form[name].strip() if name not in lists else request.form.getlist(name)
        for name in lists:
            values.setdefault(name, [])
        return cls(values)

    @property
    def failed(self) -> bool:
        return bool(self.errors)

    def text(self, name: str) -> str:
        """A field as text; empty when it was not sent."""
        return str(self.values.get(name, "") or "")

    def whole(self, name: str) -> int:
        """A field as a whole number. Raises: InvalidInput naming the field."""
        try:
            return int(self.text(name))
        except ValueError as error:
            raise InvalidInput(phrase("Write a whole number."), field=name) from error

    def refuse(self, error: CrmError, otherwise: str = "") -> None:
        """Put an error at its field, or at `otherwise` when it names none that this form has."""
        named = getattr(error, "field", "")
        place = named if named in self.values else otherwise
        told = f"{_where(error)}{explained(error)}"
        self.errors[place] = sentences((self.errors[place], told)) if place in self.errors else told


def _where(error: CrmError) -> str:
    if isinstance(error, RuleError) and error.line:
        return f"{error.line}:{error.column} "
    return ""
