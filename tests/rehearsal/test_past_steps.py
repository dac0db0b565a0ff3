"""A rehearsal of the past takes the steps that the live engine took: who stood where, what was handed out, what events brought."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from crm_plugin.rehearsal import Ask, in_words, rehearse
from crm_plugin.rehearsal.members import contacts, taken
from crm_plugin.store import members
from crm_plugin.store.session import Database
from tests.rehearsal.lives import BEGIN, begin


def _occasion(told: str) -> str:
    """Changes of level and segment are made anew, with other ids."""
    kind = told.partition(":")[0]
    return kind if kind in ("segment", "tier") else told


@pytest.mark.slow
def test_rehearsed_steps_are_those_taken(db: Database, tmp_path: Path) -> None:
    assert ("club", "level") in _held_against_life(db, tmp_path, 1, days=2, first=1)


@pytest.mark.slow
def test_longer_life_is_rehearsed_as_it_was(sqlite_db: Database, tmp_path: Path) -> None:
    done = _held_against_life(sqlite_db, tmp_path, 2, days=5, first=2)
    assert {("club", "code"), ("club", "tone"), ("club", "level"), ("sorry", "call"), ("went", "word")} <= done


def _held_against_life(db: Database, folder: Path, seed: int, *, days: int, first: int) -> set[tuple[str, str]]:
    """The steps that were done, once a rehearsal of the last days has come to the same."""
    life = begin(db, folder, seed)
    life.fill(days)
    since, last = (BEGIN + timedelta(days=day) for day in (first, days - 1))
    ask = Ask(since.date(), last.date())
    life.live(ask.span(life.shop)[1])
    with db.read() as connection:
        ids = tuple(connection.execute(select(members.c.member_id)).scalars())
        ask = Ask(ask.first, ask.last, member_ids=ids)
        lived = list(contacts(connection, life.shop, ask)), list(taken(connection, life.shop, ask))
    seen = rehearse(life.runtime, life.shop, ask)
    assert seen.problems == {}
    for was, is_ in (
        ([_message(one) for one in lived[0]], [_message(one) for one in seen.contacts]),
        ([_step(one) for one in lived[1]], [_step(one) for one in seen.steps]),
    ):
        differ = sorted((Counter(was) - Counter(is_)).elements()), sorted((Counter(is_) - Counter(was)).elements())
        assert differ == ([], [])
    assert len(lived[0]) > 4
    assert "Coupon codes, whenever they were loaded: all are there from the beginning." in [
        one.what for one in seen.unknown
    ]
    assert any(line.endswith("club: done level") for line in in_words(seen, ids))
    return {(one.journey, one.step) for one in lived[1] if one.what == "done"}


def _message(one: Any) -> tuple[Any, ...]:
    return (one.at, one.member_id, one.journey, _occasion(one.occasion), one.channel, one.state, one.reason)


def _step(one: Any) -> tuple[Any, ...]:
    told = _occasion(one.detail) if one.what == "enrolled" else one.detail
    return (one.at, one.member_id, one.journey, one.what, one.step, one.to_step, one.reason, told)
