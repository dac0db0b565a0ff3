"""Whether a demo is as it must be: counts as made, nothing twice, a one-click unsubscribe that works, every page in both languages."""

from __future__ import annotations

import re
from collections import Counter
from email import message_from_bytes, policy

import requests
from sqlalchemy import select

from crm_plugin import rounds
from crm_plugin.demo.run import Demo
from crm_plugin.http_client import make_session
from crm_plugin.records import ConsentState
from crm_plugin.store import consent
from crm_plugin.store.touchpoints import touchpoints
from crm_plugin.touchpoints.tokens import read_unsubscribe

PAGES = ("today", "members", "segments", "tiers", "journeys", "tasks", "outbox", "connections")
LANGUAGES = ("en", "zh")


def check(demo: Demo) -> None:
    """Fill `demo.report.pages` and `demo.report.wrong`."""
    _figures(demo)
    _again(demo)
    _unsubscribe(demo)
    _pages(demo)


def _expect(demo: Demo, what: str, found: object, wanted: object) -> None:
    if found != wanted:
        demo.report.wrong.append(f"{what}: {found}, not {wanted}")


def _figures(demo: Demo) -> None:
    report, counts = demo.report, demo.made.counts
    for name in ("accounts", "members", "orders", "refunds"):
        _expect(demo, name, getattr(report, name), counts[name])
    _expect(demo, "records that could not be read", report.problems, 0)
    _expect(demo, "rows written by a second sync", report.second_sync_rows, 0)
    for channel, arrived in (("email", report.mails), ("sms", report.texts), ("note", report.notes)):
        _expect(demo, f"{channel} messages that arrived", arrived, report.sent.get(channel, 0))
    if not report.mails:
        demo.report.wrong.append("no mail was sent")
    for state in ("in_flight", "unconfirmed"):
        _expect(demo, f"messages {state}", report.states.get(state, 0), 0)
    # Some made-up people have addresses that no mail server takes, as in any shop.
    failed = report.states.get("failed", 0) - report.reasons.get("recipient_refused", 0)
    _expect(demo, "messages that failed though their address is good", failed, 0)


def _again(demo: Demo) -> None:
    """The same round once more sends nothing, and nobody got one message twice."""
    before = len(demo.mails.messages) + len(demo.texts.messages) + len(demo.served.notes)
    rounds.tick(demo.runtime, demo.shop, demo.runtime.clock.now())
    after = len(demo.mails.messages) + len(demo.texts.messages) + len(demo.served.notes)
    _expect(demo, "messages sent by the same round again", after - before, 0)
    ids = Counter(str(message_from_bytes(mail.data)["Message-ID"]) for mail in demo.mails.messages)
    _expect(demo, "mails sent twice", sum(count - 1 for count in ids.values()), 0)


def _unsubscribe(demo: Demo) -> None:
    """Press the button that a mail program shows, and look at what it left."""
    mail = message_from_bytes(demo.mails.messages[0].data, policy=policy.default) if demo.mails.messages else None
    found = re.search(r"<(https?://[^>]+)>", str(mail["List-Unsubscribe"])) if mail else None
    if found is None:
        demo.report.wrong.append("a mail carries no one-click unsubscribe")
        return
    answer = requests.post(found[1], data={"List-Unsubscribe": "One-Click"}, timeout=10)
    _expect(demo, "answer to a one-click unsubscribe", answer.status_code, 200)
    about = read_unsubscribe(demo.runtime.box, found[1].rpartition("/")[2])
    with demo.runtime.db.read() as connection:
        state = consent.state_of(connection, about.shop_id, about.member_id, about.channel, about.topic)
    _expect(demo, "consent after it", state, ConsentState.WITHDRAWN)


def _pages(demo: Demo) -> None:
    """Sign in by the link's button and open every page, one member and one message, in both languages."""
    with make_session() as browser:
        browser.post(demo.link)
        with demo.runtime.db.read() as connection:
            query = select(touchpoints.c.touchpoint_id, touchpoints.c.member_id).where(
                touchpoints.c.shop_id == demo.shop.shop_id, touchpoints.c.state == "accepted"
            )
            one = connection.execute(query.limit(1)).first()
        paths = [*PAGES, "segments/best", *([f"members/{one.member_id}", f"outbox/{one.touchpoint_id}"] if one else [])]
        for language in LANGUAGES:
            for path in paths:
                answer = browser.get(f"{demo.url}/s/{demo.shop.name}/{path}?lang={language}")
                name = f"{path.partition('/')[0]}{'/one' if '/' in path else ''} ({language})"
                demo.report.pages[name] = answer.status_code
                _expect(demo, f"page {name}", answer.status_code, 200)
        refused = requests.get(f"{demo.url}/s/{demo.shop.name}/members", timeout=10)
        _expect(demo, "answer without signing in", refused.status_code, 401)
