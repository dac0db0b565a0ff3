"""plugin.yaml says what the code registers, all of it and nothing else."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

import crm_plugin
from crm_plugin.adapters.base import Capability, Setting
from crm_plugin.adapters.registry import channel_class, channel_names, platform_of, storefront_class, storefront_names
from crm_plugin.adapters.storefronts.base import FileStorefront
from crm_plugin.app import create_app
from crm_plugin.clock import FixedClock
from crm_plugin.config import ENVIRONMENT, Config
from crm_plugin.errors import ConfigError, InvalidInput
from crm_plugin.jobs.queue import Queue
from crm_plugin.jobs.tasks import JOBS
from crm_plugin.manifest import AdapterEntry, Manifest, load_manifest, read_manifest
from crm_plugin.resources import manifest_path
from crm_plugin.runtime import Runtime
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.touchpoints.settings import ROW_SETTINGS, SETTINGS
from crm_plugin.web.pages import navigation
from tests.factories import NOON

PROJECT = Path(crm_plugin.__file__).parent.parent


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return load_manifest()


@pytest.fixture
def app(sqlite_db: Database, tmp_path: Path) -> Iterator[Flask]:
    config = Config(database_url="", data_dir=tmp_path, public_url="https://crm.example")
    runtime = Runtime(config=config, db=sqlite_db, box=SecretBox("A" * 43 + "="), clock=FixedClock(NOON))
    queue = Queue(runtime)
    yield create_app(runtime, queue)
    queue.close()


def test_identity_is_the_packages(manifest: Manifest) -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert manifest.name == project["name"]
    assert manifest.version == crm_plugin.__version__
    assert manifest.license == project["license"]
    assert manifest.compatibility.python == project["requires-python"]
    assert [one.name for one in manifest.compatibility.databases] == ["SQLite", "PostgreSQL"]


def test_platforms_are_the_storefronts(manifest: Manifest) -> None:
    told = [(one.storefront, one.name) for one in manifest.compatibility.platforms]
    assert told == [(name, storefront_class(name).label) for name in storefront_names()]


def test_storefronts_are_registered(manifest: Manifest) -> None:
    assert [one.adapter for one in manifest.storefronts] == storefront_names()
    for one in manifest.storefronts:
        adapter = storefront_class(one.adapter)
        assert one.label == adapter.label
        assert set(one.capabilities) == adapter.capabilities
        assert tuple(one.streams) == adapter.streams


def test_channels_are_registered(manifest: Manifest) -> None:
    assert [one.adapter for one in manifest.channels] == channel_names()
    for one in manifest.channels:
        adapter = channel_class(one.adapter)
        assert (one.label, one.channel, one.uses_storefront) == (
            adapter.label,
            adapter.channel,
            adapter.uses_storefront,
        )
        assert set(one.capabilities) == adapter.capabilities


def test_scopes_are_what_the_code_uses(manifest: Manifest) -> None:
    asked = {name for name in storefront_names() if not issubclass(storefront_class(name), FileStorefront)}
    assert set(manifest.scopes) == asked
    assert all(platform_of(name) == channel_class(name).uses_storefront for name in channel_names())
    written = {channel_class(name).uses_storefront for name in channel_names()} - {""}
    written |= {name for name in storefront_names() if storefront_class(name).holds_tiers()}
    for platform, scopes in manifest.scopes.items():
        plain = {"read": True, **({"write": False} if platform in written else {})}
        wanted = list((storefront_class(platform).scopes or plain).items())
        assert [(scope.scope, scope.required) for scope in scopes] == wanted


def test_webhooks_are_those_of_reporting_senders(manifest: Manifest) -> None:
    reporting = [name for name in channel_names() if Capability.DELIVERY_EVENTS in channel_class(name).capabilities]
    assert [(hook.adapter, hook.path) for hook in manifest.webhooks] == [
        (name, f"/hooks/<shop>/{name}") for name in reporting
    ]


def test_environment_is_the_config(manifest: Manifest) -> None:
    told = [(one.name, one.help, one.secret) for one in manifest.settings.environment]
    assert told == [(one.name, one.help, one.secret) for one in ENVIRONMENT]


def test_shop_settings_are_the_policys(manifest: Manifest) -> None:
    told = [(one.key, one.label, one.help) for one in manifest.settings.shop]
    assert told == [(one.key, one.label, one.help) for one in (*ROW_SETTINGS, *SETTINGS)]


def _entry(setting: Setting) -> AdapterEntry:
    # An empty default is no default.
    return AdapterEntry(
        key=setting.key,
        label=setting.label,
        type=setting.type,
        required=setting.required,
        default=setting.default or None,
        choices=setting.choices,
        hidden=setting.hidden,
    )


def test_adapter_settings_are_the_forms(manifest: Manifest) -> None:
    adapters = {name: storefront_class(name) for name in storefront_names()}
    classes = {**adapters, **{name: channel_class(name) for name in channel_names()}}
    assert list(manifest.settings.adapters) == list(classes)
    for name, told in manifest.settings.adapters.items():
        assert told == [_entry(setting) for setting in classes[name].settings]


def test_jobs_are_the_clocks(manifest: Manifest) -> None:
    told = [(one.name, one.every_seconds, one.help) for one in manifest.jobs]
    assert told == [(job.name, job.every_seconds, job.help) for job in JOBS]


def test_pages_are_the_navigation(manifest: Manifest, app: Flask) -> None:
    for language, field in (("en", "en"), ("zh", "zh_cn")):
        with app.test_request_context(f"/healthz?lang={language}"):
            app.preprocess_request()
            shown = [(key, str(title)) for key, title in navigation()]
        assert [(page.key, getattr(page.title, field)) for page in manifest.pages] == shown


def test_addresses_are_the_routes(manifest: Manifest, app: Flask) -> None:
    """All that outside parties call; what is left are the merchant's own pages and the way in to them."""
    merchants = re.compile(r"/$|/s/|/connect$|/enter/|/leave$")
    routes: dict[str, set[str]] = {}
    for rule in app.url_map.iter_rules():
        if not merchants.match(rule.rule):
            routes.setdefault(rule.rule, set()).update(rule.methods or ())
    # Flask answers OPTIONS by itself; only what pages of other sites ask for is meant to.
    kept = {
        path: methods - {"HEAD", *(() if "inapp" in path or path.endswith("/shopper") else ("OPTIONS",))}
        for path, methods in routes.items()
    }
    assert {one.path: set(one.methods) for one in manifest.addresses} == kept


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("name: crm-plugin", "nam: crm-plugin", "plugin.yaml, name: Field required"),
        ("capabilities: [backfill,", "capabilities: [teleport,", "plugin.yaml, storefronts.0.capabilities.0"),
        ("    - scope: write", "    - scop: write", "plugin.yaml, scopes.woocommerce.1.scope"),
        ("manifest: 1", "manifest: 2", "plugin.yaml, manifest"),
        ("every_seconds: 300", "every_seconds: -1", "plugin.yaml, jobs.0.every_seconds"),
    ],
)
def test_wrong_manifest_names_the_place(old: str, new: str, words: str) -> None:
    text = manifest_path().read_text(encoding="utf-8")
    assert old in text
    with pytest.raises(ConfigError) as caught:
        read_manifest(text.replace(old, new, 1))
    assert words in caught.value.message


def test_manifest_is_strict_yaml() -> None:
    with pytest.raises(InvalidInput, match="line 2, column 1"):
        read_manifest("name: a\nname: b\n")
