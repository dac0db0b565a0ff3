"""Commands of an installation of many processes: worker, clock."""

from __future__ import annotations

import click

from crm_plugin.cli.common import aside, main, opened
from crm_plugin.config import Config
from crm_plugin.errors import ConfigError


@main.command()
@click.option(
    "--processes", type=click.IntRange(1, 256), default=2, show_default=True, help="So many jobs run at the same time."
)
@click.option(
    "--jobs",
    "kind",
    type=click.Choice(["all", "short", "long"]),
    default="all",
    show_default=True,
    help="long: reading stores and files, rehearsals; short: all others, messages among them.",
)
def worker(processes: int, kind: str) -> None:
    """Work off jobs from the broker.

    As many as you like, on as many machines; they share the database and CRM_DATA_DIR. SIGTERM lets what runs come to its next halt.
    """
    from crm_plugin.jobs.worker import Worker

    with opened() as runtime:
        # Opened once to bring the tables up to date and to tell of wrong settings before anything starts; each process opens its own.
        config = _with_broker(runtime.config)
    jobs = "all jobs" if kind == "all" else f"{kind} jobs"
    aside(f"The worker runs: {processes} processes take {jobs} from the broker. SIGTERM or Ctrl-C ends it politely.")
    Worker(config, processes, kind).run()


@main.command()
def clock() -> None:
    """Ask for each shop's jobs when their time has come.

    Start it on two machines: one leads, the other follows within a minute when the first is gone.
    """
    from crm_plugin.jobs.clock import Clock
    from crm_plugin.jobs.leader import Leader
    from crm_plugin.jobs.remote import RemoteQueue
    from crm_plugin.web.server import wait_for_the_end

    with opened() as runtime:
        _with_broker(runtime.config)
        queue, leader = RemoteQueue(runtime), Leader(runtime)
        ticking = Clock(runtime, queue, leader)
        ticking.start()
        aside("The clock runs: each shop's jobs are asked for when their time has come. SIGTERM or Ctrl-C ends it.")
        try:
            wait_for_the_end()
        finally:
            ticking.stop()
            leader.resign()
            queue.close()


def _with_broker(config: Config) -> Config:
    if not config.broker_url:
        raise ConfigError(
            "CRM_BROKER_URL is not set.",
            hint="Set it as redis://host:6379/0 or amqp://user:password@host:5672//; `crm-plugin serve` needs none.",
        )
    return config
