"""In which order day and month stand: guessed only where the dates themselves prove it, and then every one is read rightly."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_plugin.adapters.storefronts.birthday_texts import CERTAIN, DAY_FIRST, MONTH_FIRST, guess_order, read_birthday

FORMS = {
    DAY_FIRST: ("{d:02}/{m:02}/{y}", "{d}/{m}/{y}", "{d}-{m}-{y}", "{d}/{m}"),
    MONTH_FIRST: ("{m:02}/{d:02}/{y}", "{m}/{d}/{y}", "{m}-{d}-{y}", "{m}/{d}"),
}
DAYS = st.lists(st.dates(date(1920, 1, 1), date(2020, 12, 31)), min_size=1, max_size=12)


@given(DAYS, st.sampled_from([(order, form) for order, forms in FORMS.items() for form in forms]))
def test_guess_is_never_the_other_order(days: list[date], told: tuple[str, str]) -> None:
    order, form = told
    texts = [form.format(d=day.day, m=day.month, y=day.year) for day in days]
    guess = guess_order(texts)
    assert guess.order in (order, CERTAIN)
    assert (guess.order == order) == any(day.day > 12 for day in days)
    assert guess.has_to_be_told == (guess.order == CERTAIN and any(day.day != day.month for day in days))
    for day, text in zip(days, texts, strict=True):
        born, unsaid = read_birthday(text, order), read_birthday(text)
        assert born is not None
        assert (born.month, born.day) == (day.month, day.day)
        # What is read without being told is the same day.
        assert unsaid is None or unsaid == born


def test_dates_of_both_orders_prove_none() -> None:
    guess = guess_order(["25/12/1990", "12/25/1990", "05/06/1985", "1990-05-01", "01.02.1990", "soon"])
    assert (guess.order, guess.unsure, guess.day_first, guess.month_first) == (CERTAIN, 1, 1, 1)
    assert guess.has_to_be_told


@pytest.mark.parametrize(
    ("text", "order", "month_day"),
    [
        ("1990/5/1", CERTAIN, (5, 1)),
        ("05-06", CERTAIN, (5, 6)),
        ("05-06", DAY_FIRST, (6, 5)),
        ("--05-06", DAY_FIRST, (5, 6)),
        ("05.06.1985", MONTH_FIRST, (6, 5)),
        ("25/12/1990", MONTH_FIRST, (12, 25)),
        ("05/06/1985 00:00", DAY_FIRST, (6, 5)),
        ("198405", CERTAIN, None),
        ("31/02/1990", DAY_FIRST, None),
    ],
)
def test_order_is_for_what_is_not_certain(text: str, order: str, month_day: tuple[int, int] | None) -> None:
    born = read_birthday(text, order)
    assert (born and (born.month, born.day)) == month_day
