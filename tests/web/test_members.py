"""What a merchant reads about members, what a filter says back, and what writing down a consent leaves."""

from __future__ import annotations

import csv
import re
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import event, select

from crm_plugin.clock import FixedClock
from crm_plugin.records import ConsentRecord, ConsentState, OrderLineRecord, OrderStatus
from crm_plugin.rules.tiers import Level, apply, save_levels
from crm_plugin.runtime import Runtime
from crm_plugin.store import audit_log, consent, consents, members, touchpoints
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.web import member_list
from crm_plugin.web.member_file import safe
from crm_plugin.web.pages import members as page_module
from tests.factories import NOON, make_shop, member, order, refund, write
from tests.web.conftest import Page, Post, words

YES = (
    ConsentRecord(
        channel="email", state=ConsentState.GRANTED, at=NOON - timedelta(days=90), source="woocommerce:order"
    ),
)
GOLD = Level("gold", "spent(days=365) >= 100 and orders() >= 2", {"en": "Gold", "zh-CN": "金卡"})
PLATINUM = Level("platinum", "spent(days=365) >= 500 and not tag('staff')", {"en": "Platinum"})


def _days_ago(days: int) -> datetime:
    return NOON - timedelta(days=days)


@pytest.fixture
def people(runtime: Runtime, shop: Shop) -> dict[str, int]:
    """Ada, who is worth something; Bo, who has nothing but a phone; a guest."""
    db = runtime.db
    ada = member(
        "1",
        email="ada@x.test",
        first_name="Ada",
        last_name="Byron",
        locale="ja",
        country="JP",
        timezone="Asia/Tokyo",
        birth_month=12,
        birth_day=10,
        joined_at=_days_ago(400),
        tags=("vip",),
        attributes={"shoe size": "38"},
        consents=YES,
    )
    write(db, shop, [ada, member("2", phone="+4930123456", first_name="Bo")])
    lines = (OrderLineRecord(sku="LS-1", title="Linen shirt", quantity=2, total_minor=12_000),)
    guest = member("", email="guest@x.test", first_name="Gus")
    write(
        db,
        shop,
        [
            order("o1", 12_000, number="1042", member_external_id="1", placed_at=_days_ago(40), lines=lines),
            order("o2", 6_000, number="1043", member_external_id="1", placed_at=_days_ago(10)),
            order(
                "o3", 900, number="1044", member_external_id="1", status=OrderStatus.CANCELLED, placed_at=_days_ago(5)
            ),
            order("o4", 2_000, number="1045", contact=guest, placed_at=_days_ago(3)),
        ],
    )
    write(db, shop, [refund("r1", 3_000, order_external_id="o2", refunded_at=_days_ago(8), reason="Too small")])
    with db.write() as connection:
        save_levels(connection, shop, [GOLD, PLATINUM], NOON)
    apply(db, shop, as_of=NOON.date(), now=NOON)
    with db.read() as connection:
        return {row.first_name: row.member_id for row in connection.execute(select(members))}


def test_empty_shop_teaches(page: Page) -> None:
    told = words(page("members"))
    assert "No members yet" in told
    assert "See your store" in told


def test_list_says_who_they_are(page: Page, people: dict[str, int]) -> None:
    html = page("members")
    told = words(html)
    assert "3 members." in told
    assert "Ada Byron ada@x.test Gold 2 €150.00 May 22, 2026" in told
    assert "Bo +4930123456 – 0 €0.00 none yet" in told
    assert "Gus Guest guest@x.test – 1 €20.00 May 29, 2026" in told
    assert "All 3 Platinum 0 Gold 1 No tier 2" in told
    assert f"/s/shop-1/members/{people['Ada']}" in html


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=byr", ["Ada"]),
        ("q=%2B4930", ["Bo"]),
        ("tier=gold", ["Ada"]),
        ("tier=-", ["Bo", "Gus"]),
        ("rule=orders()+==+1", ["Gus"]),
    ],
)
def test_filters_narrow(page: Page, people: dict[str, int], query: str, found: list[str]) -> None:
    html = page(f"members?{query}")
    assert [name for name, one in people.items() if f'/members/{one}"' in html] == found
    matching = "1 matches" if len(found) == 1 else f"{len(found)} match"
    assert f"3 members, {matching}." in words(html)


