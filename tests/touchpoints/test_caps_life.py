"""Whatever happens, in whatever order: no contact leaves twice, and nobody gets more than the limits in force allow."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import func, select, update

from crm_plugin.adapters.channels.base import ChannelAdapter
from crm_plugin.errors import OutcomeUnknown, PermanentError, TransientError
from crm_plugin.records import Message, SendResult
from crm_plugin.store import journeys, members, metadata, touchpoints
from crm_plugin.store.session import Database, make_engine
from crm_plugin.store.tenants import shop_by_id
from crm_plugin.touchpoints import acts, dial
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints.compose import key_of
from crm_plugin.touchpoints.dispatch import dispatch_shop
from crm_plugin.touchpoints.journey_document import read_draft
from crm_plugin.touchpoints.plan import plan_shop
from crm_plugin.touchpoints.policy import policy_of
from crm_plugin.touchpoints.readying import Ways
from crm_plugin.touchpoints.recover import miss_shop, recover_shop
from crm_plugin.touchpoints.render import Rendered
from crm_plugin.touchpoints.settings import save_settings
from tests.touchpoints.guarding import BOX, PUBLIC, journey, shop_with

_KEYS = ("a", "b", "c", "d")
_CAPS = ({"day": 1}, {"day": 1, "week": 2}, {"week": 3, "channels": {"email": {"day": 2}}}, {"day": 2, "week": 4})
_ENDS = ("sent", "sent", "sent", "busy", "refused", "unknown", "killed before", "killed after")


_Round = tuple[list[str], int]
# How the calls to the provider end one after the other, and by how many seconds the clock goes on with each message; at times it goes back.
_ROUND = st.tuples(st.lists(st.sampled_from(_ENDS), min_size=1, max_size=6), st.sampled_from([0, 0, 3, 40, -50]))


class _Killed(SystemExit):
    """The process is gone at this instant."""


class Lives(RuleBasedStateMachine):
    """Four members whose birthday four journeys greet, on days that are edited; after each act a round that ends in some way."""

    template: Path

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        shutil.copyfile(self.template, self.folder / "crm.sqlite3")
        self.db = Database.at(f"sqlite:///{self.folder / 'crm.sqlite3'}")
        self.shop = shop_with(self.db, 4)
        self.now = datetime(2026, 6, 2, 9, tzinfo=UTC)
        self.sent: list[tuple[str, str, datetime]] = []
        self.broken: list[str] = []
        # What the merchant wanted sent although it may have left: it is one message, and counts from when it leaves again.
        self.again: set[str] = set()
        self.calls = 0
        for key in _KEYS:
            journey(self.db, self.shop, key)

    def teardown(self) -> None:
        if hasattr(self, "db"):
            self.db.dispose()
            shutil.rmtree(self.folder)

    @rule(round=_ROUND, minutes=st.sampled_from([0, 1, 11, 60, 600, 1439, 1441, 2880, 6000, -5, -700, -1500, -9000]))
    def time_goes(self, round: _Round, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)
        self._round(round)

    @rule(round=_ROUND, caps=st.sampled_from(_CAPS))
    def limits_are_edited(self, round: _Round, caps: dict[str, Any]) -> None:
        with self.db.write() as connection:
            save_settings(connection, shop_by_id(connection, 1), {"caps": caps}, self.now)
        self._round(round)

    @rule(
        round=_ROUND,
        key=st.sampled_from(_KEYS),
        days=st.integers(-3, 3),
        priority=st.integers(1, 9),
        validity=st.sampled_from([1, 3, 9]),
    )
    def journey_is_edited(self, round: _Round, key: str, days: int, priority: int, validity: int) -> None:
        told = {"key": key, "trigger": {"type": "birthday", "days": days}, "channels": ["email"]}
        draft = read_draft({**told, "priority": priority, "validity_days": validity})
        with self.db.write() as connection:
            # Its texts are no matter here: it is saved while it is off.
            connection.execute(update(journeys).where(journeys.c.journey_key == key).values(enabled=False))
            journey_store.save(connection, self.shop, draft, self.now)
            connection.execute(update(journeys).where(journeys.c.journey_key == key).values(enabled=True))
        self._round(round)

    @rule(round=_ROUND, number=st.integers(0, 3), per_month=st.integers(1, 3))
    def dial_is_turned(self, round: _Round, number: int, per_month: int) -> None:
        with self.db.write() as connection:
            there = connection.execute(select(members.c.member_id).order_by(members.c.member_id)).scalars().all()
            dial.turn(connection, 1, there[number], self.now, per_month=per_month, source="link")
        self._round(round)

    @rule(round=_ROUND)
    def merchant_sends_again_what_failed(self, round: _Round) -> None:
        t = touchpoints.c
        with self.db.write() as connection:
            again = {"state": "planned", "next_try_at": self.now, "valid_until": self.now + timedelta(days=1)}
            connection.execute(update(touchpoints).where(t.state == "failed").values(**again, settled_at=None))
        self._round(round)

    @rule(round=_ROUND)
    def merchant_sends_again_what_is_unconfirmed(self, round: _Round) -> None:
        t = touchpoints.c
        with self.db.write() as connection:
            unknown = connection.execute(select(touchpoints).where(t.state == "unconfirmed").limit(1)).first()
            if unknown is not None:
                acts.send_again(connection, self.shop, unknown.touchpoint_id, self.now, "me")
                self.again.add(key_of(unknown))
        self._round(round)

    def _round(self, round: _Round) -> None:
        """Recover, let go, plan, send; the clock may tick on while it sends."""
        ends, skip = round
        self.shop = shop_by_id_of(self.db)
        recover_shop(self.db, self.shop, self.now)
        miss_shop(self.db, self.shop, self.now)
        plan_shop(self.db, self.shop, self.now)
        started, ticks = self.now, [0]

        def clock() -> datetime:
            ticks[0] += 1
            self.now = started + timedelta(seconds=ticks[0] * skip)
            return self.now

        with suppress(_Killed):
            dispatch_shop(self.db, BOX, self.shop, self.now, public_url=PUBLIC, clock=clock, ways=self._ways(ends))

    @invariant()
    def nothing_was_broken(self) -> None:
        assert getattr(self, "broken", []) == []

    @invariant()
    def every_key_is_there_once(self) -> None:
        if not hasattr(self, "db"):
            return
        t = touchpoints.c
        with self.db.read() as connection:
            twice = (
                select(func.count())
                .select_from(touchpoints)
                .group_by(t.journey_key, t.member_id, t.step, t.occasion)
                .having(func.count() > 1)
            )
            assert connection.execute(twice).all() == []

    def _ways(self, ends: list[str]) -> Ways:
        lives = self

        class Provider:
            """Takes messages, loses answers, and dies."""

            parallel, most_a_minute, flow = 1, 0, staticmethod(lambda: None)

            def whose(self, _address: str) -> str:
                return ""

            def send(self, message: Message, *, idempotency_key: str) -> SendResult:
                lives.calls += 1
                end = ends[lives.calls % len(ends)]
                if end == "killed before":
                    raise _Killed
                if end == "busy":
                    raise TransientError("Busy.")
                if end == "refused":
                    raise PermanentError("No.")
                lives._leave(message.to, idempotency_key)
                if end == "killed after":
                    raise _Killed
                if end == "unknown":
                    raise OutcomeUnknown("No answer.")
                return SendResult(provider_message_id=idempotency_key)

            def close(self) -> None: ...

        def compose(row: Any, *_: Any) -> tuple[Message, Rendered]:
            made = Rendered("en", "Hi", "Hello", "", "")
            return Message(row.channel, row.address, str(row.touchpoint_id), "Hello", "Hi"), made

        def open_channel(*_: Any, **__: Any) -> ChannelAdapter:
            return Provider()  # type: ignore[return-value]

        return Ways(compose, open_channel)

    def _leave(self, address: str, key: str) -> None:
        """A message leaves: hold it against everything that has left before."""
        with self.db.read() as connection:
            limits = policy_of(self.shop).limits
            person = connection.execute(select(members.c.member_id).where(members.c.email == address)).scalar_one()
            own = dial.of(connection, 1, person).per_month
        if any(before == key for _, before, _ in self.sent):
            if key not in self.again:
                self.broken.append(f"{key} left twice")
            self.again.discard(key)
            self.sent = [one for one in self.sent if one[1] != key]
        mine = [at for to, _, at in self.sent if to == address]
        for span, most in [*((one.span, one.most) for one in limits), *([(dial.MONTH, own)] if own else [])]:
            if sum(at > self.now - span for at in mine) >= most:
                self.broken.append(f"{address} got one more than {most} in {span} at {self.now}")
        self.sent.append((address, key, self.now))


def shop_by_id_of(db: Database) -> Any:
    with db.read() as connection:
        return shop_by_id(connection, 1)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lives") / "template.sqlite3"
    engine = make_engine(f"sqlite:///{path}")
    metadata.create_all(engine)
    engine.dispose()
    return path


@pytest.mark.slow
def test_no_sequence_sends_twice_or_too_often(template: Path) -> None:
    Lives.template = template
    run_state_machine_as_test(
        Lives,
        settings=settings(
            max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
