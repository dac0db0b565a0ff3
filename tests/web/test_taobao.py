"""Pages of a Taobao shop: what only Alibaba can switch on; its grades, which are shown, looked at, and set only then."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import responses
from sqlalchemy import update

from crm_plugin.clock import FixedClock
from crm_plugin.runtime import Runtime
from crm_plugin.store import audit_log, shops
from crm_plugin.store.tenants import Shop
from tests.adapters.storefronts.taobao.fake_top import VALUES, Refused, Top
from tests.web.conftest import Page, Post, words

TYPED = {"by": "amount", "least_1": "100", "least_2": "2000", "off_2": "5"}


@pytest.fixture
def top(runtime: Runtime, shop: Shop) -> Iterator[Top]:
    """shop-1 as a Taobao shop whose silver is grade 2."""
    keys = runtime.box.seal({**VALUES, "grades": "silver=2"})
    with runtime.db.write() as connection:
        connection.execute(update(shops).values(platform="taobao", currency="CNY", credentials=keys))
    gateway = Top(now=datetime.now(UTC))
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        gateway.install(mock)
        yield gateway


def test_page_tells_days_before_the_agreement_ends(top: Top, page: Page, runtime: Runtime, clock: FixedClock) -> None:
    ends_at = clock.now() + timedelta(days=6, hours=3)
    for reference, leads in (("", False), ("seller", True)):
        keys = runtime.box.seal({**VALUES, "session_ends_at": ends_at.isoformat()})
        with runtime.db.write() as connection:
            connection.execute(update(shops).values(credentials=keys, reference=reference))
        html = page("connections")
        text = words(html)
        assert "The shop's agreement with the app ends on 2026-06-07 (whole days left: 6)." in text
        assert "Let the shop's owner agree to the app again before that day: from then on nothing is read." in text
        assert ('href="/install/taobao"' in html) is leads
    assert not top.calls
    keys = runtime.box.seal({**VALUES, "session_ends_at": (ends_at + timedelta(days=30)).isoformat()})
    with runtime.db.write() as connection:
        connection.execute(update(shops).values(credentials=keys))
    assert "agreement with the app" not in words(page("connections"))


def test_nothing_is_set_before_it_was_looked_at(top: Top, page: Page, post: Post, runtime: Runtime) -> None:
    assert "Grade 4 from" in words(page("tiers/grades"))
    html = post("tiers/grades", {**TYPED, "do": "look"}).text
    assert "What would change in your store" in html
    assert "CN¥2,000.00" in words(html)
    assert top.calls["taobao.crm.grade.set"] == 0
    told = post("tiers/grades", {**TYPED, "do": "set"}, follow_redirects=True).text
    assert "The grades are set in your store." in words(told)
    assert [row["discount"] for row in top.grades] == [1000, 1000, 950]
    assert 'value="2000' in page("tiers/grades")
    assert "Nothing: it is set like this already." in words(post("tiers/grades", {**TYPED, "do": "look"}).text)
    with runtime.db.read() as connection:
        assert [row.actor[:5] for row in connection.execute(audit_log.select())].count("page:") == 1


def test_what_is_wrong_stands_at_its_field(top: Top, post: Post) -> None:
    answer = post("tiers/grades", {**TYPED, "least_2": "50", "do": "look"})
    assert answer.status_code == 422
    assert "Each grade has to begin higher than the one below." in words(answer.text)
    top.before = lambda _method, _params: (_ for _ in ()).throw(Refused(11, "isv.permission-api-package-empty"))
    answer = post("tiers/grades", {**TYPED, "do": "set"})
    assert answer.status_code == 422
    assert "permission package that holds taobao.crm.grade.get" in words(answer.text)
    assert top.grades == []


@pytest.mark.parametrize(
    ("lang", "said"), [("en", "What only Alibaba can switch on"), ("zh", "只有阿里巴巴能开通的事项")]
)
def test_what_only_alibaba_can_switch_on_is_told(top: Top, page: Page, lang: str, said: str) -> None:
    for path in ("connections", "connections/store"):
        told = words(page(f"{path}?lang={lang}"))
        assert said in told
        assert "ouid" in told
