"""Commands about what is to go out: program, sender."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from crm_plugin.adapters.base import SettingType
from crm_plugin.adapters.registry import channel_class, channel_names
from crm_plugin.analytics import members
from crm_plugin.cli.common import ACTOR, answer, as_json_option, confirm_option, main, opened_shop, say, shop_argument
from crm_plugin.cli.stores import pair
from crm_plugin.cli.tables import cell
from crm_plugin.errors import InvalidInput
from crm_plugin.jobs import tasks
from crm_plugin.store import audit
from crm_plugin.touchpoints import health, program, senders, testing, tokens
from crm_plugin.touchpoints.health import Rest
from crm_plugin.touchpoints.program_file import read_file
from crm_plugin.touchpoints.program_yaml import to_yaml
from crm_plugin.touchpoints.senders import Sender


@main.group("program")
def program_() -> None:
    """Settings, tiers, segments, journeys and texts as one file."""


@program_.command("load")
@shop_argument
@click.argument("file", type=click.Path(path_type=Path))
@confirm_option
@as_json_option
def program_load(name: str, file: Path, confirm: str, as_json: bool) -> None:
    """Make the shop's programme what a file says; all of it or nothing.

    What the file does not name stays; tiers and segments are replaced as a whole. `program dump` shows how such a file is written.
    """
    with opened_shop(name) as (runtime, found):
        report = tasks.load_program(runtime, found, read_file(file), actor=ACTOR, typed=confirm)
    answer(report, as_json)


@program_.command("dump")
@shop_argument
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write it into this file.")
@as_json_option
def program_dump(name: str, output: Path | None, as_json: bool) -> None:
    """Print the shop's programme as a file that `program load` takes."""
    with opened_shop(name) as (runtime, found), runtime.db.read() as connection:
        document = program.dump(connection, found)
    if output is not None:
        try:
            output.write_text(to_yaml(document), encoding="utf-8")
        except OSError as error:
            hint = "Name another place with -o."
            raise InvalidInput(f"{output} cannot be written: {error.strerror}.", field="output", hint=hint) from error
    elif as_json:
        answer(document, True)
    else:
        click.echo(to_yaml(document), nl=False)


@main.group("sender")
def sender_() -> None:
    """What messages leave by, such as SMTP or Twilio."""


@sender_.command("list")
@shop_argument
@as_json_option
def sender_list(name: str, as_json: bool) -> None:
    """The shop's senders, and how they are."""
    with opened_shop(name) as (runtime, found), runtime.db.read() as connection:
        rests = health.rests(connection, found.shop_id, runtime.clock.now())
        there = senders.senders(connection, found)
    if as_json:
        answer([_as_dict(one, rests.get(one.adapter)) for one in there], True)
        return
    rows = [
        {
            "sender": one.adapter,
            "called": one.label,
            "channel": one.channel,
            "state": _state(one, rests.get(one.adapter)),
        }
        for one in there
    ]
    answer(rows, False, f"None is set up; `crm-plugin sender set {name} smtp host=… from_address=…` sets one up.")


def _as_dict(one: Sender, rest: Rest | None) -> dict[str, Any]:
    keys = ("adapter", "channel", "label", "enabled", "status", "status_detail")
    rests = {"rests_until": rest.until if rest else None, "rests_for": str(rest.why) if rest else ""}
    return {**{key: getattr(one, key) for key in keys}, **rests}


def _state(one: Sender, rest: Rest | None) -> str:
    """How a sender is, in words."""
    if not one.enabled:
        return "switched off"
    if one.status == senders.PAUSED:
        return f"paused until you act: {one.status_detail}"
    if rest is not None:
        return f"left alone until {cell(rest.until)}: {rest.why}"
    return "ready" if one.status == "ok" else "not asked yet"


@sender_.command("try")
@shop_argument
@click.argument("adapter")
@as_json_option
def sender_try(name: str, adapter: str, as_json: bool) -> None:
    """Leave a sender alone no longer.

    One that fails again and again rests for longer each time; the next round tries it after this.
    """
    channel_class(adapter)
    with opened_shop(name) as (runtime, found), runtime.db.write() as connection:
        ended = health.try_now(connection, found.shop_id, adapter)
        if ended:
            audit.note(connection, found.shop_id, ACTOR, "sender.try", {"sender": adapter}, runtime.clock.now())
    told = "The next round tries it again." if ended else "It was not left alone; nothing has changed."
    answer({"sender": adapter, "rested": ended} if as_json else told, as_json)


