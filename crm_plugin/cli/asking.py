"""Commands that ask: rule, member."""

from __future__ import annotations

import click

from crm_plugin import rules
from crm_plugin.analytics import members
from crm_plugin.cli.common import (
    answer,
    as_json_option,
    as_of_option,
    day_of,
    limit_option,
    main,
    opened_shop,
    shop_argument,
)
from crm_plugin.cli.profile import lines
from crm_plugin.cli.root import stderr
from crm_plugin.rules import reference
from crm_plugin.rules.fields import FIELDS
from crm_plugin.rules.unmet import unmet


@main.group(told=("Fields", lambda: [(reference.example(field), field.help.en) for field in FIELDS.values()]))
def rule() -> None:
    """Ask who a rule is true for.

    RULE is one text in quotes, such as 'spent(days=365) >= 1000 and not tag("staff")'; `everyone` is all members.
    """


@rule.command("count")
@shop_argument
@click.argument("expression", metavar="RULE")
@as_of_option
@as_json_option
def rule_count(name: str, expression: str, as_of: str | None, as_json: bool) -> None:
    """How many members a rule is true for."""
    with opened_shop(name) as (runtime, found), runtime.db.read() as connection:
        day = day_of(found, runtime, as_of)
        count = rules.count(connection, found, expression, day)
        nobody = unmet(connection, found, rules.compile_rule(expression).node)
    answer({"count": count, "as_of": day.isoformat()} if as_json else count, as_json)
    for one in nobody:
        stderr.print(one, markup=False, highlight=False, soft_wrap=True)


@rule.command("list")
@shop_argument
@click.argument("expression", metavar="RULE")
@as_of_option
@limit_option(20)
@as_json_option
def rule_list(name: str, expression: str, as_of: str | None, limit: int, as_json: bool) -> None:
    """Which members a rule is true for."""
    with opened_shop(name) as (runtime, found), runtime.db.read() as connection:
        rows = rules.sample(connection, found, expression, day_of(found, runtime, as_of), limit)
        # Ids as text, for JavaScript rounds such long numbers.
        told = [{**row._mapping, "member_id": str(row.member_id)} for row in rows]
    answer(told, as_json)


@main.command()
@shop_argument
@click.argument("who", metavar="ID")
@as_of_option
@as_json_option
def member(name: str, who: str, as_of: str | None, as_json: bool) -> None:
    """Everything about one member.

    ID is an e-mail address, a phone number with its country code, the store's id or ours.
    """
    with opened_shop(name) as (runtime, found), runtime.db.read() as connection:
        member_id = members.find(connection, found, who)
        told = members.profile(connection, found, member_id, day_of(found, runtime, as_of))
    if as_json:
        answer(told.as_dict(), True)
        return
    for line in lines(told):
        click.echo(line)
