"""What every command shares: the root, its errors, opening the database, answers and progress."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from crm_plugin import __version__
from crm_plugin.cli import tables
from crm_plugin.cli.root import Commands, stderr
from crm_plugin.clock import local_day, zone
from crm_plugin.errors import ConfigError, InvalidInput
from crm_plugin.redaction import JsonFormatter, RedactingFormatter, redact
from crm_plugin.runtime import Runtime
from crm_plugin.store import migrate
from crm_plugin.store.tenants import Shop, shop_named
from crm_plugin.sync import pull

ACTOR = "cli"
_F = TypeVar("_F", bound=Callable[..., Any])
_FORMS = ("text", "json")
_SAY_SECONDS = 10.0
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@click.group(
    "crm-plugin", cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120}
)
@click.version_option(__version__, prog_name="crm-plugin")
@click.pass_context
def main(ctx: click.Context) -> None:
    """The CRM plugin for online stores: members, tiers, and messages at the right moment.

    Try `demo`; for a store of your own begin with `shop add`, then `serve`. SHOP is the name that you gave it. Data lie in CRM_DATA_DIR.
    """
    told = os.environ.get("CRM_LOG_LEVEL", "WARNING").upper()
    if told not in _LEVELS:
        raise ConfigError(f"CRM_LOG_LEVEL is {told!r}.", hint=f"Use one of: {', '.join(_LEVELS)}.")
    # A server's log is read by whoever mends it; a person at a terminal is told in a line.
    traced = told == "DEBUG" or ctx.invoked_subcommand in ("serve", "worker", "clock")
    form = os.environ.get("CRM_LOG_FORMAT", "text")
    if form not in _FORMS:
        raise ConfigError(f"CRM_LOG_FORMAT is {form!r}.", hint=f"Use one of: {', '.join(_FORMS)}.")
    plain = RedactingFormatter if traced else Untraced
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else plain("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=told, handlers=[handler])


class Untraced(RedactingFormatter):
    """An error is told in its line, without where in the code it came from."""

    def format(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        record = copy(record)
        record.exc_info = record.exc_text = record.stack_info = None
        line = super().format(record)
        return line if error is None else redact(f"{line}: {type(error).__name__}: {error}")


shop_argument = click.argument("name", metavar="SHOP")
as_json_option = click.option("--json", "as_json", is_flag=True, help="Answer as JSON, errors too.")

confirm_option = click.option(
    "--confirm", metavar="N", default="", help="How many people that is; needed where many are reached at once."
)


def limit_option(usual: int) -> Callable[[_F], _F]:
    """At most so many rows."""
    return click.option(
        "--limit", type=click.IntRange(min=1), default=usual, show_default=True, help="At most so many."
    )


as_of_option = click.option(
    "--as-of", metavar="DAY", help="As things are on that day, such as 2026-11-24; else today in the shop's zone."
)


# What a number of a row may be on the command line: none of more than 64 bits is in any database.
row_id = click.IntRange(0, 2**63 - 1)


@contextmanager
def opened() -> Iterator[Runtime]:
    """The runtime with its database brought to the present schema."""
    runtime = Runtime.open()
    try:
        if migrate.pending(runtime.db.engine):
            migrate.upgrade(runtime.db.engine)
        yield runtime
    finally:
        runtime.close()


@contextmanager
def opened_shop(name: str) -> Iterator[tuple[Runtime, Shop]]:
    """The runtime and one shop. Raises: NotFound listing those there are."""
    with opened() as runtime:
        with runtime.db.read() as connection:
            shop = shop_named(connection, name)
        yield runtime, shop


def require_awake(shop: Shop) -> None:
    """Raises: InvalidInput for a shop for which nothing is done, for its store is not connected."""
    if not shop.is_awake:
        raise InvalidInput(
            f"{shop.name} is not connected to its store ({shop.status}): nothing is read, planned or sent for it.",
            field="shop",
            hint="Install or connect it again first.",
        )


def day_of(shop: Shop, runtime: Runtime, told: str | None, field: str = "as_of") -> date:
    """The day that was asked for by the option `field`, or today in the shop's zone. Raises: InvalidInput."""
    if told is None:
        return local_day(runtime.clock.now(), shop.timezone)
    try:
        return date.fromisoformat(told)
    except ValueError as error:
        raise InvalidInput(f"{told!r} is not a day.", field=field, hint="Write it as 2026-11-24.") from error


def instant_of(shop: Shop, runtime: Runtime, at: str | None, field: str = "at") -> datetime:
    """The instant that was asked for by the option `field`, in the shop's zone where it names none, or now. Raises: InvalidInput."""
    if at is None:
        return runtime.clock.now()
    try:
        told = datetime.fromisoformat(at)
    except ValueError as error:
        raise InvalidInput(
            f"{at!r} is not an instant.", field=field, hint="Write it as 2026-11-24T10:00 or 2026-11-24T10:00+01:00."
        ) from error
    return told if told.tzinfo else told.replace(tzinfo=zone(shop.timezone))


def answer(found: Any, as_json: bool, empty: str = "Nothing.") -> None:
    """One answer: JSON, a table for a terminal, or plain lines; `empty` is said where there are no rows."""
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False, default=_plain))
    elif isinstance(found, Mapping):
        say(tables.named(found))
    elif isinstance(found, list):
        _rows(found, empty)
    else:
        click.echo(found)


def say(lines: Iterable[str]) -> None:
    """Lines for a person."""
    for line in lines:
        click.echo(line)


def aside(text: str) -> None:
    """What stands beside the answer, on stderr."""
    stderr.print(text, markup=False, highlight=False, soft_wrap=True)


def _rows(rows: list[Any], empty: str) -> None:
    if not rows:
        aside(empty)
    elif sys.stdout.isatty():
        table = Table(box=None, header_style="bold")
        for name in rows[0]:
            table.add_column(tables.heading(name), overflow="fold")
        for row in rows:
            table.add_row(*(tables.cell(value) for value in row.values()))
        Console().print(table)
    else:
        say(tables.plain(rows))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    return str(value) if isinstance(value, (Decimal, Path)) else repr(value)


@contextmanager
def terminable() -> Iterator[None]:
    """A polite kill (SIGTERM) ends the process through the block, so that whatever it made for itself is removed."""

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        # A second one must not cut the clearing up short.
        signal.signal(number, signal.SIG_IGN)
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class _Lines:
    """Says how far something is, at most every few seconds: what ends before that says nothing."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def note(self, told: pull.Progress) -> None:
        now = time.monotonic()
        if now - self._said >= _SAY_SECONDS:
            self._said = now
            of = "" if told.total is None else f" of {told.total:,}"
            stderr.print(f"{told.stream}: {told.done:,}{of}", highlight=False, soft_wrap=True)


@contextmanager
def progress() -> Iterator[Any]:
    """What long commands report to: a bar on stderr, or a line now and then where that is no terminal."""
    if not stderr.is_terminal:
        yield _Lines().note
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=stderr) as bar:
        tasks: dict[str, Any] = {}

        def note(told: pull.Progress) -> None:
            task = tasks.get(told.stream)
            if task is None:
                task = tasks[told.stream] = bar.add_task(told.stream, total=told.total)
            bar.update(task, completed=told.done, total=told.total)

        yield note