def test_rule_is_said_back(page: Page, people: dict[str, int]) -> None:
    told = words(page("members?rule=spent(days=365) >= 100"))
    assert "Members whose amount spent in the last 365 days is at least 100 EUR: 1 of 3 members" in told


@pytest.mark.parametrize(
    ("lives", "told"),
    [
        ({"timezone": "America/New_York"}, "Time zone America/New York"),
        ({"country": "US"}, "Time zone Any zone of United States"),
        ({"country": "US", "region": "TX"}, "Time zone Any zone of TX, United States"),
    ],
)
def test_zone_that_is_not_known_is_told_as_a_place(
    runtime: Runtime, shop: Shop, page: Page, lives: dict[str, str], told: str
) -> None:
    write(runtime.db, shop, [member("1", email="a@x.test", **lives)])
    with runtime.db.read() as connection:
        mine = connection.execute(select(members.c.member_id)).scalar_one()
    assert told in words(page(f"members/{mine}"))


def test_rule_with_typo_lists_nobody(page: Page, people: dict[str, int]) -> None:
    told = words(page("members?rule=spend() >= 1", status=422))
    assert "Line 1, column 1: There is no field 'spend'. Did you mean spent?" in told
    assert "Ada" not in told.replace("Ada, or ada@…", "")


def test_count_follows_typing(post: Post, people: dict[str, int]) -> None:
    answer = post("members/count", {"rule": "orders() >= 2", "q": ""}, headers={"HX-Request": "true"})
    assert answer.status_code == 200
    assert words(answer.text) == "Members whose number of orders is at least 2: 1 of 3 members"
    wrong = post("members/count", {"rule": "orders() >="}, headers={"HX-Request": "true"})
    assert wrong.status_code == 422
    assert words(wrong.text).startswith("Line 1, column 12: The rule ends too early.")


def _statements(runtime: Runtime) -> list[str]:
    """What is asked of the database from now on."""
    asked: list[str] = []
    event.listen(runtime.db.engine, "before_cursor_execute", lambda *told: asked.append(told[2]))
    return asked


def test_list_by_a_rule_does_not_wait_for_the_count(
    page: Page, post: Post, runtime: Runtime, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_module, "PAGE", 4)
    monkeypatch.setattr(member_list, "MOST", 6)
    write(runtime.db, shop, [member(str(number), first_name="Ann") for number in range(9)])
    write(runtime.db, shop, [order(f"o{number}", 100 * number, member_external_id=str(number)) for number in range(9)])
    asked = _statements(runtime)
    for place in ("members?rule=spent()+>=+1", "members?rule=spent()+>=+1&after=5"):
        html = page(place)
        assert "data-live-now" in html
        assert "9 members." in words(html)
        assert [one for one in asked if "count(" in one and "facts" in one] == []
    assert "Members whose amount spent is at least 1 EUR: more than 4 of 9 members" in words(html)
    assert "Download them all as a CSV file" in words(html)
    # It is asked for afterwards, and goes no further than anybody reads.
    told = words(post("members/count", {"rule": "spent() >= 1"}).text)
    assert told == "Members whose amount spent is at least 1 EUR: more than 6 of 9 members"
    (counted,) = [one for one in asked if "count(" in one and "facts" in one]
    assert "LIMIT" in counted
    assert "5 of 9 members" in words(post("members/count", {"rule": "spent() >= 4"}).text)
    # One page that holds all of them has counted them.
    asked.clear()
    html = page("members?rule=spent()+>=+5")
    assert "9 members, 4 match." in words(html)
    assert "data-live-now" not in html
    assert [one for one in asked if "count(" in one and "facts" in one] == []
    assert "9 members, more than 6 match." in words(page("members?q=ann"))


def test_nobody_matches_offers_the_way_back(page: Page, people: dict[str, int]) -> None:
    told = words(page("members?q=zzz"))
    assert "3 members, 0 match." in told
    assert "Nobody matches" in told


