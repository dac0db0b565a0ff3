"""What people decide about one member's level: fixed by hand for a time, and invitations given and answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from crm_plugin.clock import day_number, local_day
from crm_plugin.errors import CrmError, InvalidInput, NotFound
from crm_plugin.phrases import phrase
from crm_plugin.rules.fields import nearest
from crm_plugin.rules.held import barred_now, held_now
from crm_plugin.rules.policies import Kept, in_force
from crm_plugin.rules.policy import PolicyLevel
from crm_plugin.rules.standing import BY_HAND, FREED, NOTHING, Held
from crm_plugin.rules.tier_rows import Turn, Writing, put_turns, put_words
from crm_plugin.rules.tier_runs import run_for
from crm_plugin.rules.windows import PROGRAM
from crm_plugin.store import audit, bulk, members, tier_bars, tier_invitations
from crm_plugin.store.base import to_micros
from crm_plugin.store.members import lock
from crm_plugin.store.tenants import Shop

INVITED, ACCEPTED, DECLINED = "invited", "accepted", "declined"
LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class Desk:
    """Where and by whom: one programme of a shop, in the caller's transaction."""

    connection: Connection
    shop: Shop
    now: datetime
    actor: str
    program: str = PROGRAM

    @property
    def today(self) -> date:
        return local_day(self.now, self.shop.timezone)


def fix(desk: Desk, member_id: int, level: str, reason: str, until: date | None = None) -> None:
    """Give a level by hand, an empty one for none, through a day or for good; rules take it up again then.

    It passes no level and gives no reward.

    Raises: NotFound, InvalidInput; nothing is written then.
    """
    _be_there(desk, member_id)
    _decide(desk, Decision([member_id], level, until, reason))


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about the level of several members who are there.

    The level is fixed, an empty one for none, through the day `until` or for good; or they are invited to it, until then.
    """

    member_ids: Sequence[int]
    level: str
    until: date | None = None
    reason: str = ""
    invites: bool = False


@dataclass(slots=True)
class Before:
    """What is stored of a programme before something is decided about some of its members; writing it down changes it along.

    `held` are the levels that they hold, `barred` those who hold none by hand, `writes_back` whether the store is told of levels, None
    where that was not looked up.
    """

    kept: Kept
    held: dict[int, Held]
    barred: set[int]
    writes_back: bool | None = None


def _decide(desk: Desk, decision: Decision) -> None:
    """One alone. Raises: NotFound, InvalidInput; nothing is written then."""
    kept = _begin(desk)
    if (refused := refusal(desk, kept, decision)) is not None:
        raise refused
    own = (desk.connection, desk.shop.shop_id, desk.program)
    write(desk, Before(kept, held_now(*own, decision.member_ids), barred_now(*own, decision.member_ids)), [decision])


def refusal(desk: Desk, kept: Kept, decision: Decision) -> CrmError | None:
    """Why a programme does not allow it; None where it does."""
    try:
        level = _level(kept, decision.level) if decision.level or decision.invites else None
        if decision.invites and level is not None and not level.invitation:
            raise InvalidInput(
                phrase("The level %(key)s is earned, nobody is invited to it.", key=level.key),
                field="level",
                hint=phrase("Fix it by hand, or give the level invitation: true."),
            )
        reason = decision.reason.strip()
        if not decision.invites and (not reason or len(decision.reason) > LONGEST_REASON):
            raise InvalidInput(
                phrase("Say in a few words why."),
                field="reason",
                hint=phrase("It stands in the member's history, at most %(most)s characters.", most=LONGEST_REASON),
            )
        _refuse_past(desk, decision.until)
    except CrmError as error:
        return error
    return None


def write(desk: Desk, before: Before, decisions: Sequence[Decision]) -> None:
    """Several decisions that are allowed, one after the other, written together. The caller holds the shop's members."""
    # The history tells them in this order.
    for invites, some in groupby(decisions, key=lambda one: one.invites):
        if invites:
            _offer(desk, before.kept, list(some))
        else:
            _fix(desk, before, list(some))
    acts = [("tiers.invited" if one.invites else "tiers.fixed", one) for one in decisions]
    lines = [(act, _line(desk, one.member_ids, one.level, _told(desk, one))) for act, one in acts]
    audit.note_all(desk.connection, desk.shop.shop_id, desk.actor, lines, desk.now)


