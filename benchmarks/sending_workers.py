"""Two workers against one: the rounds of two shops, played one after another by one process, and side by side by two."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from benchmarks import data
from benchmarks.harness import Options, Result, benchmark, postgres_database, sqlite_database
from benchmarks.mail_server import Sink, mail_server
from benchmarks.processes import worker
from benchmarks.sending import NOON, plan_again, set_up
from crm_plugin.store.session import Database
from crm_plugin.touchpoints.plan import plan_shop
from tests.postgres import PostgresServer

_SHOPS = (1, 2)
_FAR = 0.02


@benchmark("sending.workers")
def workers(options: Options) -> Iterator[Result]:
    """A server on this machine, at most 5,000 mails a shop, and one whose every reply takes 20 ms, at most 300."""
    near = max(min(options.members // 20, 5_000), 20)
    distant = max(min(options.members // 300, 300), 20)
    for called, delay, count in (("near", 0.0, near), ("far", _FAR, distant)):
        with mail_server(delay) as sink:
            with sqlite_database() as database:
                yield _compared(options, database, sink, f"{called}, SQLite", count)
            if options.postgres:
                with _postgres() as database:
                    yield _compared(options, database, sink, f"{called}, PostgreSQL", count)


def _compared(options: Options, database: Database, sink: Sink, called: str, count: int) -> Result:
    for shop_id in _SHOPS:
        with database.write() as connection:
            shop = data.make_shop(connection, shop_id)
        data.load(database, shop, data.celebrants(count, 10_000_000))
        set_up(database, shop, sink)
        plan_shop(database, shop, NOON)
    url = database.engine.url.render_as_string(hide_password=False)
    one, two = [], []
    for _ in range(options.repeats):
        for rates, split in ((one, (_SHOPS,)), (two, [(shop_id,) for shop_id in _SHOPS])):
            plan_again(database)
            rates.append(len(_SHOPS) * count / _together(url, split))
            assert sink.taken() == len(_SHOPS) * count
        options.say(f"{called}: one {one[-1]:,.0f}/s, two {two[-1]:,.0f}/s")
    detail = {"mails": len(_SHOPS) * count}
    return Result(f"sending, two workers: {called}", max(two), max(one), "mails/s", 1.6, True, "one worker", detail)


def _together(url: str, split: Iterable[Sequence[int]]) -> float:
    """Seconds from the word to begin until the last of the processes, each with its shops, is done."""
    with ExitStack() as stack:
        processes = [
            stack.enter_context(worker("benchmarks.sending_worker", {"url": url, "shops": shops, "plan": False}))
            for shops in split
        ]
        began = time.perf_counter()
        for process in processes:
            process.begin()
        for process in processes:
            process.answer()
        return time.perf_counter() - began


@contextmanager
def _postgres() -> Iterator[Database]:
    server = PostgresServer(durable=True)
    try:
        with postgres_database(server, "workers") as database:
            yield database
    finally:
        server.stop()
