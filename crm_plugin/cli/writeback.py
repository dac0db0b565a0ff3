"""Commands about levels in the store: tiers writeback."""

from __future__ import annotations

import click

from crm_plugin.cli.common import ACTOR, answer, as_json_option, opened_shop, progress, require_awake, shop_argument
from crm_plugin.cli.root import stderr
from crm_plugin.cli.tables import cell
from crm_plugin.cli.tiers import tiers_
from crm_plugin.jobs import levels
from crm_plugin.sync import writeback_switch
from crm_plugin.sync.writeback_switch import Standing


@tiers_.command("writeback")
@shop_argument
@click.option("--on/--off", "on", default=None, help="Switch it on or off for this shop; off until you do.")
@click.option("--run", "run_", is_flag=True, help="Write what is due now; `serve` does so by itself.")
@click.option("--verify", is_flag=True, help="First read every account's mark, and put right what was changed there.")
@click.option("--retry", is_flag=True, help="Try again what the store refused.")
@as_json_option
def tiers_writeback(name: str, on: bool | None, run_: bool, verify: bool, retry: bool, as_json: bool) -> None:
    """Levels written into the store, and how far that is.

    Each member's level is kept with the account in the store, so that themes, prices and other plugins there can go by it. Guests have no
    account that could hold it. Switched off, what was written stays in the store.
    """
    told: dict[str, object] = {}
    with opened_shop(name) as (runtime, shop), progress() as note:
        if on or run_ or verify:
            require_awake(shop)
        now = runtime.clock.now()
        if on is not None:
            levels.switch(runtime, shop, on=on, actor=ACTOR)
        if retry:
            told["tried_again"] = writeback_switch.try_again(runtime.db, shop, now)
        if verify:
            told["changed_in_store"] = levels.verify(runtime, shop, progress=note)
        if run_ or verify:
            told["run"] = levels.write_all(runtime, shop, progress=note).as_dict()
        with runtime.db.read() as connection:
            found = writeback_switch.standing(connection, shop)
    if as_json:
        answer({**found.as_dict(), **told}, True)
    else:
        _say(found, told)
    if "run" in told and found.stopped:
        raise SystemExit(1)


def _say(found: Standing, told: dict[str, object]) -> None:
    if not found.possible:
        click.echo("This store cannot hold levels.")
        return
    counts = ", ".join(f"{count:,} {state.replace('_', ' ')}" for state, count in found.states.items() if count)
    click.echo(f"{'on' if found.enabled else 'off'}; {counts or 'nothing queued'}")
    for name, value in told.items():
        answer({name.replace("_", " "): value}, False)
    if found.resting_until and not found.stopped and found.enabled:
        click.echo(f"left alone until {cell(found.resting_until)}: {found.resting}")
    if found.put_back:
        click.echo(f"{found.put_back:,} changed in the store and put back")
    if found.stopped:
        stderr.print(f"stopped: {found.stopped}", style="red", markup=False, highlight=False, soft_wrap=True)
    for one in found.refused:
        click.echo(f"{one.member_id}\t{one.member_name}\t{one.program}\t{one.level}\t{one.detail}")
