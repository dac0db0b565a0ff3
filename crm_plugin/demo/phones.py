"""Phone numbers that ring nowhere: the ranges that regulators keep for films and books, each number given out once.

Ofcom (GB), NANPA 555-01XX (US), Bundesnetzagentur (DE), ARCEP (FR), ComReg (IE), ACMA (AU). China keeps none; there no local
number begins with 0, so one of Beijing's length that does can be read, and placed in its zone, but never called.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

# Each area lies in one zone, so that a member's own hours can be told from the number.
_US_AREAS = (212, 312, 303, 213, 206, 617, 404, 512, 503, 215)


def _range(form: str, count: int) -> Iterator[str]:
    return (form.format(number) for number in range(count))


def _numbers(country: str) -> Iterator[str]:
    match country:
        case "GB":
            return chain(
                _range("07700 900{:03}", 1000), _range("01632 960{:03}", 1000), _range("0113 496 0{:03}", 1000)
            )
        case "US":
            return (f"({area}) 555-01{number:02}" for number in range(100) for area in _US_AREAS)
        case "DE":
            return chain(
                _range("0176 040690{:02}", 100), _range("030 23125{:03}", 1000), _range("040 66969{:03}", 1000)
            )
        case "FR":
            return (f"06 39 98 {number // 100:02} {number % 100:02}" for number in range(10_000))
        case "IE":
            return _range("020 91{:05}", 100_000)
        case "AU":
            return _range("(02) 5550 {:04}", 10_000)
        case "CN":
            return (f"010 0{number // 10_000:03} {number % 10_000:04}" for number in range(10_000_000))
        case _:
            return iter(())


class PhoneBook:
    """Gives out the numbers of each country in order; empty when a range is used up."""

    def __init__(self) -> None:
        self._left: dict[str, Iterator[str]] = {}

    def take(self, country: str) -> str:
        """The next number, as people of the country write it."""
        if country not in self._left:
            self._left[country] = _numbers(country)
        return next(self._left[country], "")
