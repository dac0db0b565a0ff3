"""The whole path on a made-up shop: connect it, sync it, assign tiers, plan and send through one simulated day, show the pages.

Everything is real but the shop and the two sinks: the WooCommerce adapter over HTTP, the database, the clock's own jobs, SMTP, the pages.
"""

from __future__ import annotations

import shutil
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime, time, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from crm_plugin import rounds
from crm_plugin.adapters.base import Problem
from crm_plugin.app import create_app
from crm_plugin.clock import Clock, FixedClock, MovedClock, SystemClock, at_local, local_day
from crm_plugin.config import Config
from crm_plugin.demo import mail_sink, server, sms_sink
from crm_plugin.demo.counts import of_shop
from crm_plugin.demo.mail_sink import MailSink
from crm_plugin.demo.server import ServedShop
from crm_plugin.demo.shop import TIMEZONE, DemoShop, generate
from crm_plugin.demo.sms_sink import SmsSink
from crm_plugin.errors import ConfigError
from crm_plugin.jobs import tasks
from crm_plugin.jobs.queue import Queue
from crm_plugin.runtime import Runtime
from crm_plugin.store import migrate
from crm_plugin.store.tenants import Shop, shop_by_id
from crm_plugin.touchpoints import outbox, senders
from crm_plugin.web.auth import sign_in_path
from crm_plugin.web.server import HOST, listening

NAME = "lantern"
PORT = 8000
# The clock's rounds of the simulated day, from midnight to six in the evening of the shop: members in Asia are met first, in America last.
_LAST_HOUR = 18


@dataclass(slots=True)
class Report:
    """What came of the demo; `wrong` says what is not as it must be, in words."""

    on: str = ""
    accounts: int = 0
    members: int = 0
    orders: int = 0
    refunds: int = 0
    products: int = 0
    problems: int = 0
    second_sync_rows: int = 0
    tiers: dict[str, int] = field(default_factory=dict)
    states: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    mails: int = 0
    texts: int = 0
    notes: int = 0
    pages: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ok": not self.wrong}


@dataclass(frozen=True, slots=True)
class Demo:
    """A running demo: where its page is, and the parts that checks look at."""

    url: str
    link: str
    report: Report
    runtime: Runtime
    queue: Queue
    shop: Shop
    made: DemoShop
    served: ServedShop
    mails: MailSink
    texts: SmsSink


Say = Callable[[str], None]


@contextmanager
def run(
    folder: Path, *, members: int = 3000, seed: int = 7, on: date, port: int = PORT, say: Say = lambda _text: None
) -> Iterator[Demo]:
    """Make, sync and play the shop's day in `folder` (made anew), and serve its page until the end of the block."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    say(f"Making a shop of {members:,} members and three years ...")
    made = generate(seed=seed, members=members, years=3, until=on)
    with ExitStack() as stack:
        served = stack.enter_context(server.serve(made))
        mails = stack.enter_context(mail_sink.serve())
        texts = stack.enter_context(sms_sink.serve())
        port = free_port(port)
        runtime = _open(folder, f"http://{HOST}:{port}", FixedClock(at_local(on, time(0), TIMEZONE)))
        stack.callback(runtime.close)
        report = Report(on=on.isoformat())
        say("Syncing it through WooCommerce's REST API ...")
        shop = _connect(runtime, served, mails, texts, report)
        say("Playing its day, hour by hour ...")
        shop = _decide(runtime, shop)
        evening = _play(runtime, shop, at_local(on, time(0), TIMEZONE), report)
        _count(runtime, shop, report, mails, texts, served)
        runtime = replace(runtime, clock=MovedClock(evening))
        queue = Queue(runtime)
        stack.callback(queue.close)
        url = stack.enter_context(listening(create_app(runtime, queue), HOST, port))
        yield Demo(url, f"{url}{sign_in_path(runtime)}", report, runtime, queue, shop, made, served, mails, texts)


def today() -> date:
    """The present day where the made-up shop is."""
    return local_day(SystemClock().now(), TIMEZONE)


def free_port(wanted: int) -> int:
    """The port asked for, or one that is free when it is taken (or 0)."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ConfigError("No port is free on this machine.")


