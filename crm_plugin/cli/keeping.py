"""Commands that keep data safe: backup, restore."""

from __future__ import annotations

from pathlib import Path

import click

from crm_plugin.cli.common import answer, as_json_option, aside, main, opened
from crm_plugin.errors import InvalidInput
from crm_plugin.runtime import Runtime
from crm_plugin.store import backup as backups
from crm_plugin.store.tenants import all_shops
from crm_plugin.touchpoints.journeys import all_journeys
from crm_plugin.touchpoints.publishing import pause


@main.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@as_json_option
def backup(file: Path, as_json: bool) -> None:
    """Copy the database (SQLite) into a file; all goes on.

    The key that secrets are encrypted with is not in it: keep CRM_SECRET_KEY, or secret.key in CRM_DATA_DIR, in another place.
    """
    with opened() as runtime:
        size = backups.backup(runtime.db.engine, file)
    told = f"The database is copied into {file} ({size:,} bytes)."
    answer({"file": str(file), "bytes": size} if as_json else told, as_json)
    aside("The key for its secrets is not in it: keep that elsewhere. `crm-plugin restore` puts the copy back.")


@main.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--yes", is_flag=True, help="Do it; what has happened since the backup is forgotten.")
@as_json_option
def restore(file: Path, yes: bool, as_json: bool) -> None:
    """Put a backup in the database's place. End `serve` before.

    What has happened since the backup is not known afterwards: messages that left, and who unsubscribed. So every journey is paused.
    Take in your sender's list of who unsubscribed, then resume each when you have seen what would leave.
    """
    if not yes:
        raise InvalidInput(
            "What has happened since the backup is forgotten by this: messages that left, and who unsubscribed.",
            field="yes",
            hint="Add --yes when that is meant.",
        )
    runtime = Runtime.open()
    try:
        before = backups.restore(runtime.db.engine, file)
    finally:
        runtime.close()
    paused = _pause_all()
    if as_json:
        answer({"restored": str(file), "before": str(before), "paused": paused}, True)
        return
    click.echo(f"The database is as it was in {file}. What was there before lies in {before}.")
    journeys = "1 journey that was on is" if paused == 1 else f"{paused} journeys that were on are"
    if paused:
        click.echo(f"{journeys} paused, for what has left since is not known. Take in who unsubscribed meanwhile; then")
        click.echo("`crm-plugin journey resume SHOP JOURNEY` shows what would leave, and --yes goes on.")


def _pause_all() -> int:
    """Pause every journey that runs: what was sent since the backup must not leave again before somebody has looked."""
    count = 0
    with opened() as runtime, runtime.db.write() as connection:
        for shop in all_shops(connection):
            for journey in all_journeys(connection, shop.shop_id):
                if journey.runs:
                    pause(connection, shop, journey.key, runtime.clock.now())
                    count += 1
    return count
