"""What commands share in their words: errors that name the flag, helps that list what can be written, in an order that is of use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from crm_plugin.errors import InvalidInput

Rows = Callable[[], Sequence[tuple[str, str]]]
# From what one does first to what one does seldom.
_ORDER = (
    *("demo", "serve", "link", "shop", "sync", "import", "problems", "fields", "member", "rule", "segment", "tiers"),
    *("program", "recipe", "journey", "why", "event", "dial", "tasks", "coupons", "sender", "rehearse", "plan", "tick"),
    *("outbox", "message", "inapp-token", "doctor", "backup", "restore", "db", "worker", "clock"),
)


class Command(click.Command):
    """A command whose errors name the flag, and whose help may end with a list, made when it is asked for."""

    def __init__(self, *args: Any, told: tuple[str, Rows] | None = None, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self._told = told

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InvalidInput as error:
            raise _named(error, self.params) from error

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write(formatter, self._told)
        super().format_epilog(ctx, formatter)


class Group(click.Group):
    """Commands of one kind."""

    command_class = Command

    def __init__(self, *args: Any, told: tuple[str, Rows] | None = None, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self._told = told

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.commands, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write(formatter, self._told)
        super().format_epilog(ctx, formatter)


Group.group_class = Group


def _write(formatter: click.HelpFormatter, told: tuple[str, Rows] | None) -> None:
    if told is not None:
        title, rows = told
        with formatter.section(title):
            formatter.write_dl(rows())


def _named(error: InvalidInput, params: Sequence[click.Parameter]) -> InvalidInput:
    """The error with the flag or argument before it, where it is one's fault and does not name it itself."""
    flag = f"--{error.field.replace('_', '-')}"
    param = next((one for one in params if error.field and (one.name == error.field or flag in one.opts)), None)
    if param is None:
        return error
    called = param.opts[-1] if isinstance(param, click.Option) else param.make_metavar(click.Context(click.Command("")))
    # One that may be left out is shown in brackets.
    called = called.strip("[]")
    if called in str(error):
        return error
    return InvalidInput(
        f"{called}: {error.message}", hint=error.hint, field=error.field, line=error.line, code=error.code
    )
