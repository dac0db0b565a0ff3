"""Sending: a touchpoint for each who stands at the step, judged as the planner judges its own, and going on once it is settled.

Who waits for a message costs a round nothing. What settles one puts it into an index of what is not taken up yet, whoever settles it and at
whatever instant; a round wakes those who wait for what it finds there, and takes it out. Should somebody be overlooked all the same (what
they wait for was deleted), they are looked at when a day is over since the window of their message.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Connection, Select, TextClause, case, func, literal, literal_column, select, text

from crm_plugin.store.base import to_micros
from crm_plugin.touchpoints.states import State
from crm_plugin.touchpoints.steps import ending
from crm_plugin.touchpoints.steps.moves import DECIDED, STANDING, Outcome, Stand, col, word

_DAY = 86_400_000_000
# It has left, or may have: what follows counts from then. All else counts from when it fell due.
_LEFT = (State.ACCEPTED, State.DELIVERED, State.BOUNCED, State.COMPLAINED, State.UNCONFIRMED)
_OPEN = ", ".join(f"'{state}'" for state in (State.PLANNED, State.IN_FLIGHT, State.RETRY_WAIT))


def begins(stand: Stand) -> Outcome:
    """The step falls due: a touchpoint is planned, and is waited for."""
    window = (stand.version.voice(stand.place.step.key).validity_days + 1) * _DAY
    over, now = col("e.due_at") + literal(window, BigInteger), literal(to_micros(stand.now), BigInteger)
    # In the future also where it is over already: who waits is asleep, and is woken.
    return Outcome(begins=True, phase=word(ending.SENT), till=case((over > now, over), else_=now + _DAY))


def plan(stand: Stand) -> None:
    """The touchpoints of those of whom it was just decided. The window of each begins when it fell due, however late that is found."""
    voice = stand.version.voice(stand.place.step.key)
    stand.insert(voice, _rows(stand, voice.validity_days))


def _rows(stand: Stand, validity_days: int) -> Select[Any]:
    columns: tuple[Any, ...] = (
        literal_column("e.member_id").label("member_id"),
        literal_column("e.occasion").label("occasion"),
        literal_column("e.occasion_on").label("occasion_on"),
        literal_column("e.subject_order_id").label("subject_order_id"),
        literal_column("e.due_at").label("due_at"),
        literal_column("e.due_at").label("next_try_at"),
        literal_column(f"e.due_at + CAST({validity_days * _DAY} AS BIGINT)").label("valid_until"),
    )
    tables = "enrolments AS e CROSS JOIN enrolment_events AS v CROSS JOIN members AS m"
    held = f"{STANDING} AND {DECIDED} AND v.what = '{ending.BEGUN}' AND m.shop_id = e.shop_id AND m.member_id = e.member_id"
    chosen: Select[Any] = select(*columns)
    return chosen.select_from(text(tables)).where(text(held).bindparams(**stand.binds))


_KEY = (
    "t.shop_id = e.shop_id AND t.journey_key = e.journey_key AND t.member_id = e.member_id AND t.step = :number "
    "AND t.occasion = e.occasion"
)
_SENT = f"LEFT JOIN touchpoints AS t ON {_KEY}"
# With a limit it is asked for each by the key; else PostgreSQL may hold all who stand here against all that this step ever sent.
_SENT_EACH = f"LEFT JOIN LATERAL (SELECT t.* FROM touchpoints AS t WHERE {_KEY} LIMIT 1) AS t ON TRUE"  # noqa: S608


def ends(stand: Stand) -> Outcome:
    """It is settled: what became of it is noted, and whoever is still inside goes on, also where it was skipped or missed."""
    number = stand.version.numbers[stand.place.step.key]
    left = ", ".join(f"'{state}'" for state in _LEFT)
    # While it is waited for, this is when the step fell due.
    fell_due = col("e.base_at")
    since = func.coalesce(col("t.accepted_at"), col("t.settled_at"), fell_due)
    return Outcome(
        base=case((literal_column(f"t.state IN ({left})"), since), else_=fell_due),
        reason=func.coalesce(col("t.state"), word("")),
        detail=func.coalesce(col("t.reason"), word("")),
        tables=_SENT if stand.is_sqlite else _SENT_EACH,
        # Without a touchpoint there never will be one: it would have been made with the event.
        where=f"(t.touchpoint_id IS NULL OR t.state NOT IN ({_OPEN}))",
        binds={"number": number},
    )


# What is settled and not taken up: the very words of the index that holds such rows alone.
_SETTLED = f"t.shop_id = :shop_id AND t.journey_key = :journey_key AND t.step > 0 AND NOT t.taken_up AND t.state NOT IN ({_OPEN})"
_INDEX = " INDEXED BY ix_touchpoints_taken_up"
_KEY_OF_STAY = (
    "x.shop_id = t.shop_id AND x.journey_key = t.journey_key AND x.member_id = t.member_id AND x.occasion = t.occasion"
)
_ASLEEP = f"e.state = '{ending.ACTIVE}' AND e.phase = '{ending.SENT}' AND e.due_at > CAST(:now AS BIGINT)"
_ANY_SETTLED = f"SELECT 1 FROM touchpoints AS t{{index}} WHERE {_SETTLED} LIMIT 1"  # noqa: S608
# With OFFSET 0 PostgreSQL asks for each by the key alone; else it may hold all that is settled against all who are inside, or take for each
# the index of those who wait at a step, and read them all.
_WAKE = (
    "UPDATE enrolments SET due_at = CAST(:now AS BIGINT), updated_at = CAST(:now AS BIGINT) WHERE shop_id = :shop_id "  # noqa: S608
    "AND enrolment_id IN (SELECT e.enrolment_id "
    f"FROM touchpoints AS t{{index}} CROSS JOIN {{stay}} WHERE {_SETTLED} AND {{on}}{_ASLEEP}){{step}}"
)
# What is settled between the two statements still has somebody asleep, and stays for the next round; so does a row that another holds, for
# which no round is to wait.
_TAKE_UP = (
    f"UPDATE touchpoints SET taken_up = TRUE WHERE shop_id = :shop_id AND touchpoint_id IN (SELECT t.touchpoint_id "  # noqa: S608
    f"FROM touchpoints AS t{{index}} WHERE {_SETTLED} AND NOT EXISTS (SELECT 1 FROM {{stay}} WHERE {{on}}{_ASLEEP}){{held}})"
)


def _waking(is_sqlite: bool) -> tuple[TextClause, TextClause, TextClause, TextClause]:
    """Whether there is anything; waking all, or those at one step; taking it up."""
    index = _INDEX if is_sqlite else ""
    each = f"LATERAL (SELECT x.* FROM enrolments AS x WHERE {_KEY_OF_STAY} OFFSET 0) AS e"  # noqa: S608
    stay = "enrolments AS e" if is_sqlite else each
    on = f"{_KEY_OF_STAY.replace('x.', 'e.')} AND " if is_sqlite else ""
    wakes = [_WAKE.format(index=index, stay=stay, on=on, step=step) for step in ("", _AT_STEP)]
    held = "" if is_sqlite else " FOR UPDATE OF t SKIP LOCKED"
    told = (_ANY_SETTLED.format(index=index), *wakes, _TAKE_UP.format(index=index, stay=stay, on=on, held=held))
    first, *others = (text(one) for one in told)
    return (first, *others)  # type: ignore[return-value]


_AT_STEP = " AND version = :version AND step_key = :step_key"
_WAKING = {is_sqlite: _waking(is_sqlite) for is_sqlite in (True, False)}


def wake(connection: Connection, shop_id: int, journey_key: str, now: datetime, stand: Stand | None = None) -> int:
    """Let those go on in this round who wait for a message that is settled; with `stand` only those at that step. Answers how many.

    The caller holds the journey's lock.
    """
    some, all_, at_step, take_up = _WAKING[connection.dialect.name == "sqlite"]
    ours: dict[str, Any] = {"shop_id": shop_id, "journey_key": journey_key}
    if connection.execute(some, ours).first() is None:
        return 0
    ours["now"] = to_micros(now)
    if stand is None:
        woken = connection.execute(all_, ours)
    else:
        woken = connection.execute(
            at_step, {**ours, "version": stand.version.version, "step_key": stand.place.step.key}
        )
    connection.execute(take_up, ours)
    return int(woken.rowcount)


_REST = text(
    f"UPDATE enrolments AS e SET due_at = CAST(:now AS BIGINT) + {_DAY}, updated_at = CAST(:now AS BIGINT) "  # noqa: S608
    f"WHERE {STANDING}"
)


def rest(stand: Stand) -> None:
    """Who was looked at and waits on, for the message is not settled, is left alone for a day unless it is."""
    stand.connection.execute(_REST, stand.binds)
