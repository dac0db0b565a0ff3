"""Commands about what goes out: program, journey, sender, tick, outbox."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from crm_plugin.adapters.base import SettingType
from crm_plugin.adapters.registry import channel_class
from crm_plugin.cli.common import ACTOR, answer, as_json_option, instant_of, main, opened, opened_shop
from crm_plugin.cli.stores import pair
from crm_plugin.jobs import tasks
from crm_plugin.store import audit
from crm_plugin.store.tenants import all_shops, shop_named
from crm_plugin.touchpoints import journeys, outbox, program, senders, testing


@main.group("program")
def program_() -> None:
    """What a shop decided, as one file: settings, tiers, segments, journeys, texts."""


@program_.command("load")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@as_json_option
def program_load(name: str, file: Path, as_json: bool) -> None:
    """Make it what the file says; all of it or nothing."""
    with opened_shop(name) as (runtime, found):
        report = tasks.load_program(runtime, found, program.read_file(file), actor=ACTOR)
    answer(report, as_json)


@program_.command("dump")
@click.argument("name")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write it here instead of to stdout.")
@as_json_option
def program_dump(name: str, output: Path | None, as_json: bool) -> None:
    """Give it back as a file that `program load` takes."""
    with opened_shop(name) as (runtime, found), runtime.db.read() as connection:
        document = program.dump(connection, found)
    if output is not None:
        output.write_text(program.to_yaml(document), encoding="utf-8")
    elif as_json:
        answer(document, True)
    else:
        click.echo(program.to_yaml(document), nl=False)


@main.group("journey")
def journey_() -> None:
    """Journeys: what runs, and switching it on and off."""


@journey_.command("list")
@click.argument("name")
@as_json_option
def journey_list(name: str, as_json: bool) -> None:
    """The shop's journeys."""
    with opened_shop(name) as (runtime, found), runtime.db.read() as connection:
        there = journeys.all_journeys(connection, found.shop_id)
    if as_json:
        answer([journey.as_dict() for journey in there], True)
        return
    told = [
        {
            "journey": one.key,
            "on": "on" if one.enabled else "off",
            "trigger": f"{one.trigger.type} {one.trigger.days:+d} days",
            "channels": ", ".join(one.channels),
            "at": one.send_at.strftime("%H:%M"),
            "audience": one.audience_text or "everyone who agreed",
        }
        for one in there
    ]
    answer(told, False)


def _switch(name: str, key: str, on: bool, as_json: bool) -> None:
    with opened_shop(name) as (runtime, found):
        now = runtime.clock.now()
        with runtime.db.write() as connection:
            changed = journeys.switch(connection, found, key, on, now)
            audit.note(connection, found.shop_id, ACTOR, "journey.on" if on else "journey.off", {"journey": key}, now)
    answer({"journey": changed.key, "enabled": changed.enabled}, as_json)


@journey_.command("on")
@click.argument("name")
@click.argument("key")
@as_json_option
def journey_on(name: str, key: str, as_json: bool) -> None:
    """Switch a journey on; it speaks from now on, nothing of the past is caught up."""
    _switch(name, key, True, as_json)


@journey_.command("off")
@click.argument("name")
@click.argument("key")
@as_json_option
def journey_off(name: str, key: str, as_json: bool) -> None:
    """Switch a journey off; what waits is cancelled."""
    _switch(name, key, False, as_json)


@main.group("sender")
def sender_() -> None:
    """Senders: SMTP, Twilio and whatever else messages leave by."""


@sender_.command("list")
@click.argument("name")
@as_json_option
def sender_list(name: str, as_json: bool) -> None:
    """The shop's senders and how they are."""
    keys = ("adapter", "channel", "label", "enabled", "status", "status_detail")
    with opened_shop(name) as (runtime, found), runtime.db.read() as connection:
        rows = [{key: getattr(one, key) for key in keys} for one in senders.senders(connection, found)]
    answer(rows, as_json)