@sender_.command("set", told=("Senders and their settings", lambda: list(_settings())))
@shop_argument
@click.argument("adapter")
@click.argument("settings", nargs=-1, metavar="KEY=VALUE...")
@as_json_option
def sender_set(name: str, adapter: str, settings: tuple[str, ...], as_json: bool) -> None:
    """Set a sender up, or change some of it; kept once it has answered.

    What is not told stays as it is. A secret comes better as CRM_<ADAPTER>_<KEY> in the environment, such as CRM_SMTP_PASSWORD: no list
    of processes shows it there. One that is missing is asked for.
    """
    told: dict[str, Any] = dict(map(pair, settings))
    _check_keys(adapter, told)
    with opened_shop(name) as (runtime, found):
        present = senders.shown_settings(runtime.db, runtime.box, found, adapter)
        told = {**present, **told, **_secrets(adapter, told, ask=not as_json and not present)}
        now = runtime.clock.now()
        try:
            warnings = senders.save_connection(runtime.db, runtime.box, found, adapter, told, now)
        except InvalidInput as error:
            # A form shows the field beside the message; here it has to be named.
            hint = f"{error.hint} Give it as {error.field}=VALUE." if error.field else error.hint
            raise InvalidInput(error.message, hint=hint.strip(), field=error.field) from error
        with runtime.db.write() as connection:
            audit.note(connection, found.shop_id, ACTOR, "sender.saved", {"sender": adapter}, now)
    warned = [f"{one.message} {one.hint}".strip() for one in warnings]
    if as_json:
        answer({"sender": adapter, "status": "ok", "warnings": warned}, True)
        return
    click.echo(f"{adapter} answered and is kept; `crm-plugin sender test {name} {adapter} TO` sends a message by it.")
    say(f"warning: {one}" for one in warned)


def _settings() -> Iterator[tuple[str, str]]:
    for name in channel_names():
        channel = channel_class(name)
        for setting in channel.settings:
            if setting.hidden:
                continue
            may = "" if setting.required else " (may be left out)"
            yield f"{name} {setting.key}", f"{setting.label}. {setting.help}".rstrip() + may


def _check_keys(adapter: str, told: dict[str, Any]) -> None:
    known = [setting.key for setting in channel_class(adapter).settings]
    for key in told:
        if key not in known:
            raise InvalidInput(f"{adapter} has no setting {key!r}.", field=key, hint=f"It has: {', '.join(known)}.")


def _secrets(adapter: str, told: dict[str, Any], *, ask: bool) -> dict[str, str]:
    found: dict[str, str] = {}
    for setting in channel_class(adapter).settings:
        if setting.type is not SettingType.SECRET or setting.key in told:
            continue
        value = os.environ.get(f"CRM_{adapter}_{setting.key}".upper())
        if value is None and ask and setting.required:
            value = click.prompt(setting.label, hide_input=True, err=True)
        if value:
            found[setting.key] = value
    return found


@sender_.command("check")
@shop_argument
@click.argument("adapter")
@as_json_option
def sender_check(name: str, adapter: str, as_json: bool) -> None:
    """Ask a sender whether it is well.

    One that is paused goes on once it answers.
    """
    with opened_shop(name) as (runtime, found):
        problems = senders.check(runtime.db, runtime.box, found, adapter, runtime.clock.now())
    told = [f"{one.message} {one.hint}".strip() for one in problems]
    if as_json:
        answer({"sender": adapter, "problems": told}, True)
    else:
        say(told or [f"{adapter} is well."])


@sender_.command("test")
@shop_argument
@click.argument("adapter")
@click.argument("to")
@as_json_option
def sender_test(name: str, adapter: str, to: str, as_json: bool) -> None:
    """Send one message that says it is a test.

    TO is an e-mail address, a phone number with its country code, or what else the sender writes to.
    """
    with opened_shop(name) as (runtime, found):
        result = testing.send_test(
            runtime.db, runtime.box, found, adapter, to, runtime.clock.now(), runtime.config.public_url
        )
    known = f" It calls the message {result.provider_message_id}." if result.provider_message_id else ""
    told = {"sender": adapter, "to": to, "provider_message_id": result.provider_message_id}
    answer(told if as_json else f"{adapter} has taken a test message to {to}.{known}", as_json)


@main.command("inapp-token")
@shop_argument
@click.argument("who", metavar="ID")
@as_json_option
def inapp_token(name: str, who: str, as_json: bool) -> None:
    """A token for one member's in-app messages.

    The store shows them by it. ID as in `member`. It is good for 30 days.
    """
    with opened_shop(name) as (runtime, found), runtime.db.read() as connection:
        member_id = members.find(connection, found, who)
        token = tokens.member(runtime.box, found.shop_id, member_id)
    answer({"member_id": str(member_id), "token": token} if as_json else token, as_json)
