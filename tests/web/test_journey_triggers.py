"""The page of a journey with each type of trigger: it opens, says what starts it, and saves what it shows."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from sqlalchemy import insert

from crm_plugin.rules.triggers import KINDS
from crm_plugin.runtime import Runtime
from crm_plugin.store import connections
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys as store
from crm_plugin.touchpoints.journey_document import read_draft
from tests.factories import NOON
from tests.touchpoints.test_triggers import EACH
from tests.web.conftest import Page, Post


class _Fields(HTMLParser):
    """The fields of the form with the id `journey`, as a browser would send them."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, str] = {}
        self._inside = False
        self._select = self._area = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag == "form":
            self._inside = told.get("id") == "journey"
        name = told.get("name") or ""
        if not self._inside:
            return
        if tag == "input" and name and (told.get("type") != "radio" or "checked" in told):
            self.values[name] = told.get("value") or ""
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select and ("selected" in told or self._select not in self.values):
            self.values[self._select] = told.get("value") or ""
        elif tag == "textarea":
            self._area = name
            self.values[name] = ""

    def handle_data(self, data: str) -> None:
        if self._area:
            self.values[self._area] += data

    def handle_endtag(self, tag: str) -> None:
        self._select = "" if tag == "select" else self._select
        self._area = "" if tag == "textarea" else self._area
        self._inside = self._inside and tag != "form"


@pytest.mark.parametrize("kind", KINDS)
def test_page_saves_what_it_shows(runtime: Runtime, shop: Shop, page: Page, post: Post, kind: str) -> None:
    told = {"key": "it", "trigger": {"type": kind, **EACH[kind]}, "channels": ["email"]}
    with runtime.db.write() as connection:
        row = {"adapter": "smtp", "channel": "email", "settings": b"", "enabled": True, "status": "ok"}
        connection.execute(insert(connections).values(shop_id=shop.shop_id, updated_at=NOON, **row))
        store.save(connection, shop, read_draft(told), NOON)
        before = store.get(connection, shop.shop_id, "it")
    seen = page("journeys/it")
    fields = _Fields()
    fields.feed(seen.text if hasattr(seen, "text") else str(seen))
    assert post("journeys/it", {**fields.values, "do": "save"}).status_code == 303
    with runtime.db.read() as connection:
        after = store.get(connection, shop.shop_id, "it")
    assert (after.trigger, after.version) == (before.trigger, before.version)