def test_pages_hold_each_once(page: Page, runtime: Runtime, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "PAGE", 4)
    write(runtime.db, shop, [member(str(n), first_name=f"N{n}") for n in range(9)])
    seen: list[str] = []
    path = "members?rule=everyone"
    while path:
        html = page(path)
        seen += re.findall(r">(N\d)</a>", html)
        more = re.search(r'href="/s/shop-1/(members\?[^"]*after=[^"]*)"', html)
        path = more[1].replace("&amp;", "&") if more else ""
    assert sorted(seen) == [f"N{n}" for n in range(9)]


def test_markup_in_a_name_is_text(page: Page, runtime: Runtime, shop: Shop) -> None:
    write(runtime.db, shop, [member("9", first_name="<script>alert(1)</script>", attributes={"<b>": "<i>x</i>"})])
    with runtime.db.read() as connection:
        one = connection.execute(select(members.c.member_id)).scalar_one()
    for html in (page("members"), page(f"members/{one}"), page("members?q=<script>")):
        assert "<script>alert" not in html
        assert "&lt;script&gt;" in html
    assert "<i>x" not in page(f"members/{one}")


def test_export_is_safe_for_spreadsheets(
    client: FlaskClient, runtime: Runtime, shop: Shop, people: dict[str, int]
) -> None:
    write(runtime.db, shop, [member("7", first_name='=HYPERLINK("x")', email="eve@x.test")])
    answer = client.get('/s/shop-1/members.csv?rule=not tag("vip")')
    assert answer.status_code == 200
    assert answer.content_type == "text/csv; charset=utf-8"
    assert "members-shop-1-2026-06-01.csv" in answer.headers["Content-Disposition"]
    assert answer.text.startswith("\ufeffstore_id,")
    rows = {row["name"]: row for row in csv.DictReader(StringIO(answer.text.lstrip("\ufeff")))}
    assert sorted(rows) == ['\'=HYPERLINK("x")', "Bo", "Gus"]
    assert rows["Bo"]["phone"] == "'+4930123456"
    assert rows["Gus"] | {"store_id": "", "orders": "1", "spent": "20.00", "currency": "EUR"} == rows["Gus"]
    with runtime.db.read() as connection:
        noted = connection.execute(select(audit_log).where(audit_log.c.action == "members.export")).one()
    assert (noted.actor, noted.detail["members"]) == ("page:owner", 3)


def test_export_of_a_wrong_rule_is_refused(client: FlaskClient, runtime: Runtime, people: dict[str, int]) -> None:
    assert client.get("/s/shop-1/members.csv?rule=nonsense(").status_code == 422
    with runtime.db.read() as connection:
        assert connection.execute(select(audit_log).where(audit_log.c.action == "members.export")).all() == []


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@sum", "\t=1", "\r=1"])
def test_formula_gets_an_apostrophe(text: str) -> None:
    assert safe(text) == f"'{text}"
    assert safe(f"a{text}") == f"a{text}"


def test_one_member_in_figures_and_words(page: Page, people: dict[str, int]) -> None:
    told = words(page(f"members/{people['Ada']}"))
    assert "Spent €150.00 after refunds" in told
    assert "Orders 2 €90.00 on average" in told
    assert "Refunds 1 €30.00" in told
    assert "Last order 10 days ago May 22, 2026" in told
    assert "Language Japanese Country Japan Birthday December 10" in told
    assert "Tags vip shoe size 38" in told


def test_lunar_birthday_is_said(page: Page, runtime: Runtime, shop: Shop, people: dict[str, int]) -> None:
    born = {"birth_year": 1985, "birth_month": 4, "birth_day": 12, "birth_lunar": True}
    write(runtime.db, shop, [member("2", phone="+4930123456", first_name="Bo", **born)])
    assert "Birthday day 12 of month 4 of 1985 in the Chinese lunar calendar" in words(page(f"members/{people['Bo']}"))


