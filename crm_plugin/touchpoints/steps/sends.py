"""Sending: a touchpoint for each who stands at the step, judged as the planner judges its own, and going on once it is settled."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, case, func, literal_column, select, text

from crm_plugin.touchpoints.states import State
from crm_plugin.touchpoints.steps import ending
from crm_plugin.touchpoints.steps.moves import DECIDED, STANDING, Outcome, Stand, col, word

_DAY = 86_400_000_000
# It has left, or may have: what follows counts from then. All else counts from when it fell due.
_LEFT = (State.ACCEPTED, State.DELIVERED, State.BOUNCED, State.COMPLAINED, State.UNCONFIRMED)
_OPEN = ", ".join(f"'{state}'" for state in (State.PLANNED, State.IN_FLIGHT, State.RETRY_WAIT))


def begins(stand: Stand) -> Outcome:
    """The step falls due: a touchpoint is planned, and is waited for."""
    del stand
    return Outcome(begins=True, phase=word(ending.SENT), till=col("e.due_at"))


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
    since = func.coalesce(col("t.accepted_at"), col("t.settled_at"), col("e.due_at"))
    return Outcome(
        base=case((literal_column(f"t.state IN ({left})"), since), else_=col("e.due_at")),
        reason=func.coalesce(col("t.state"), word("")),
        detail=func.coalesce(col("t.reason"), word("")),
        tables=_SENT if stand.is_sqlite else _SENT_EACH,
        # Without a touchpoint there never will be one: it would have been made with the event.
        where=f"(t.touchpoint_id IS NULL OR t.state NOT IN ({_OPEN}))",
        binds={"number": number},
    )
