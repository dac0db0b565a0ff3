"""The root of all commands: whatever goes wrong below it ends in one sentence that says what to do."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click
from rich.console import Console
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, ProgrammingError

from crm_plugin.cli.words import Group
from crm_plugin.config import load_config
from crm_plugin.errors import ConfigError, CrmError, InvalidInput

INTERRUPTED = 130
stderr = Console(stderr=True)
_log = logging.getLogger(__name__)


class Commands(Group):
    """Turns errors into words (or JSON) and exit code 1, and Ctrl-C into exit code 130. None shows where in the code it came from."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Run what was typed, and end the process."""
        told = list(sys.argv[1:] if args is None else args)
        as_json = "--json" in told
        try:
            code = super().main(told, prog_name, complete_var, standalone_mode=False, obj={"json": as_json}, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            raise SystemExit(1) from error
        except click.ClickException as error:
            where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "crm-plugin"
            fail(InvalidInput(error.format_message(), hint=f"See `{where} --help`.", code="usage"), as_json)
        except click.Abort:
            raise SystemExit(INTERRUPTED) from None
        raise SystemExit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        as_json = bool(ctx.obj and ctx.obj.get("json"))
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except CrmError as error:
            fail(error, as_json)
        except DBAPIError as error:
            fail(_internal(error) if isinstance(error, _OURS) else _database_error(error), as_json)
        except BrokenPipeError as error:
            # Whoever read our answer has read enough.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(0) from error
        except OSError as error:
            fail(_file_error(error), as_json)
        except KeyboardInterrupt:
            stderr.print("Stopped. What was written is kept; the same command goes on from there.")
            raise SystemExit(INTERRUPTED) from None
        except Exception as error:
            fail(_internal(error), as_json)


def fail(error: CrmError, as_json: bool) -> NoReturn:
    """Say what is wrong and end."""
    if as_json:
        click.echo(json.dumps({"error": error.as_dict()}, ensure_ascii=False))
    else:
        place = str(getattr(error, "field", "") or getattr(error, "path", ""))
        # A journey has many steps: which one it is about stands in no other word of it.
        step = place.split(":")[0]
        where = f"{step}: " if step.startswith("steps.") and step not in str(error) else ""
        stderr.print(f"{where}{error}", style="red", markup=False, highlight=False, soft_wrap=True)
    raise SystemExit(1)


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")


# A database says so of a statement that is wrong, which no setting can mend.
_OURS = (IntegrityError, ProgrammingError, DataError)
# What a database says, and what to do about it; the first that fits.
_DATABASE_HINTS = (
    ("locked", "Another command is writing to it: wait for it to end, then try again."),
    ("readonly", "Give this user the right to write to {place} and its folder."),
    ("unable to open", "The folder of {place} must be there, and this user must be able to write to it."),
    (
        "not a database",
        "{place} holds something else: move it away and a new one is made, or name another in CRM_DATABASE_URL.",
    ),
    ("malformed", "{place} is damaged or cut short: put back a backup, or move it away and a new, empty one is made."),
    ("disk", "Make room on the disk, then try again."),
    ("password", "Check user and password in CRM_DATABASE_URL."),
    ("does not exist", "Make the database and its user first, or correct their names in CRM_DATABASE_URL."),
)


def _internal(error: Exception) -> CrmError:
    _log.debug("this went wrong", exc_info=error)
    hint = "That is a fault of crm-plugin. With CRM_LOG_LEVEL=DEBUG the same command shows where; please report it."
    return CrmError(f"Something went wrong: {type(error).__name__}: {_one_line(error)}.", hint=hint, code="internal")


def _database_error(error: DBAPIError) -> CrmError:
    told = error.orig.args[0] if error.orig is not None and error.orig.args else error.orig
    # PostgreSQL's driver hands over the fields of the server's message.
    said = _one_line(told.get("M", told) if isinstance(told, dict) else told)
    hint = next((hint for word, hint in _DATABASE_HINTS if word in said.lower()), "")
    if hint:
        return ConfigError(f"The database cannot be used: {said}.", hint=hint.format(place=_place()))
    return ConfigError(f"The database does not answer: {said}.", hint="Is it running? Check CRM_DATABASE_URL.")


def _place() -> str:
    """The database's file, as a person finds it."""
    try:
        return make_url(load_config().database_url).database or "It"
    except (CrmError, ArgumentError):
        return "CRM_DATABASE_URL"


def _file_error(error: OSError) -> CrmError:
    what = f"{error.filename} cannot be used" if error.filename else "A file or connection cannot be used"
    return ConfigError(f"{what}: {error.strerror or _one_line(error)}.", hint="Check its place and the rights to it.")