def _open(folder: Path, public_url: str, clock: Clock) -> Runtime:
    config = Config(database_url=f"sqlite:///{folder / 'crm.sqlite3'}", data_dir=folder, public_url=public_url)
    runtime = Runtime.open(config, clock)
    migrate.upgrade(runtime.db.engine)
    return runtime


def _connect(runtime: Runtime, served: ServedShop, mails: MailSink, texts: SmsSink, report: Report) -> Shop:
    """Connect the store and its senders, and sync it twice: the second time has to find nothing new."""
    credentials = {"url": served.url, "key": served.key, "secret": served.secret}
    shop = tasks.add_shop(runtime, name=NAME, platform="woocommerce", credentials=credentials)
    _add_senders(runtime, shop, mails, texts)
    first = tasks.sync(runtime, shop)
    report.second_sync_rows = int(tasks.sync(runtime, shop)["rows"])
    report.problems = int(first["problems"])
    return shop


def _add_senders(runtime: Runtime, shop: Shop, mails: MailSink, texts: SmsSink) -> list[Problem]:
    smtp = {
        "host": mails.host,
        "port": mails.port,
        "security": "none",
        "from_address": "hello@lantern-and-leaf.example",
        "from_name": shop.title,
    }
    twilio = {
        "account_sid": texts.account_sid,
        "auth_token": texts.auth_token,
        "from_number": "+15550100123",
        "base_url": texts.url,
    }
    now = runtime.clock.now()
    told = senders.save_connection(runtime.db, runtime.box, shop, "smtp", smtp, now)
    return told + senders.save_connection(runtime.db, runtime.box, shop, "twilio", twilio, now)


def _decide(runtime: Runtime, shop: Shop) -> Shop:
    """Load what the merchant decided, at midnight, so that the journeys speak from then on; answers the shop as it is now."""
    document = yaml.safe_load((files("crm_plugin.demo") / "program.yaml").read_text(encoding="utf-8"))
    tasks.load_program(runtime, shop, document, actor="demo")
    with runtime.db.read() as connection:
        return shop_by_id(connection, shop.shop_id)


def _play(runtime: Runtime, shop: Shop, midnight: datetime, report: Report) -> datetime:
    """Let the clock go round until the evening; answers the last instant."""
    instants = [midnight + timedelta(hours=hour) for hour in range(_LAST_HOUR + 1)]
    for at in instants:
        # As the clock does: the store is read before a round, for "we have missed you" waits until its orders are known.
        tasks.sync(runtime, shop, now=at)
        errors = rounds.tick(runtime, shop, at).errors
        report.wrong += [f"{step} at {at.isoformat()}: {error}" for step, error in errors.items()]
    return instants[-1]


def _count(runtime: Runtime, shop: Shop, report: Report, mails: MailSink, texts: SmsSink, served: ServedShop) -> None:
    with runtime.db.read() as connection:
        for name, value in of_shop(connection, shop.shop_id).items():
            setattr(report, name, value)
        report.states = outbox.counts(connection, shop.shop_id)
        report.reasons = outbox.reasons(connection, shop.shop_id)
    report.mails, report.texts, report.notes = len(mails.messages), len(texts.messages), len(served.notes)


def summary(report: Report) -> list[str]:
    """The report as a person reads it."""
    sent = Counter(report.sent)
    lines = [
        f"{report.members:,} members, {report.orders:,} orders, {report.refunds:,} refunds, {report.problems} problems",
        "Tiers: " + ", ".join(f"{name} {count:,}" for name, count in report.tiers.items()),
        "Sent: " + (", ".join(f"{count} by {channel}" for channel, count in sorted(sent.items())) or "nothing"),
        "Held back: " + (", ".join(f"{count} {reason}" for reason, count in report.reasons.items()) or "nothing"),
    ]
    return lines + [f"Wrong: {text}" for text in report.wrong]
