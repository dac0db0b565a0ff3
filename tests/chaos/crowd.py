"""`python -m tests.chaos.crowd`: one shop with very many messages that are due and a slow provider, beside others; who waits for whom.

The programs are real ones and tick as they always do. While the crowd waits, each of the others gets a new member now and then, who is to
be written to at once; what counts is how long after that the message has left.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import click
from sqlalchemy import func, select

from crm_plugin.config import load_config
from crm_plugin.jobs.tasks import job_named
from crm_plugin.records import ConsentRecord, ConsentState
from crm_plugin.runtime import Runtime
from crm_plugin.store import touchpoints
from crm_plugin.store.tenants import shop_by_id
from crm_plugin.touchpoints.states import State
from tests.brokers import RabbitMQ, Redis, start
from tests.chaos.programs import Program, environment
from tests.chaos.provider import HOST, Fate, Provider
from tests.chaos.shops import fill
from tests.factories import member, write
from tests.postgres import PostgresServer

_PROGRAMS = {
    "threads": [("serve", "--port", "0")],
    "redis": [("worker", "--processes", "2"), ("clock",)],
    "rabbitmq": [("worker", "--processes", "2"), ("clock",)],
}
_BROKERS = {"redis": Redis, "rabbitmq": RabbitMQ}
_TICK = timedelta(seconds=job_named("tick").every_seconds)
_ARRIVES = {
    "key": "welcome",
    "trigger": {"type": "joined"},
    "template": "greet",
    "channels": ["email"],
    "enabled": True,
}


@dataclass(frozen=True, slots=True)
class Told:
    """What came of it. `delays` are those of the others' messages in seconds, the shortest first; `states` those of the crowd's."""

    delays: list[float] = field(default_factory=list)
    late: int = 0
    states: dict[str, int] = field(default_factory=dict)
    ends: list[int] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        """Whether all of the others' messages left within two ticks, and nothing became doubtful when the programs were asked to end."""
        ended = all(code == 0 for code in self.ends) and State.UNCONFIRMED.value not in self.states
        return ended and not self.late and bool(self.delays) and self.delays[-1] < 2 * _TICK.total_seconds()


def run(layout: str, due: int, others: int, minutes: float, folder: Path, database_url: str) -> Told:
    """Fill the shops, let the programs work for so long, ask them to end by SIGTERM, and read what came of it."""
    with ExitStack() as stack:
        slow, quick = (stack.enter_context(_provider(seconds)) for seconds in (0.5, 0.02))
        told = {"CRM_DATA_DIR": str(folder), "CRM_DATABASE_URL": database_url, "CRM_PUBLIC_URL": "https://crm.test"}
        if layout in _BROKERS:
            broker = start(_BROKERS[layout])
            stack.callback(broker.stop)
            told["CRM_BROKER_URL"] = broker.url
        runtime = Runtime.open(load_config(told))
        stack.callback(runtime.close)
        fill(runtime, 1, due, "smtp", _sender(slow))
        fill(runtime, others, 1, "smtp", _sender(quick), first=2, journey=_ARRIVES)
        env = environment(folder, **told)
        programs = [Program(words, env, folder / f"{words[0]}.log") for words in _PROGRAMS[layout]]
        for program in programs:
            program.start()
        try:
            _arrive(runtime, range(2, others + 2), time.monotonic() + 60 * minutes)
            # Whoever came last has two ticks too.
            time.sleep(2 * _TICK.total_seconds())
        finally:
            ends = [_end(program) for program in programs]
        return _told(runtime, others, ends)


def _end(program: Program) -> int:
    try:
        return program.end()
    except subprocess.TimeoutExpired:
        # What is left of it is ended too, and it counts as wrong.
        program.orphans(0)
        return -1


@contextmanager
def _provider(seconds: float) -> Iterator[Provider]:
    made = Provider(7, seconds=seconds, shares={Fate.TAKE: 1.0})
    made.start()
    yield made
    made.stop()


def _sender(provider: Provider) -> dict[str, object]:
    return {"host": HOST, "port": provider.smtp_port, "security": "none", "from_address": "shop@crm.test"}


def _arrive(runtime: Runtime, shops: Sequence[int], until: float) -> None:
    """A new member in each shop every few seconds, and never at the same second of a tick."""
    number = 1000
    while time.monotonic() < until:
        for shop_id in shops:
            with runtime.db.read() as connection:
                shop = shop_by_id(connection, shop_id)
            number, now = number + 1, runtime.clock.now()
            yes = ConsentRecord(channel="email", state=ConsentState.GRANTED, at=now)
            new = member(str(number), email=f"n{number}@shop{shop_id}.test", joined_at=now, consents=(yes,))
            write(runtime.db, shop, [new], now)
        time.sleep(7)


def _told(runtime: Runtime, others: int, ends: list[int]) -> Told:
    t = touchpoints.c
    with runtime.db.read() as connection:
        states = connection.execute(select(t.state, func.count()).where(t.shop_id == 1).group_by(t.state)).all()
        rows = connection.execute(select(t.state, t.due_at, t.accepted_at).where(t.shop_id > 1)).all()
    left = [(row.accepted_at - row.due_at).total_seconds() for row in rows if row.accepted_at is not None]
    return Told(sorted(left), len(rows) - len(left), {row[0]: row[1] for row in states}, ends)


@click.command()
@click.option("--layout", type=click.Choice(list(_PROGRAMS)), default="threads", show_default=True)
@click.option("--database", type=click.Choice(["sqlite", "postgresql"]), default="sqlite", show_default=True)
@click.option("--due", default=100_000, show_default=True, help="Messages of the one shop.")
@click.option("--others", default=9, show_default=True, help="Shops beside it.")
@click.option("--minutes", default=4.0, show_default=True, help="For how long their members come.")
def main(layout: str, database: str, due: int, others: int, minutes: float) -> None:
    """Exit code 1 when a message of the others took two ticks or longer, or one became doubtful at the end."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="crm-crowd-")))
        url = ""
        if database == "postgresql":
            server = PostgresServer(durable=True)
            stack.callback(server.stop)
            url = server.url("postgres")
        told = run(layout, due, others, minutes, folder, url)
        click.echo(f"{layout}, {database}, {due:,} due in one shop beside {others} others")
        _show(told)
        if not told.is_right:
            subprocess.run(["tail", "-n", "20", *map(str, folder.glob("*.log"))], check=False)
            sys.exit(1)


def _show(told: Told) -> None:
    click.echo(f"the one shop's messages: {told.states}; the programs ended with {told.ends}")
    if told.delays:
        middle, last = told.delays[len(told.delays) // 2], told.delays[-1]
        click.echo(f"{len(told.delays)} of the others: half left within {middle:.0f} s, the last after {last:.0f} s")
    if told.late:
        click.echo(f"{told.late} have not left")


if __name__ == "__main__":
    main()
