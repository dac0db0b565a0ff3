"""An adapter's settings as fields of a form: what it declares is what is asked, in the reader's language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask_babel import gettext as _

from crm_plugin.adapters.base import Setting, SettingType
from crm_plugin.errors import CrmError
from crm_plugin.sync.standing import Standing, of_code
from crm_plugin.web.forms import Form
from crm_plugin.web.languages import sentences

_TYPES = {SettingType.SECRET: "password", SettingType.INTEGER: "number"}


@dataclass(frozen=True, slots=True)
class SettingField:
    """One setting as it is shown. `kind` is input, select, switch or area; `type` the input's own."""

    key: str
    label: str
    help: str
    kind: str
    type: str = "text"
    optional: bool = False
    choices: tuple[tuple[str, str], ...] = ()


def asked(settings: Sequence[Setting], present: Mapping[str, Any] | None = None) -> tuple[Setting, ...]:
    """Those that are asked for; `present` is what is kept already."""
    kept = present or {}
    handed_over = {setting.beside for setting in settings if setting.beside and kept.get(setting.key)}
    return tuple(setting for setting in settings if not setting.hidden and setting.key not in handed_over)


def fields(settings: Sequence[Setting], *, kept: bool = False) -> list[SettingField]:
    """The settings in their order; `kept` when secrets are there already and may be left empty."""
    return [_field(setting, kept) for setting in settings]


def _field(setting: Setting, kept: bool) -> SettingField:
    help_ = _(setting.help) if setting.help else ""
    secret = setting.type is SettingType.SECRET
    if secret and kept:
        help_ = sentences((help_, _("Never shown. Leave it empty to keep the present one.")))
    kind = {SettingType.CHOICE: "select", SettingType.BOOLEAN: "switch", SettingType.JSON: "area"}.get(
        setting.type, "input"
    )
    return SettingField(
        key=setting.key,
        label=_(setting.label),
        help=help_,
        kind=kind,
        type=_TYPES.get(setting.type, "text"),
        optional=not setting.required or (secret and kept),
        choices=tuple((choice, _(choice)) for choice in setting.choices),
    )


def filled(settings: Sequence[Setting], present: Mapping[str, Any]) -> Form:
    """A form with what is kept, else with the defaults; secrets stay out."""
    values: dict[str, Any] = {}
    for setting in settings:
        if setting.type is SettingType.SECRET:
            values[setting.key] = ""
            continue
        value = present.get(setting.key, setting.default)
        values[setting.key] = "" if value is None else value
    return Form(values)


def posted(settings: Sequence[Setting]) -> Form:
    """What was typed; a switch that is off is not sent by browsers and still is an answer."""
    form = Form.posted(defaults={setting.key: "" for setting in settings})
    for setting in settings:
        if setting.type is SettingType.BOOLEAN:
            form.values[setting.key] = bool(form.values[setting.key])
    return form


def told(form: Form, settings: Sequence[Setting]) -> dict[str, Any]:
    """The settings out of a form; an address gets the scheme that people leave out."""
    values = {setting.key: form.values[setting.key] for setting in settings if setting.key in form.values}
    for setting in settings:
        typed = str(values.get(setting.key, ""))
        if setting.type is SettingType.URL and typed and "://" not in typed:
            values[setting.key] = form.values[setting.key] = f"https://{typed}"
    return values


def place(error: CrmError, settings: Sequence[Setting]) -> str:
    """The field that a refusal without a field belongs to: keys that are not accepted, else the address; empty when neither is there."""
    if of_code(error.code) in (Standing.KEYS, Standing.PERMISSION):
        return next((setting.key for setting in settings if setting.type is SettingType.SECRET), "")
    return next((setting.key for setting in settings if setting.type is SettingType.URL and setting.required), "")
