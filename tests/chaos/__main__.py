"""`python -m tests.chaos`: kill workers, clocks and broker while messages leave, and count what became of each."""

from __future__ import annotations

import random
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from tests.chaos.fire import LAYOUTS, Plan, Told, run
from tests.postgres import PostgresServer


@click.command()
@click.option(
    "--layout",
    type=click.Choice(LAYOUTS),
    default="threads",
    show_default=True,
    help="serve, or workers and two clocks over a broker.",
)
@click.option("--database", type=click.Choice(["sqlite", "postgresql"]), default="sqlite", show_default=True)
@click.option(
    "--provider",
    type=click.Choice(["smtp", "keyed"]),
    default="smtp",
    show_default=True,
    help="keyed: it takes a message of the same key once.",
)
@click.option("--touchpoints", default=20_000, show_default=True)
@click.option("--shops", default=50, show_default=True)
@click.option("--kills", default=200, show_default=True)
@click.option("--seconds", default=0.02, show_default=True, help="What a message takes the provider.")
@click.option("--seed", type=int, help="Of fates and kills; else by lot.")
def main(
    layout: str,
    database: str,
    provider: str,
    touchpoints: int,
    shops: int,
    kills: int,
    seconds: float,
    seed: int | None,
) -> None:
    """Exit code 1 when a message was lost or doubled."""
    plan = Plan(
        random.randrange(10**6) if seed is None else seed,
        layout,
        provider == "keyed",
        shops,
        touchpoints,
        kills,
        seconds,
    )
    click.echo(f"{layout}, {database}, {provider}: seed {plan.seed}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="crm-chaos-", ignore_cleanup_errors=True)))
        url = ""
        if database == "postgresql":
            server = PostgresServer(durable=True)
            stack.callback(server.stop)
            url = server.url("postgres")
        told = run(plan, folder, url, lambda text: click.echo(f"  {text}", err=True))
    _show(told)
    wrong = told.wrong(plan)
    for one in wrong:
        click.echo(f"WRONG: {one}")
    sys.exit(bool(wrong))


def _show(told: Told) -> None:
    total = told.states.total()
    click.echo(
        f"{told.kills.total()} kills: {', '.join(f'{count} {name}' for name, count in told.kills.most_common())}"
    )
    click.echo(
        f"{total:,} touchpoints in {told.seconds:.0f} s, {total / told.seconds:.0f} a second: {dict(told.states)}"
    )
    click.echo(
        f"lost {len(told.lost)}, doubled {len(told.doubled)}, doubtful {told.arrived + told.missing} "
        f"({told.arrived} had arrived), repeats the provider knew {told.repeats}"
    )


if __name__ == "__main__":
    main()
