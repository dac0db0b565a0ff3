"""The command line: answers on stdout (`--json` for machines), progress on stderr, errors that say what to do and exit code 1."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from sqlalchemy.exc import OperationalError

from crm_plugin import __version__, rules
from crm_plugin.clock import local_day
from crm_plugin.errors import ConfigError, CrmError, InvalidInput
from crm_plugin.rules import tiers as tier_rules
from crm_plugin.runtime import Runtime
from crm_plugin.store import migrate
from crm_plugin.store.tenants import Shop, all_shops, shop_named
from crm_plugin.sync import connect, imports, problems, pull

_stderr = Console(stderr=True)


class Commands(click.Group):
    """Turns the product's errors into words (or JSON) and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CrmError as error:
            _fail(error)
        except OperationalError as error:
            _fail(ConfigError(f"The database does not answer: {error.orig}.", hint="Check CRM_DATABASE_URL."))


def _fail(error: CrmError) -> None:
    if "--json" in sys.argv:
        click.echo(json.dumps({"error": error.as_dict()}, ensure_ascii=False))
    else:
        _stderr.print(str(error), style="red", markup=False, highlight=False)
    raise SystemExit(1)


@click.group(cls=Commands)
@click.version_option(__version__, prog_name="crm-plugin")
def main() -> None:
    """The CRM plugin for online stores."""


_as_json = click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")


@contextmanager
def _runtime() -> Iterator[Runtime]:
    """The runtime with its database brought to the present schema."""
    runtime = Runtime.open()
    try:
        if migrate.pending(runtime.db.engine):
            migrate.upgrade(runtime.db.engine)
        yield runtime
    finally:
        runtime.close()


@contextmanager
def _shop(name: str) -> Iterator[tuple[Runtime, Shop]]:
    with _runtime() as runtime:
        with runtime.db.read() as connection:
            shop = shop_named(connection, name)
        yield runtime, shop


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    return str(value) if isinstance(value, (Decimal, Path)) else repr(value)


def _answer(answer: Any, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(answer, ensure_ascii=False, default=_plain))
    elif isinstance(answer, Mapping):
        for key, value in answer.items():
            nested = isinstance(value, (dict, list))
            click.echo(f"{key}: {json.dumps(value, ensure_ascii=False, default=_plain) if nested else value}")
    elif isinstance(answer, list):
        for row in answer:
            click.echo("\t".join(str(value) for value in row.values()))
    else:
        click.echo(answer)


@contextmanager
def _progress() -> Iterator[Any]:
    """A bar on stderr that `sync` and `import` report to; nothing where stderr is no terminal."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=_stderr, disable=not _stderr.is_terminal) as bar:
        tasks: dict[str, Any] = {}

        def note(progress: pull.Progress) -> None:
            task = tasks.get(progress.stream)
            if task is None:
                task = tasks[progress.stream] = bar.add_task(progress.stream, total=progress.total)
            bar.update(task, completed=progress.done, total=progress.total)

        yield note


def _day(shop: Shop, runtime: Runtime, as_of: str | None) -> date:
    if as_of is None:
        return local_day(runtime.clock.now(), shop.timezone)
    try:
        return date.fromisoformat(as_of)
    except ValueError as error:
        raise InvalidInput(f"{as_of!r} is not a day.", field="as_of", hint="Write it as 2026-11-24.") from error


@main.group()
def db() -> None:
    """The database."""


@db.command("upgrade")
@_as_json
def db_upgrade(as_json: bool) -> None:
    """Bring the database to this version's schema."""
    runtime = Runtime.open()
    try:
        before = migrate.current(runtime.db.engine)
        migrate.upgrade(runtime.db.engine)
        _answer({"from": before, "to": migrate.current(runtime.db.engine)}, as_json)
    finally:
        runtime.close()


@main.group()
def shop() -> None:
    """Connected stores."""


@shop.command("add")
@click.argument("name")
@click.option("--platform", required=True, help="woocommerce or csv.")
@click.option("--url", default="", help="The store's address.")
@click.option("--key", default="", help="WooCommerce consumer key.")
@click.option("--secret", default="", help="WooCommerce consumer secret.", envvar="CRM_STORE_SECRET")
@click.option("--currency", default="", help="ISO 4217, for a store that does not tell.")
@click.option("--timezone", default="", help="IANA name, for a store that does not tell.")
@click.option("--title", default="", help="The shop's name as customers know it.")
@click.option("--locale", default="en", help="The language messages fall back to.")
@_as_json
def shop_add(name: str, platform: str, as_json: bool, **told: str) -> None:
    """Connect a store after it has answered."""
    given = {key: told.pop(key) for key in ("url", "key", "secret")}
    credentials = {key: value for key, value in given.items() if value}
    with _runtime() as runtime:
        made = connect.add_shop(
            runtime.db,
            runtime.box,
            name=name,
            platform=platform,
            credentials=credentials,
            now=runtime.clock.now(),
            **told,
        )
    _answer({"name": made.name, "title": made.title, "currency": made.currency, "timezone": made.timezone}, as_json)