@pytest.mark.slow
def test_tier_says_why_and_what_is_missing(page: Page, people: dict[str, int]) -> None:
    told = words(page(f"members/{people['Ada']}"))
    assert (
        "Gold : Members whose amount spent in the last 365 days is at least 100 EUR and whose number of orders is at least 2"
        in told
    )
    assert "✓ Amount spent in the last 365 days is at least 100 EUR : holds Now: €150.00" in told
    assert (
        "Missing for Platinum ✗ Amount spent in the last 365 days is at least 500 EUR : does not hold Now: €150.00 · €350.00 more"
        in told
    )
    assert "✓ Do not have the tag “staff” : holds Now: no" in told
    bo = words(page(f"members/{people['Bo']}"))
    assert "No level yet: no rule fits. Missing for Gold" in bo
    assert "2 more" in bo
    assert "This is enough: €350.00 more in orders, by" in told
    assert (
        "Any one of these would end it: €50.01 given back by itself on Apr 22, 2027: the order of Apr 22, 2026 leaves the span"
        in told
    )
    assert "This is enough: 2 more orders, €100.00 in all" in bo


def test_tier_that_no_longer_fits_says_so(page: Page, people: dict[str, int], clock: FixedClock) -> None:
    clock.move(days=366)
    told = words(page(f"members/{people['Ada']}"))
    assert "Today no rule fits any more. They leave the tier with the next daily run." in told


@pytest.mark.slow
def test_story_is_told_newest_first(page: Page, people: dict[str, int]) -> None:
    told = words(page(f"members/{people['Ada']}")).partition("What happened")[2]
    parts = [
        "Came into the tier Gold It is for members whose amount spent in the last 365 days is at least 100 EUR",
        "On that day: amount spent in the last 365 days: €150.00, number of orders: 2.",
        "Jun 1, 2026 14:00 (21:00 where they are)",
        "Order 1044: €9.00 cancelled, does not count",
        "Refund on order 1043: €30.00 Too small",
        "Order 1042: €120.00 completed 2 × Linen shirt €120.00",
        "Agreed: E-mail WooCommerce (with an order)",
        "Account made in your store",
    ]
    places = [told.find(part) for part in parts]
    assert -1 not in places, told
    assert places == sorted(places)


@pytest.mark.slow
def test_guest_is_told_apart(page: Page, people: dict[str, int]) -> None:
    assert "Guest ordered without an account" in words(page(f"members/{people['Gus']}"))
    assert "Account 1" in words(page(f"members/{people['Ada']}"))


def test_deleted_member_is_marked(page: Page, runtime: Runtime, shop: Shop, people: dict[str, int]) -> None:
    write(runtime.db, shop, [member("2", deleted=True)])
    assert "Deleted in your store" in words(page(f"members/{people['Bo']}"))
    assert "2 members." in words(page("members"))
    assert "no member" in words(page("members/5", status=404))


def test_guests_address_leads_to_the_account(
    client: FlaskClient, runtime: Runtime, shop: Shop, people: dict[str, int]
) -> None:
    write(runtime.db, shop, [member("8", email="other@x.test")])
    write(runtime.db, shop, [member("8", email="guest@x.test", updated_at=NOON)], NOON + timedelta(hours=1))
    with runtime.db.read() as connection:
        account = connection.execute(select(members.c.member_id).where(members.c.external_id == "8")).scalar_one()
    assert account != people["Gus"]
    answer = client.get(f"/s/shop-1/members/{people['Gus']}")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/s/shop-1/members/{account}")


def _consent(post: Post, member_id: int, **told: str) -> Any:
    return post(f"members/{member_id}/consent", {"channel": "email", "state": "withdrawn", "note": "By phone", **told})


def _waiting(runtime: Runtime, shop: Shop, member_id: int) -> None:
    """A birthday greeting that waits for the member."""
    draft = read_draft({"key": "greet", "trigger": {"type": "birthday", "days": 0}, "channels": ["email"]})
    at = NOON + timedelta(hours=2)
    with runtime.db.write() as connection:
        journeys.save(connection, shop, draft, NOON)
        connection.execute(
            touchpoints.insert().values(
                shop_id=1, touchpoint_id=77, journey_key="greet", member_id=member_id, occasion="2026", state="planned",
                reason="quiet_hours", channel="email", adapter="smtp", address="ada@x.test", occasion_on=NOON.date(),
                due_at=at, next_try_at=at, valid_until=at + timedelta(days=1), planned_at=NOON, updated_at=NOON,
            )
        )  # fmt: skip


