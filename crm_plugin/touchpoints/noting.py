"""Noting attempts and the very texts before anything leaves: all rows of a group are made first, then written in one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete

from crm_plugin.store import attempts, touchpoint_contents
from crm_plugin.store.base import to_micros
from crm_plugin.store.bulk import insert_rows
from crm_plugin.store.lists import among
from crm_plugin.touchpoints import claims
from crm_plugin.touchpoints.render import Rendered

_CONTENT = ("shop_id", "touchpoint_id", "locale", "subject", "body_text", "body_html", "url", "rendered_at")
_ATTEMPT = ("shop_id", "touchpoint_id", "attempt_no", "adapter", "started_at", "outcome", "error_code", "error")


@dataclass(frozen=True, slots=True)
class Notes:
    """What is written of attempts that begin, as stored. They are made before the transaction, for it keeps all other writers waiting."""

    changes: Mapping[tuple[str, ...], list[tuple[Any, ...]]]
    contents: Sequence[tuple[Any, ...]]
    tries: Sequence[tuple[Any, ...]]
    # (shop, touchpoint) of those that have been tried before: another text stands there.
    again: Collection[tuple[int, int]]

    def write(self, connection: Connection) -> None:
        """Write it all. Raises: Lost when one of them is no longer ours."""
        claims.change_held(connection, self.changes)
        if self.again:
            c, shop_id = touchpoint_contents.c, next(iter(self.again))[0]
            texts = (c.shop_id == shop_id) & among(c.touchpoint_id, [number for _, number in self.again])
            connection.execute(delete(touchpoint_contents).where(texts))
        insert_rows(connection, touchpoint_contents, _CONTENT, self.contents)
        insert_rows(connection, attempts, _ATTEMPT, self.tries)


def notes(made: Sequence[tuple[Row[Any], Rendered]], now: datetime) -> Notes:
    """The notes of these attempts; the touchpoints are one shop's."""
    at, until = to_micros(now), to_micros(now + claims.BEGUN)
    changes: dict[tuple[str, ...], list[tuple[Any, ...]]] = defaultdict(list)
    contents, tries, again = [], [], []
    for row, text in made:
        key, number = (row.shop_id, row.touchpoint_id), row.attempts + 1
        # A column is written only where it changes: each that an index holds costs the index as well.
        columns: tuple[str, ...] = ("attempts", "claimed_until", "updated_at")
        values: tuple[Any, ...] = (number, until, at)
        if row.capped_at is not None and row.capped_at < now:
            # The room that was taken for it is used from now on.
            columns, values = (*columns, "capped_at"), (*values, at)
        if row.attempts:
            # What is told from here on is about this attempt, not about the one before.
            columns, values = (*columns, "provider_message_id"), (*values, None)
            again.append(key)
        changes[columns].append((*values, *key, row.fence))
        contents.append((*key, text.locale, text.subject, text.text, text.html, text.url, at))
        tries.append((*key, number, row.adapter, at, "", "", ""))
    return Notes(changes, contents, tries, again)
