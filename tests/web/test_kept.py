"""What took long is kept for a minute and for what it was made for; what was quick is made anew."""

from __future__ import annotations

from crm_plugin.web.kept import KEPT_SECONDS, SLOW_SECONDS, Kept


class _Bench:
    """Makes 1, 2, 3 …, each taking as long as it is told, on a timer of its own."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.now = 1000.0
        self.count = 0
        self.kept = Kept(lambda: self.now)

    def make(self) -> int:
        self.now += self.seconds
        self.count += 1
        return self.count

    def get(self, stamp: str = "a", key: int = 1) -> int:
        return self.kept.get(key, stamp, self.make)


def test_slow_answer_is_kept() -> None:
    bench = _Bench(SLOW_SECONDS + 0.01)
    assert [bench.get(), bench.get()] == [1, 1]
    bench.now += KEPT_SECONDS
    assert bench.get() == 2


def test_quick_answer_is_made_anew() -> None:
    bench = _Bench(SLOW_SECONDS / 2)
    assert [bench.get(), bench.get()] == [1, 2]


def test_other_stamp_or_key_is_made_anew() -> None:
    bench = _Bench(1.0)
    assert [bench.get("a"), bench.get("b"), bench.get("b"), bench.get("b", key=2), bench.get("a")] == [1, 2, 2, 3, 4]