def _told(desk: Desk, decision: Decision) -> dict[str, Any]:
    why = {} if decision.invites else {"reason": decision.reason.strip()}
    return {**why, "by": desk.actor, **({"until": decision.until.isoformat()} if decision.until else {})}


def _fix(desk: Desk, before: Before, decisions: Sequence[Decision]) -> None:
    member_ids = {one for decision in decisions for one in decision.member_ids}
    if free := before.barred.intersection(member_ids):
        _unbar(desk, sorted(free))
    turns, bars = [], dict[int, dict[str, Any]]()
    for decision in decisions:
        level, until, reason = decision.level, decision.until, decision.reason.strip()
        row = {"program_key": desk.program, "until": until, "reason": reason, "actor": desk.actor, "at": desk.now}
        for member_id in decision.member_ids:
            held = before.held.get(member_id, NOTHING)
            same = held.level == level
            since = (held.since_at, held.since_on) if same else (to_micros(desk.now), desk.today)
            after = NOTHING
            bars.pop(member_id, None)
            if level:
                after = Held(level, *since, fixed=True, fixed_until=until, fixed_reason=reason, fixed_by=desk.actor)
            else:
                bars[member_id] = {"shop_id": desk.shop.shop_id, "member_id": member_id, **row}
            before.held[member_id] = after
            turns.append(Turn(member_id, held, after, BY_HAND, _told(desk, decision)))
    if bars:
        desk.connection.execute(insert(tier_bars), list(bars.values()))
    before.barred.difference_update(member_ids)
    before.barred.update(bars)
    put_turns(replace(_writing(desk, before.kept), writes_back=before.writes_back), turns)


def free(desk: Desk, member_id: int) -> None:
    """Let the rules decide again, at once. Raises: NotFound, InvalidInput."""
    _be_there(desk, member_id)
    kept = _begin(desk)
    before = held_now(desk.connection, desk.shop.shop_id, desk.program, [member_id]).get(member_id, NOTHING)
    barred = _unbar(desk, [member_id])
    if not before.fixed and not barred:
        raise InvalidInput(
            phrase("This member's level was not fixed by hand."), hint=phrase("There is nothing to free.")
        )
    over = replace(before, fixed_until=desk.today - timedelta(days=1)) if before.fixed else before
    put_turns(_writing(desk, kept), [Turn(member_id, before, over, FREED, {"by": desk.actor})])
    run_for(desk.connection, desk.shop, desk.program, member_id, as_of=desk.today, now=desk.now)
    _note(desk, "tiers.freed", [member_id], before.level, {})


def invite(desk: Desk, member_id: int, level: str, expires_on: date | None = None) -> None:
    """Invite to a level that cannot be earned; an invitation that was answered or expired is given anew. Raises: NotFound, InvalidInput."""
    _be_there(desk, member_id)
    _decide(desk, Decision([member_id], level, expires_on, invites=True))


_INVITATION = (
    "shop_id",
    "program_key",
    "member_id",
    "level_key",
    "state",
    "taken",
    "invited_at",
    "expires_on",
    "answered_at",
)


def _offer(desk: Desk, kept: Kept, decisions: Sequence[Decision]) -> None:
    rows = {}
    for one in decisions:
        last = None if one.until is None else day_number(one.until)
        given = (one.level, INVITED, False, to_micros(desk.now), last, None)
        for member_id in one.member_ids:
            rows[member_id, one.level] = (desk.shop.shop_id, desk.program, member_id, *given)
    sets = ", ".join(f"{name} = excluded.{name}" for name in _INVITATION[4:])
    bulk.upsert_rows(desk.connection, tier_invitations, _INVITATION, _INVITATION[:4], sets, list(rows.values()))
    for one in decisions:
        put_words(_writing(desk, kept), one.member_ids, one.level, INVITED, _told(desk, one))


