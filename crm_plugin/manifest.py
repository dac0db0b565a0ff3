"""`plugin.yaml` as typed values: what the plugin is, needs, asks for and does. A test holds the file equal to what the code registers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crm_plugin import __version__
from crm_plugin.adapters.base import Capability, SettingType
from crm_plugin.adapters.storefronts.installing import AppFacts
from crm_plugin.errors import ConfigError
from crm_plugin.events import DeliveryEventKind
from crm_plugin.records import Stream
from crm_plugin.resources import manifest_path
from crm_plugin.touchpoints import documents


class _Part(BaseModel):
    """Nothing that is not named here may stand in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Words(_Part):
    """The same in the languages of the product."""

    en: str = Field(min_length=1)
    zh_cn: str = Field(alias="zh-CN", min_length=1)


class Versions(_Part):
    """Versions of something we work with: those that may work, and the one it was tested with."""

    name: str
    versions: str
    tested: str
    note: str = ""


class Platform(Versions):
    """A store platform; `storefront` is the adapter's name."""

    storefront: str


class Compatibility(_Part):
    """What the plugin runs on and with."""

    python: str
    databases: list[Versions]
    platforms: list[Platform]


class Scope(_Part):
    """A right that the merchant gives us on the platform, and why we ask for it."""

    scope: str
    required: bool
    reason: Words


class Webhook(_Part):
    """What an outside party calls us with: an adapter's provider, the address, and the words it may say."""

    adapter: str
    path: str
    events: list[DeliveryEventKind]
    reason: Words


class Address(_Part):
    """An address that must be reachable from outside, and for whom."""

    path: str
    methods: list[Literal["GET", "POST", "OPTIONS"]]
    reason: Words


class EnvironmentEntry(_Part):
    """A setting of the whole process, read from the environment."""

    name: str
    help: str
    secret: bool = False


class ShopEntry(_Part):
    """A setting of one shop, which its merchant decides."""

    key: str
    label: str
    help: str


class AdapterEntry(_Part):
    """A setting of one adapter: a field of its form, unless it is hidden."""

    key: str
    label: str
    type: SettingType = SettingType.TEXT
    required: bool = True
    default: Any = None
    choices: tuple[str, ...] = ()
    hidden: bool = False


class Settings(_Part):
    """Everything that can be set, by who sets it."""

    environment: list[EnvironmentEntry]
    shop: list[ShopEntry]
    adapters: dict[str, list[AdapterEntry]]


class Storefront(_Part):
    """A platform that members and orders come from."""

    adapter: str
    label: str
    capabilities: list[Capability]
    streams: list[Stream] = []


class Channel(_Part):
    """A way to a member; `uses_storefront` names the platform whose connection it uses."""

    adapter: str
    label: str
    channel: Literal["email", "sms", "inapp", "note", "webhook"]
    capabilities: list[Capability]
    uses_storefront: str = ""


class JobEntry(_Part):
    """What runs in the background; `every_seconds` 0 is only when somebody asks for it."""

    name: str
    every_seconds: int = Field(ge=0)
    help: str


class Page(_Part):
    """A page of the settings page, and the question it answers."""

    key: str
    title: Words
    question: Words


class Manifest(_Part):
    """The whole file."""

    manifest: Literal[1]
    name: str
    title: Words
    version: str
    license: str
    homepage: str = ""
    description: Words
    compatibility: Compatibility
    scopes: dict[str, list[Scope]]
    webhooks: list[Webhook]
    addresses: list[Address]
    settings: Settings
    storefronts: list[Storefront]
    channels: list[Channel]
    jobs: list[JobEntry]
    pages: list[Page]


def read_manifest(text: str) -> Manifest:
    """The manifest of a YAML text. Raises: InvalidInput for what is no YAML, ConfigError naming the first place that is wrong."""
    try:
        return Manifest.model_validate(documents.read(text, "plugin.yaml"))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"plugin.yaml, {place}: {first['msg']}.", hint="Install crm-plugin again.") from error


def load_manifest() -> Manifest:
    """The manifest that came with this version of the product. Raises: ConfigError."""
    return read_manifest(manifest_path().read_text(encoding="utf-8"))


def facts_of(manifest: Manifest, platform: str, homepage: str) -> AppFacts:
    """What it says of the app and of its rights on a platform, for the platform's own files."""
    scopes = {one.scope: one.required for one in manifest.scopes.get(platform, [])}
    return AppFacts(manifest.name, __version__, manifest.title.en, manifest.description.en, homepage, scopes)
