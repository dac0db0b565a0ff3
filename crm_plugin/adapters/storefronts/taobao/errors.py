"""Every refusal of TOP in our words: to be tried again, a mistake that trying again does not mend, or something that the merchant must do.

A table of codes, a table of sub codes, and the platform's own rule for sub codes in neither: `isp.` is the server's fault, `ism.` the
gateway's, `isv.` the caller's.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from crm_plugin.adapters.storefronts.taobao.envelope import ADAPTER, Refusal
from crm_plugin.adapters.storefronts.taobao.values import CHINA
from crm_plugin.adapters.storefronts.unanswered import LATER
from crm_plugin.errors import ActionRequired, AdapterError, PermanentError, TransientError
from crm_plugin.phrases import phrase
from crm_plugin.redaction import redact


class Act(StrEnum):
    """Who must act on a refusal, and what it is about."""

    RETRY = "retry"
    # A limit on calls: a pause is told, or known.
    LIMIT = "limit"
    # A mistake in what was asked: never tried again.
    STOP = "stop"
    # The sub code decides.
    LOOK = "look"
    # The merchant, or whoever keeps the app.
    PERMISSION = "permission_missing"
    SESSION = "reauth_needed"
    KEYS = "wrong_keys"
    CLOCK = "wrong_clock"
    # There is no such record (any more).
    GONE = "gone"


CODES = {
    **dict.fromkeys((4, 5, 6, 7, 8), Act.LIMIT),
    9: Act.STOP,
    10: Act.RETRY,
    **dict.fromkeys((11, 12, 13, 42), Act.PERMISSION),
    **dict.fromkeys((15, 50), Act.LOOK),
    **dict.fromkeys((21, 22, 23), Act.STOP),
    **dict.fromkeys((24, 25), Act.KEYS),
    **dict.fromkeys((26, 27), Act.SESSION),
    **dict.fromkeys((28, 29), Act.KEYS),
    **dict.fromkeys((30, 31), Act.CLOCK),
    **dict.fromkeys((32, 33, 34), Act.STOP),
    **dict.fromkeys((40, 41, 43), Act.STOP),
}
DAY_QUOTA = "accesscontrol.limited-by-app-access-count"
_REMOTE = (
    "isp.top-remote-connection-timeout",
    "isp.top-remote-service-unavailable",
    "isp.top-remote-connection-control-error",
    "isp.top-remote-unknown-error",
)
SUB_CODES = {
    DAY_QUOTA: Act.LIMIT,
    "accesscontrol.limited-by-api-access-count": Act.LIMIT,
    "accesscontrol.limited-by-app-api-access-count": Act.LIMIT,
    "accesscontrol.limited-by-dynamic-access-count": Act.LIMIT,
    **dict.fromkeys(_REMOTE, Act.RETRY),
    **dict.fromkeys((f"{code}-tmall" for code in _REMOTE), Act.RETRY),
    "isp.remote-connection-error": Act.RETRY,
    "isp.service-error": Act.RETRY,
    "isp.service-unavailable": Act.RETRY,
    "isp.crmtop-service-unavailable": Act.RETRY,
    "isp.call-limited": Act.LIMIT,
    "isp.system-busy": Act.RETRY,
    "ism.json-decode-error": Act.RETRY,
    "invalid-sessionkey": Act.SESSION,
    "sessionkey-not-generated-by-server": Act.SESSION,
    "isv.invalid-parameter": Act.STOP,
    "isv.invalid-parameter:buyernick": Act.STOP,
    "isv.trade-not-exist": Act.GONE,
    "isv.refund-not-exist": Act.GONE,
}
_PREFIXES = {"isp.": Act.RETRY, "ism.": Act.RETRY, "isv.": Act.STOP}
# Codes whose sub code says nothing that would change who must act.
_FINAL = frozenset({Act.PERMISSION, Act.SESSION, Act.KEYS, Act.CLOCK})
_BAN = re.compile(r"ban will last for (\d+) more seconds")
# Where a limit tells no pause.
_SHORT_PAUSE = 5.0

_HINTS = {
    Act.PERMISSION: phrase(
        "Only Alibaba can switch this on: in the Open Platform's console apply for the permission package that holds %(method)s, "
        "then let the shop's owner agree to the app again."
    ),
    Act.SESSION: phrase("Let the shop's owner agree to the app again."),
    Act.KEYS: phrase("Compare app key and app secret with the Open Platform's console."),
    Act.CLOCK: phrase("Set this server's clock: Taobao refuses what is more than ten minutes off."),
}
_SAID = {
    Act.PERMISSION: phrase("Taobao does not let this app use %(method)s (%(said)s)."),
    Act.SESSION: phrase("The shop's agreement with the app has ended (%(said)s)."),
    Act.KEYS: phrase("Taobao does not know this app, or its secret is another (%(said)s)."),
    Act.CLOCK: phrase("Taobao says that our clock is wrong (%(said)s)."),
}


def act_of(refusal: Refusal) -> Act:
    """Who must act on a refusal. One that no table knows is a mistake that trying again does not mend."""
    by_code, sub = CODES.get(refusal.number), (refusal.sub_code or "").lower()
    if by_code in _FINAL:
        return by_code
    by_sub = SUB_CODES.get(sub) or next((act for prefix, act in _PREFIXES.items() if sub.startswith(prefix)), None)
    if refusal.number in (40, 41) and by_sub is not Act.GONE:
        return Act.STOP
    if by_code is Act.LIMIT:
        return Act.LIMIT
    # A limit, an ended session and a record that is gone are told by the sub code whatever the code is.
    return by_sub or (by_code if by_code not in (None, Act.LOOK) else Act.STOP)


def ban_seconds(refusal: Refusal, now: float) -> float:
    """How long to wait for a limit: what TOP tells; until midnight in China for the day's quota; else a short while."""
    if found := _BAN.search(refusal.sub_msg or ""):
        return float(found[1])
    if (refusal.sub_code or "").lower() != DAY_QUOTA:
        return _SHORT_PAUSE
    here = datetime.fromtimestamp(now, UTC).astimezone(CHINA)
    midnight = (here + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return (midnight - here).total_seconds()


def error_for(refusal: Refusal, method: str, now: float) -> AdapterError:
    """The error of a refusal; `now` is in seconds since 1970."""
    act = act_of(refusal)
    said = _said(refusal)
    context: dict[str, Any] = {"adapter": ADAPTER, "operation": method, "excerpt": said}
    if act in _HINTS:
        message = phrase(_SAID[act].message, method=method, said=said)
        return ActionRequired(message, hint=phrase(_HINTS[act].message, method=method), code=act.value, **context)
    if act is Act.LIMIT:
        return TransientError(
            phrase("Taobao limits our calls (%(said)s).", said=said),
            hint=LATER,
            retry_after=ban_seconds(refusal, now),
            **context,
        )
    if act is Act.RETRY:
        return TransientError(phrase("Taobao cannot answer just now (%(said)s).", said=said), hint=LATER, **context)
    if act is Act.GONE:
        return PermanentError(phrase("Taobao has no such record."), code="gone", **context)
    return PermanentError(phrase("Taobao refuses the request (%(said)s).", said=said), **context)


def _said(refusal: Refusal) -> str:
    words = refusal.sub_msg or refusal.msg or ""
    told = " ".join(str(part) for part in (refusal.number or refusal.code, refusal.sub_code, words) if part)
    request = f" [{refusal.request_id}]" if refusal.request_id else ""
    return redact(f"{told[:240]}{request}")