@sender_.command("set")
@click.argument("name")
@click.argument("adapter")
@click.argument("settings", nargs=-1, metavar="KEY=VALUE...")
@as_json_option
def sender_set(name: str, adapter: str, settings: tuple[str, ...], as_json: bool) -> None:
    """Set a sender up after it has answered. A secret may come as CRM_<ADAPTER>_<KEY>, else it is asked for."""
    told: dict[str, Any] = dict(map(pair, settings))
    with opened_shop(name) as (runtime, found):
        told |= _secrets(
            adapter, told, ask=not as_json and not senders.shown_settings(runtime.db, runtime.box, found, adapter)
        )
        now = runtime.clock.now()
        warnings = senders.save_connection(runtime.db, runtime.box, found, adapter, told, now)
        with runtime.db.write() as connection:
            audit.note(connection, found.shop_id, ACTOR, "sender.saved", {"sender": adapter}, now)
    answer(
        {"sender": adapter, "status": "ok", "warnings": [f"{one.message} {one.hint}".strip() for one in warnings]},
        as_json,
    )


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
@click.argument("name")
@click.argument("adapter")
@as_json_option
def sender_check(name: str, adapter: str, as_json: bool) -> None:
    """Ask a sender whether it is well; one that waits for you goes on once it answers."""
    with opened_shop(name) as (runtime, found):
        problems = senders.check(runtime.db, runtime.box, found, adapter, runtime.clock.now())
    answer({"sender": adapter, "problems": [f"{one.message} {one.hint}".strip() for one in problems]}, as_json)


@sender_.command("test")
@click.argument("name")
@click.argument("adapter")
@click.argument("to")
@as_json_option
def sender_test(name: str, adapter: str, to: str, as_json: bool) -> None:
    """Send one message that says it is a test."""
    with opened_shop(name) as (runtime, found):
        result = testing.send_test(
            runtime.db, runtime.box, found, adapter, to, runtime.clock.now(), runtime.config.public_url
        )
    answer({"sender": adapter, "to": to, "provider_message_id": result.provider_message_id}, as_json)


@main.command()
@click.argument("name", required=False)
@click.option("--at", help="An instant, in the shop's zone unless it names an offset; now when left out.")
@click.option("--sync", "pull", is_flag=True, help="Pull the store first.")
@as_json_option
def tick(name: str | None, at: str | None, pull: bool, as_json: bool) -> None:
    """One round by hand, of one shop or of all: recover, tiers once a day, plan, send.

    It is a real round: messages leave, and what was due up to that instant counts as planned.
    """
    with opened() as runtime:
        with runtime.db.read() as connection:
            chosen = [shop_named(connection, name)] if name else all_shops(connection)
        told = {}
        for one in chosen:
            instant = instant_of(one, runtime, at)
            pulled = tasks.sync(runtime, one, now=instant) if pull and tasks.can_be_pulled(one) else None
            told[one.name] = {**({"sync": pulled} if pulled else {}), **tasks.tick(runtime, one, instant).as_dict()}
    answer(told[name] if name else told, as_json)


@main.command("outbox")
@click.argument("name")
@click.option("--state", default="", help="planned, accepted, skipped, unconfirmed ...")
@click.option("--reason", default="", help="no_consent, quiet_hours ...")
@click.option("--journey", default="", help="A journey's key.")
@click.option("--limit", default=50, show_default=True)
@as_json_option
def outbox_(name: str, state: str, reason: str, journey: str, limit: int, as_json: bool) -> None:
    """What went, waits, was held back, failed, and why; newest first."""
    with opened_shop(name) as (runtime, found), runtime.db.read() as connection:
        rows = outbox.entries(connection, found.shop_id, state=state, reason=reason, journey=journey, limit=limit)
    if as_json:
        answer([row.as_dict() for row in rows], True)
        return
    told = [
        {
            "due": f"{row.due_at:%Y-%m-%d %H:%M}Z",
            "member": row.member_name or row.member_email or row.member_id,
            "journey": row.journey_key,
            "channel": row.channel,
            "state": row.state,
            "reason": row.reason,
            "subject": row.subject,
        }
        for row in rows
    ]
    answer(told, False)
