"""Sending: a round of mails to a server that takes everything, against the bare dialogue; and what claiming and settling take of it."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Row, update

from benchmarks import data
from benchmarks.harness import Options, Result, benchmark, seconds
from benchmarks.mail_server import Sink, mail_server
from benchmarks.planning import DAWN
from benchmarks.sending_worker import BOX, NOON, send
from crm_plugin.records import SendResult
from crm_plugin.store import attempts, touchpoint_contents, touchpoints
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import claims, journeys, recipes, senders
from crm_plugin.touchpoints.calling import Pace
from crm_plugin.touchpoints.dispatch import MOST_CLAIM
from crm_plugin.touchpoints.plan import plan_shop
from crm_plugin.touchpoints.render import Rendered
from crm_plugin.touchpoints.settling import Outcome, begin, settle
from crm_plugin.touchpoints.states import State

SENDER = "shop@lantern.example"
_MADE = Rendered("en", "Happy birthday", "Happy birthday!\n" * 20, "<p>Happy birthday!</p>" * 200)


@benchmark("sending")
def sending(options: Options) -> Iterator[Result]:
    """Up to 10,000 birthday mails: guards, claim, render, send, settle; the limit is smtplib handing over as many on one connection."""
    count = max(min(options.members // 10, 10_000), 100)
    with mail_server() as sink, data.stocked(min(options.members, 1_000), options.seed) as (database, shop):
        data.load(database, shop, data.celebrants(count, 10_000_000))
        set_up(database, shop, sink)
        plan_shop(database, shop, NOON)
        options.say(f"{count:,} mails")
        ours, handed, settled = [], [], []
        for _ in range(options.repeats):
            plan_again(database)
            sent: list[int] = []
            ours.append(seconds(lambda: sent.append(send(database, shop)), wall=True))  # noqa: B023
            assert sent == [count], f"{sent} of {count} mails were taken"
            handed.append(seconds(lambda: _hand_over(sink, count), wall=True))
            plan_again(database)
            settled.append(seconds(lambda: claim_and_settle(database, shop), wall=True))
    rate = count / min(ours)
    yield Result(
        "sending: a round",
        rate,
        count / min(handed),
        "mails/s",
        None,
        True,
        "smtplib, one kept connection",
        {"mails": count},
    )
    yield Result(
        "sending: claim and settle",
        count / min(settled),
        rate,
        "mails/s",
        10,
        True,
        "our own delivery",
        {"mails": count},
    )


def set_up(database: Database, shop: Shop, sink: Sink, **settings: Any) -> None:
    """Birthday mails by SMTP to that server, at so many connections as are usual unless the `settings` of the sender say otherwise."""
    values = {"host": sink.host, "port": sink.port, "security": "none", "from_address": SENDER, **settings}
    senders.save_connection(database, BOX, shop, "smtp", values, DAWN)
    with database.write() as connection:
        recipes.install(connection, shop, DAWN)
        journeys.switch(connection, shop, "birthday", True, DAWN)


def _hand_over(sink: Sink, count: int) -> None:
    body = f"Subject: {_MADE.subject}\r\n\r\n{_MADE.text}{_MADE.html}".encode()
    with smtplib.SMTP(sink.host, sink.port) as server:
        for number in range(count):
            server.sendmail(SENDER, [f"member{number}@example.test"], body)


def plan_again(database: Database) -> None:
    """All touchpoints as they were before anything was sent."""
    with database.write() as connection:
        connection.execute(attempts.delete())
        connection.execute(touchpoint_contents.delete())
        connection.execute(
            update(touchpoints).values(
                state=State.PLANNED.value, attempts=0, provider_message_id=None, claimed_until=None, reason="",
                next_try_at=touchpoints.c.due_at, settled_at=None,
            )
        )  # fmt: skip


def claim_and_settle(database: Database, shop: Shop, at: datetime = NOON) -> None:
    """What a round writes for its mails, without guards, rendering and sending."""
    while rows := claims.claim(database, shop.shop_id, at, MOST_CLAIM, resting=()):
        for group in (rows[place : place + Pace.MOST] for place in range(0, len(rows), Pace.MOST)):
            begin(database, [(row, _MADE) for row in group], at)
            settle(database, [_accepted(row, at) for row in group])


def _accepted(row: Row[Any], at: datetime) -> Outcome:
    return Outcome(row, State.ACCEPTED, at, attempt=1, result=SendResult(f"<{row.touchpoint_id}@bench>"))
