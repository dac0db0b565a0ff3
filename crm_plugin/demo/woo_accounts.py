"""Changing accounts as the store does: meta data by key, null takes an entry away, in batches that answer for each account by itself."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from crm_plugin.demo.woo_form import Row
from crm_plugin.demo.woo_lists import Customers, Refused

_MOST = 100
_TAKEN = ("email", "first_name", "last_name")


class Accounts:
    """Writes into the table of accounts, one change at a time."""

    def __init__(self, table: Customers) -> None:
        self._table = table
        self._lock = threading.Lock()
        rows = table.rows()
        self._meta_id = max((int(entry["id"]) for row in rows for entry in row["meta_data"]), default=0)

    def change(self, number: int, told: Mapping[str, Any]) -> Row:
        """Change one account; answers it as it is then. Raises: Refused for one that is not there."""
        with self._lock:
            row = self._table.one(number)
            if row is None:
                raise Refused(400, "woocommerce_rest_invalid_id", "Invalid resource ID.")
            at = datetime.now(UTC)
            changed = {
                **row,
                **{name: told[name] for name in _TAKEN if name in told},
                "meta_data": self._meta(row["meta_data"], told.get("meta_data") or []),
                "date_modified": f"{at.astimezone(self._table.zone):%Y-%m-%dT%H:%M:%S}",
                "date_modified_gmt": f"{at:%Y-%m-%dT%H:%M:%S}",
            }
            self._table.put(changed)
        return changed

    def remove(self, number: int) -> Row:
        """Delete an account for good. Raises: Refused for one that is not there."""
        with self._lock:
            row = self._table.one(number)
            if row is None:
                raise Refused(400, "woocommerce_rest_invalid_id", "Invalid resource ID.")
            self._table.remove(number)
        return row

    def batch(self, told: Mapping[str, Any]) -> dict[str, list[Row]]:
        """Changes of many accounts; what fails of them is told at its place, the rest is done."""
        items = told.get("update") or []
        if len(items) > _MOST:
            said = f"Unable to accept more than {_MOST} items for this request."
            raise Refused(413, "woocommerce_rest_request_entity_too_large", said)
        return {"update": [self._one(item) for item in items]} if items else {}

    def _one(self, item: Mapping[str, Any]) -> Row:
        number = int(item.get("id") or 0)
        try:
            return self.change(number, item)
        except Refused as refused:
            status, code, message = refused.refusal
            return {"id": number, "error": {"code": code, "message": message, "data": {"status": status}}}

    def _meta(self, present: list[Row], told: list[Mapping[str, Any]]) -> list[Row]:
        entries = [dict(entry) for entry in present]
        for one in told:
            same = [entry for entry in entries if entry["key"] == one["key"]]
            # All entries under the key but the first go, and that one too when there is nothing to put into it.
            entries = [entry for entry in entries if entry["key"] != one["key"] or entry is same[0]]
            if one.get("value") is None:
                entries = [entry for entry in entries if entry["key"] != one["key"]]
            elif same:
                same[0]["value"] = one["value"]
            else:
                self._meta_id += 1
                entries.append({"id": self._meta_id, "key": one["key"], "value": one["value"]})
        return entries
