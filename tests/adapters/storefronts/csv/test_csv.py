"""CSV files: what comes out of them, and what is said of those that cannot be used."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from crm_plugin.adapters.storefronts.csv import CsvStorefront
from crm_plugin.adapters.testing import NoTiersContract, SheetKit
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
        "Line 2: the row has 3 cells, the first line names 8; a quotation mark is not closed."
    ]


def test_import_twice_is_the_same(db: Database, shop: Shop, tmp_path: Path) -> None:
    path = _file(tmp_path, HEADER + ROWS)
    first = import_file(db, shop, path, LINES, now=NOON).as_dict()
    second = import_file(db, shop, path, LINES, now=NOON).as_dict()
    same = {
        "members": 1,
        "orders": 2,
        "refunds": 1,
        "checkouts": 0,
        "lines": 5,
        "skipped": 1,
        "problems": 0,
        "changed": 0,
        "statuses": {},
    }
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
        "5": "Line 8: 'six' is not a number such as 1250.00.",
        "6": "Line 9: '01/12/2010' is not a date such as 2026-03-29 18:05:00; name the file's form as "
        'date_format: "%d/%m/%Y %H:%M" in the mapping.',
        "7": "Line 10: the row has 2 cells, the first line names 8.",
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


def test_lunar_birthdays_of_a_file(db: Database, shop: Shop, tmp_path: Path) -> None:
    text = (
        "id,born,lunar\n1,lunar:1985-08-15,\n2,1985-09-29,leap-04-12\n3,1985-09-29,\n"
        "4,,农历腊月廿三\n5,,1985-leap-04-12\n6,lunar:8/15,\n"
    )
    mapping = {"kind": "members", "member_id": "id", "birthday": "born", "lunar_birthday": "lunar"}
    report = import_file(db, shop, _file(tmp_path, text), mapping, now=NOON)
    assert (report.members, report.problems) == (4, 2)
    with db.read() as connection:
        rows = connection.execute(select(members.c.external_id, members.c.birth_year, members.c.birth_md)).all()
        told = connection.execute(select(problems.c.reason).order_by(problems.c.problem_id)).scalars().all()
    assert sorted(map(tuple, rows)) == [("1", 1985, 10815), ("2", None, 30412), ("3", 1985, 929), ("4", None, 11223)]
    assert ["is not a lunar birthday such as 1985-08-15" in str(one) for one in told] == [True, True]


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


def test_time_of_another_form_than_told(tmp_path: Path) -> None:
    mapping = {"kind": "orders", "order_id": "id", "placed_at": "at", "total": "sum", "currency": {"value": "EUR"}}
    mapping["date_format"] = "%d.%m.%Y"
    (page,) = _pages(_file(tmp_path, "id,at,sum\n8,31.01.2026,1\n9,31.02.2026,1\n"), mapping)
    assert [record.external_id for record in page.records] == ["8"]
    assert [problem.reason for problem in page.problems] == [
        "Line 3: '31.02.2026' is no time of the form %d.%m.%Y; correct it in the file, or date_format in the mapping."
    ]


@pytest.mark.parametrize(
    ("text", "change", "message"),
    [
        ("a,b\n1,2\n", {}, "The file has no column InvoiceNo (for order_id)"),
        ("", {}, "The file is empty."),
        ("x" * 1_000_001, {}, "The file's first line does not end."),
        pytest.param(
            gzip.compress(HEADER.encode() + b"x" * 1_000_001),
            {},
            "The row that begins in line 2 does not end.",
            id="endless archive",
        ),
        pytest.param(
            HEADER + ROWS + "1," * 500_000, {}, "The row that begins in line 8 does not end.", id="endless line"
        ),
        pytest.param(
            HEADER + ROWS + '"1\n",' * 200_000, {}, "The row that begins in line 8 does not end.", id="endless row"
        ),
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
        (HEADER, {"kind": "lines"}, "`kind` is 'lines'. Use one of: members, orders, order_lines, checkouts."),
        (HEADER, {"quantty": "Quantity"}, "`quantty` is not a key of order_lines. Did you mean quantity?"),
        (HEADER, {"decimal": "dot"}, "`decimal` is 'dot'. Use point or comma."),
        (HEADER, {"status_words": {"x": "canceled"}}, "`status_words` makes 'x' 'canceled'. Did you mean cancelled?"),
        (HEADER, {"status_words": {"x": "unknown"}}, "`status_words` makes 'x' 'unknown'. Known are: pending, "),
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


ORDERS = {"kind": "orders", "order_id": "id", "placed_at": "at", "total": "sum"}


def _totals(folder: Path, cells: list[str], **more: Any) -> list[int]:
    rows = "".join(f'{number},2026-01-01,"{cell}"\n' for number, cell in enumerate(cells))
    pages = _pages(_file(folder, f"id,at,sum\n{rows}"), {**ORDERS, **more})
    assert [problem.reason for page in pages for problem in page.problems] == []
    return [record.total_minor for page in pages for record in page.records]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("cells", "totals"),
    [
        (["1.250", "3.5"], [125, 350]),
        (["1.250", "3,5"], [125_000, 350]),
        (["1,250", "3.5"], [125_000, 350]),
        (["1,250", "3,50"], [125, 350]),
        (["1.250", "1.250.000"], [125_000, 125_000_000]),
        (["1.250", "1.250,5"], [125_000, 125_050]),
        (["1.250", "0.335"], [125, 34]),
        (["1.250", "1250.000"], [125, 125_000]),
        (["1 250,50", "-3,5"], [125_050, -350]),
        (["1 250", "3,5"], [125_000, 350]),
        (["1 250", "3.5"], [125_000, 350]),
        (["1 250,500", "1.250"], [125_050, 125_000]),
        (["1’250.50", "1'250.5"], [125_050, 125_050]),
        (["1250", "12"], [125_000, 1200]),
    ],
)
def test_decimal_mark_is_found_out(tmp_path: Path, cells: list[str], totals: list[int]) -> None:
    assert _totals(tmp_path, cells) == totals


@pytest.mark.parametrize(("named", "total"), [("comma", 125_000), (",", 125_000), ("point", 125), (".", 125)])
def test_decimal_mark_is_named(tmp_path: Path, named: str, total: int) -> None:
    assert _totals(tmp_path, ["1.250"], decimal=named) == [total]


def test_other_columns_tell_how_numbers_are_written(tmp_path: Path) -> None:
    mapping = {"kind": "order_lines", "order_id": "id", "placed_at": "at", "quantity": "n", "unit_price": "price"}
    (page,) = _pages(_file(tmp_path, 'id;at;n;price\n1;2026-01-01;1.000;2,50\n2;2026-01-01;"2";3\n'), mapping)
    assert [record.total_minor for record in page.records] == [250_000, 600]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            "1,2026-01-01,12\n2,2026-01-01,1.250\n",
            "1.250 in the column sum, line 3, may be 1.25 or 1250, and nothing else in the file tells which. "
            "Name the mark before the decimals in the mapping: `decimal: point` or `decimal: comma`.",
        ),
        (
            '1,2026-01-01,"1,250"\n2,2026-01-01,"2,000"\n',
            "1,250 in the column sum, line 2, may be 1.25 or 1250, and nothing else in the file tells which. "
            "Name the mark before the decimals in the mapping: `decimal: point` or `decimal: comma`.",
        ),
        (
            '1,2026-01-01,"2,5"\n2,2026-01-01,2\n3,2026-01-01,2.5\n',
            "The column sum writes its numbers in two ways: 2.5 in line 4, 2,5 in line 2. "
            "Name the mark before the decimals in the mapping: `decimal: point` or `decimal: comma`.",
        ),
    ],
)
def test_number_that_may_be_two_is_not_guessed(
    db: Database, shop: Shop, tmp_path: Path, rows: str, message: str
) -> None:
    path = _file(tmp_path, f"id,at,sum\n{rows}")
    with pytest.raises(InvalidInput) as caught:
        import_file(db, shop, path, ORDERS, now=NOON)
    assert str(caught.value) == message
    with db.read() as connection:
        assert connection.execute(select(orders.c.order_id)).all() == []
    # Named, it is read; what is written otherwise is set aside.
    report = import_file(db, shop, path, {**ORDERS, "decimal": "comma"}, now=NOON)
    assert report.orders + report.problems == rows.count("\n")
    assert report.problems == rows.count("2.5\n")


def test_rows_that_are_left_out_do_not_tell_how_numbers_are_written(tmp_path: Path) -> None:
    told = {**ORDERS, "skip_when": {"order_id": {"prefix": "A"}}}
    (page,) = _pages(_file(tmp_path, 'id,at,sum\nA1,2026-01-01,2.5\n2,2026-01-01,"2,5"\n'), told)
    assert [record.total_minor for record in page.records] == [250]  # type: ignore[union-attr]


def test_kept_row_is_read_again_as_the_file_was(db: Database, shop: Shop, tmp_path: Path) -> None:
    rows = '1,2026-01-01,"3,5"\n2,01.01.2026,1.250\n'
    import_file(db, shop, _file(tmp_path, f"id,at,sum\n{rows}"), ORDERS, now=NOON)
    with db.write() as connection:
        raw = connection.execute(select(problems.c.raw)).scalar_one()
        connection.execute(update(problems).values(raw=raw.replace("01.01.2026", "2026-01-01")))
    assert kept_problems.retry(db, shop, None, NOON).as_dict() == {"resolved": 1, "open": 0}
    with db.read() as connection:
        assert sorted(connection.execute(select(orders.c.total_minor)).scalars()) == [350, 125_000]


def test_column_named_twice_is_refused_when_it_is_used(tmp_path: Path) -> None:
    path = _file(tmp_path, "id,at,sum,mail,,mail,\n1,2026-01-01,5,a@x.test,,b@x.test,\n")
    with pytest.raises(InvalidInput) as caught:
        _pages(path, {**ORDERS, "email": "mail"})
    assert str(caught.value) == (
        "The file has several columns mail (for email): the columns 4, 6. "
        "Give each a name of its own in the file's first line."
    )
    assert len(_pages(path, ORDERS)) == 1


def test_unknown_status_is_set_aside_and_told(db: Database, shop: Shop, tmp_path: Path) -> None:
    rows = "1,2026-01-01,5,Completed\n2,2026-01-01,5,Retoure\n3,2026-01-01,5,on hold\n4,2026-01-01,5,Canceled\n"
    path = _file(tmp_path, f"id,at,sum,state\n{rows}5,2026-01-01,5,\n")
    told = {**ORDERS, "status": "state"}
    report = import_file(db, shop, path, told, now=NOON)
    assert (report.orders, report.problems) == (4, 1)
    assert report.as_dict()["statuses"] == {
        "Completed": "completed",
        "Retoure": "set aside",
        "on hold": "on_hold",
        "Canceled": "cancelled",
    }
    with db.read() as connection:
        kept = connection.execute(select(problems)).one()
        states = dict(connection.execute(select(orders.c.external_id, orders.c.status)).all())  # type: ignore[arg-type]
    assert (kept.external_id, kept.path) == ("2", "state")
    assert kept.reason == (
        "Line 3: 'Retoure' is no known state of an order; say in the mapping what it means, such as "
        "status_words: {Retoure: completed}; ours are pending, on_hold, paid, shipped, completed, refunded, cancelled, "
        "failed, draft, trash, test."
    )
    assert states == {"1": "completed", "3": "on_hold", "4": "cancelled", "5": "completed"}
    again = import_file(db, shop, path, {**told, "status_words": {"retoure": "cancelled"}}, now=NOON)
    assert (again.orders, again.problems, again.statuses["Retoure"]) == (5, 0, "cancelled")
    with db.read() as connection:
        assert kept_problems.count_open(connection, shop.shop_id) == 0


def test_problems_name_the_line_of_the_file(tmp_path: Path) -> None:
    rows = (
        '"1","S1","two\nlines","1","2010-12-01","2.5","1","UK"\n'
        "\n"
        '"2","S1","three\r\nmore\r\nlines",1,2010-12-01,2.5,1,UK\n'
        "2,S2,Hook,many,2010-12-01,2.5,1,UK\n"
        "3,S1,Holder,1,never,2.5,1,UK\n"
        "4,S1,Holder,1,2010-12-01,2.5,1,UK\n"
        "4,S1\n"
        ",S1,Holder,1,2010-12-01,2.5,1,UK\n"
        "1,S9,Apart,few,2010-12-01,2.5,1,UK\n"
    )
    pages = _pages(_file(tmp_path, HEADER + rows), LINES)
    told = {problem.external_id: (problem.reason, problem.path) for page in pages for problem in page.problems}
    assert told == {
        "2": ("Line 8: 'many' is not a number such as 1250.00.", "Quantity"),
        "3": (told["3"][0], "InvoiceDate"),
        "4": ("Line 11: the row has 2 cells, the first line names 8.", "line 11"),
        "line 12": ("Line 12: the order id is empty.", "InvoiceNo"),
        "1": ("Line 13: 'few' is not a number such as 1250.00.", "Quantity"),
    }
    assert told["3"][0].startswith("Line 9: 'never' is not a date")


def test_name_of_a_column_may_be_broken_into_lines(tmp_path: Path) -> None:
    text = 'id,at,"sum\nin GBP"\n1,2026-01-01,5\n2,2026-01-01,x\n'
    (page,) = _pages(_file(tmp_path, text), {**ORDERS, "total": "sum\nin GBP"})
    assert len(page.records) == 1
    assert [problem.reason for problem in page.problems] == ["Line 4: 'x' is not a number such as 1250.00."]


def test_guests_count_as_members_by_what_they_left(db: Database, shop: Shop, tmp_path: Path) -> None:
    people = ("G@x.test,,", "g@x.test,,", ",020 7946 0018,", "a@x.test,,7", ",,")
    rows = "".join(f"{number},2026-01-01,5,{told}\n" for number, told in enumerate(people))
    told = {**ORDERS, "email": "mail", "phone": "phone", "member_id": "who", "country": {"value": "GB"}}
    report = import_file(db, shop, _file(tmp_path, f"id,at,sum,mail,phone,who\n{rows}"), told, now=NOON)
    assert (report.members, report.orders, report.problems) == (3, 5, 0)
    with db.read() as connection:
        assert len(connection.execute(select(members.c.member_id)).all()) == 3


class TestSheet(SheetKit):
    """Of the kit what applies to files: there is no store to be asked."""

    adapter = CsvStorefront


class TestNoTiers(NoTiersContract):
    @pytest.fixture
    def storefront(self) -> CsvStorefront:
        return CsvStorefront({})
