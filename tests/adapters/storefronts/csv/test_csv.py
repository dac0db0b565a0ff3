"""CSV files: what comes out of them, and what is said of those that cannot be used."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from crm_plugin.adapters.storefronts.csv import CsvStorefront
from crm_plugin.errors import InvalidInput
from crm_plugin.records import MemberRecord, OrderRecord, Page, RefundRecord, Stream
from crm_plugin.store import (
    member_consents,
    member_facts,
    member_tags,
    members,
    order_lines,
    orders,
    problems,
    refunds,
    shops,
)
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop, shop_named
from crm_plugin.sync import problems as kept_problems
from crm_plugin.sync.connect import add_shop
from crm_plugin.sync.imports import import_file
from tests.factories import NOON

LINES = {
    "kind": "order_lines",
    "order_id": "InvoiceNo",
    "placed_at": "InvoiceDate",
    "member_id": "CustomerID",
    "country": "Country",
    "sku": "StockCode",
    "title": "Description",
    "quantity": "Quantity",
    "unit_price": "UnitPrice",
    "refund_when": {"order_id": {"prefix": "C"}},
    "skip_when": {"order_id": {"prefix": "A"}},
}
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
ROWS = (
    "1,S1,Holder,6,2010-12-01 08:26:00,2.55,17850,United Kingdom\n"
    "1,S2,Lantern,1,2010-12-01 08:26:00,0.335,17850,United Kingdom\n"
    "2,S1,Holder,1,2010-12-01 09:00:00,2.55,,EIRE\n"
    "C3,S1,Holder,-2,2011-07-02 10:00:00,2.55,17850,United Kingdom\n"
    "A4,B,Adjust bad debt,1,2011-08-12 14:50:00,11062.06,,United Kingdom\n"
    "1,S3,Hook,2,2010-12-01 08:26:00,0.005,17850,United Kingdom\n"
)


@pytest.fixture
def shop(db: Database) -> Shop:
    return add_shop(
        db,
        SecretBox("A" * 43 + "="),
        name="uci",
        platform="csv",
        credentials={},
        currency="GBP",
        timezone="Europe/London",
        now=NOON,
    )


def _file(folder: Path, text: str | bytes, name: str = "x.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def _pages(path: Path, mapping: dict[str, Any]) -> list[Page]:
    storefront = CsvStorefront({"path": str(path), "mapping": mapping, "currency": "GBP", "timezone": "Europe/London"})
    storefront.look_through()
    return list(storefront.file_pages())


def test_order_lines_become_orders_and_refunds(tmp_path: Path) -> None:
    pages = _pages(_file(tmp_path, HEADER + ROWS), LINES)
    records = {record.external_id: record for page in pages for record in page.records}
    first, refund = records["1"], records["C3"]
    assert isinstance(first, OrderRecord)
    assert isinstance(refund, RefundRecord)
    # 15.30 + 0.335 + 0.010 = 15.645, rounded half up once; the line that stands apart is in it.
    assert (first.total_minor, len(first.lines)) == (1565, 3)
    assert first.placed_at == datetime(2010, 12, 1, 8, 26, tzinfo=UTC)
    # 10:00 in London is 09:00 UTC in July.
    assert (refund.amount_minor, refund.refunded_at) == (510, datetime(2011, 7, 2, 9, tzinfo=UTC))
    assert sorted(records) == ["1", "2", "C3"]
    assert sum(page.skipped for page in pages) == 1


def test_gzip_and_other_delimiter_read_alike(tmp_path: Path) -> None:
    plain = _pages(_file(tmp_path, HEADER + ROWS), LINES)
    packed = _pages(_file(tmp_path, gzip.compress((HEADER + ROWS).replace(",", ";").encode()), "x.csv.gz"), LINES)
    assert [page.records for page in plain] == [page.records for page in packed]


def test_byte_order_mark_tells_the_encoding(tmp_path: Path) -> None:
    plain = _pages(_file(tmp_path, HEADER + ROWS), LINES)
    for encoding in ("utf-8-sig", "utf-16"):
        assert [page.records for page in _pages(_file(tmp_path, (HEADER + ROWS).encode(encoding)), LINES)] == [
            page.records for page in plain
        ]
    old = {**LINES, "encoding": "cp1252"}
    (page,) = _pages(_file(tmp_path, (HEADER + "1,S1,Café,1,2010-12-01 08:26:00,2,1,UK\n").encode("cp1252")), old)
    (record,) = page.records
    assert isinstance(record, OrderRecord)
    assert record.lines[0].title == "Café"


def test_open_quotation_mark_is_guessed(tmp_path: Path) -> None:
    (page,) = _pages(_file(tmp_path, HEADER + '1,S1,"Holder,6\n2,S1,Holder,1\n'), LINES)
    assert [problem.reason for problem in page.problems] == [
        "Row 1: the row has 3 cells, the first line names 8; a quotation mark is not closed."
    ]


def test_import_twice_is_the_same(db: Database, shop: Shop, tmp_path: Path) -> None:
    path = _file(tmp_path, HEADER + ROWS)
    first = import_file(db, shop, path, LINES, now=NOON).as_dict()
    second = import_file(db, shop, path, LINES, now=NOON).as_dict()
    same = {"members": 1, "orders": 2, "refunds": 1, "lines": 5, "skipped": 1, "problems": 0, "changed": 0}
    assert first == {**same, "new": 3, "same": 0}
    assert second == {**same, "new": 0, "same": 3}
    with db.read() as connection:
        row = connection.execute(select(member_facts)).one()
        assert (row.orders_count, row.spent_minor, row.refunded_minor) == (1, 1055, 510)
        assert len(connection.execute(select(order_lines)).all()) == 4
        assert len(connection.execute(select(refunds)).all()) == 1


def test_bad_rows_are_set_aside_and_retried(db: Database, shop: Shop, tmp_path: Path) -> None:
    bad = "5,S1,Holder,six,2010-12-01 08:26:00,2.55,17850,United Kingdom\n6,S1,Holder,1,01/12/2010,1,17850,UK\n7,S1\n"
    report = import_file(db, shop, _file(tmp_path, HEADER + ROWS + bad), LINES, now=NOON)
    assert (report.orders, report.problems) == (2, 3)
    with db.read() as connection:
        found = {row.external_id: row.reason for row in connection.execute(select(problems))}
    assert found == {
        "5": "Row 7: 'six' is not a number; write it with a point and without thousands marks.",
        "6": "Row 8: '01/12/2010' is not a date such as 2026-03-29 18:05:00; name the file's form as "
        'date_format: "%d/%m/%Y %H:%M" in the mapping.',
        "7": "Row 9: the row has 2 cells, the first line names 8.",
    }
    assert kept_problems.retry(db, shop, None, NOON).as_dict() == {"resolved": 0, "open": 3}
    mended = "5,S1,Holder,6,2010-12-01 08:26:00,2.55,17850,United Kingdom\n"
    import_file(db, shop, _file(tmp_path, HEADER + mended), LINES, now=NOON)
    with db.read() as connection:
        assert kept_problems.count_open(connection, shop.shop_id) == 2
        assert len(connection.execute(select(orders)).all()) == 3


@pytest.mark.parametrize(
    ("cells", "path"),
    [
        ("1e30,1,2026-01-01,1", "Quantity"),
        ("100000000000,1,2026-01-01,0", "Quantity"),
        ("1,1,0001-01-01,1e30", "InvoiceDate"),
        ("1,1,9999-12-31 23:30:00,1", "InvoiceDate"),
        ("1,1,2026-01-01,1e999999", "UnitPrice"),
        ("900000,1,2026-01-01,900000000000", "UnitPrice"),
    ],
)
def test_odd_row_is_set_aside_alone(db: Database, shop: Shop, tmp_path: Path, cells: str, path: str) -> None:
    mapping = {
        "kind": "order_lines",
        "order_id": "No",
        "quantity": "Quantity",
        "placed_at": "InvoiceDate",
        "unit_price": "UnitPrice",
    }
    text = f"No,Quantity,x,InvoiceDate,UnitPrice\n1,{cells}\n2,1,1,2026-01-01,5\n"
    report = import_file(db, shop, _file(tmp_path, text), mapping, now=NOON)
    assert (report.orders, report.problems) == (1, 1)
    with db.read() as connection:
        problem = connection.execute(select(problems.c.external_id, problems.c.path, problems.c.state)).one()
        assert tuple(problem) == ("1", path, "open")
        assert connection.execute(select(orders.c.external_id)).scalars().all() == ["2"]


def _with_rate(db: Database, rate: str) -> Shop:
    with db.write() as connection:
        connection.execute(update(shops).values(settings={"rates": {"USD": rate}}))
        return shop_named(connection, "uci")


def test_row_that_cannot_be_stored_is_kept_raw(db: Database, shop: Shop, tmp_path: Path) -> None:
    mapping = {
        "kind": "orders",
        "order_id": "id",
        "placed_at": "at",
        "total": "sum",
        "currency": "in",
        "refund_when": {"order_id": {"prefix": "R"}},
    }
    shop = _with_rate(db, "1000000")
    rows = "R1,2026-01-01,9000000000,USD\n2,2026-01-01,9000000000,USD\n3,2026-01-01,1,GBP\n"
    report = import_file(db, shop, _file(tmp_path, f"id,at,sum,in\n{rows}"), mapping, now=NOON)
    assert (report.orders, report.refunds, report.problems, report.new) == (1, 0, 2, 1)
    assert kept_problems.retry(db, shop, None, NOON).as_dict() == {"resolved": 0, "open": 2}
    shop = _with_rate(db, "0.8")
    assert kept_problems.retry(db, shop, None, NOON).as_dict() == {"resolved": 2, "open": 0}
    with db.read() as connection:
        assert set(connection.execute(select(orders.c.base_minor)).scalars()) == {100, 720_000_000_000}
        assert connection.execute(select(refunds.c.base_minor)).scalar_one() == 720_000_000_000


def test_members_file(db: Database, shop: Shop, tmp_path: Path) -> None:
    text = (
        "id,mail,phone,first,born,land,since,news,tags,shoe\n"
        "1,A@x.test,020 7946 0018,Ann,1985-02-29,United Kingdom,2024-05-01,yes,vip;old,39\n"
        "2,b@x.test,,Bo,02-29,Germany,,no,,\n"
    )
    mapping = {
        "kind": "members",
        "member_id": "id",
        "email": "mail",
        "phone": "phone",
        "first_name": "first",
        "birthday": "born",
        "country": "land",
        "joined_at": "since",
        "email_consent": "news",
        "tags": "tags",
        "shoe_size": "shoe",
    }
    report = import_file(db, shop, _file(tmp_path, text), mapping, now=NOON)
    assert (report.members, report.problems) == (1, 1)
    mended = text.replace("1985-02-29", "1984-02-29")
    assert import_file(db, shop, _file(tmp_path, mended), mapping, now=NOON).members == 2
    with db.read() as connection:
        rows = {row.external_id: row for row in connection.execute(select(members))}
        tags = connection.execute(select(member_tags.c.tag).order_by(member_tags.c.tag)).scalars().all()
        states = connection.execute(select(member_consents.c.state).order_by(member_consents.c.state)).scalars().all()
    assert (rows["1"].email, rows["1"].phone, rows["1"].birth_md, rows["1"].zone) == (
        "a@x.test",
        "+442079460018",
        229,
        "Europe/London",
    )
    assert (rows["1"].attributes, rows["2"].birth_year, rows["2"].country) == ({"shoe_size": "39"}, None, "DE")
    assert (tags, states) == (["old", "vip"], ["granted", "withdrawn"])


def test_orders_file_with_constant_and_status(tmp_path: Path) -> None:
    mapping = {
        "kind": "orders",
        "order_id": "id",
        "placed_at": "at",
        "total": "sum",
        "status": "state",
        "email": "mail",
        "currency": {"value": "JPY"},
        "date_format": "%d.%m.%Y %H:%M",
        "status_words": {"storniert": "cancelled"},
    }
    (page,) = _pages(_file(tmp_path, "id,at,sum,state,mail\n9,01.02.2026 10:00,1200,Storniert,g@x.test\n"), mapping)
    (record,) = page.records
    assert isinstance(record, OrderRecord)
    assert (record.total_minor, record.currency, record.status.value) == (1200, "JPY", "cancelled")
    assert isinstance(record.contact, MemberRecord)
    assert record.contact.email == "g@x.test"


@pytest.mark.parametrize(
    ("text", "change", "message"),
    [
        ("a,b\n1,2\n", {}, "The file has no column InvoiceNo (for order_id)"),
        ("", {}, "The file is empty."),
        ("x" * 1_000_001, {}, "The file's first line does not end."),
        pytest.param(
            gzip.compress(HEADER.encode() + b"x" * 1_000_001), {}, "Row 1 does not end.", id="endless archive"
        ),
        pytest.param(HEADER + ROWS + "1," * 500_000, {}, "Row 7 does not end.", id="endless line"),
        pytest.param(HEADER + ROWS + '"1\n",' * 200_000, {}, "Row 7 does not end.", id="endless row"),
        (HEADER.encode() + b"1,S1,Caf\xe9,6,2010-12-01 08:26:00,2.55,1,UK\n", {}, "not in the encoding utf-8"),
        pytest.param(
            gzip.compress(HEADER.encode() * 50_000)[:-99], {}, "Copy or export it again, whole.", id="cut archive"
        ),
        pytest.param(gzip.compress(HEADER.encode())[:12], {}, "The file is not a whole gzip file.", id="no archive"),
        ("Café;b\n".encode("cp1252"), {}, "The file is not in the encoding utf-8. Name its encoding in the mapping"),
        (b"PK\x03\x04rest", {}, "That is a workbook or an archive, no CSV file. Save it as CSV (UTF-8) first."),
        (HEADER, {"delimiter": ";"}, "';' does not stand between the columns of this file. It looks like ','"),
        (HEADER + '1,"' + "x" * 200_000, {}, "a quotation mark that is opened and never closed"),
        (HEADER, {"encoding": "klingon"}, "There is no encoding 'klingon'."),
        (HEADER, {"encoding": "rot13"}, "There is no encoding 'rot13'."),
        (HEADER, {"delimiter": ";;"}, "';;' cannot stand between columns."),
        (HEADER, {"kind": "lines"}, "`kind` is 'lines'. Use one of: members, orders, order_lines."),
        (HEADER, {"quantty": "Quantity"}, "`quantty` is not a key of order_lines. Did you mean quantity?"),
        (HEADER, {"placed_at": None}, "`placed_at` must be a column's name."),
        (HEADER, {"refund_when": {"order_id": {"starts": "C"}}}, "`refund_when` of order_id is not understood."),
    ],
)
def test_unusable_files_write_nothing(
    db: Database, shop: Shop, tmp_path: Path, text: str | bytes, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        import_file(db, shop, _file(tmp_path, text), {**LINES, **change}, now=NOON)
    assert message in str(caught.value)
    with db.read() as connection:
        assert connection.execute(select(members.c.member_id)).all() == []


def test_missing_file_names_it(db: Database, shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"The file gone\.csv cannot be opened"):
        import_file(db, shop, tmp_path / "gone.csv", LINES, now=NOON)


def test_parse_reads_a_kept_row(tmp_path: Path) -> None:
    (page,) = _pages(_file(tmp_path, HEADER + "5,S1,H,six,2010-12-01 08:26:00,2,1,UK\n"), LINES)
    (problem,) = page.problems
    record = CsvStorefront({}).parse(Stream.ORDERS, problem.raw.replace('"six"', '"6"'))
    assert isinstance(record, OrderRecord)
    assert (record.external_id, record.total_minor) == ("5", 1200)
