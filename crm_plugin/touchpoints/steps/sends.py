"""Sending: a touchpoint for each who stands at the step, judged as the planner judges its own, and going on once it is settled.

Who waits for a message costs a round nothing. What settles one puts it into an index of what is not taken up yet, whoever settles it and at
whatever instant; a round moves those who wait for what it finds there, and takes it out. Should somebody be overlooked all the same (what
they wait for was deleted), they are looked at when a day is over since the window of their message.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import BindParameter, Select, Text, TextClause, bindparam, literal_column, select, text

from crm_plugin.store.base import to_json
from crm_plugin.store.rows import given
from crm_plugin.touchpoints.audience import rule_of
from crm_plugin.touchpoints.states import State
from crm_plugin.touchpoints.steps import asking, ending
from crm_plugin.touchpoints.steps.moves import Group, Stand, Stay

_DAY = 86_400_000_000
_UNSETTLED = (State.PLANNED, State.IN_FLIGHT, State.RETRY_WAIT)
_OPEN = ", ".join(f"'{state}'" for state in _UNSETTLED)


def take(stand: Stand, stays: Sequence[Stay]) -> None:
    """The step falls due: a touchpoint is planned for each, and waited for; whoever's is settled by that goes on.

    The window of each begins when it fell due, however late that is found.
    """
    group, voice = stand.group, stand.version.voice(stand.step.key)
    asking.store_for(group, rule_of(voice))
    rows = _rows(group, stays, voice.validity_days)
    over = (voice.validity_days + 1) * _DAY
    for stay in stays:
        till = stay.due_at + over
        # In the future also where it is over already: who waits is asleep, and is woken.
        group.begin(stay, ending.SENT, till if till > group.at else group.at + _DAY)
        # What came of the message before is not waited for any more.
        group.heard.pop(stay.enrolment_id, None)
    made = {(row.member_id, row.occasion): row for row in group.insert(voice, rows)}
    _look_up(stand, [stay for stay in stays if (stay.member_id, stay.occasion) not in made])
    for stay in stays:
        row = made.get((stay.member_id, stay.occasion))
        if row is not None and row.state not in _UNSETTLED:
            _done(stand, stay, row.state, row.reason)


_STAY = {"enrolment_id": "BIGINT", "due_at": "BIGINT"}


def _rows(group: Group, stays: Sequence[Stay], validity_days: int) -> Select[Any]:
    told = to_json([(stay.enrolment_id, stay.due_at) for stay in stays])
    columns: tuple[Any, ...] = (
        literal_column("e.member_id").label("member_id"),
        literal_column("e.occasion").label("occasion"),
        literal_column("e.occasion_on").label("occasion_on"),
        literal_column("e.subject_order_id").label("subject_order_id"),
        literal_column("w.due_at").label("due_at"),
        literal_column("w.due_at").label("next_try_at"),
        literal_column(f"w.due_at + CAST({validity_days * _DAY} AS BIGINT)").label("valid_until"),
    )
    tables = f"{given(group.is_sqlite, _STAY)} CROSS JOIN enrolments AS e CROSS JOIN members AS m"
    held = "e.shop_id = :shop_id AND e.enrolment_id = w.enrolment_id AND m.shop_id = e.shop_id AND m.member_id = e.member_id"
    rows: BindParameter[str] = bindparam("rows", told, Text)
    chosen: Select[Any] = select(*columns).select_from(text(tables).bindparams(rows))
    return chosen.where(text(held).bindparams(shop_id=group.shop.shop_id))


def settle(stand: Stand, stays: Sequence[Stay]) -> None:
    """What became of the message of each: it is noted, and whoever is still inside goes on, also where it was skipped or missed."""
    group, number = stand.group, stand.version.numbers[stand.step.key]
    unheard = []
    for stay in stays:
        row = group.news.get((stay.member_id, stay.occasion, number))
        if row is not None:
            _done(stand, stay, row.state, row.reason, row.left_at)
        elif stay.due_at <= group.at:
            unheard.append(stay)
    _look_up(stand, unheard)


def _look_up(stand: Stand, stays: Sequence[Stay]) -> None:
    """The same where there is no news. Who was to be looked at now and waits on is left alone for a day unless the message is settled."""
    if not stays:
        return
    group = stand.group
    asked = [(stay.enrolment_id, stay.member_id, stay.occasion) for stay in stays]
    told = group.run(_asked_of(group.is_sqlite), asked, number=stand.version.numbers[stand.step.key])
    rows = {row.enrolment_id: row for row in told}
    for stay in stays:
        row = rows.get(stay.enrolment_id)
        if row is None:
            # There never will be one: it would have been made with the event.
            _done(stand, stay, "", "")
        elif row.state not in _UNSETTLED:
            _done(stand, stay, row.state, row.reason, row.left_at)
        elif stay.due_at <= group.at:
            group.put_off(stay, group.at + _DAY)


def _done(stand: Stand, stay: Stay, state: str, reason: str, left_at: int | None = None) -> None:
    stand.group.done(stay, stand.to(), base=ending.left_from(stay.base_at, state, left_at), reason=state, detail=reason)


_ASKED = {"enrolment_id": "BIGINT", "member_id": "BIGINT", "occasion": "TEXT"}
_LEFT_AT = "COALESCE(accepted_at, settled_at)"
_FOUND = f"t.state, t.reason, {_LEFT_AT} AS left_at"


@lru_cache
def _asked_of(is_sqlite: bool) -> TextClause:
    """With OFFSET 0 PostgreSQL asks for each by the key; else it may hold all of them against all that this step ever sent."""
    key = "t.shop_id = :shop_id AND t.journey_key = :journey_key AND t.member_id = w.member_id "
    key += "AND t.step = :number AND t.occasion = w.occasion"
    asked = f"{given(is_sqlite, _ASKED)} CROSS JOIN"
    if is_sqlite:
        return text(f"SELECT w.enrolment_id, {_FOUND} FROM {asked} touchpoints AS t WHERE {key}")  # noqa: S608
    each = f"LATERAL (SELECT {_FOUND} FROM touchpoints AS t WHERE {key} OFFSET 0) AS t"  # noqa: S608
    return text(f"SELECT w.enrolment_id, t.* FROM {asked} {each}")  # noqa: S608


@lru_cache
def _taking_up(is_sqlite: bool) -> TextClause:
    """What is settled and not taken up: in the very words of the index that holds such rows alone. For a row that another holds no round
    waits: it stays for the next."""
    index, held = (" INDEXED BY ix_touchpoints_taken_up", "") if is_sqlite else ("", " FOR UPDATE OF t SKIP LOCKED")
    found = (
        f"SELECT t.touchpoint_id FROM touchpoints AS t{index} WHERE t.shop_id = :shop_id AND t.journey_key = :journey_key "  # noqa: S608
        f"AND t.step > 0 AND NOT t.taken_up AND t.state NOT IN ({_OPEN}) LIMIT :most{held}"
    )
    chosen = f"IN ({found})" if is_sqlite else f"= ANY(ARRAY({found}))"
    return text(
        f"UPDATE touchpoints SET taken_up = TRUE WHERE shop_id = :shop_id AND touchpoint_id {chosen} "  # noqa: S608
        f"RETURNING member_id, occasion, step, state, reason, {_LEFT_AT} AS left_at"
    )


def take_up(group: Group, most: int) -> None:
    """Take up what became of messages since the last round, at most of so many, for whoever waits for one to go on in this."""
    found = group.run(_taking_up(group.is_sqlite), (), most=most).all()
    group.news = {(row.member_id, row.occasion, row.step): row for row in found}
