"""A member's share: the same in Python and on both databases, evenly spread, and of one salt nothing is learned about another."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from crm_plugin.ids import IdSource, new_ids
from crm_plugin.store.session import Database
from crm_plugin.touchpoints.holdout import WHOLE, share, share_sql

_IDS = st.integers(0, 2**63 - 1)


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(1, 2**63 - 1), st.text(max_size=20), st.text(max_size=20), st.lists(_IDS, min_size=1, max_size=20))
def test_sql_and_python_agree(db: Database, shop_id: int, key: str, salt: str, ids: list[int]) -> None:
    asked = " UNION ALL ".join(f"SELECT CAST({one} AS BIGINT) AS id" for one in (*ids, 0, 2**63 - 1))
    sql = f"SELECT x.id, {share_sql(shop_id, key, salt, 'x.id')} FROM ({asked}) AS x"
    with db.read() as connection:
        for member_id, told in connection.execute(text(f"{sql} WHERE x.id >= :low"), {"low": 0}):
            assert told == share(shop_id, key, salt, member_id)
            assert 0 <= told < WHOLE


def test_a_share_stays_what_it_was() -> None:
    assert [share(1, "greet", "holdout", one) for one in (0, 1, 2, 2**62)] == [2823, 5002, 7611, 2540]


@pytest.mark.parametrize(
    "ids", [range(1, 20_001), IdSource(7).take(20_000), new_ids(20_000)], ids=["plain", "one", "own"]
)
def test_shares_are_even(ids: list[int]) -> None:
    counts = Counter(share(1, "greet", "holdout", one) // 1000 for one in ids)
    assert set(counts) == set(range(10))
    # Chi-squared with 9 degrees of freedom: 33.7 is passed once in ten thousand.
    assert sum((count - 2000) ** 2 / 2000 for count in counts.values()) < 33.7


def test_salts_have_nothing_to_do_with_each_other() -> None:
    ids = IdSource(7).take(20_000)
    for other in (("greet", "split"), ("thanks", "holdout")):
        both = sum(share(1, "greet", "holdout", one) < 5000 and share(1, *other, one) < 5000 for one in ids)
        assert 4700 < both < 5300