@pytest.mark.slow
def test_waiting_and_held_back_are_shown(
    page: Page, post: Post, runtime: Runtime, shop: Shop, people: dict[str, int]
) -> None:
    _waiting(runtime, shop, people["Ada"])
    told = words(page(f"members/{people['Ada']}"))
    assert "greet , E-mail Waiting Quiet hours Jun 1, 2026 16:00 (23:00 where they are)" in told
    answer = _consent(post, people["Ada"])
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/s/shop-1/members/{people['Ada']}#consents")
    told = words(page(f"members/{people['Ada']}"))
    assert "Recorded." in told
    assert "1 waiting message was held back." in told
    assert "E-mail said no since Jun 1, 2026, recorded by you" in told
    assert "Held back lately, and why greet Held back Jun 1, 2026 · No permission" in told
    with runtime.db.read() as connection:
        row = connection.execute(select(touchpoints.c.state, touchpoints.c.reason)).one()
        said = connection.execute(
            select(consents).order_by(consents.c.recorded_at.desc(), consents.c.consent_id.desc())
        ).first()
        noted = connection.execute(select(audit_log).where(audit_log.c.action == "consent.record")).one()
    assert tuple(row) == ("skipped", "no_consent")
    assert said is not None
    assert (said.source, said.wording, said.proof, said.state) == (
        "merchant",
        "By phone",
        {"actor": "page:owner"},
        "withdrawn",
    )
    assert (noted.actor, noted.detail["channel"]) == ("page:owner", "email")


def test_yes_is_written_down(page: Page, post: Post, runtime: Runtime, people: dict[str, int]) -> None:
    assert _consent(post, people["Bo"], channel="sms", state="granted", note="Card at the till").status_code == 303
    with runtime.db.read() as connection:
        assert consent.state_of(connection, 1, people["Bo"], "sms", "marketing") is ConsentState.GRANTED
    assert "Text message agreed since Jun 1, 2026, recorded by you" in words(page(f"members/{people['Bo']}"))


@pytest.mark.parametrize(
    ("told", "error"),
    [
        ({"note": " "}, "Write how and when they said so"),
        ({"channel": "note"}, "Choose one of these."),
        ({"state": "maybe"}, "Choose one of these."),
    ],
)
def test_incomplete_consent_is_refused(
    post: Post, runtime: Runtime, people: dict[str, int], told: dict[str, str], error: str
) -> None:
    answer = _consent(post, people["Bo"], **told)
    assert answer.status_code == 422
    assert error in words(answer.text)
    with runtime.db.read() as connection:
        assert connection.execute(select(consents).where(consents.c.member_id == people["Bo"])).all() == []


def test_consent_only_from_our_page_and_signed_in(
    client: FlaskClient, stranger: FlaskClient, runtime: Runtime, people: dict[str, int]
) -> None:
    path, data = f"/s/shop-1/members/{people['Bo']}/consent", {"channel": "sms", "state": "granted", "note": "x"}
    assert client.post(path, data=data, headers={"Origin": "https://evil.example"}).status_code == 403
    assert stranger.post(path, data=data).status_code == 401
    assert client.post("/s/shop-1/members/5/consent", data=data).status_code == 404
    for address in ("members", "members.csv", f"members/{people['Ada']}"):
        answer = stranger.get(f"/s/shop-1/{address}")
        assert answer.status_code == 401
        assert "ada@x.test" not in answer.text
    with runtime.db.read() as connection:
        assert connection.execute(select(consents).where(consents.c.source == "merchant")).all() == []


def test_blocked_address_is_told(page: Page, runtime: Runtime, people: dict[str, int]) -> None:
    with runtime.db.write() as connection:
        consent.suppress(connection, 1, "email", "ada@x.test", reason="bounce", at=NOON, source="smtp")
    assert "Blocked addresses ada@x.test (E-mail) mail came back for good, Jun 1, 2026" in words(
        page(f"members/{people['Ada']}")
    )


def test_other_shops_members_are_not_there(client: FlaskClient, runtime: Runtime, people: dict[str, int]) -> None:
    with runtime.db.write() as connection:
        make_shop(connection, 2)
    assert client.get(f"/s/shop-2/members/{people['Ada']}").status_code == 404
    assert "Ada" not in client.get("/s/shop-2/members").text
