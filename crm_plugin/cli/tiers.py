"""Commands about tier programmes: apply, preview, undo, history, and what people decide about one member."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import click

from crm_plugin.analytics import members
from crm_plugin.analytics import tiers as reads
from crm_plugin.cli.common import (
    ACTOR,
    answer,
    as_json_option,
    as_of_option,
    day_of,
    main,
    opened_shop,
    row_id,
    shop_argument,
)
from crm_plugin.errors import InvalidInput
from crm_plugin.rules import by_hand, tier_undo, tiers
from crm_plugin.rules.book import read_book
from crm_plugin.rules.by_hand import Desk
from crm_plugin.rules.called import Called, called
from crm_plugin.rules.lab import Lab, look_at
from crm_plugin.rules.policies import programs, versions
from crm_plugin.rules.tier_history import history
from crm_plugin.rules.tier_holds import Hold, holds
from crm_plugin.rules.tier_words import figure_words
from crm_plugin.rules.windows import PROGRAM
from crm_plugin.touchpoints.program_file import read_policy_file

program_option = click.option(
    "--program", metavar="KEY", default=PROGRAM, show_default=True, help="Which tier programme."
)
member_option = click.option(
    "--member", "who", metavar="ID", required=True, help="An e-mail address, a phone number, the store's id or ours."
)
level_option = click.option("--level", metavar="KEY", required=True, help="Which level.")


@main.group("tiers")
def tiers_() -> None:
    """Levels that members earn, keep and lose.

    What earns them is written in the shop's programme, or in a policy file of its own.
    """


@tiers_.command("apply")
@shop_argument
@click.option("--policy", type=click.Path(path_type=Path), help="Save the policy of this file first; both or neither.")
@as_of_option
@as_json_option
def tiers_apply(name: str, policy: Path | None, as_of: str | None, as_json: bool) -> None:
    """Bring every member to the level earned.

    `serve` and `tick` do it once a day. Nobody is written to for it. `tiers undo` takes the last run back.
    """
    wanted = None if policy is None else read_policy_file(policy)
    with opened_shop(name) as (runtime, found):
        day, now = day_of(found, runtime, as_of), runtime.clock.now()
        if wanted is None:
            report = tiers.apply(runtime.db, found, as_of=day, now=now, actor=ACTOR)
        else:
            report = tiers.save_policy_and_apply(runtime.db, found, wanted, as_of=day, now=now, actor=ACTOR)
    told = report.as_dict()
    answer(told | ({"run": str(report.run_id)} if report.run_id is not None else {}), as_json)


@tiers_.command("preview")
@shop_argument
@click.argument("file", metavar="POLICY", type=click.Path(path_type=Path))
@as_of_option
@as_json_option
def tiers_preview(name: str, file: Path, as_of: str | None, as_json: bool) -> None:
    """Who would move by the policy of a file.

    Against the levels held now: who comes in, goes up, down and out, who stays, and some of each; how much of it is the policy itself,
    and who would move today anyway. Nothing is written.
    """
    policy = read_policy_file(file)
    with opened_shop(name) as (runtime, found), runtime.db.read() as connection:
        book = read_book(connection, found.shop_id)
        tiers.check_policy(policy, book, runtime.clock.now(), found)
        seen, by = look_at(connection, found, policy, day_of(found, runtime, as_of)), called(connection, found)
    if as_json:
        answer(seen.as_dict(), True)
        return
    for line in _matrix(seen, by):
        click.echo(line)


def _matrix(seen: Lab, by: Called) -> Iterator[str]:
    kinds = ("in", "up", "down", "out", "stay")
    yield f"{seen.program}, {seen.as_of}: " + ", ".join(f"{seen.total(kind):,} {kind}" for kind in kinds)
    yield f"By the policy itself {seen.caused:,} get another level; {seen.today:,} would move today anyway, by the one in force."
    for cell in seen.effect:
        yield f"policy\t{cell.from_level or 'none'} to {cell.to_level or 'none'}\t{cell.members:,}"
    for cell in seen.cells:
        way = f"{cell.from_level or 'none'} to {cell.to_level or 'none'}" if cell.moves else cell.from_level or "none"
        anyway = f"\t{cell.anyway:,} of them anyway" if cell.anyway else ""
        yield f"{seen.kind(cell)}\t{way}\t{cell.members:,}{anyway}"
        for one in cell.samples:
            values = ", ".join(figure_words(text, value, "en", by) for text, value in one.values.items())
            yield f"\t{one.name} ({one.member_id})\t{values}"
    for cause, number in seen.terms.items():
        yield f"{cause}\t\t{number:,}"


@tiers_.command("undo")
@shop_argument
@click.option("--run", "run_id", metavar="ID", type=row_id, help="Which run; else the last.")
@click.option("--reason", default="", help="Why; it is shown as long as the programme stands still.")
@as_json_option
def tiers_undo(name: str, run_id: int | None, reason: str, as_json: bool) -> None:
    """Put levels, terms and the policy back.

    A member who has moved on since stays. After it no daily run moves anybody: `tiers apply` goes on, and so does another policy.
    Runs after the one named are undone first.
    """
    with opened_shop(name) as (runtime, found), runtime.db.write() as connection:
        now, today = runtime.clock.now(), day_of(found, runtime, None)
        report = tier_undo.undo(connection, found, today=today, now=now, actor=ACTOR, run_id=run_id, reason=reason)
    answer(report.as_dict(), as_json)


@tiers_.command("list")
@shop_argument
@as_json_option
def tiers_list(name: str, as_json: bool) -> None:
    """The tier programmes: who holds a level, and which are held still."""
    with opened_shop(name) as (runtime, found), runtime.db.read() as connection:
        still, holders = holds(connection, found.shop_id), reads.holders(connection, found.shop_id)
        told: list[dict[str, Any]] = [
            {
                "program": program,
                "members": holders.get(program, 0),
                "still": (still[program].as_dict() if as_json else _still(still[program]))
                if program in still
                else None,
            }
            for program in programs(connection, found.shop_id)
        ]
    answer(told, as_json)


def _still(one: Hold) -> str:
    why = f": {one.reason}" if one.reason else ""
    return f"since {one.at.date()}, run {one.run_id} undone by {one.actor}{why}"


@tiers_.command("history")
@shop_argument
@member_option
@click.option("--program", metavar="KEY", help="Which tier programme; left out: all.")
@click.option("--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True, help="The language of it.")
@as_json_option
def tiers_history(name: str, who: str, program: str | None, lang: str, as_json: bool) -> None:
    """How one member came to the levels held, and why."""
    with opened_shop(name) as (runtime, found), runtime.db.read() as connection:
        known = programs(connection, found.shop_id)
        if program is not None:
            _there(program, known)
        member_id = members.find(connection, found, who)
        by = called(connection, found)
        told = [
            {"program": key, **one.as_dict(lang, by)}
            for key in known
            if program in (None, key)
            for one in history(connection, found.shop_id, key, member_id)
        ]
    if not as_json:
        told = [
            {name: one[name] for name in ("program", "day", "from", "to", "cause", "policy", "why")} for one in told
        ]
    answer(told, as_json)


@tiers_.command("policies")
@shop_argument
@as_json_option
def tiers_policies(name: str, as_json: bool) -> None:
    """The versions of each programme's policy."""
    with opened_shop(name) as (runtime, found), runtime.db.read() as connection:
        told = [
            {
                "program": program,
                "version": kept.version,
                "effective_on": kept.effective_on.isoformat(),
                "levels": ", ".join(kept.policy.keys),
                "actor": kept.actor,
                **({"policy": kept.policy.as_dict()} if as_json else {}),
            }
            for program in programs(connection, found.shop_id)
            for kept in versions(connection, found.shop_id, program)
        ]
    answer(told, as_json)


