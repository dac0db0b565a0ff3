"""Where providers report: only what they signed is taken, once, and the answer says nothing more than it must."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections import Counter
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import insert, select, update

from crm_plugin.errors import TransientError
from crm_plugin.jobs import metrics
from crm_plugin.runtime import Runtime
from crm_plugin.store import connections, delivery_events, hook_counts, members, touchpoints
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import intake, senders
from crm_plugin.web import hooks
from tests.factories import NOON, make_shop, member, write
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


def _told(**changed: str) -> dict[str, str]:
    return {**FORM, **changed}


def _counted(runtime: Runtime, shop_id: int = 1) -> dict[str, int]:
    with runtime.db.read() as connection:
        return {one.reason.value: one.number for one in hook_counts.counts(connection, shop_id)}


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


_URL = f"{PUBLIC_URL}{PATH}"
# What comes: the form, whose signature, how it is answered, what is counted, and the state of the message afterwards.
ODD: dict[str, tuple[dict[str, str], str, int, dict[str, int], str]] = {
    "unsigned": (FORM, "", 403, {"forged": 1}, "accepted"),
    "wrong key": (FORM, _signature(_URL, FORM, "other"), 403, {"forged": 1}, "accepted"),
    "wrong address": (FORM, _signature(f"http://localhost{PATH}", FORM), 403, {"forged": 1}, "accepted"),
    "changed form": ({**FORM, "MessageStatus": "failed"}, _signature(_URL, FORM), 403, {"forged": 1}, "accepted"),
    "half a body": ({"MessageSid": "SM1"}, _signature(_URL, FORM), 403, {"forged": 1}, "accepted"),
    "fields without end": ({f"f{n}": "" for n in range(500)}, "x", 400, {"malformed": 1}, "accepted"),
    "too large": ({"Body": "x" * hooks.LARGEST}, "x", 413, {"oversized": 1}, "accepted"),
    "new word": (_told(MessageStatus="teleported"), "", 204, {"unknown": 1}, "accepted"),
    "no word": (_told(MessageStatus=""), "", 204, {"unknown": 1}, "accepted"),
    "no message of ours": (_told(MessageSid="SM-other"), "", 204, {"unmatched": 1}, "accepted"),
    "no message at all": (_told(MessageSid=""), "", 204, {}, "accepted"),
    "id without end": (_told(MessageSid="S" * 100_000), "", 204, {"unmatched": 1}, "accepted"),
    "error without end": (_told(ErrorCode="9" * 5000), "", 204, {}, "delivered"),
    "NUL in it": (_told(MessageStatus="de\0livered", To="+49\0"), "", 204, {"unknown": 1}, "accepted"),
}


@pytest.mark.usefixtures("texted")
def test_whatever_is_odd_is_refused_or_harmless_and_counted(stranger: FlaskClient, runtime: Runtime) -> None:
    before = {name: number for name, number in rows(runtime).items() if name not in ("job_runs", "delivery_events")}
    found, wanted, counted = {}, {}, Counter[str]()
    for name, (form, signature, status, reasons, state) in ODD.items():
        with runtime.db.write() as connection:
            connection.execute(update(touchpoints).values(state="accepted"))
            connection.execute(delivery_events.delete())
        answer = _report(stranger, form, signature or (_signature(_URL, form) if status == 204 else ""))
        assert answer.data == b""
        counted.update(reasons)
        found[name] = (answer.status_code, _counted(runtime), _state(runtime)[0])
        wanted[name] = (status, dict(counted), state)
        assert _state(runtime)[1] == (status == 204 and bool(form.get("MessageSid"))), name
    assert found == wanted
    assert {name: number for name, number in rows(runtime).items() if name in before} == before


@pytest.mark.usefixtures("texted")
def test_replayed_and_reordered_reports_move_nothing(stranger: FlaskClient, runtime: Runtime) -> None:
    told = ("delivered", "delivered", "read", "sent", "queued", "failed", "undelivered", "delivered")
    for status in told:
        form = _told(MessageStatus=status)
        assert _report(stranger, form, _signature(_URL, form)).status_code == 204
    # Twilio tells no time: what came last, bounced, came later. Its first word came again, twice.
    assert _state(runtime) == ("bounced", 6)
    assert _counted(runtime) == {"repeated": 2, "late": 3}


@pytest.mark.usefixtures("texted")
def test_body_that_breaks_off_is_told_from_a_forged_one(stranger: FlaskClient, runtime: Runtime) -> None:
    answer = stranger.post(PATH, data=FORM, environ_overrides={"CONTENT_LENGTH": "500"})
    assert (answer.status_code, _counted(runtime), _state(runtime)) == (400, {"truncated": 1}, ("accepted", 0))


@pytest.mark.usefixtures("texted")
def test_report_at_another_shop_is_refused_there(stranger: FlaskClient, runtime: Runtime) -> None:
    with runtime.db.write() as connection:
        other = make_shop(connection, 2)
    path = f"/hooks/{other.name}/twilio"
    signed = _signature(f"{PUBLIC_URL}{path}", FORM)
    assert _report(stranger, FORM, signed, path).status_code == 404
    settings = {"account_sid": "AC2", "auth_token": "another", "from_number": "+15550100124"}
    senders.save_connection(runtime.db, runtime.box, other, "twilio", settings, NOON, probe=False)
    assert _report(stranger, FORM, signed, path).status_code == 403
    assert _counted(runtime, other.shop_id) == {"not_set_up": 1, "forged": 1}
    assert (_counted(runtime), _state(runtime)) == ({}, ("accepted", 0))


@pytest.mark.usefixtures("texted")
def test_figures_tell_of_each_shop_why(stranger: FlaskClient, runtime: Runtime, shop: Shop) -> None:
    for _ in range(2):
        _report(stranger, FORM, "")
    told = metrics.exposition(runtime).decode()
    assert f'crm_hooks_total{{adapter="twilio",reason="forged",shop="{shop.name}"}} 2.0' in told
    assert 'job="hooks"' not in told


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
    assert (_state(runtime), _counted(runtime)) == (("accepted", 0), {"not_taken": 1})


@pytest.mark.usefixtures("texted")
def test_reports_are_only_posted(stranger: FlaskClient) -> None:
    assert stranger.get(PATH).status_code == 405