@main.command()
@click.argument("name")
@click.option("--full", is_flag=True, help="Begin anew; what is known already is not written twice.")
@_as_json
def sync(name: str, full: bool, as_json: bool) -> None:
    """Pull members, orders, refunds and products; goes on where it stopped."""
    with _shop(name) as (runtime, found), _progress() as note:
        if found.platform == "csv":
            raise InvalidInput(f"{name} takes files.", hint=f"crm-plugin import {name} FILE --mapping mapping.yaml")
        storefront = connect.open_storefront(runtime.db, runtime.box, found)
        try:
            report = pull.sync_shop(runtime.db, found, storefront, now=runtime.clock.now(), full=full, progress=note)
        finally:
            storefront.close()
    _answer(report.as_dict(), as_json)


@main.command("import")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--mapping", required=True, type=click.Path(path_type=Path), help="Which column is what (YAML).")
@_as_json
def import_(name: str, file: Path, mapping: Path, as_json: bool) -> None:
    """Load a CSV file, plain or gzip."""
    with _shop(name) as (runtime, found), _progress() as note:
        told = imports.load_mapping(mapping)
        report = imports.import_file(runtime.db, found, file, told, now=runtime.clock.now(), progress=note)
    _answer(report.as_dict(), as_json)


@main.group()
def rule() -> None:
    """Ask who a rule is true for."""


@rule.command("count")
@click.argument("name")
@click.argument("expression")
@click.option("--as-of", help="A day in the shop's zone; today when left out.")
@_as_json
def rule_count(name: str, expression: str, as_of: str | None, as_json: bool) -> None:
    """How many members."""
    with _shop(name) as (runtime, found), runtime.db.read() as connection:
        day = _day(found, runtime, as_of)
        count = rules.count(connection, found, expression, day)
    _answer({"count": count, "as_of": day.isoformat()} if as_json else count, as_json)


@rule.command("list")
@click.argument("name")
@click.argument("expression")
@click.option("--as-of", help="A day in the shop's zone; today when left out.")
@click.option("--limit", default=20, show_default=True)
@_as_json
def rule_list(name: str, expression: str, as_of: str | None, limit: int, as_json: bool) -> None:
    """Which members."""
    with _shop(name) as (runtime, found), runtime.db.read() as connection:
        rows = rules.sample(connection, found, expression, _day(found, runtime, as_of), limit)
        answer = [dict(row._mapping) for row in rows]
    _answer(answer, as_json)


@main.group("tiers")
def tiers_() -> None:
    """Tiers by rule."""


@tiers_.command("apply")
@click.argument("name")
@click.option("--as-of", help="A day in the shop's zone; today when left out.")
@_as_json
def tiers_apply(name: str, as_of: str | None, as_json: bool) -> None:
    """Bring every member to the level they have earned."""
    with _shop(name) as (runtime, found):
        report = tier_rules.apply(runtime.db, found, as_of=_day(found, runtime, as_of), now=runtime.clock.now())
    _answer(report.as_dict(), as_json)


@main.command("problems")
@click.argument("name")
@click.option("--retry", is_flag=True, help="Read them again.")
@_as_json
def problems_(name: str, retry: bool, as_json: bool) -> None:
    """Records that could not be read."""
    with _shop(name) as (runtime, found):
        if retry:
            storefront = None
            if found.platform != "csv":
                storefront = connect.open_storefront(runtime.db, runtime.box, found)
            report = problems.retry(runtime.db, found, storefront, runtime.clock.now())
            _answer(report.as_dict(), as_json)
            return
        with runtime.db.read() as connection:
            rows = problems.open_problems(connection, found.shop_id)
    keys = ("stream", "external_id", "path", "reason")
    _answer([{key: getattr(row, key) for key in (*keys, *(("raw",) if as_json else ()))} for row in rows], as_json)


@main.command()
@_as_json
def doctor(as_json: bool) -> None:
    """Check settings, database and connected stores, and say what to do."""
    found: list[dict[str, str]] = []
    with _runtime() as runtime:
        with runtime.db.read() as connection:
            shops = all_shops(connection)
        for one in shops:
            try:
                storefront = connect.open_storefront(runtime.db, runtime.box, one)
                try:
                    found += [{"shop": one.name, "problem": p.message, "hint": p.hint} for p in storefront.check()]
                finally:
                    storefront.close()
            except CrmError as error:
                found.append({"shop": one.name, "problem": error.message, "hint": error.hint})
        revision = migrate.current(runtime.db.engine)
        kind = runtime.db.engine.dialect.name
        public_url = runtime.config.public_url
    if not public_url:
        found.append(
            {
                "shop": "",
                "problem": "There is no public address: marketing e-mail cannot carry its unsubscribe link.",
                "hint": "Set CRM_PUBLIC_URL to the address customers reach this server under.",
            }
        )
    _answer({"database": kind, "revision": revision, "shops": [one.name for one in shops], "problems": found}, as_json)
