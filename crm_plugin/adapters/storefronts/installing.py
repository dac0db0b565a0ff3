"""How a merchant comes in from a platform's marketplace or admin: agreeing to what we ask for, and opening our page inside theirs.

A platform's installer is a class beside its adapter, named in `adapters/registry.py`. It keeps nothing: what has to be remembered between
two steps is handed to it again by whoever drives it (`web/install.py`), which also proves that the second step belongs to the first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from crm_plugin.adapters.base import Setting
from crm_plugin.records import RawRequest


@dataclass(frozen=True, slots=True)
class Installed:
    """A store that let us in. `reference` is its own name for itself, the same at every install; `credentials` are the adapter's settings.

    `scopes` is what was agreed to; None where the platform does not say.
    """

    reference: str
    url: str
    credentials: dict[str, Any]
    title: str = ""
    scopes: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who opened our page inside the platform's admin, as the platform vouches for it.

    `exchange` is what keys can be had for, where the platform gives any with the visit.
    """

    reference: str
    user: str
    exchange: str = ""
    may_manage: bool = True
    expires_in: float = 60.0


@dataclass(frozen=True, slots=True)
class Frame:
    """What a page inside the platform's admin needs: who may frame it, and the platform's own scripts, which it demands first in <head>."""

    ancestors: tuple[str, ...]
    scripts: tuple[str, ...] = ()
    metas: Mapping[str, str] = field(default_factory=dict)
    # Hosts beside our own that these scripts are allowed to reach.
    connects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shopper:
    """Who called from the storefront, as the platform vouches for it; `external_id` is empty for one who is not signed in."""

    reference: str
    external_id: str


@dataclass(frozen=True, slots=True)
class AppFacts:
    """What a platform's own manifest says of the app, out of plugin.yaml. `scopes` are rights by name, True where we cannot do without."""

    name: str
    version: str
    title: str
    description: str
    homepage: str
    scopes: Mapping[str, bool]


class Installer(ABC):
    """One platform's way in. Constructed with the app's own settings and the address under which the platform reaches us.

    Errors: `WebhookRejected` for what is forged or too old (with the status to answer), `ActionRequired` for what the merchant must put
    right, `TransientError` when the platform cannot be reached.
    """

    platform: ClassVar[str]
    app_settings: ClassVar[tuple[Setting, ...]] = ()
    # True where a merchant who is signed in here begins, by telling where the store is; else who comes from the platform does.
    begun_here: ClassVar[bool] = False
    # True where `begin` leads to whatever address it was told.
    leads_anywhere: ClassVar[bool] = False
    # The kept settings of a store by its `reference`, None for one that is not connected; set by whoever drives the installer.
    known: Callable[[str], Mapping[str, Any] | None] = staticmethod(lambda reference: None)

    def __init__(self, app: Mapping[str, Any], public_url: str) -> None:
        self.app: dict[str, Any] = {setting.key: setting.read(app.get(setting.key)) for setting in self.app_settings}
        self.public_url = public_url

    def manifest_files(self, facts: AppFacts) -> dict[str, str]:
        """What the platform wants to be told of the app, as its own files by name; none where it wants nothing."""
        del facts
        return {}

    @classmethod
    def reference_of(cls, url: str) -> str:
        """What a store at this address calls itself, where that is its address: one whose keys were typed in is known again by it."""
        del url
        return ""

    def state_of(self, request: RawRequest) -> str:
        """The state that a store names which hands over keys by itself, for an install that was begun here; empty where there is none."""
        del request
        return ""

    def begin(self, told: Mapping[str, str], state: str, back: str) -> str:
        """The address at which the merchant agrees; `state` comes back with the answer to `back`. `told` is what the merchant typed, or the
        platform's own query. Raises: InvalidInput naming what was typed wrongly.
        """
        raise NotImplementedError

    def finish(self, request: RawRequest, told: Mapping[str, str], back: str) -> Installed:
        """Check the platform's answer and take the keys. `told` is what `begin` was told."""
        raise NotImplementedError

    def named(self, request: RawRequest) -> str:
        """Which store a request for our page says it comes from, not to be believed: it decides who may frame an empty page."""
        del request
        return ""

    def visit(self, request: RawRequest) -> Visitor | None:
        """Who asks for our page, by the token that the platform put into this request; None where there is none."""
        del request
        return None

    def exchange(self, visitor: Visitor) -> Installed:
        """The keys of the store whose admin opened our page, where the platform gives them for the visit."""
        raise NotImplementedError

    def home(self, reference: str) -> str:
        """Where the merchant opens the app in the store's own admin; empty where that has no address of its own."""
        del reference
        return ""

    def shopper(self, request: RawRequest) -> Shopper | None:
        """Who asks for messages in the storefront, by the platform's own means (`Capability.IN_APP`); None where it has none."""
        del request
        return None

    @abstractmethod
    def frame(self, reference: str) -> Frame:
        """What a page of this store needs in order to be shown in the platform's admin."""
