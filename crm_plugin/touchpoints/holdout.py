"""A member's share of a whole: a number from 0 to 9999 that stays the same for good, for holdouts and splits.

It is worked out alike in Python and in SQL, on both databases: a polynomial over the field of the prime 2^31 - 1, whose coefficients are
drawn from the shop, the journey and a salt. Products stay below 2^62, so nothing overflows, and neither database needs a function of its
own. A fifth power only reorders this field (5 has no factor in common with the prime less one): it undoes what is regular in ids that were
made one after another.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Protocol

WHOLE = 10_000
# The salt of holdouts: a journey's own, and nothing to do with the arms of its splits.
SALT = "holdout"
_PRIME = 2**31 - 1
# An id has 63 bits: three digits of 21.
_BITS = 21
_DIGIT = 2**_BITS - 1


class Speaks(Protocol):
    """What has to be known of a journey."""

    @property
    def key(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def holdout_pct(self) -> int: ...


def share(shop_id: int, journey_key: str, salt: str, member_id: int) -> int:
    """The member's share, from 0 to 9999; that of another salt has nothing to do with it."""
    low, middle, high, start, shift = _coefficients(shop_id, journey_key, salt)
    drawn = (member_id & _DIGIT) * low + ((member_id >> _BITS) & _DIGIT) * middle + (member_id >> 2 * _BITS) * high
    drawn = (drawn + start) % _PRIME
    return (int(pow(drawn, 5, _PRIME)) + shift) % _PRIME % WHOLE


def share_sql(shop_id: int, journey_key: str, salt: str, member_id: str) -> str:
    """SQL (both databases) of the same; `member_id` is an SQL expression of an id, such as `m.member_id`.

    It is worked out line by line, each on the one before. A remainder is said by division: a driver takes its sign for a parameter's.
    """
    low, middle, high, start, shift = _coefficients(shop_id, journey_key, salt)
    digits = (f"({member_id} & {_DIGIT})", f"(({member_id} >> {_BITS}) & {_DIGIT})", f"({member_id} >> {2 * _BITS})")
    sql = f"SELECT {digits[0]} * {low} + {digits[1]} * {middle} + {digits[2]} * {high} + {start} AS x"
    rest = f"x - x / {_PRIME} * {_PRIME}"
    for line in (f"{rest} AS d", "d, d * d AS x", f"d, {rest} AS x", "d, x * x AS x", f"d, {rest} AS x", "d * x AS x"):
        sql = f"SELECT {line} FROM ({sql}) AS s"  # noqa: S608
    for line in (f"{rest} + {shift} AS x", f"{rest} AS x", f"x - x / {WHOLE} * {WHOLE}"):
        sql = f"SELECT {line} FROM ({sql}) AS s"  # noqa: S608
    return f"({sql})"


def held_out(shop_id: int, journey: Speaks, member_id: int) -> bool:
    """Whether the journey leaves this member out, for its effect to be measured by; a message about their own order goes to all."""
    pct = journey.holdout_pct if journey.kind == "marketing" else 0
    return pct > 0 and share(shop_id, journey.key, SALT, member_id) < pct * WHOLE // 100


def held_out_sql(shop_id: int, journey: Speaks, member_id: str) -> str:
    """The same as a condition; empty where nobody is held out."""
    pct = journey.holdout_pct if journey.kind == "marketing" else 0
    return f"{share_sql(shop_id, journey.key, SALT, member_id)} < {pct * WHOLE // 100}" if pct > 0 else ""


@lru_cache(maxsize=4096)
def _coefficients(shop_id: int, journey_key: str, salt: str) -> tuple[int, ...]:
    """Five numbers below the prime; the first three are not 0, so that no digit of an id goes lost."""
    # Their lengths keep apart what would read alike when it is put together.
    named = f"{shop_id}:{len(journey_key)}:{journey_key}:{salt}".encode()
    drawn = hashlib.sha256(named).digest() + hashlib.sha256(b"more:" + named).digest()
    numbers = [int.from_bytes(drawn[place * 8 : place * 8 + 8], "big") for place in range(5)]
    return (*(1 + number % (_PRIME - 1) for number in numbers[:3]), *(number % _PRIME for number in numbers[3:]))
