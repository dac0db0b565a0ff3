"""Commands about what keeps messages within bounds: journeys that stand still, a member's own dial."""

from __future__ import annotations

import click

from crm_plugin.analytics import members
from crm_plugin.cli.common import ACTOR, answer, as_json_option, instant_of, main, opened_shop, shop_argument
from crm_plugin.cli.journeys import journey_
from crm_plugin.cli.tables import cell
from crm_plugin.store import audit
from crm_plugin.touchpoints import dial, radius, waves


@journey_.command("held")
@shop_argument
@as_json_option
def journey_held(name: str, as_json: bool) -> None:
    """Journeys that stand still or wait for a first part, and why."""
    with opened_shop(name) as (runtime, found), runtime.db.read() as connection:
        standing = [one for one in waves.all_waves(connection, found.shop_id).values() if one.state != waves.CLEAR]
        told = [
            {**one.as_dict(), "waiting": radius.held_back(connection, found.shop_id, one.journey_key)}
            for one in standing
        ]
    shown = told if as_json else [{key: row[key] for key in row if key != "detail"} for row in told]
    answer(shown, as_json, "No journey stands still or waits for a first part.")


@journey_.command("release")
@shop_argument
@click.argument("key")
@click.option("--confirm", metavar="N", default="", help="How many messages that is; needed above a size.")
@as_json_option
def journey_release(name: str, key: str, confirm: str, as_json: bool) -> None:
    """Let a journey go that stands still.

    KEY as in `journey held`.
    """
    with opened_shop(name) as (runtime, found), runtime.db.write() as connection:
        count = radius.release(connection, found, key, runtime.clock.now(), ACTOR, confirm)
    told = f"The journey {key} goes on; {count:,} messages of it were held back and leave with the next round."
    answer({"journey": key, "messages": count} if as_json else told, as_json)


@main.command("dial")
@shop_argument
@click.option("--member", "who", metavar="ID", required=True, help="An e-mail, a phone, the store's id or ours.")
@click.option("--frequency", type=click.Choice(dial.FREQUENCIES), help="How much marketing the member wants.")
@click.option("--per-month", type=int, metavar="N", help="At most so many in 30 days; means monthly.")
@click.option("--snooze", metavar="INSTANT", help="Nothing before then, such as 2026-12-01T09:00; off ends it.")
@as_json_option
def dial_(name: str, who: str, frequency: str | None, per_month: int | None, snooze: str | None, as_json: bool) -> None:
    """Show how much marketing a member wants, or set it for them."""
    with opened_shop(name) as (runtime, found), runtime.db.write() as connection:
        member_id = members.find(connection, found, who)
        if frequency is None and per_month is None and snooze is None:
            chosen = dial.of(connection, found.shop_id, member_id)
        else:
            now = runtime.clock.now()
            chosen = dial.turn(
                connection,
                found.shop_id,
                member_id,
                now,
                frequency=frequency,
                per_month=per_month,
                snooze_until=None if snooze in (None, "off") else instant_of(found, runtime, snooze, "snooze"),
                awake=snooze == "off",
                source="merchant",
            )
            detail = {"member": str(member_id), **chosen.as_dict()}
            audit.note(connection, found.shop_id, ACTOR, "member.dial", detail, now)
    answer(chosen.as_dict() if as_json else _dial_words(chosen), as_json)


def _dial_words(chosen: dial.Dial) -> str:
    """What a member wants, as a sentence."""
    much = {
        dial.ALL: "Takes all marketing",
        dial.MONTHLY: f"Takes at most {chosen.per_month} marketing messages in 30 days",
        dial.ONLY_BIRTHDAY: "Takes birthday wishes alone",
    }[chosen.frequency]
    return f"{much}{f', and nothing before {cell(chosen.snooze_until)}' if chosen.snooze_until else ''}."
