"""A round as it is meant: one member takes one step, what it brings is stored, and only then is anybody asked about or moved on.

Rules are asked of the database each time, by the select for all members; what messages and waits do is the engine's own, for one alone.
"""

from __future__ import annotations

from collections.abc import Set
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection, delete, insert, select, update

from crm_plugin.clock import local_day
from crm_plugin.errors import CrmError
from crm_plugin.ids import new_id
from crm_plugin.rules import by_hand, compile_rule
from crm_plugin.rules.book import resolved
from crm_plugin.rules.nodes import Node
from crm_plugin.rules.sql import select_members
from crm_plugin.store import coupon_codes, member_tags, tasks
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.audience import rule_of
from crm_plugin.touchpoints.holdout import held_out, share
from crm_plugin.touchpoints.journey import Journey
from crm_plugin.touchpoints.steps import acts, ending, sends, waits
from crm_plugin.touchpoints.steps.loading import load
from crm_plugin.touchpoints.steps.moves import Group, Insert, Stand, Stay, note_newcomers
from crm_plugin.touchpoints.versions import versions

_MOST = 10_000


def move(
    connection: Connection, shop: Shop, journey: Journey, kinds: Set[str], now: datetime, insert: Insert, *, came: bool
) -> None:
    """In place of `engine.move`, in the order that it promises: by version, by step, and who came in first."""
    if came:
        note_newcomers(connection, shop, journey.key, now)
    group = Group(connection, shop, journey.key, now, insert)
    sends.take_up(group, _MOST)
    stays, _ = load(group, journey, kinds, _MOST)
    acts.write(group)
    group.write()
    known = versions(connection, shop.shop_id, journey, {stay.version for stay in stays})
    levels: dict[tuple[int, str, int], str] = {}
    for number, version in known.items():
        inside = [stay for stay in stays if stay.version == number]
        for place in sorted(version.journey.flow.path.values(), key=lambda one: one.order):
            here = [stay for stay in inside if stay.step_key == place.step.key and _is_here(group, stay)]
            # Of two stays of one member that come to a step together neither meets what the other does there.
            for do in (_asked, partial(_taken, levels)):
                for stay in [one for one in here if one.step_key == place.step.key and not one.end_reason]:
                    alone = Group(connection, shop, journey.key, now, insert, news=group.news)
                    do(Stand(alone, version, place), stay)
                    alone.write()
                    group.moved |= alone.moved


def _is_here(group: Group, stay: Stay) -> bool:
    return not stay.end_reason and (stay.enrolment_id not in group.moved or stay.due_at <= group.at)


def _asked(stand: Stand, stay: Stay) -> None:
    """Going on from a wait or a message, and leaving."""
    journey, group = stand.version.journey, stand.group
    goal = compile_rule(journey.flow.goal_text).node if journey.flow.goal_text else None
    audience = rule_of(journey) if journey.flow.exit == "audience" else None
    if stay.phase == ending.SENT:
        sends.settle(stand, [stay])
    elif stay.phase != ending.DUE:
        waits.end(stand, [stay])
    elif stay.member_state != "active":
        group.leave(stay, "member_gone")
    elif held_out(group.shop.shop_id, journey, stay.member_id):
        group.leave(stay, "holdout")
    elif goal is not None and _holds(group, goal, stay):
        group.leave(stay, "goal")
    elif audience is not None and not _holds(group, audience, stay):
        group.leave(stay, "audience")


def _taken(levels: dict[tuple[int, str, int], str], stand: Stand, stay: Stay) -> None:
    """`levels` are those decided about in this round, each once for a member, however many stays come to the step."""
    kind = stand.step.kind
    if stay.phase != ending.DUE:
        return
    if kind in ("send", "coupon", "tag", "tier", "task") and stand.step.key in (stay.taken or "").split(" "):
        stand.group.done(stay, stand.to(), reason="before")
    elif kind == "tier":
        place = (stay.version, stand.step.key, stay.member_id)
        if place not in levels:
            levels[place] = _level(stand, stay)
        stand.group.done(stay, stand.to(), reason="refused" if levels[place] else "", detail=levels[place])
    else:
        {"send": _send, "wait": _wait}.get(kind, _act)(stand, stay)


