"""Everything before a message can leave: the guards asked again, its text, the sender opened, the links counted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row
from sqlalchemy.exc import DBAPIError

from crm_plugin.adapters.channels.base import ChannelAdapter
from crm_plugin.errors import ConfigError, NotFound, RenderError
from crm_plugin.phrases import phrase
from crm_plugin.records import Message
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database, is_away
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import links, senders
from crm_plugin.touchpoints.batch import Batch
from crm_plugin.touchpoints.calling import Ready
from crm_plugin.touchpoints.compose import compose
from crm_plugin.touchpoints.faring import Faring
from crm_plugin.touchpoints.gate import judge
from crm_plugin.touchpoints.policy import Policy
from crm_plugin.touchpoints.render import Rendered
from crm_plugin.touchpoints.settling import Outcome
from crm_plugin.touchpoints.states import Reason, State

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ways:
    """How a message is made, and how the sender that takes it is opened; a rehearsal has its own.

    `take` may take a message that is ready in place of the sender, and then settles its row by the end of the round. With `counted` mails
    get the links by which openings and clicks are counted.
    """

    compose: Callable[..., tuple[Message, Rendered]] = compose
    open_channel: Callable[..., ChannelAdapter] = senders.open_channel
    take: Callable[[Database, Row[Any], Message, datetime], bool] = lambda _db, _row, _message, _now: False
    counted: bool = False


LIVE = Ways(counted=True)


class Readying:
    """Makes the messages of one round ready. The senders it opens stay open until it is closed."""

    def __init__(
        self, db: Database, box: SecretBox, shop: Shop, policy: Policy, public_url: str, ways: Ways, faring: Faring
    ) -> None:
        self._db = db
        self._box = box
        self._shop = shop
        self._policy = policy
        self._public_url = public_url.rstrip("/")
        self._ways = ways
        self._faring = faring
        self._channels: dict[str, ChannelAdapter] = {}

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()

    def ready(self, row: Row[Any], known: Batch, now: datetime) -> Ready | Outcome | None:
        """The message that is to leave now, or what becomes of the row instead; None when it was taken in place of the sender.

        Raises: DBAPIError when the database is away; that is no fault of the message.
        """
        try:
            made = self._prepare(row, known, now)
            if isinstance(made, Ready) and self._ways.take(self._db, row, made.message, now):
                return None
        except Exception as error:
            if isinstance(error, DBAPIError) and is_away(error):
                raise
            # One row must not stop the others; what it was about is kept with it.
            _log.exception("touchpoint %s failed", row.touchpoint_id)
            return Outcome(row, State.FAILED, now, Reason.ERROR, type(error).__name__)
        return made

    def _prepare(self, row: Row[Any], known: Batch, now: datetime) -> Ready | Outcome:
        if row.adapter in self._faring.resting:
            return Outcome(row, State.PLANNED, now, Reason.SENDER_PAUSED)
        open_channel = self._channels.get(row.adapter)
        if (until := self._faring.away_until(row.adapter, open_channel, row.address, now)) is not None:
            return Outcome(row, State.PLANNED, now, Reason.SENDER_PAUSED, next_try_at=until)
        verdict = judge(row, known, self._policy, now)
        if verdict.state is not None:
            return Outcome(row, verdict.state, now, verdict.reason, verdict.detail, next_try_at=verdict.again_at)
        spoken = known.journey_of(row)
        marketing = spoken is not None and spoken.kind == "marketing"
        if marketing and row.capped_at is None:
            # It was taken as one that does not count, and the journey has been edited since: it is taken anew.
            return Outcome(row, State.PLANNED, now, Reason.FREQUENCY_CAP, next_try_at=now)
        if marketing and row.channel in ("email", "note") and not self._public_url:
            # Without an address of ours there is no link to unsubscribe, and no marketing that is mailed without that.
            why, again_at = phrase("Set CRM_PUBLIC_URL."), now + timedelta(hours=1)
            return Outcome(row, State.PLANNED, now, Reason.NO_PUBLIC_URL, why, next_try_at=again_at)
        try:
            message, made = self._ways.compose(row, known, self._shop, self._policy, self._box, self._public_url)
        except RenderError as error:
            return Outcome(row, State.FAILED, now, Reason(error.code), str(error))
        try:
            channel = self._open(row.adapter, now)
        except (NotFound, ConfigError) as error:
            self._faring.pause(row, str(error), now)
            return Outcome(row, State.PLANNED, now, Reason.SENDER_PAUSED, str(error))
        if self._ways.counted and self._public_url and links.counts(message, channel):
            about = row.shop_id, row.touchpoint_id
            message = links.counted(message, self._policy.tracking, self._box, self._public_url, *about)
        return Ready(row, channel, message, made, now)

    def _open(self, adapter: str, now: datetime) -> ChannelAdapter:
        if adapter not in self._channels:
            self._channels[adapter] = self._ways.open_channel(
                self._db, self._box, self._shop, adapter, now, public_url=self._public_url
            )
        return self._channels[adapter]