def answer(desk: Desk, member_id: int, level: str, *, accept: bool) -> None:
    """The member's own answer; an accepted invitation lifts at once, or once a level fixed by hand is free.

    Raises: NotFound, InvalidInput; nothing is written then.
    """
    _be_there(desk, member_id)
    kept = _begin(desk)
    _level(kept, level)
    found = _invitation(desk, member_id, level)
    late = found is not None and found.expires_on is not None and found.expires_on < desk.today
    if found is None or found.state != INVITED or late:
        raise InvalidInput(
            phrase("There is no open invitation to the level %(key)s.", key=level),
            field="level",
            hint=phrase("Invite the member first."),
        )
    state = ACCEPTED if accept else DECLINED
    c = tier_invitations.c
    own = (
        c.shop_id == desk.shop.shop_id,
        c.program_key == desk.program,
        c.member_id == member_id,
        c.level_key == level,
    )
    desk.connection.execute(update(tier_invitations).where(*own).values(state=state, answered_at=desk.now))
    put_words(_writing(desk, kept), [member_id], level, state, {})
    _note(desk, f"tiers.{state}", [member_id], level, {})
    if not accept:
        return
    run_for(desk.connection, desk.shop, desk.program, member_id, as_of=desk.today, now=desk.now)
    held = held_now(desk.connection, desk.shop.shop_id, desk.program, [member_id]).get(member_id, NOTHING)
    keys = kept.policy.keys
    if held.level in keys and not held.fixed and keys.index(held.level) >= keys.index(level):
        # Who stands as high already is not lifted by it later on.
        desk.connection.execute(update(tier_invitations).where(*own).values(taken=True))


def _unbar(desk: Desk, member_ids: Sequence[int]) -> bool:
    """Let members hold a level again; answers whether by hand none was held."""
    c = tier_bars.c
    own = (c.shop_id == desk.shop.shop_id, c.program_key == desk.program, c.member_id.in_(list(member_ids)))
    return bool(desk.connection.execute(delete(tier_bars).where(*own)).rowcount)


def invitations(connection: Connection, shop_id: int, program: str, member_id: int) -> list[Row[Any]]:
    """A member's invitations: level_key, state, invited_at, expires_on, answered_at."""
    c = tier_invitations.c
    query = select(c.level_key, c.state, c.invited_at, c.expires_on, c.answered_at)
    own = (c.shop_id == shop_id, c.program_key == program, c.member_id == member_id)
    return list(connection.execute(query.where(*own).order_by(c.invited_at)))


def _invitation(desk: Desk, member_id: int, level: str) -> Row[Any] | None:
    found = invitations(desk.connection, desk.shop.shop_id, desk.program, member_id)
    return next((one for one in found if one.level_key == level), None)


def _be_there(desk: Desk, member_id: int) -> None:
    """Raises: NotFound for a member who is not there, or gone."""
    m = members.c
    own = (m.shop_id == desk.shop.shop_id, m.member_id == member_id, m.state == "active")
    if desk.connection.execute(select(m.member_id).where(*own)).first() is None:
        raise NotFound(phrase("There is no such member in this shop."))


def _begin(desk: Desk) -> Kept:
    """The policy in force; nobody else changes levels meanwhile. Raises: NotFound for a programme that is not there."""
    lock(desk.connection, desk.shop.shop_id)
    return in_force(desk.connection, desk.shop.shop_id, desk.program, desk.today)


def _level(kept: Kept, key: str) -> PolicyLevel:
    for one in kept.policy.levels:
        if one.key == key:
            return one
    raise InvalidInput(
        phrase("There is no tier %(tier)r.", tier=key), field="level", hint=nearest(key, kept.policy.keys)
    )


def _refuse_past(desk: Desk, day: date | None) -> None:
    if day is not None and day < desk.today:
        raise InvalidInput(
            phrase("The day %(day)s is over.", day=day.isoformat()),
            field="until",
            hint=phrase("Name today or a day to come."),
        )


def _writing(desk: Desk, kept: Kept) -> Writing:
    return Writing(desk.connection, desk.shop, desk.program, None, kept.version, desk.today, desk.now)


def _note(desk: Desk, action: str, member_ids: Sequence[int], level: str, told: dict[str, Any]) -> None:
    detail = _line(desk, member_ids, level, told)
    audit.note(desk.connection, desk.shop.shop_id, desk.actor, action, detail, desk.now)


def _line(desk: Desk, member_ids: Sequence[int], level: str, told: dict[str, Any]) -> dict[str, Any]:
    """What the audit log tells of a decision."""
    whom = {"member": str(member_ids[0])} if len(member_ids) == 1 else {"members": len(member_ids)}
    return {"program": desk.program, **whom, "level": level, **told}
