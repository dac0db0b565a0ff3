"""The whole contract against a real Medusa: `./dev live medusa`. Connecting, reading, changes, webhooks, writing, and leaving."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from crm_plugin.adapters.storefronts.medusa import MedusaStorefront
from crm_plugin.records import (
    CouponOrder,
    MemberRecord,
    OrderRecord,
    OrderStatus,
    ProductRecord,
    RawRequest,
    Record,
    StoreEvent,
    Stream,
    TierMark,
)
from tests.live.application import LiveCrm, running
from tests.live.machine import free_port, say
from tests.live.medusa.crm import NAME, connect, look_into_the_admin
from tests.live.medusa.server import SECRET, LiveMedusa
from tests.live.medusa.shop import Shop, give_back, order, register, set_up


class Listener:
    """Where the companion sends what it hears; `requests` are kept as they came. Questions for customers go on to `crm`, as they are."""

    def __init__(self, crm: str) -> None:
        self.requests: list[RawRequest] = []
        kept = self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {k.lower(): v for k, v in self.headers.items()}
                if self.path.endswith("/shopper"):
                    proof = {"X-CRM-Proof": headers.get("x-crm-proof", "")}
                    told = requests.post(f"{crm}/hooks/{NAME}/medusa/shopper", data=body, headers=proof, timeout=10)
                    self._answer(told.status_code, told.content)
                    return
                kept.append(RawRequest("POST", self.path, headers, body))
                self._answer(200, b"")

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Nothing is said."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/events"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def read(store: MedusaStorefront, stream: Stream, cursor: str = "") -> tuple[dict[str, Record], str]:
    """Everything of a stream from the cursor on."""
    found: dict[str, Record] = {}
    for page in store.pages(stream, cursor):
        assert [(one.reason, one.path) for one in page.problems] == []
        found |= {record.external_id: record for record in page.records}
        cursor = page.next_cursor
    return found, cursor


def one(store: MedusaStorefront, stream: Stream, name: str) -> Any:
    """A record that is there."""
    record = store.reread(stream, name)
    assert record is not None, name
    return record


def heard(store: MedusaStorefront, listener: Listener, topic: str, name: str) -> StoreEvent:
    """The event that the companion forwarded, once it is there."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        for request in list(listener.requests):
            store.verify_webhook(request)
            for event in store.parse_webhook(request):
                if (event.topic, event.external_id) == (topic, name):
                    return event
        time.sleep(0.2)
    raise AssertionError(f"{topic} of {name} was not told; told: {[r.body[:80] for r in listener.requests]}")


def steps(live: LiveMedusa, listener: Listener, crm: LiveCrm) -> Iterator[str]:
    """What is checked, each said once it is so."""
    wrong = MedusaStorefront({"url": live.url, "key": "sk_wrong"})
    assert [problem.code for problem in wrong.check()] == ["unauthorised"]
    wrong.close()
    yield "a wrong key is told"
    shop = set_up(live)
    store = MedusaStorefront({"url": f"{live.url}/app", "key": live.key, "webhook_secret": SECRET}, page_size=2)
    assert store.check() == []
    info = store.shop_info()
    assert (info.name, info.currency) == ("Teas", "TWD")
    yield "connected"
    yield from _reading(live, listener, store, shop)
    yield from _writing(live, store, shop)
    yield from _showing(live, crm, shop)
    yield from _leaving(live, store, crm)
    store.close()


