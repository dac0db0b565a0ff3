"""Phrases are their English text everywhere, and know what they were made of where a page asks."""

from __future__ import annotations

import copy
import json

import pytest
from sqlalchemy import insert, select

from crm_plugin.clock import FixedClock
from crm_plugin.errors import InvalidInput, RuleError
from crm_plugin.phrases import Phrase, cut, joined, packed, phrase, unpacked
from crm_plugin.store import job_runs
from crm_plugin.store.base import to_json
from crm_plugin.store.session import Database
from tests.factories import make_shop

NESTED = phrase("%(place)s: %(what)s", place="tiers", what=phrase("There is no tier %(tier)r.", tier="gold"))


def _parts(text: str) -> object:
    """What a text was made of; the text itself where it no longer knows."""
    return (text.message, text.values) if isinstance(text, Phrase) else text


def test_reads_as_english() -> None:
    assert NESTED == "tiers: There is no tier 'gold'."
    assert phrase("Use one of: %(known)s.", known=["a", "b"]) == "Use one of: a, b."
    assert phrase("At least 5 %, and {% if x %}") == "At least 5 %, and {% if x %}"
    assert phrase("%(count)s of %(all)s", count=2, all=None) == "2 of None"


@pytest.mark.parametrize(
    "text",
    [
        NESTED,
        phrase("%(told)s", told="50 % \x1f off"),
        phrase("%(known)s", known=[1, phrase("one"), "二"]),
        "plain",
        "",
    ],
)
def test_storing_keeps_what_it_was_made_of(text: str) -> None:
    assert _parts(unpacked(packed(text))) == _parts(text)
    assert type(packed(text)) is str


def test_stored_text_begins_with_the_english() -> None:
    assert packed(NESTED).startswith("tiers: There is no tier 'gold'.\x1f{")
    assert packed("of \x1f{} others") == "of  {} others"


@pytest.mark.parametrize("parts", ["", "{", "[]", '{"message": "%(x)s", "values": {"y": 1}}', '{"message": 1}', "7"])
def test_broken_parts_leave_the_english(parts: str) -> None:
    assert unpacked(f"It stands here.\x1f{parts}") == "It stands here."


def test_errors_hand_on_their_phrases() -> None:
    error = InvalidInput(phrase("There is no tier %(tier)r.", tier="gold"), hint=phrase("Make one."))
    assert str(error) == "There is no tier 'gold'. Make one."
    assert f"{error}" == "There is no tier 'gold'. Make one."
    told = str(error)
    assert isinstance(told, Phrase)
    assert _parts(told.values["sentence"]) == ("There is no tier %(tier)r.", {"tier": "gold"})
    assert _parts(str(RuleError(phrase("Odd."), line=2, column=3))) == (
        "line %(line)s, column %(column)s: %(what)s",
        {"line": 2, "column": 3, "what": "Odd."},
    )
    assert str(RuleError("Odd.", path="$.all")) == "$.all: Odd."


def test_joining_leaves_out_what_is_empty() -> None:
    assert joined("One.", "", phrase("Two.")) == "One. Two."
    assert _parts(joined("", phrase("One."))) == ("One.", {})
    assert joined() == ""
    assert cut(NESTED, 500) is NESTED
    assert cut(NESTED, 5) == "tiers"


def test_copies_and_json() -> None:
    assert _parts(copy.deepcopy(NESTED)) == _parts(NESTED)
    assert json.loads(json.dumps({"error": NESTED})) == {"error": str(NESTED)}
    assert json.loads(to_json({"errors": {"tiers": NESTED}})) == {"errors": {"tiers": str(NESTED)}}


def test_database_gives_it_back(db: Database, clock: FixedClock) -> None:
    with db.write() as connection:
        shop = make_shop(connection)
        row = {"shop_id": shop.shop_id, "job": "tick", "started_at": clock.now(), "finished_at": clock.now()}
        connection.execute(insert(job_runs).values(**row, result={"errors": {"tiers": NESTED}}, error=NESTED))
        same = select(job_runs.c.error).where(job_runs.c.error == NESTED)
        assert _parts(connection.execute(same).scalar_one()) == _parts(NESTED)
