"""Commands about messages that ended badly or wait: message again, settle, cancel."""

from __future__ import annotations

import click

from crm_plugin.cli.common import ACTOR, answer, as_json_option, main, opened_shop, shop_argument
from crm_plugin.errors import InvalidInput
from crm_plugin.touchpoints import outbox
from crm_plugin.touchpoints.states import Reason, State

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
            answer({"again": outbox.send_again_all(connection, found, reason, now, ACTOR)}, as_json)
            return
        state = outbox.show(connection, found.shop_id, touchpoint_id).entry.state
        if state == State.UNCONFIRMED and not sure:
            hint = "Look into your sender's list first; with --sure it is sent all the same."
            raise InvalidInput("It may have arrived: the member may get it twice.", field="sure", hint=hint)
        outbox.send_again(connection, found, touchpoint_id, now, ACTOR)
    answer({"again": 1}, as_json)


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
    answer({"settled": count}, as_json)


@message_.command("cancel")
@shop_argument
@click.argument("touchpoint_id", metavar="ID", type=int)
@as_json_option
def message_cancel(name: str, touchpoint_id: int, as_json: bool) -> None:
    """Take back a message that still waits."""
    with opened_shop(name) as (runtime, found), runtime.db.write() as connection:
        outbox.cancel(connection, found, touchpoint_id, runtime.clock.now(), ACTOR)
    answer({"cancelled": 1}, as_json)


def _one_of(touchpoint_id: int | None, every: bool, option: str) -> None:
    if (touchpoint_id is None) != every:
        raise InvalidInput("It is about one message, or about all.", field="id", hint=f"Give an ID, or {option}.")
