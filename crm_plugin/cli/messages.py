"""Commands about messages: outbox, what waits, and message again, settle, cancel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from crm_plugin.cli.common import ACTOR, answer, as_json_option, limit_option, main, opened_shop, row_id, shop_argument
from crm_plugin.cli.tables import cell
from crm_plugin.errors import InvalidInput
from crm_plugin.touchpoints import backlog, outbox
from crm_plugin.touchpoints.backlog import Estimate
from crm_plugin.touchpoints.states import Reason, State


@main.command("outbox")
@shop_argument
@click.option("--state", metavar="STATE", default="", help=f"Only these: {', '.join(State)}.")
@click.option("--reason", metavar="REASON", default="", help=f"Only these: {', '.join(Reason)}.")
@click.option("--journey", metavar="KEY", default="", help="Only of this journey; `journey list` names them.")
@click.option("--before", metavar="ID", type=row_id, help="Go on after this message, the last of the page before.")
@click.option("--count", "only_counts", is_flag=True, help="Only how many there are in each state and for each reason.")
@click.option(
    "--waiting", "only_waiting", is_flag=True, help="Only how many are due and wait, by sender, and until when."
)
@limit_option(50)
@as_json_option
def outbox_(name: str, only_counts: bool, only_waiting: bool, as_json: bool, **asked: Any) -> None:
    """What went, what waits, what was held back, and why.

    The newest first.
    """
    with opened_shop(name) as (runtime, found), runtime.db.read() as connection:
        if only_counts:
            counts = {
                "states": outbox.counts(connection, found.shop_id),
                "reasons": outbox.reasons(connection, found.shop_id),
            }
            if as_json:
                answer(counts, True)
            else:
                _say_counts(counts)
            return
        if only_waiting:
            there = backlog.estimates(connection, runtime.box, found.shop_id, runtime.clock.now())
            waiting = sum(one.waiting for one in there)
            told = {"waiting": waiting, "until": backlog.all_gone(there), "senders": [asdict(one) for one in there]}
            if as_json:
                answer(told, True)
            else:
                _say_waiting(there)
            return
        rows = outbox.entries(connection, found.shop_id, **asked)
    if as_json:
        answer([row.as_dict() for row in rows], True)
        return
    shown = [
        {
            "id": row.touchpoint_id,
            "due": row.due_at,
            "member": row.member_name or row.member_email or row.member_id,
            "journey": row.journey_key,
            "channel": row.channel,
            "state": row.state,
            "reason": row.reason,
            "exempt": "exempt" if row.exempt else "",
            "subject": row.subject,
        }
        for row in rows
    ]
    answer(
        shown, False, "There are no such messages." if any(asked[key] for key in _FILTERS) else "Nothing went out yet."
    )


_FILTERS = ("state", "reason", "journey", "before")


def _say_counts(counts: dict[str, dict[str, int]]) -> None:
    """How many there are in each state, then for each reason."""
    for what, there in (("state", counts["states"]), ("reason", counts["reasons"])):
        if there or what == "state":
            answer([{what: name, "messages": number} for name, number in there.items()], False, "Nothing went out yet.")


def _say_waiting(there: Sequence[Estimate]) -> None:
    """How many are due and wait, until when that takes, and by which sender."""
    if not there:
        click.echo("Nothing is due and waits.")
        return
    waiting, until = sum(one.waiting for one in there), backlog.all_gone(list(there))
    ends = f"the last leaves at about {cell(until)}" if until else "nobody can tell when the last leaves"
    click.echo(f"{waiting:,} messages are due and wait; {ends}.")
    rows = [
        {
            "sender": one.adapter or "none",
            "waiting": one.waiting,
            "since": one.oldest_at,
            "a minute": one.per_minute,
            "until": one.until or "not known",
        }
        for one in there
    ]
    answer(rows, False)


_id_argument = click.argument("touchpoint_id", metavar="[ID]", type=int, required=False)


@main.group("message")
def message_() -> None:
    """Send messages again, settle or cancel them."""


@message_.command("again")
@shop_argument
@_id_argument
@click.option("--reason", metavar="REASON", default="", help="All that failed for this reason, in place of one.")
@click.option("--sure", is_flag=True, help="Also one of unknown outcome: the member may get it twice.")
@as_json_option
def message_again(name: str, touchpoint_id: int | None, reason: str, sure: bool, as_json: bool) -> None:
    """Plan what failed anew.

    `outbox` names the IDs. The next round sends it, if nothing stands against it then. One, or all of one reason, 5000 at a time.
    """
    _one_of(touchpoint_id, bool(reason), "--reason REASON")
    with opened_shop(name) as (runtime, found), runtime.db.write() as connection:
        now = runtime.clock.now()
        if touchpoint_id is None:
            if reason not in list(Reason):
                raise InvalidInput(
                    f"There is no reason {reason!r}.", field="reason", hint=f"There are: {', '.join(Reason)}."
                )
            _say_again(outbox.send_again_all(connection, found, reason, now, ACTOR), as_json)
            return
        state = outbox.show(connection, found.shop_id, touchpoint_id).entry.state
        if state == State.UNCONFIRMED and not sure:
            hint = "Look into your sender's list first; with --sure it is sent all the same."
            raise InvalidInput("It may have arrived: the member may get it twice.", field="sure", hint=hint)
        outbox.send_again(connection, found, touchpoint_id, now, ACTOR)
    _say_again(1, as_json)


def _say_again(count: int, as_json: bool) -> None:
    told = f"{_messages(count)} planned anew: the next round sends what nothing stands against then."
    answer({"again": count} if as_json else told, as_json)


def _messages(count: int) -> str:
    return "1 message is" if count == 1 else f"{count:,} messages are"


@message_.command("settle")
@shop_argument
@_id_argument
@click.option("--all", "every", is_flag=True, help="All of unknown outcome, 5000 at a time.")
@click.option("--sent/--not-sent", "sent", default=None, required=True, help="What became of it.")
@as_json_option
def message_settle(name: str, touchpoint_id: int | None, every: bool, sent: bool, as_json: bool) -> None:
    """Say what became of messages whose outcome is unknown.

    Nothing is sent by this.
    """
    _one_of(touchpoint_id, every, "--all")
    with opened_shop(name) as (runtime, found), runtime.db.write() as connection:
        now, count = runtime.clock.now(), 1
        if touchpoint_id is None:
            count = outbox.settle_all(connection, found, sent, now, ACTOR)
        else:
            outbox.settle(connection, found, touchpoint_id, sent, now, ACTOR)
    told = f"{_messages(count)} noted as {'sent' if sent else 'not sent'}; nothing was sent by this."
    answer({"settled": count} if as_json else told, as_json)


@message_.command("cancel")
@shop_argument
@click.argument("touchpoint_id", metavar="ID", type=int)
@as_json_option
def message_cancel(name: str, touchpoint_id: int, as_json: bool) -> None:
    """Take back a message that still waits."""
    with opened_shop(name) as (runtime, found), runtime.db.write() as connection:
        outbox.cancel(connection, found, touchpoint_id, runtime.clock.now(), ACTOR)
    answer({"cancelled": 1} if as_json else "The message is cancelled: it does not leave.", as_json)


def _one_of(touchpoint_id: int | None, every: bool, option: str) -> None:
    if (touchpoint_id is None) != every:
        raise InvalidInput("It is about one message, or about all.", field="id", hint=f"Give an ID, or {option}.")
