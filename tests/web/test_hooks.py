"""Where providers report: only what they signed is taken, once, and the answer says nothing more than it must."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import insert, select

from crm_plugin.errors import TransientError
from crm_plugin.runtime import Runtime
from crm_plugin.store import connections, delivery_events, members, touchpoints
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import intake
from tests.factories import NOON, member, write
from tests.web.conftest import PUBLIC_URL
from tests.web.test_auth import rows

FORM = {"MessageSid": "SM1", "MessageStatus": "delivered", "To": "+4930123456", "From": "+15550100123"}
PATH = "/hooks/shop-1/twilio"


@pytest.fixture
def texted(runtime: Runtime, shop: Shop) -> None:
    """Twilio is set up and has taken one text."""
    settings = {"account_sid": "AC1", "auth_token": "token", "from_number": "+15550100123"}
    write(runtime.db, shop, [member("1", phone="+4930123456")])
    row = {"adapter": "twilio", "channel": "sms", "enabled": True, "status": "ok", "updated_at": NOON}
    with runtime.db.write() as connection:
        sealed = runtime.box.seal(settings)
        connection.execute(insert(connections).values(shop_id=shop.shop_id, settings=sealed, **row))
        who = connection.execute(select(members.c.member_id)).scalar_one()
        times = ("due_at", "next_try_at", "valid_until", "planned_at", "updated_at", "accepted_at")
        connection.execute(
            insert(touchpoints).values(
                shop_id=shop.shop_id,
                touchpoint_id=5,
                journey_key="birthday",
                member_id=who,
                occasion="2026-06-01",
                occasion_on=NOON.date(),
                state="accepted",
                channel="sms",
                adapter="twilio",
                address="+4930123456",
                provider_message_id="SM1",
                **dict.fromkeys(times, NOON),
            )
        )


def _signature(url: str, form: dict[str, str], token: str = "token") -> str:
    text = url + "".join(f"{key}{form[key]}" for key in sorted(form))
    return base64.b64encode(hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()).decode()


def _report(browser: FlaskClient, form: dict[str, str], signature: str, path: str = PATH) -> Any:
    return browser.post(path, data=form, headers={"X-Twilio-Signature": signature})


def _state(runtime: Runtime) -> tuple[str, int]:
    with runtime.db.read() as connection:
        state = connection.execute(select(touchpoints.c.state)).scalar_one()
        return str(state), len(connection.execute(select(delivery_events.c.event_id)).all())


@pytest.mark.usefixtures("texted")
def test_signed_report_is_taken_once(stranger: FlaskClient, runtime: Runtime) -> None:
    # Twilio signs the address it was told, which is the public one, however the request came to this machine.
    signature = _signature(f"{PUBLIC_URL}{PATH}", FORM)
    for _ in range(2):
        answer = _report(stranger, FORM, signature)
        assert (answer.status_code, answer.data) == (204, b"")
    assert _state(runtime) == ("delivered", 1)


@pytest.mark.usefixtures("texted")
@pytest.mark.parametrize(
    ("form", "signature"),
    [
        (FORM, ""),
        (FORM, _signature(f"{PUBLIC_URL}{PATH}", FORM, "other")),
        (FORM, _signature(f"http://localhost{PATH}", FORM)),
        ({**FORM, "MessageStatus": "failed"}, _signature(f"{PUBLIC_URL}{PATH}", FORM)),
    ],
    ids=["unsigned", "wrong key", "wrong address", "changed form"],
)
def test_unsigned_report_changes_nothing(
    stranger: FlaskClient, runtime: Runtime, form: dict[str, str], signature: str
) -> None:
    before = rows(runtime)
    answer = _report(stranger, form, signature)
    assert (answer.status_code, answer.data) == (403, b"")
    assert _state(runtime) == ("accepted", 0)
    assert rows(runtime) == before


@pytest.mark.parametrize(
    "path", ["/hooks/nobody/twilio", "/hooks/shop-1/fax", "/hooks/shop-1/twilio", "/hooks/shop-1/inapp"]
)
def test_unknown_place_is_not_there(stranger: FlaskClient, shop: Shop, path: str) -> None:
    answer = _report(stranger, FORM, "x", path)
    assert (answer.status_code, answer.data) == (404, b"")


@pytest.mark.usefixtures("texted")
def test_own_trouble_asks_for_another_try(
    stranger: FlaskClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: Any, **__: Any) -> None:
        raise TransientError("not now")

    monkeypatch.setattr(intake, "receive", breaks)
    assert _report(stranger, FORM, "x").status_code == 503
    assert _state(runtime) == ("accepted", 0)


@pytest.mark.usefixtures("texted")
def test_reports_are_only_posted(stranger: FlaskClient) -> None:
    assert stranger.get(PATH).status_code == 405