def _holds(group: Group, node: Node, stay: Stay) -> bool:
    asked = resolved(group.connection, group.shop.shop_id, node)
    query = select_members(group.shop, asked, local_day(group.now, group.shop.timezone))
    own = query.selected_columns.member_id == stay.member_id
    return group.connection.execute(query.where(own)).first() is not None


def _send(stand: Stand, stay: Stay) -> None:
    sends.take(stand, [stay])


def _wait(stand: Stand, stay: Stay) -> None:
    waits.take(stand, [stay])


def _act(stand: Stand, stay: Stay) -> None:
    told, group, kind = stand.told, stand.group, stand.step.kind
    if kind == "end":
        group.done(stay, "", reason="done", what="ended")
    elif kind == "branch":
        arm = "then" if _holds(group, compile_rule(told["rule"]).node, stay) else "else"
        group.done(stay, stand.to(arm), detail=arm)
    elif kind == "split":
        place = share(group.shop.shop_id, stand.version.journey.key, f"split:{stand.step.key}", stay.member_id)
        arm = "a" if place < 5000 else "b"
        group.done(stay, stand.to(arm), detail=arm)
    elif kind == "coupon":
        code = _code(stand, stay)
        group.done(stay, stand.to(), reason="" if code else "no_stock", detail=code)
    else:
        {"tag": _tag, "task": _task}[kind](stand, stay)
        group.done(stay, stand.to())


def _tag(stand: Stand, stay: Stay) -> None:
    connection, shop_id, t = stand.group.connection, stand.group.shop.shop_id, member_tags.c
    has = select(t.tag).where(t.shop_id == shop_id, t.member_id == stay.member_id)
    for tag in stand.told.get("add", ()):
        if tag not in connection.execute(has).scalars().all():
            connection.execute(insert(member_tags).values(shop_id=shop_id, member_id=stay.member_id, tag=tag, own=True))
    for tag in stand.told.get("remove", ()):
        mine = (t.shop_id == shop_id, t.member_id == stay.member_id, t.tag == tag, t.own)
        connection.execute(delete(member_tags).where(*mine))


def _task(stand: Stand, stay: Stay) -> None:
    group, told = stand.group, stand.told
    due_on = local_day(group.now, group.shop.timezone) + timedelta(days=told["due_days"])
    place = {"shop_id": group.shop.shop_id, "journey_key": group.journey_key, "step_key": stand.step.key}
    whom = {"enrolment_id": stay.enrolment_id, "member_id": stay.member_id}
    what = {"title": dict(told["title"]), "owner": told["owner"], "due_on": due_on, "created_at": group.now}
    group.connection.execute(insert(tasks).values(task_id=new_id(), **place, **whom, **what))


def _code(stand: Stand, stay: Stay) -> str:
    group, c = stand.group, coupon_codes.c
    free = select(c.code).where(
        c.shop_id == group.shop.shop_id, c.pool_key == stand.told["pool"], c.handed_at.is_(None)
    )
    own = group.connection.execute(free.where(c.member_id == stay.member_id).order_by(c.place)).scalars().first()
    code = own or group.connection.execute(free.where(c.member_id.is_(None)).order_by(c.place)).scalars().first()
    if code is None:
        return ""
    whose = {"enrolment_id": stay.enrolment_id, "member_id": stay.member_id, "step_key": stand.step.key}
    mine = (c.shop_id == group.shop.shop_id, c.pool_key == stand.told["pool"], c.code == code)
    group.connection.execute(update(coupon_codes).where(*mine).values(handed_at=group.now, **whose))
    return code


def _level(stand: Stand, stay: Stay) -> str:
    """Why it was refused."""
    group, told = stand.group, stand.told
    desk = by_hand.Desk(group.connection, group.shop, group.now, f"journey {group.journey_key}", told["program"])
    until = desk.today + timedelta(days=told["until_days"]) if "until_days" in told else None
    try:
        if told.get("invite"):
            by_hand.invite(desk, stay.member_id, told["level"], until)
        else:
            by_hand.fix(desk, stay.member_id, told["level"], told["reason"], until)
    except CrmError as error:
        return "".join(error.message)
    return ""
