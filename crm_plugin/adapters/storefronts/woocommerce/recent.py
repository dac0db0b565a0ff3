"""What plugins keep in the meta data of the newest records, for the merchant to say which of it means what."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from crm_plugin.adapters.base import Problem, Severity
from crm_plugin.adapters.raw import UNREADABLE, any_json
from crm_plugin.adapters.storefronts.woocommerce import payloads
from crm_plugin.adapters.storefronts.woocommerce.changes import Part
from crm_plugin.adapters.storefronts.woocommerce.client import WooCommerceClient
from crm_plugin.adapters.storefronts.woocommerce.errors import ADAPTER
from crm_plugin.adapters.storefronts.woocommerce.meta import MARK_PREFIX
from crm_plugin.errors import ActionRequired, AdapterError
from crm_plugin.phrases import phrase


def recent_fields(client: WooCommerceClient, parts: Iterable[Part]) -> list[dict[str, Any]]:
    """The meta data of each, ours left out. Raises: ActionRequired where the key shows none."""
    found: list[dict[str, Any]] = []
    for part in parts:
        try:
            rows = _newest(client, part)
        except AdapterError as error:
            if part.may_lack(error):
                continue
            raise
        records = [_read(raw) for raw in rows]
        if records and all(one.meta_data is None for one in records):
            problem = without_meta()
            raise ActionRequired(problem.message, hint=problem.hint, code=problem.code, adapter=ADAPTER)
        found += [_entries(one) for one in records]
    return found


def without_meta() -> Problem:
    """That the key shows no meta data."""
    return Problem(
        "no_meta_data",
        phrase(
            "This key does not show what plugins keep with an account: birthdays, language and consent stay unknown."
        ),
        phrase(
            "The key belongs to a shop manager. Create one for an administrator in WooCommerce > Settings > Advanced > "
            "REST API and enter it here."
        ),
        Severity.WARNING,
    )


def _newest(client: WooCommerceClient, part: Part) -> list[msgspec.Raw]:
    """Two pages of the list, the newest first."""
    params = {**part.params, "_fields": "id,meta_data", "orderby": "id", "order": "desc"}
    first = client.list(part.path, params)
    more = client.list(part.path, params, first.next_offset).rows if first.more else []
    return [*first.rows, *more]


def _read(raw: msgspec.Raw) -> payloads.Fields:
    try:
        return payloads.FIELDS.decode(raw)
    except UNREADABLE:
        return payloads.Fields([])


def _entries(record: payloads.Fields) -> dict[str, Any]:
    told = {str(entry.key): any_json(entry.value) for entry in record.meta_data or ()}
    return {key: value for key, value in told.items() if not key.startswith(MARK_PREFIX)}