@tiers_.command("fix")
@shop_argument
@member_option
@click.option("--level", metavar="KEY", help="Which level; this or --none.")
@click.option("--none", "no_level", is_flag=True, help="No level at all.")
@click.option("--reason", required=True, help="Why; it stands in the member's history.")
@click.option("--until", metavar="DAY", help="The last day, such as 2026-12-31; left out: for good.")
@program_option
@as_json_option
def tiers_fix(
    name: str,
    who: str,
    level: str | None,
    no_level: bool,
    reason: str,
    until: str | None,
    program: str,
    as_json: bool,
) -> None:
    """Give one member a level by hand, or none, whatever the rules say."""
    if bool(level) == no_level:
        raise InvalidInput("Name a level, or say --none.", field="level")
    with _at_desk(name, who, program, as_json) as (desk, member_id):
        by_hand.fix(desk, member_id, level or "", reason, _day(until, "until"))


@tiers_.command("free")
@shop_argument
@member_option
@program_option
@as_json_option
def tiers_free(name: str, who: str, program: str, as_json: bool) -> None:
    """Let the rules decide again about a member fixed by hand."""
    with _at_desk(name, who, program, as_json) as (desk, member_id):
        by_hand.free(desk, member_id)


@tiers_.command("invite")
@shop_argument
@member_option
@level_option
@click.option("--until", metavar="DAY", help="The last day to accept, such as 2026-12-31; left out: for good.")
@program_option
@as_json_option
def tiers_invite(name: str, who: str, level: str, until: str | None, program: str, as_json: bool) -> None:
    """Invite one member to a level that cannot be earned."""
    with _at_desk(name, who, program, as_json) as (desk, member_id):
        by_hand.invite(desk, member_id, level, _day(until, "until"))


@tiers_.command("accept")
@shop_argument
@member_option
@level_option
@program_option
@as_json_option
def tiers_accept(name: str, who: str, level: str, program: str, as_json: bool) -> None:
    """The member accepts an invitation, and holds the level at once."""
    with _at_desk(name, who, program, as_json) as (desk, member_id):
        by_hand.answer(desk, member_id, level, accept=True)


@tiers_.command("decline")
@shop_argument
@member_option
@level_option
@program_option
@as_json_option
def tiers_decline(name: str, who: str, level: str, program: str, as_json: bool) -> None:
    """The member declines an invitation."""
    with _at_desk(name, who, program, as_json) as (desk, member_id):
        by_hand.answer(desk, member_id, level, accept=False)


@contextmanager
def _at_desk(name: str, who: str, program: str, as_json: bool) -> Iterator[tuple[Desk, int]]:
    """One member of a programme, in a transaction; afterwards the last line of the history is the answer."""
    with opened_shop(name) as (runtime, found):
        with runtime.db.write() as connection:
            _there(program, programs(connection, found.shop_id))
            member_id = members.find(connection, found, who)
            yield Desk(connection, found, runtime.clock.now(), ACTOR, program), member_id
        with runtime.db.read() as connection:
            last, by = history(connection, found.shop_id, program, member_id)[-1], called(connection, found)
    answer({"member": str(member_id), **last.as_dict("en", by)}, as_json)


def _there(program: str, known: list[str]) -> None:
    if program not in known:
        hint = f"There are: {', '.join(known)}." if known else "Save one first."
        raise InvalidInput(f"There is no tier programme {program!r}.", field="program", hint=hint)


def _day(told: str | None, name: str) -> date | None:
    try:
        return None if told is None else date.fromisoformat(told)
    except ValueError as error:
        raise InvalidInput(f"{told!r} is not a day.", field=name, hint="Write it as 2026-11-24.") from error
