"""Connections tells what customers asked for by law, and gives the file to hand on."""

from __future__ import annotations

from flask.testing import FlaskClient

from crm_plugin.runtime import Runtime
from crm_plugin.store.tenants import Shop
from crm_plugin.sync import privacy
from tests.factories import NOON, member, write


def test_file_is_downloaded_and_the_request_done(client: FlaskClient, runtime: Runtime, shop: Shop) -> None:
    assert 'id="privacy"' not in client.get("/s/shop-1/connections").get_data(as_text=True)
    write(runtime.db, shop, [member("7", email="ada@b.test")])
    with runtime.db.write() as connection:
        asked = privacy.ask(connection, shop, privacy.EXPORT, "7", {"email": "ada@b.test"}, "store:csv", NOON)
    page = client.get("/s/shop-1/connections").get_data(as_text=True)
    assert "ada@b.test" in page
    assert "by Jul 1, 2026" in page
    file = client.post(f"/s/shop-1/connections/privacy/{asked}")
    assert file.headers["Content-Disposition"] == f'attachment; filename="customer-data-{asked}.json"'
    assert file.get_json()["tables"]["members"][0]["email"] == "ada@b.test"
    assert "done on Jun 1, 2026" in client.get("/s/shop-1/connections").get_data(as_text=True)
