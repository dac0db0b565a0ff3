"""Senders that take everything and send nothing, and texts that are written only where somebody reads or counts them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from crm_plugin.adapters.base import Problem
from crm_plugin.adapters.channels.base import ChannelAdapter, sms_size
from crm_plugin.records import Message, SendResult
from crm_plugin.store import attempts
from crm_plugin.store.base import to_micros
from crm_plugin.store.bulk import execute_in, insert_rows
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints.batch import Batch
from crm_plugin.touchpoints.compose import compose, key_of
from crm_plugin.touchpoints.dispatch import CLAIM
from crm_plugin.touchpoints.policy import Policy
from crm_plugin.touchpoints.readying import Ways
from crm_plugin.touchpoints.render import Rendered
from crm_plugin.touchpoints.states import State


class Taker(ChannelAdapter):
    """Takes every message, and tells how many parts a text message would be billed as."""

    name = "rehearsal"
    label = "Rehearsal"
    channel = "any"

    def __init__(self, flush: Callable[[], None]) -> None:
        super().__init__({})
        self._flush = flush

    def check(self) -> list[Problem]:
        return []

    def send(self, message: Message, *, idempotency_key: str) -> SendResult:
        return SendResult(f"rehearsal:{idempotency_key}", _parts(message))

    def close(self) -> None:
        """The round is over."""
        self._flush()


@dataclass(slots=True)
class Paper:
    """How messages are written: each of them, or only those that are billed by length or belong to `members`.

    Of the others one is written for each text and language: it shows whether there is a text at all, and one that can be filled in.
    They are settled many at a time, which costs a tenth of settling each.
    """

    every: bool
    members: Collection[int] = ()
    _written: set[tuple[str, str, str]] = field(default_factory=set)
    _taken: list[tuple[Row[Any], int]] = field(default_factory=list)
    _at: tuple[Database, datetime] | None = None

    def compose(
        self, row: Row[Any], batch: Batch, shop: Shop, policy: Policy, box: SecretBox, public_url: str
    ) -> tuple[Message, Rendered]:
        """As `compose.compose`. Raises: RenderError, NoTemplate."""
        if row.channel == "sms" or self._is_kept(row):
            return compose(row, batch, shop, policy, box, public_url)
        member = batch.members[row.member_id]
        about = (f"{row.journey_key}:{row.step}", row.channel, member.locale)
        if about not in self._written:
            made = compose(row, batch, shop, policy, box, public_url)
            self._written.add(about)
            return made
        return Message(row.channel, row.address, key_of(row), ""), Rendered("", "", "", "")

    def take(self, db: Database, row: Row[Any], message: Message, now: datetime) -> bool:
        """Take a message that nobody will read; it is settled with others, at the end of the round at the latest."""
        if self._is_kept(row):
            return False
        self._at = db, now
        self._taken.append((row, _parts(message)))
        if len(self._taken) >= CLAIM:
            self.flush()
        return True

    def flush(self) -> None:
        """Settle what was taken."""
        if not self._taken or self._at is None:
            return
        (db, now), taken = self._at, self._taken
        at, shop_id = to_micros(now), taken[0][0].shop_id
        with db.write() as connection:
            execute_in(connection, _ACCEPT, (at, at, at, shop_id), [row.touchpoint_id for row, _ in taken])
            texts = [(row, parts) for row, parts in taken if row.channel == "sms"]
            tried = [
                (shop_id, row.touchpoint_id, row.attempts + 1, row.adapter, at, at, State.ACCEPTED.value, "", "", parts)
                for row, parts in texts
            ]
            insert_rows(connection, attempts, _ATTEMPT, tried)
        taken.clear()

    def ways(self) -> Ways:
        """For `dispatch_shop`."""
        return Ways(self.compose, self._open, self.take)

    def _is_kept(self, row: Row[Any]) -> bool:
        return self.every or row.member_id in self.members

    def _open(
        self, _db: Database, _box: SecretBox, _shop: Shop, _adapter: str, _now: datetime, *, public_url: str = ""
    ) -> ChannelAdapter:
        del public_url
        return Taker(self.flush)


_ACCEPT = (
    f"UPDATE touchpoints SET state = '{State.ACCEPTED}', reason = '', reason_detail = '', claimed_until = NULL, "  # noqa: S608
    "attempts = attempts + 1, accepted_at = ?, settled_at = ?, updated_at = ? WHERE shop_id = ? AND touchpoint_id IN ({marks})"
)
_ATTEMPT = (
    "shop_id", "touchpoint_id", "attempt_no", "adapter", "started_at", "finished_at", "outcome", "error_code", "error", "parts",
)  # fmt: skip


def _parts(message: Message) -> int:
    return sms_size(message.text).parts if message.channel == "sms" else 1
