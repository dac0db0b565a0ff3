"""Commands about the database and what comes in: db, shop, sync, import, problems."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import click
import yaml

from crm_plugin.adapters.registry import storefront_class
from crm_plugin.analytics.today import count_members
from crm_plugin.cli.common import (
    ACTOR,
    answer,
    as_json_option,
    main,
    opened,
    opened_shop,
    progress,
    require_awake,
    shop_argument,
)
from crm_plugin.errors import InvalidInput
from crm_plugin.jobs import leaving, tasks
from crm_plugin.jobs.following import RECONCILE
from crm_plugin.records import Stream
from crm_plugin.runtime import Runtime
from crm_plugin.store import audit, migrate, runs
from crm_plugin.store.tenants import Shop, all_shops, shop_by_id
from crm_plugin.sync import believed, imports, lifecycle, problems
from crm_plugin.touchpoints.settings import ROW_SETTINGS, SETTINGS

# What a comparison with the store looks at.
_LISTS = tuple(one.value for one in (Stream.MEMBERS, Stream.ORDERS, Stream.PRODUCTS))
_count_option = click.option(
    "--confirm", metavar="N", default="", help="How many they are; without it that is told, and nothing is done."
)


@main.group()
def db() -> None:
    """The database; every command brings it up to date by itself."""


@db.command("upgrade")
@as_json_option
def db_upgrade(as_json: bool) -> None:
    """Bring the database to this version's schema."""
    runtime = Runtime.open()
    try:
        before = migrate.current(runtime.db.engine)
        migrate.upgrade(runtime.db.engine)
        answer({"from": before, "to": migrate.current(runtime.db.engine)}, as_json)
    finally:
        runtime.close()


@main.group()
def shop() -> None:
    """Connect stores, and set what their messages go by."""


@shop.command("add")
@click.argument("name")
@click.option(
    "--platform", required=True, help="woocommerce or medusa; csv for a shop that hands in files. Others: on the page."
)
@click.option("--url", default="", help="The store's address, such as https://shop.example (woocommerce).")
@click.option(
    "--key", default="", help="Consumer key, begins with ck_ (woocommerce); secret API key, begins with sk_ (medusa)."
)
@click.option(
    "--secret",
    default="",
    help="Consumer secret, begins with cs_ (woocommerce); better in CRM_STORE_SECRET.",
    envvar="CRM_STORE_SECRET",
)
@click.option("--currency", default="", help="Such as GBP; needed where the store does not tell (csv).")
@click.option("--timezone", default="", help="Such as Europe/London; needed where the store does not tell (csv).")
@click.option("--title", default="", help="The shop's name as customers know it; else what the store tells.")
@click.option("--locale", default="en", show_default=True, help="The language messages fall back to.")
@as_json_option
def shop_add(name: str, platform: str, as_json: bool, **told: str) -> None:
    """Connect a store; kept once it has answered.

    NAME is what other commands call it, such as my-shop. It gets all recipes as journeys, switched off.
    """
    given = {key: told.pop(key) for key in ("url", "key", "secret")}
    _require_by_command(platform, given)
    credentials = {key: value for key, value in given.items() if value}
    with opened() as runtime:
        made = tasks.add_shop(runtime, name=name, platform=platform, credentials=credentials, **told)
    answer({"name": made.name, "title": made.title, "currency": made.currency, "timezone": made.timezone}, as_json)


def _require_by_command(platform: str, given: Collection[str]) -> None:
    """Raises: InvalidInput for a platform that asks for more than what can be `given` here, ConfigError where there is none such."""
    cls = storefront_class(platform)
    if any(setting.required and setting.key not in given for setting in cls.settings):
        raise InvalidInput(
            f"{cls.label} is connected on the page.", field="platform", hint="`serve` prints a link that leads there."
        )


@shop.command("list")
@as_json_option
def shop_list(as_json: bool) -> None:
    """The stores there are, and how they are."""
    keys = (
        *("name", "title", "platform", "currency", "timezone"),
        *("status", "status_reason", "status_at", "status_detail"),
    )
    with opened() as runtime, runtime.db.read() as connection:
        rows = [{key: getattr(one, key) for key in keys} for one in all_shops(connection)]
    answer(rows, as_json)


@shop.command("disconnect")
@shop_argument
@as_json_option
def shop_disconnect(name: str, as_json: bool) -> None:
    """End the connection to a store; what is known stays.

    The store is asked once to tell us nothing more, its keys are forgotten, and nothing is read, planned or sent from then on.
    """
    with opened_shop(name) as (runtime, found):
        require_awake(found)
        if not tasks.can_be_pulled(found):
            raise InvalidInput(f"{name} takes files: there is no store to disconnect.", field="shop")
        answer(_left(runtime, found, erase=False), as_json)


@shop.command("erase")
@shop_argument
@_count_option
@as_json_option
def shop_erase(name: str, confirm: str, as_json: bool) -> None:
    """Erase all that is kept of a shop, for good.

    Its store, if it is still connected, is taken leave of first.
    """
    with opened_shop(name) as (runtime, found):
        with runtime.db.read() as connection:
            count = count_members(connection, found.shop_id)
        if confirm != str(count):
            raise InvalidInput(
                f"{count} members and all that is kept of them would go for good.",
                field="confirm",
                hint=f"Say so with --confirm {count}.",
            )
        answer(_left(runtime, found, erase=True), as_json)


