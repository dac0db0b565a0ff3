"""Levels in the meta data of accounts, one key a programme: written in batches, read back with the account.

The store takes an entry by its key whatever its id, and null takes it away, also where there is none: twice is as once. An account that
cannot be written is told of beside the others, with the status of the whole still 200.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from crm_plugin.adapters.base import Problem
from crm_plugin.adapters.storefronts.woocommerce.batches import Refusal, read_answer
from crm_plugin.adapters.storefronts.woocommerce.client import WooCommerceClient
from crm_plugin.adapters.storefronts.woocommerce.errors import ADAPTER
from crm_plugin.adapters.storefronts.woocommerce.mapping import utc
from crm_plugin.adapters.storefronts.woocommerce.meta import MARK_PREFIX
from crm_plugin.errors import AdapterError, MalformedResponse, PermanentError
from crm_plugin.phrases import phrase
from crm_plugin.records import TierMark, TierWrite, TierWritten

# What the store takes in one request.
AT_ONCE = 100
_PATH = "customers/batch"
_GONE = ("woocommerce_rest_invalid_id", "wc_user_invalid_id", "woocommerce_rest_customer_invalid_id")


class _Updated(msgspec.Struct):
    id: int = 0
    date_modified_gmt: datetime | None = None
    error: Refusal | None = None


class _Batch(msgspec.Struct):
    update: list[_Updated] = []


class TierMarks:
    """Writes marks into one store."""

    def __init__(self, client: WooCommerceClient) -> None:
        self._client = client

    def check(self) -> list[Problem]:
        """Ask for a change of nobody: the store looks at the key's permission first."""
        try:
            self._client.bring(_PATH, {"update": []})
        except AdapterError as error:
            return [Problem(error.code, error.message, error.hint)]
        return []

    def write(self, writes: Sequence[TierWrite]) -> list[TierWritten]:
        """See the contract. Several programmes of one account are one change."""
        told: dict[int, list[TierMark]] = {}
        for write in writes:
            if write.reference.isdigit():
                told.setdefault(int(write.reference), []).append(write.mark)
        items = [{"id": number, "meta_data": [_entry(mark) for mark in marks]} for number, marks in told.items()]
        answered = _read(self._client.bring(_PATH, {"update": items})) if items else {}
        return [_outcome(write, answered) for write in writes]


def _entry(mark: TierMark) -> dict[str, Any]:
    return {"key": f"{MARK_PREFIX}{mark.program}", "value": mark.level or None}


def _read(answer: Any) -> dict[int, _Updated]:
    batch: _Batch = read_answer(answer, _Batch, _PATH, "$.update")
    return {one.id: one for one in batch.update}


def _outcome(write: TierWrite, answered: dict[int, _Updated]) -> TierWritten:
    reference = write.reference
    context: dict[str, Any] = {"adapter": ADAPTER, "operation": _PATH}
    if not reference.isdigit():
        return TierWritten(reference, error=_gone(context))
    one = answered.get(int(reference))
    if one is None:
        said = phrase("The store did not say whether it took the level of account %(id)s.", id=reference)
        return TierWritten(reference, error=MalformedResponse(said, path="$.update", **context))
    if one.error is None:
        return TierWritten(reference, utc(one.date_modified_gmt))
    if str(one.error.code) in _GONE:
        return TierWritten(reference, error=_gone(context))
    return TierWritten(reference, error=PermanentError(one.error.said, **context))


def _gone(context: dict[str, Any]) -> PermanentError:
    return PermanentError(phrase("This account is no longer in the store."), code="gone", **context)
