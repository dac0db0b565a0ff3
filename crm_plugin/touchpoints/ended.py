"""What a call that has ended means for its touchpoint."""

from __future__ import annotations

import logging
import random
from datetime import datetime, timedelta

from crm_plugin.errors import (
    ActionRequired,
    ConfigError,
    MalformedResponse,
    OptedOut,
    OutcomeUnknown,
    PermanentError,
    RecipientRefused,
    TransientError,
)
from crm_plugin.touchpoints.calling import Called
from crm_plugin.touchpoints.settling import Outcome
from crm_plugin.touchpoints.states import Reason, State

MOST_ATTEMPTS = 6
LONGEST_PAUSE = timedelta(days=1)
FIRST_PAUSE = timedelta(minutes=2)
# Messages that failed together are not all tried again at one instant.
_JITTER = 0.1
_log = logging.getLogger(__name__)


def outcome_of(called: Called, now: datetime) -> Outcome:
    """The state that the call leaves its touchpoint in, `now` being when it ended."""
    row, error = called.ready.row, called.error
    number = row.attempts + 1
    match error:
        case None:
            return Outcome(row, State.ACCEPTED, now, attempt=number, result=called.result)
        case OptedOut():
            return Outcome(row, State.FAILED, now, Reason.OPTED_OUT, str(error), number, opted_out=True)
        case RecipientRefused():
            return Outcome(row, State.FAILED, now, Reason.REFUSED, str(error), number, dead=error.suppress)
        case TransientError() if number >= MOST_ATTEMPTS:
            return Outcome(row, State.FAILED, now, Reason.TOO_MANY_TRIES, str(error), number)
        case TransientError():
            again_at = now + (asked_pause(error) or _pause_after(number))
            return Outcome(row, State.RETRY_WAIT, now, Reason.TRANSIENT, str(error), number, again_at)
        case OutcomeUnknown() | MalformedResponse():
            return Outcome(row, State.UNCONFIRMED, now, Reason.OUTCOME_UNKNOWN, str(error), number)
        case ActionRequired() | ConfigError():
            return Outcome(row, State.PLANNED, now, Reason.SENDER_PAUSED, str(error), number)
        case PermanentError():
            return Outcome(row, State.FAILED, now, Reason.PERMANENT, str(error), number)
        case _:
            # An error nobody foresaw may have come after the message left: it is shown, never sent again by itself.
            _log.error("sending touchpoint %s", row.touchpoint_id, exc_info=error)
            return Outcome(row, State.UNCONFIRMED, now, Reason.ERROR, type(error).__name__, number)


def asked_pause(error: TransientError) -> timedelta | None:
    """The pause that the other side asks for; whatever it asks for, within a day it is asked again."""
    if error.retry_after is not None and error.retry_after > 0:
        return timedelta(seconds=min(error.retry_after, LONGEST_PAUSE.total_seconds()))
    return None


def _pause_after(number: int) -> timedelta:
    """How long a message waits after its attempt of that number."""
    return FIRST_PAUSE * (4.0 ** (number - 1)) * random.uniform(1 - _JITTER, 1 + _JITTER)
