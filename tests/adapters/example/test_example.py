"""The example passes the kit, and an installed distribution of it is found, connected and synced."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import responses

import crm_plugin
from crm_plugin.adapters.storefronts.calls import Calls
from crm_plugin.adapters.testing import Person, Sale, Store, StorefrontKit, serve
from crm_plugin.store.session import Database
from tests.adapters.example.corner_fake import HOOK_SECRET, TOKEN, URL, CornerFake
from tests.adapters.example.corner_store import CornerStore

HERE = Path(__file__).parent
PROJECT = Path(crm_plugin.__file__).parent.parent
_CONNECT_AND_SYNC = """
import json, sys
from datetime import UTC, datetime
from crm_plugin.adapters.registry import storefront_class
from crm_plugin.store import metadata
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database, make_engine
from crm_plugin.sync.connect import add_shop, open_storefront
from crm_plugin.sync.pull import sync_shop
db, box, now = Database(make_engine("sqlite://")), SecretBox("A" * 43 + "="), datetime(2026, 2, 2, tzinfo=UTC)
metadata.create_all(db.engine)
shop = add_shop(db, box, name="corner", platform="corner_store", credentials=json.loads(sys.argv[1]), now=now)
report = sync_shop(db, shop, open_storefront(db, box, shop), now=now).as_dict()
found = storefront_class("corner_store")
print(json.dumps([sys.modules[found.__module__].__file__, found.__module__, shop.currency, report]))
"""


class TestKit(StorefrontKit):
    adapter = CornerStore
    store_type = CornerFake

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        made = CornerFake()
        with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
            mock.add_callback("GET", re.compile(rf"{re.escape(URL)}/.*"), made.respond, content_type=None)
            mock.add_passthru("http://127.0.0.1")
            yield made

    @pytest.fixture
    def database(self, sqlite_db: Database) -> Database:
        return sqlite_db

    def open(self, store: Store) -> CornerStore:
        calls = Calls("corner_store", sleep=lambda _: None, clock=lambda: store.now.timestamp())
        keys = {"base_url": store.served_at or URL, "token": TOKEN, "hook_secret": HOOK_SECRET}
        adapter = CornerStore(keys, calls=calls)
        adapter.page_size = store.page_size
        return adapter

    def test_forty_cases_apply(self) -> None:
        assert sum(self.cases().values()) >= 40


def test_example_is_short() -> None:
    assert len((HERE / "corner_store" / "__init__.py").read_text().splitlines()) < 200


@pytest.mark.slow
def test_installed_distribution_is_found_connected_and_synced(tmp_path: Path) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    shutil.copy(HERE / "pyproject.toml", source)
    shutil.copytree(HERE / "corner_store", source / "corner_store", ignore=shutil.ignore_patterns("__pycache__"))
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--no-compile", "-q", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True, timeout=120)
    store = CornerFake()
    buyer = store.put(Person(email="a@example.test"))
    store.put(Sale(person=buyer, email="a@example.test"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(PROJECT)])}
    with serve(store) as address:
        keys = json.dumps({"base_url": address, "token": TOKEN, "hook_secret": HOOK_SECRET})
        done = subprocess.run(
            [sys.executable, "-c", _CONNECT_AND_SYNC, keys],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    file, module, currency, report = json.loads(done.stdout)
    assert (module, currency) == ("corner_store", "EUR")
    assert Path(file).is_relative_to(site)
    assert {name: told["records"] for name, told in report["streams"].items()} == {
        "members": 1,
        "orders": 1,
        "refunds": 0,
    }
