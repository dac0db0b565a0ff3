"""Commands about saved segments, and about who is to be asked again: segment, rule changes."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from crm_plugin.adapters.storefronts.csv.mapping import FileMapping
from crm_plugin.adapters.storefronts.csv.opening import open_rows
from crm_plugin.analytics import segments as looks
from crm_plugin.cli.asking import rule
from crm_plugin.cli.common import (
    ACTOR,
    answer,
    as_json_option,
    as_of_option,
    day_of,
    instant_of,
    limit_option,
    main,
    opened_shop,
    shop_argument,
)
from crm_plugin.cli.root import stderr
from crm_plugin.clock import local_day
from crm_plugin.errors import InvalidInput
from crm_plugin.jobs import tasks
from crm_plugin.phrases import phrase
from crm_plugin.rules import compile_for
from crm_plugin.rules import segments as saved
from crm_plugin.rules.changes import Span, parts
from crm_plugin.web.member_file import safe

# Columns that name a member, as files call them; the first of these that is there is read, else the file's first column.
_NAMING = ("member_id", "id", "customer_id", "email", "e-mail", "email address", "phone")


@main.group()
def segment() -> None:
    """Rules saved under a name, and lists of members.

    A rule asks for one by its key: segment("regulars"). Who comes and who goes is noted at each round.
    """


@segment.command("save")
@shop_argument
@click.argument("key", metavar="KEY")
@click.argument("expression", metavar="[RULE]", required=False)
@click.option(
    "--csv", "file", type=click.Path(path_type=Path), help="A list of members: a file of ids, e-mails or phones."
)
@click.option("--column", default="", help="The file's column that names them; else found out.")
@click.option("--add", is_flag=True, help="Keep those the list has.")
@click.option("--title", default="", help="A name for people.")
@as_json_option
def segment_save(
    name: str, key: str, expression: str | None, file: Path | None, column: str, add: bool, title: str, as_json: bool
) -> None:
    """Save a rule, or a list from a file.

    In place of what the segment was; whom it holds is listed at once.
    """
    if (expression is None) == (file is None):
        raise InvalidInput("A segment is a rule or a list.", hint="Write the rule in quotes, or give --csv FILE.")
    with opened_shop(name) as (runtime, shop):
        now = runtime.clock.now()
        if file is not None:
            with _names_in(file, column) as rows:
                told = tasks.save_list(runtime, shop, key, rows, title=title, add=add, now=now, actor=ACTOR)
            for one in () if as_json else told.pop("lines"):
                line = f"line {one['line']}: {one['text']!r} {one['problem']}"
                stderr.print(line, markup=False, highlight=False, soft_wrap=True)
            answer(told, as_json)
            return
        tasks.save_segment(runtime, shop, key, str(expression), title=title, now=now, actor=ACTOR)
        with runtime.db.read() as connection:
            answer(looks.look(connection, shop, key, now).as_dict(), as_json)


@contextmanager
def _names_in(file: Path, column: str) -> Iterator[Iterator[tuple[int, str]]]:
    with open_rows(file, FileMapping("members", {})) as (rows, header):
        lowered = [one.lower() for one in header]
        if column and column.lower() not in lowered:
            raise InvalidInput(
                phrase("The file has no column %(column)s.", column=column),
                field="column",
                hint=phrase("There are: %(names)s.", names=header),
            )
        wanted = column.lower() or next((one for one in _NAMING if one in lowered), lowered[0])
        place = lowered.index(wanted)
        yield ((line, cells[place].strip()) for line, cells in rows if len(cells) > place and cells[place].strip())


@segment.command("list")
@shop_argument
@as_json_option
def segment_list(name: str, as_json: bool) -> None:
    """The segments there are."""
    with opened_shop(name) as (runtime, shop), runtime.db.read() as connection:
        rows = looks.overview(connection, shop, runtime.clock.now())
    told = [
        {
            "key": row.segment.key,
            "kind": row.segment.kind,
            "title": row.segment.title,
            "rule": row.segment.rule,
            "members": row.count,
            f"entered_{looks.DAYS}_days": row.entered,
            f"left_{looks.DAYS}_days": row.left,
            "problem": row.problem,
        }
        for row in rows
    ]
    answer(told, as_json)


@segment.command("show")
@shop_argument
@click.argument("key", metavar="KEY")
@click.option("--lang", type=click.Choice(["en", "zh"]), default="en", help="The language of the sentence.")
@as_json_option
def segment_show(name: str, key: str, lang: str, as_json: bool) -> None:
    """What it says, whom it holds now, who came and went."""
    with opened_shop(name) as (runtime, shop), runtime.db.read() as connection:
        told = looks.look(connection, shop, key, runtime.clock.now(), lang).as_dict()
    answer(told, as_json)


@segment.command("members")
@shop_argument
@click.argument("key", metavar="KEY")
@as_of_option
@click.option("--csv", "file", type=click.Path(path_type=Path), help="Write them all into a file.")
@limit_option(20)
@as_json_option
def segment_members(name: str, key: str, as_of: str | None, file: Path | None, limit: int, as_json: bool) -> None:
    """Its members, today or on a day that is past."""
    with opened_shop(name) as (runtime, shop), runtime.db.read() as connection:
        now, day = runtime.clock.now(), day_of(shop, runtime, as_of)
        rows = looks.members_of(connection, shop, key, now, day, None if file else limit)
        if file is not None:
            answer({"members": _export(rows, file), "file": str(file)}, as_json)
            return
        told = [one.as_dict() for one in rows]
    answer(told, as_json)


def _export(rows: Iterator[looks.Held], file: Path) -> int:
    """Write the rows; a cell that a spreadsheet would take for a formula gets a mark before it."""
    written = 0
    try:
        with file.open("w", newline="", encoding="utf-8-sig") as out:
            table = csv.writer(out)
            table.writerow(["member_id", "external_id", "name", "email", "since"])
            for row in rows:
                table.writerow([safe("" if value is None else str(value)) for value in row.as_dict().values()])
                written += 1
    except OSError as error:
        raise InvalidInput(
            f"The file {file} cannot be written: {error.strerror}.", field="csv", hint="Check its name and folder."
        ) from error
    return written


@segment.command("remove")
@shop_argument
@click.argument("key", metavar="KEY")
@as_json_option
def segment_remove(name: str, key: str, as_json: bool) -> None:
    """Forget a segment that no saved rule asks for."""
    with opened_shop(name) as (runtime, shop), runtime.db.write() as connection:
        saved.remove(connection, shop, key, runtime.clock.now(), actor=ACTOR)
    answer({"removed": key}, as_json)


@rule.command("changes")
@shop_argument
@click.argument("expression", metavar="RULE")
@click.option("--from", "begin", metavar="INSTANT", required=True, help="Such as 2026-11-24T10:00, in the shop's zone.")
@click.option("--to", "end", metavar="INSTANT", help="The same; else now.")
@limit_option(20)
@as_json_option
def rule_changes(name: str, expression: str, begin: str, end: str | None, limit: int, as_json: bool) -> None:
    """Of whom a rule may say something else later.

    To these alone a segment's rule is put again: to whom something happened since, and whom the calendar moved. Marks of what happened are
    moved on, so of a time that is past more are named.
    """
    with opened_shop(name) as (runtime, shop), runtime.db.read() as connection:
        since, until = instant_of(shop, runtime, begin, "from"), instant_of(shop, runtime, end, "to")
        if until < since:
            raise InvalidInput("--to is before --from.", field="to", hint="Give the earlier instant as --from.")
        node = compile_for(connection, shop, expression).asked
        span = Span(since, local_day(since, shop.timezone), local_day(until, shop.timezone))
        because: dict[str, set[int]] = {}
        for part in parts(shop, [node], span):
            because.setdefault(part.why, set()).update(connection.execute(part.select).scalars())
    ids = sorted(set().union(*because.values()))
    told = {"members": len(ids), "because": {why: len(found) for why, found in because.items()}}
    answer({**told, "member_ids": [str(one) for one in ids[:limit]]}, as_json)
