"""`python -m benchmarks [NAME ...] [--members N] [--large] [--json FILE]`."""

from __future__ import annotations

import json
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks import (  # noqa: F401  (they register themselves)
    hooks,
    memory,
    planning,
    rehearsal,
    rendering,
    rules,
    sending,
    sending_peers,
    sending_workers,
    steps,
    sync,
    tiers,
)
from benchmarks.harness import REGISTRY, Options, Result, count_cpu_time
from crm_plugin.runtime import calm_collector


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1)
@click.option(
    "--members", default=100_000, show_default=True, help="Members in the made-up shop; orders are five times as many."
)
@click.option("--large", is_flag=True, help="The size the budgets name: 1,000,000 members and 5,000,000 orders.")
@click.option("--repeats", default=3, show_default=True, help="Runs of each, taken in turns; the fastest counts.")
@click.option(
    "--cpu", is_flag=True, help="Count our own CPU time in place of the clock's: for a machine that is busy otherwise."
)
@click.option("--no-postgres", is_flag=True, help="Leave out what needs a PostgreSQL server.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the figures here.")
def main(
    names: tuple[str, ...],
    members: int,
    large: bool,
    repeats: int,
    cpu: bool,
    no_postgres: bool,
    json_file: Path | None,
) -> None:
    """Measure the budgets: our time, the limit measured in the same run, and the ratio."""
    unknown = set(names) - set(REGISTRY)
    if unknown:
        raise click.UsageError(f"no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(REGISTRY)}")
    console = Console(stderr=True)
    # As in the product's own processes.
    calm_collector()
    if cpu:
        count_cpu_time()
    options = Options(
        members=1_000_000 if large else members,
        repeats=repeats,
        postgres=not no_postgres,
        say=lambda text: console.print(f"[dim]{text}[/]"),
    )
    results: list[Result] = []
    for name in names or REGISTRY:
        console.print(f"[bold]{name}[/]")
        results.extend(REGISTRY[name](options))
    Console().print(_table(results))
    if json_file:
        json_file.write_text(json.dumps(_document(options, results, cpu), indent=2) + "\n", encoding="utf-8")
    sys.exit(0 if all(result.kept for result in results) else 1)


def _table(results: list[Result]) -> Table:
    table = Table(title="Budgets")
    for heading in ("work", "ours", "limit", "unit", "ratio", "budget", "kept", "held against"):
        table.add_column(heading, justify="right" if heading in ("ours", "limit", "ratio") else "left")
    for result in results:
        table.add_row(
            result.name,
            _figure(result.ours),
            _figure(result.limit),
            result.unit,
            f"{result.ratio:.2f}",
            "" if result.budget is None else f"{'>=' if result.at_least else '<='} {result.budget:g}",
            "" if result.budget is None else "yes" if result.kept else "[bold red]no[/]",
            result.against,
        )
    return table


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _document(options: Options, results: list[Result], cpu: bool) -> dict[str, object]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "members": options.members,
        "repeats": options.repeats,
        "cpu": cpu,
        "results": [result.as_dict() for result in results],
    }


if __name__ == "__main__":
    main()
