"""Commands that read a rule, or all that are saved: check, words, explain, diff, audit, fields."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from crm_plugin import rules
from crm_plugin.analytics import members
from crm_plugin.cli.asking import rule
from crm_plugin.cli.common import (
    answer,
    as_json_option,
    as_of_option,
    day_of,
    limit_option,
    opened_shop,
    shop_argument,
)
from crm_plugin.cli.explained import lines
from crm_plugin.cli.root import stderr
from crm_plugin.errors import RuleError
from crm_plugin.rules import reference
from crm_plugin.rules.audit import audit
from crm_plugin.rules.called import UNNAMED, called
from crm_plugin.rules.diff import diff
from crm_plugin.rules.explain import explain
from crm_plugin.rules.nodes import fields_of
from crm_plugin.rules.text import to_text
from crm_plugin.rules.words import words

# A line with more characters is shown around the place alone.
_WIDEST = 160

lang_option = click.option(
    "--lang", type=click.Choice(["en", "zh"]), default="en", show_default=True, help="The language of the sentences."
)


@contextmanager
def pointing(text: str, as_json: bool) -> Iterator[None]:
    """Show the line a rule's error is about, with a mark below the place."""
    try:
        yield
    except RuleError as error:
        written = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        if not as_json and 0 < error.line <= len(written):
            line, column = _around(written[error.line - 1], error.column)
            # A character of Chinese is as wide as two marks.
            before = "".join("  " if unicodedata.east_asian_width(one) in "WF" else " " for one in line[: column - 1])
            stderr.print(f"  {line}\n  {before}^", markup=False, highlight=False, soft_wrap=True)
        raise


def _around(line: str, column: int) -> tuple[str, int]:
    """What fits on a screen of a long line, and the column in it."""
    if len(line) <= _WIDEST:
        return line, column
    first = max(0, min(column - 1 - _WIDEST // 2, len(line) - _WIDEST))
    head, tail = "…" if first else "", "…" if first + _WIDEST < len(line) else ""
    return f"{head}{line[first : first + _WIDEST]}{tail}", column - first + len(head)


@rule.command("check")
@click.argument("expression", metavar="RULE")
@click.argument("name", metavar="[SHOP]", required=False)
@as_json_option
def rule_check(expression: str, name: str | None, as_json: bool) -> None:
    """Whether a rule can be read.

    With a shop, also whether all it names is there.
    """
    with pointing(expression, as_json):
        found = rules.compile_rule(expression)
        if name is not None:
            with opened_shop(name) as (runtime, shop), runtime.db.read() as connection:
                found = rules.compile_for(connection, shop, expression)
    asked = list(dict.fromkeys(one.key for one in fields_of(found.node)))
    told = {"rule": to_text(found.node), "fields": asked, "document": found.json}
    answer(told if as_json else told["rule"], as_json)


@rule.command("words")
@click.argument("expression", metavar="RULE")
@click.argument("name", metavar="[SHOP]", required=False)
@lang_option
@as_json_option
def rule_words(expression: str, name: str | None, lang: str, as_json: bool) -> None:
    """A rule as a sentence.

    With a shop, levels have the names it gave them, and amounts its currency.
    """
    with pointing(expression, as_json):
        node, by = rules.compile_rule(expression).node, UNNAMED
        if name is not None:
            with opened_shop(name) as (runtime, shop), runtime.db.read() as connection:
                node, by = rules.compile_for(connection, shop, expression).node, called(connection, shop)
        told = words(node, lang, by)
    answer({"words": told, "lang": lang} if as_json else told, as_json)


@rule.command("explain")
@shop_argument
@click.argument("expression", metavar="RULE")
@click.option("--member", "who", metavar="ID", required=True, help="An e-mail, a phone, the store's id or ours.")
@as_of_option
@lang_option
@as_json_option
def rule_explain(name: str, expression: str, who: str, as_of: str | None, lang: str, as_json: bool) -> None:
    """Why it is true or not for one member.

    Each condition with the member's value, and whether it holds.
    """
    with opened_shop(name) as (runtime, shop), runtime.db.read() as connection:
        day = day_of(shop, runtime, as_of)
        with pointing(expression, as_json):
            found = rules.compile_for(connection, shop, expression)
        member_id = members.find(connection, shop, who)
        told, by = explain(connection, shop, found.asked, member_id, day), called(connection, shop)
    if as_json:
        answer({"member_id": str(member_id), "as_of": day, "rule": found.text, **told.as_dict(by)}, True)
        return
    for line in lines(told, found.node, lang, by):
        click.echo(line)


@rule.command("diff")
@shop_argument
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@as_of_option
@limit_option(10)
@as_json_option
def rule_diff(name: str, old: str, new: str, as_of: str | None, limit: int, as_json: bool) -> None:
    """Who comes in and who goes by NEW for OLD."""
    with opened_shop(name) as (runtime, shop), runtime.db.read() as connection:
        compiled = []
        for text in (old, new):
            with pointing(text, as_json):
                compiled.append(rules.compile_for(connection, shop, text))
        told = diff(connection, shop, compiled[0], compiled[1], day_of(shop, runtime, as_of), limit)
    numbers = {"before": told.before, "after": told.after, "came": told.came, "went": told.went, "stayed": told.stayed}
    came, went = ([_member(row) for row in rows] for rows in (told.came_sample, told.went_sample))
    if as_json:
        answer({"as_of": told.as_of, **numbers, "came_sample": came, "went_sample": went}, True)
        return
    answer(numbers, False)
    answer([{"": sign, **row} for sign, rows in (("+", came), ("-", went)) for row in rows], False)


def _member(row: Any) -> dict[str, Any]:
    # Ids as text, for JavaScript rounds such long numbers.
    return {**row._mapping, "member_id": str(row.member_id)}


@rule.command("audit")
@shop_argument
@as_json_option
def rule_audit(name: str, as_json: bool) -> None:
    """What is wrong with the saved rules.

    Names that are gone, rules that never or always hold, levels nobody can reach, circles, segments that are empty
    or that nothing asks for.
    """
    with opened_shop(name) as (runtime, shop), runtime.db.read() as connection:
        found = audit(connection, shop, day_of(shop, runtime, None))
    told = [one.as_dict() for one in found]
    if not as_json:
        # The name of a level tells its programme.
        told = [{name: value for name, value in one.items() if name != "program"} for one in told]
    answer(told, as_json)


@rule.command("fields")
@lang_option
@as_json_option
def rule_fields(lang: str, as_json: bool) -> None:
    """Everything a rule can ask for.

    As JSON in both languages, with what each takes, what unknown means and what changes it.
    """
    found = reference.fields()
    if not as_json:
        found = [
            {
                "field": one["key"],
                "what it is": one["label"][lang],
                "example": one["example"],
                "help": one["help"][lang],
            }
            for one in found
        ]
    answer(found, as_json)