def _reading(live: LiveMedusa, listener: Listener, store: MedusaStorefront, shop: Shop) -> Iterator[str]:
    token = register(live, shop, "a@example.com", metadata={"birthday": "1990-01-05", "newsletter": True})
    for number in range(4):
        register(live, shop, f"b{number}@example.com")
    guest = order(live, shop, "guest@example.com")
    # Ordered with an account's e-mail without being signed in: Medusa gives it to the account.
    order(live, shop, "a@example.com")
    own = order(live, shop, "a@example.com", token)
    products, _ = read(store, Stream.PRODUCTS)
    product = products[shop.variant]
    assert isinstance(product, ProductRecord)
    assert (product.title, product.price_minor, product.cost_minor, product.currency) == (
        "Tea / 100 g",
        30000,
        12000,
        "TWD",
    )
    members, at_members = read(store, Stream.MEMBERS)
    assert set(members) == set(shop.accounts), members
    assert store.count(Stream.MEMBERS) == len(shop.accounts)
    assert set(store.external_ids(Stream.MEMBERS) or ()) == set(shop.accounts)
    member = members[shop.accounts[0]]
    assert isinstance(member, MemberRecord)
    assert (member.birth_year, member.birth_month, member.birth_day) == (1990, 1, 5)
    assert len(member.consents) == 1
    orders, at_orders = read(store, Stream.ORDERS)
    assert set(orders) == set(shop.orders)
    told = [record for record in orders.values() if isinstance(record, OrderRecord)]
    assert {(one.currency, one.total_minor, one.shipping_minor) for one in told} == {("TWD", 36000, 6000)}
    assert {one.external_id: one.member_external_id for one in told} == {
        name: "" if name == guest["id"] else shop.accounts[0] for name in shop.orders
    }
    assert {one.status for one in told} == {OrderStatus.PENDING}
    yield "history: products, members, guests beside accounts, orders"
    heard(store, listener, "order.placed", guest["id"])
    heard(store, listener, "customer.created", shop.accounts[0])
    yield "the companion told of orders and customers"
    since = datetime.now(UTC) - timedelta(seconds=2)
    before = one(store, Stream.ORDERS, guest["id"])
    paying = live.call("GET", f"/admin/orders/{guest['id']}?fields=*payment_collections.payments")["order"]
    payment = paying["payment_collections"][0]["payments"][0]["id"]
    time.sleep(1.1)
    live.call("POST", f"/admin/payments/{payment}/capture", {})
    after = one(store, Stream.ORDERS, guest["id"])
    assert after.updated_at == before.updated_at, "capturing moves the order now: it need not be unseen any more"
    assert after.status is OrderStatus.PAID
    assert after.paid_at is not None
    heard(store, listener, "payment.captured", guest["id"])
    passed = {record.external_id for page in store.second_pass(since) for record in page.records}
    assert guest["id"] in passed
    yield "a capture is found by the second pass, and told by the companion with its order"
    live.call("POST", f"/admin/payments/{payment}/refund", {"amount": 60})
    refunded = one(store, Stream.ORDERS, guest["id"])
    assert [(one.amount_minor, one.refunded_at is not None) for one in refunded.refunds or ()] == [(6000, True)]
    assert refunded.total_minor == 36000
    give_back(live, shop, guest)
    live.call("POST", f"/admin/payments/{payment}/refund", {"amount": 300})
    back = one(store, Stream.ORDERS, guest["id"])
    assert (back.total_minor, [line.total_minor for line in back.lines]) == (36000, [30000])
    assert sum(one.amount_minor for one in back.refunds or ()) == 36000
    assert back.status is OrderStatus.REFUNDED
    changed, at_orders = read(store, Stream.ORDERS, at_orders)
    assert guest["id"] in changed
    live.call("POST", f"/admin/orders/{own['id']}/cancel", {})
    assert one(store, Stream.ORDERS, own["id"]).status is OrderStatus.CANCELLED
    heard(store, listener, "order.canceled", own["id"])
    yield "refunds and cancellations"
    live.call("POST", f"/admin/customers/{shop.accounts[1]}", {"first_name": "Wei"})
    changed, _ = read(store, Stream.MEMBERS, at_members)
    found = changed[shop.accounts[1]]
    assert isinstance(found, MemberRecord)
    assert found.first_name == "Wei"
    live.call("DELETE", f"/admin/customers/{shop.accounts[4]}")
    assert store.reread(Stream.MEMBERS, shop.accounts[4]) is None
    yield "changes and deletions of accounts"