@shop.command("gone")
@shop_argument
@click.argument("stream", metavar="LIST", type=click.Choice(_LISTS))
@_count_option
@as_json_option
def shop_gone(name: str, stream: str, confirm: str, as_json: bool) -> None:
    """Say that what the store no longer lists is really gone.

    LIST is members, orders or products, as `doctor` names it. Each of them is asked for once more by the next comparison, which begins
    within a quarter of an hour where `serve` runs, and what is not there is taken out.
    """
    with opened_shop(name) as (runtime, found):
        require_awake(found)
        now = runtime.clock.now()
        with runtime.db.write() as connection:
            compared = runs.last(connection, found.shop_id, RECONCILE)
            count = believed.held_back(compared).get(stream)
            if count is not None and confirm != str(count):
                raise InvalidInput(
                    f"{count:,} {stream} would be looked for, and be taken out where the store does not have them.",
                    field="confirm",
                    hint=f"Say so with --confirm {count}.",
                )
            believed.believe(connection, found, compared, stream, confirm, ACTOR, now)
    answer({"name": name, "list": stream, "believed": count}, as_json)


def _left(runtime: Runtime, shop: Shop, *, erase: bool) -> dict[str, Any]:
    lifecycle.leave(runtime.db, shop, ACTOR, runtime.clock.now(), erase=erase)
    with runtime.db.read() as connection:
        left = shop_by_id(connection, shop.shop_id)
    return {"name": shop.name, **leaving.run(runtime, left, now=runtime.clock.now())}


@shop.command("set", told=("Settings", lambda: [(one.key, one.help) for one in (*ROW_SETTINGS, *SETTINGS)]))
@shop_argument
@click.argument("settings", nargs=-1, required=True, metavar="KEY=VALUE...")
@as_json_option
def shop_set(name: str, settings: tuple[str, ...], as_json: bool) -> None:
    """Change what messages go by.

    A value may be YAML: quiet_hours='{from: "21:00", to: "08:00"}' brand='{color: "#1f4d3d"}' rates='{USD: "0.92"}'. An empty one takes the
    setting back.
    """
    told = {key: _value(key, text) for key, text in map(pair, settings)}
    with opened_shop(name) as (runtime, found):
        try:
            tasks.load_program(runtime, found, {"settings": told}, actor=ACTOR)
        except InvalidInput as error:
            raise _of_setting(error, told) from error
        with runtime.db.read() as connection:
            changed = next(one for one in all_shops(connection) if one.shop_id == found.shop_id)
    answer({"title": changed.title, "locale": changed.locale, **changed.settings}, as_json)


def _of_setting(error: InvalidInput, told: Collection[str]) -> InvalidInput:
    """The error under the name that was typed, in place of its place in a file."""
    field = error.field.removeprefix("settings.")
    key = next((name for name in told if field.partition(".")[0] == name), "")
    message = error.message.removeprefix("settings: ")
    return InvalidInput(f"{key}: {message}" if key and key not in message else message, hint=error.hint, field=field)


def pair(text: str) -> tuple[str, str]:
    """KEY=VALUE cut in two. Raises: InvalidInput."""
    key, mark, value = text.partition("=")
    if not mark or not key:
        raise InvalidInput(f"{text!r} is no KEY=VALUE.", hint="Write it as key=value.")
    return key.strip(), value


def _value(key: str, text: str) -> Any:
    try:
        read = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidInput(f"The value of {key} is not valid YAML.", field=key, hint="Put it in quotes.") from error
    # Only documents are read as YAML: a street number must stay the text that was typed.
    return read if isinstance(read, dict) else text


@main.command()
@shop_argument
@click.option(
    "--full", is_flag=True, help="Read everything from the beginning; what is known already is not written twice."
)
@as_json_option
def sync(name: str, full: bool, as_json: bool) -> None:
    """Read a store's members, orders, refunds and products.

    It goes on where it stopped; `serve` does it every few minutes. Files are loaded with `import`.
    """
    with opened_shop(name) as (runtime, found), progress() as note:
        require_awake(found)
        report = tasks.sync(runtime, found, full=full, progress=note)
    answer(report, as_json)


@main.command("import")
@shop_argument
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--mapping",
    metavar="YAML",
    required=True,
    type=click.Path(path_type=Path),
    help="A file that says which column is what.",
)
@as_json_option
def import_(name: str, file: Path, mapping: Path, as_json: bool) -> None:
    """Load a CSV file, plain or gzip, into a shop of files.

    A mapping begins with `kind:` members, orders or order_lines; then each line is `our word: the file's column`, such as `total: Amount`.
    Loading a file again changes nothing. Rows that cannot be read are kept under `problems`.
    """
    with opened_shop(name) as (runtime, found), progress() as note:
        told = imports.load_mapping(mapping)
        clock = runtime.clock.now
        report = imports.import_file(runtime.db, found, file, told, now=clock(), clock=clock, progress=note).as_dict()
        with runtime.db.write() as connection:
            audit.note(connection, found.shop_id, ACTOR, "import", {"file": file.name, **report}, runtime.clock.now())
    answer(report, as_json)


@main.command("problems")
@shop_argument
@click.option("--retry", is_flag=True, help="Read them again: as the store tells them now, or as the file had them.")
@as_json_option
def problems_(name: str, retry: bool, as_json: bool) -> None:
    """Records that could not be read, with the reason."""
    with opened_shop(name) as (runtime, found):
        if retry:
            require_awake(found)
            answer(tasks.retry_problems(runtime, found), as_json)
            return
        with runtime.db.read() as connection:
            rows = problems.open_problems(connection, found.shop_id)
    keys = ("stream", "external_id", "path", "reason", *(("raw",) if as_json else ()))
    answer([{key: getattr(row, key) for key in keys} for row in rows], as_json)
