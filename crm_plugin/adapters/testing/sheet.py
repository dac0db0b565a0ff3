"""What an adapter says of itself: name, capabilities, settings, README. Needs no store."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crm_plugin.adapters.base import Capability, SettingType
from crm_plugin.adapters.storefronts.base import TIER_FORMS, StorefrontAdapter
from crm_plugin.adapters.storefronts.fields import ShowsFields
from crm_plugin.adapters.storefronts.hearing import Hears
from crm_plugin.adapters.storefronts.writing import Writes
from crm_plugin.adapters.testing.cases import Kit
from crm_plugin.errors import InvalidInput
from crm_plugin.records import Stream

_SECRET_WORDS = ("secret", "password", "token", "private")
# What an adapter fills for a capability; of several, one.
_FILLED: dict[frozenset[Capability], tuple[tuple[str, ...], ...]] = {
    frozenset({Capability.WEBHOOKS}): (("verify_webhook",), ("parse_webhook",)),
    TIER_FORMS: (("write_tier", "write_tiers"),),
    frozenset({Capability.WRITE_TAGS}): (("write_tags",),),
    frozenset({Capability.WRITE_CONSENT}): (("write_consent",),),
    frozenset({Capability.COUPONS}): (("create_coupons",),),
    frozenset({Capability.FIELDS}): (("recent_fields",),),
}


class SheetKit(Kit):
    """For an adapter of any kind of storefront, one of files too."""

    def test_name_and_label_are_told(self) -> None:
        cls = self.adapter
        assert issubclass(cls, StorefrontAdapter)
        assert cls.name.isidentifier()
        assert cls.name == cls.name.lower()
        assert cls.label.strip() == cls.label != ""
        assert all(isinstance(capability, Capability) for capability in cls.capabilities)

    def test_streams_stand_in_the_order_they_are_pulled(self) -> None:
        order = list(Stream)
        places = [order.index(stream) for stream in self.adapter.streams]
        assert places == sorted(set(places))

    def test_what_is_declared_is_filled_and_what_is_filled_is_declared(self) -> None:
        for capabilities, all_of in _FILLED.items():
            declared = bool(self.adapter.capabilities & capabilities)
            for names in all_of:
                assert any(_is_filled(self.adapter, name) for name in names) is declared, names

    def test_one_form_of_level_at_most(self) -> None:
        assert len(self.adapter.capabilities & TIER_FORMS) <= 1

    def test_capabilities_that_go_with_others(self) -> None:
        told = self.adapter.capabilities
        assert Capability.BACKFILL in told
        assert Capability.COUPONS in told or Capability.COUPONS_OF_ONE not in told

    def test_settings_are_described(self) -> None:
        readme = self.readme()
        settings = (*self.adapter.settings, *self.adapter.app_settings)
        keys = [setting.key for setting in settings]
        assert len(keys) == len(set(keys))
        assert [key for key in keys if f"`{key}`" not in readme] == []
        assert all(setting.label for setting in settings)

    def test_secret_settings_are_kept_as_such(self) -> None:
        for setting in (*self.adapter.settings, *self.adapter.app_settings):
            if any(word in setting.key.split("_") for word in _SECRET_WORDS):
                assert setting.type is SettingType.SECRET, setting.key

    def test_missing_setting_is_named(self) -> None:
        for setting in self.adapter.settings:
            if setting.required and setting.default is None:
                given = {one.key: "https://store.example" for one in self.adapter.settings if one is not setting}
                with pytest.raises(InvalidInput) as caught:
                    self.adapter(given)
                assert caught.value.field

    def test_readme_says_what_is_not_seen(self) -> None:
        readme = self.readme()
        assert self.adapter.label in readme
        assert [what for what in self.adapter.unseen if what not in readme] == []

    def readme(self) -> str:
        """The README in the adapter's folder."""
        return (Path(inspect.getfile(self.adapter)).parent / "README.md").read_text(encoding="utf-8")


def _is_filled(cls: type[Any], name: str) -> bool:
    method: Callable[..., Any] = getattr(cls, name)
    return all(method is not getattr(base, name, None) for base in (Hears, ShowsFields, Writes))
