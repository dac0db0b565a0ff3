"""Sending against django-post-office: as many mails of the same words to the same server, each in a process of its own, in turns."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks import data
from benchmarks.harness import Options, Result, benchmark, counts_cpu_time
from benchmarks.mail_server import Sink, mail_server
from benchmarks.processes import worker
from benchmarks.sending import set_up
from crm_plugin.rules.triggers import QuietHours, read_time
from crm_plugin.touchpoints.policy import Brand, Policy
from crm_plugin.touchpoints.recipes import recipe_texts
from crm_plugin.touchpoints.render import render
from crm_plugin.touchpoints.scene import ShopView, sample_scenes

# What was found to be its fastest here, and what it comes with. More processes have more memory and hardly more speed.
_BEST = {"threads": 5, "processes": 1, "batch": 1_000}
_USUAL = {"threads": 5, "processes": 1, "batch": 100}
# How long a reply takes to come from far away, and as how many connections both are measured there.
_FAR, _FEW, _MANY = 0.02, 5, 32


@dataclass(slots=True)
class _Runs:
    """Several runs of one side: the fastest, and the least that the peak of its memory was."""

    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)

    def note(self, told: dict[str, Any], sink: Sink, count: int) -> None:
        assert told["mails"] == sink.taken() == count, f"{told['mails']} of {count} mails were taken"
        self.rates.append(count / told["cpu_seconds" if counts_cpu_time() else "seconds"])
        self.cpu.append(told["cpu_seconds"])
        self.peaks.append(told["peak_mb"])

    @property
    def rate(self) -> float:
        return max(self.rates)

    @property
    def peak(self) -> float:
        return min(self.peaks)

    def as_dict(self) -> dict[str, float]:
        return {"rate": round(self.rate), "cpu_seconds": round(min(self.cpu), 2), "peak_mb": round(self.peak)}


@benchmark("sending.peer")
def peer(options: Options) -> Iterator[Result]:
    """All of it, planned to settled, at most 10,000 mails; django-post-office queues and sends."""
    count = max(min(options.members // 10, 10_000), 100)
    ours, best, usual = _Runs(), _Runs(), _Runs()
    with mail_server() as sink, _stocked(options, count, sink) as stock:
        for _ in range(options.repeats):
            ours.note(_ours(stock), sink, count)
            best.note(_theirs(sink, count, _BEST), sink, count)
            usual.note(_theirs(sink, count, _USUAL), sink, count)
            options.say(f"{count:,} mails: ours {ours.rates[-1]:,.0f}/s, theirs {best.rates[-1]:,.0f}/s")
    limit = max(best, usual, key=lambda runs: runs.rate)
    detail = {"mails": count, "ours": ours.as_dict(), "best": best.as_dict(), "usual": usual.as_dict()}
    against = "django-post-office, the faster of its settings"
    yield Result("sending: planned to settled", ours.rate, limit.rate, "mails/s", 5, True, against, detail)
    yield Result("sending: peak of memory", ours.peak, limit.peak, "MB", 0.75, False, against, detail)


@benchmark("sending.far")
def far(options: Options) -> Iterator[Result]:
    """The same to a server whose every reply takes 20 ms, at a few connections and at many; at most 1,000 mails."""
    count = max(min(options.members // 100, 1_000), 50)
    ours, theirs = ({connections: _Runs() for connections in (_FEW, _MANY)} for _ in range(2))
    with mail_server(_FAR) as sink:
        for connections in (_FEW, _MANY):
            with _stocked(options, count, sink, connections=connections) as stock:
                for _ in range(options.repeats):
                    ours[connections].note(_ours(stock), sink, count)
                    theirs[connections].note(_theirs(sink, count, {**_BEST, "threads": connections}), sink, count)
                    mine, its = ours[connections].rates[-1], theirs[connections].rates[-1]
                    options.say(f"{connections} connections: ours {mine:,.0f}/s, theirs {its:,.0f}/s")
    for connections in (_FEW, _MANY):
        yield _far_result(f"{connections} connections", ours[connections], theirs[connections], connections, 1.8, count)
    yield _far_result(f"{_MANY} for {_FEW} connections", ours[_MANY], theirs[_FEW], _FEW, 5, count)


def _far_result(name: str, ours: _Runs, theirs: _Runs, connections: int, budget: float, count: int) -> Result:
    against = f"django-post-office at {connections} connections"
    return Result(f"sending far: {name}", ours.rate, theirs.rate, "mails/s", budget, True, against, {"mails": count})


@contextmanager
def _stocked(options: Options, count: int, sink: Sink, **settings: Any) -> Iterator[Path]:
    """The SQLite file of a shop with so many birthdays that nothing is planned of yet."""
    with data.stocked(min(options.members, 1_000), options.seed) as (database, shop):
        data.load(database, shop, data.celebrants(count, 10_000_000))
        set_up(database, shop, sink, **settings)
        path = Path(str(database.engine.url.database))
        # The last connection that is closed writes the log into the file.
        database.dispose()
        yield path


def _ours(stock: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="crm-bench-") as folder:
        path = Path(folder) / "ours.sqlite3"
        shutil.copyfile(stock, path)
        told = {"url": f"sqlite:///{path}", "shops": [1], "plan": True}
        with worker("benchmarks.sending_worker", told) as process:
            process.begin()
            return process.answer()


def _theirs(sink: Sink, count: int, settings: dict[str, int]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="crm-bench-") as folder:
        told = {"folder": folder, "port": sink.port, "count": count, **_words(), **settings}
        with worker("benchmarks.post_office", told) as process:
            process.begin()
            return process.answer()


@cache
def _words() -> dict[str, str]:
    """Our birthday mail with the marks of Django's templates where names and links stand."""
    text = next(one for one in recipe_texts("birthday") if (one.channel, one.locale) == ("email", "en"))
    shop = ShopView("bench-1", "https://shop.example", "1 Lane, London", "EUR")
    policy = Policy(QuietHours(read_time("21:00"), read_time("08:00")), Brand(), cta_url=shop.url)
    scene = sample_scenes(policy, shop, "en", with_order=False)[0]
    scene = replace(scene, member=replace(scene.member, first_name="{{ name }}"), unsubscribe_url="{{ link }}")
    made = render(text, scene, policy.brand)
    assert "{{ link }}" in made.html
    assert "{{ name }}" in made.html
    return {"subject": made.subject, "text": made.text, "html": made.html}
