"""Commands about what customers ask for by law: privacy list, export, erase."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from crm_plugin.analytics import members
from crm_plugin.cli.common import ACTOR, answer, as_json_option, main, opened_shop, say, shop_argument
from crm_plugin.cli.tiers import member_option
from crm_plugin.store.runs import plain
from crm_plugin.sync import privacy as asked


@main.group()
def privacy() -> None:
    """What customers ask for by law."""


@privacy.command("list")
@shop_argument
@as_json_option
def privacy_list(name: str, as_json: bool) -> None:
    """What was asked, what still waits first.

    Each with the last day that the law gives, whether it came through the store or was asked here.
    """
    with opened_shop(name) as (runtime, shop), runtime.db.read() as connection:
        found = asked.requests_of(connection, shop)
    answer([plain(asdict(one)) for one in found], as_json)


@privacy.command("export")
@shop_argument
@click.option("--request", "request_id", type=int, help="What the store asked for, as `privacy list` numbers it.")
@click.option("--member", "who", help="A member, by id, e-mail or the store's id; asked for now.")
@click.option(
    "--to", "file", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The JSON file to write."
)
@as_json_option
def privacy_export(name: str, request_id: int | None, who: str | None, file: Path, as_json: bool) -> None:
    """Write all that is kept of a person into a file."""
    if (request_id is None) == (who is None):
        raise click.UsageError("Say either --request or --member.")
    with opened_shop(name) as (runtime, shop):
        now = runtime.clock.now()
        if request_id is None:
            with runtime.db.write() as connection:
                told = asked.member_of(connection, shop, members.find(connection, shop, str(who)))
                request_id = asked.ask(connection, shop, asked.EXPORT, told["external_id"], told, ACTOR, now)
        found = asked.hand_over(runtime.db, shop, request_id, now)
    _write(file, found)
    if as_json:
        answer({"file": str(file), "members": len(found["members"])}, True)
    else:
        say([f"Written: {file}. It holds personal data: hand it on, then remove it."])


def _write(file: Path, found: dict[str, Any]) -> None:
    file.touch(mode=0o600)
    file.write_text(json.dumps(found, ensure_ascii=False, indent=2, default=str) + "\n", encoding="utf-8")


@privacy.command("erase")
@shop_argument
@member_option
@click.option("--yes", is_flag=True, help="Do it: there is no way back.")
@as_json_option
def privacy_erase(name: str, who: str, yes: bool, as_json: bool) -> None:
    """Forget a member.

    Name, addresses, birthday and the words of messages go; sums of orders stay, naming nobody.
    """
    if not yes:
        raise click.UsageError("This cannot be undone; say --yes. `privacy export` keeps a copy for the person.")
    with opened_shop(name) as (runtime, shop), runtime.db.write() as connection:
        told = asked.member_of(connection, shop, members.find(connection, shop, who))
        request_id = asked.ask(connection, shop, asked.ERASE, told["external_id"], told, ACTOR, runtime.clock.now())
    if as_json:
        answer({"request": request_id}, True)
    else:
        say(
            [
                "Forgotten. Where the store still has the account, erase it there as well, or it comes back with the next reading."
            ]
        )