def _writing(live: LiveMedusa, store: MedusaStorefront, shop: Shop) -> Iterator[str]:
    name = shop.accounts[0]
    for _ in range(2):
        at = store.write_tier(name, TierMark("main", "gold", "Gold", 1))
        record = one(store, Stream.MEMBERS, name)
        assert (record.marks, record.updated_at, record.birth_year) == ({"main": "gold"}, at, 1990)
    assert store.check_tiers() == []
    store.write_tier(name, TierMark("main", ""))
    assert one(store, Stream.MEMBERS, name).marks == {}
    yield "levels"
    store.write_tags(name, ["vip", "tea"], [])
    store.write_tags(name, ["vip"], ["tea", "never there"])
    assert one(store, Stream.MEMBERS, name).tags == ("vip",)
    yield "tags are groups"
    ends = datetime.now(UTC) + timedelta(days=30)
    wanted = CouponOrder(
        "live-1", "Live", ("LIVE-A", "LIVE-B"), percent=Decimal("12.5"), ends_at=ends, references=(name,)
    )
    for _ in range(2):
        made = store.create_coupons(wanted)
        assert [(one.code, one.is_restricted, one.error) for one in made] == [
            ("LIVE-A", True, None),
            ("LIVE-B", True, None),
        ]
    assert live.call("GET", "/admin/promotions")["count"] == 2
    (fixed,) = store.create_coupons(CouponOrder("live-2", "Live", ("LIVE-C",), amount_minor=5050, currency="TWD"))
    assert fixed.error is None
    (taken,) = store.create_coupons(CouponOrder("live-3", "Other", ("LIVE-C",), percent=Decimal(5)))
    assert taken.error is not None
    assert taken.error.code == "code_taken"
    yield "coupons, made once"


def _showing(live: LiveMedusa, crm: LiveCrm, shop: Shop) -> Iterator[str]:
    known = connect(crm, live)
    crm.write_to(known, shop.accounts[0], "For you alone")
    asked = {"x-publishable-api-key": shop.publishable}
    address = f"{live.url}/store/customers/me/crm"
    assert requests.get(address, headers=asked, timeout=30).status_code == 401
    password = {"email": "a@example.com", "password": "live-password"}
    token = live.call("POST", "/auth/customer/emailpass", password)["token"]
    told = requests.get(address, headers={**asked, "Authorization": f"Bearer {token}"}, timeout=30).json()
    assert told["script"] == f"{crm.url}/static/inapp.js"
    seen = requests.get(
        f"{crm.url}/inapp/messages", headers={"Authorization": f"Bearer {told['token']}"}, timeout=30
    ).json()
    assert [one["title"] for one in seen["messages"]] == ["For you alone"]
    yield "a signed-in customer's storefront gets their messages; nobody else's does"
    pictures = look_into_the_admin(live, crm, live.folder)
    yield f"our page in the admin, framed and signed in, light and dark: {', '.join(map(str, pictures))}"


def _leaving(live: LiveMedusa, store: MedusaStorefront, crm: LiveCrm) -> Iterator[str]:
    found = live.call("GET", "/admin/crm/connect")
    assert found["page"] == f"{crm.url}/install/medusa/page?store={quote(live.url, safe='')}"
    yield "the companion's route answers the staff"
    key = next(one for one in live.call("GET", "/admin/api-keys?type=secret")["api_keys"] if one["title"] == "CRM")
    live.call("POST", f"/admin/api-keys/{key['id']}/revoke", {})
    assert [problem.code for problem in store.check()] == ["unauthorised"]
    yield "a revoked key is told"


def main() -> None:
    """Install, seed, check, take down."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), free_port()) as crm:
        listener = Listener(crm.url)
        try:
            with LiveMedusa(listener.url, crm.url) as live:
                for done in steps(live, listener, crm):
                    say(f"  {done}")
        finally:
            listener.stop()
    say(f"Medusa keeps the contract ({time.monotonic() - began:.0f} s).")


if __name__ == "__main__":
    main()
