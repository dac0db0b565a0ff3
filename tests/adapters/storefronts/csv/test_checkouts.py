"""Files of checkouts: one row each, of members who are known."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from crm_plugin.adapters.storefronts.csv.mapping import read_mapping
from crm_plugin.errors import InvalidInput
from crm_plugin.store import checkouts, members, problems
from crm_plugin.store.session import Database
from crm_plugin.sync import problems as kept_problems
from crm_plugin.sync.imports import import_file
from tests.factories import NOON, make_shop, member, write

MAPPING: dict[str, Any] = {
    "kind": "checkouts", "checkout_id": "id", "email": "mail", "started_at": "begun", "completed_at": "done", "total": "sum",
    "url": "link", "title": "what",
}  # fmt: skip
ROWS = (
    "id,mail,begun,done,sum,link,what\n"
    "k1,ada@x.test,2026-06-01T10:00,,12.50,https://x.test/c/k1,Tea\n"
    "k2,ada@x.test,2026-06-01T11:00,2026-06-01T11:05,8,,\n"
    "k3,nobody@x.test,2026-06-01T12:00,,1,,\n"
    "k4,ada@x.test,,,1,,\n"
)


def test_file_of_checkouts_is_read(db: Database, tmp_path: Path) -> None:
    with db.write() as connection:
        shop = make_shop(connection)
    write(db, shop, [member("ada", email="ada@x.test")], NOON)
    path = tmp_path / "checkouts.csv"
    path.write_text(ROWS, encoding="utf-8")
    report = import_file(db, shop, path, MAPPING, now=NOON)
    assert (report.checkouts, report.new, report.problems) == (3, 3, 1)
    c = checkouts.c
    with db.read() as connection:
        ada = connection.execute(select(members.c.member_id)).scalar_one()
        query = select(c.external_id, c.member_id, c.started_at, c.completed_at, c.total_minor, c.url, c.lines)
        rows = [tuple(row) for row in connection.execute(query.order_by(c.external_id))]
        reasons = connection.execute(select(problems.c.stream, problems.c.external_id, problems.c.reason)).all()
    begun, done = datetime(2026, 6, 1, 8, tzinfo=UTC), datetime(2026, 6, 1, 9, 5, tzinfo=UTC)
    line = [{"title": "Tea", "quantity": 1.0, "sku": "", "product": ""}]
    assert rows[0] == ("k1", ada, begun, None, 1250, "https://x.test/c/k1", line)
    assert (rows[1][3], rows[1][4], rows[2][1]) == (done, 800, None)
    assert [tuple(row) for row in reasons] == [("checkouts", "k4", "Line 5: the time of the checkout is empty.")]
    again = import_file(db, shop, path, MAPPING, now=NOON)
    assert (again.new, again.same) == (0, 3)
    assert kept_problems.retry(db, shop, None, NOON).as_dict() == {"resolved": 0, "open": 1}


@pytest.mark.parametrize("without", ["checkout_id", "started_at", "email"])
def test_mapping_without_what_it_needs_is_refused(without: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_mapping({key: value for key, value in MAPPING.items() if key != without})
    assert refused.value.field == "mapping"
    assert refused.value.hint
