"""The promises every table keeps, and that migrations give exactly these tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import ForeignKeyConstraint, Table, UniqueConstraint

from crm_plugin.errors import ConfigError
from crm_plugin.store import metadata, migrate
from crm_plugin.store.session import Database, make_engine

TABLES = [pytest.param(table, id=table.name) for table in metadata.sorted_tables]


@pytest.mark.parametrize("table", TABLES)
def test_shop_id_comes_first_in_every_key(table: Table) -> None:
    assert next(iter(table.primary_key.columns)).name == "shop_id"
    for constraint in table.constraints:
        if isinstance(constraint, ForeignKeyConstraint):
            assert constraint.column_keys[0] == "shop_id"
            assert constraint.elements[0].column.name == "shop_id"
        if isinstance(constraint, UniqueConstraint) and constraint.name != "uq_shops_name":
            assert next(iter(constraint.columns)).name == "shop_id"
    for index in table.indexes:
        assert index.columns[0].name == "shop_id"


# SQLAlchemy cannot read an index on an expression back from SQLite; Alembic leaves those out of the comparison there.
@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index")
def test_migrations_give_exactly_the_tables(empty_database_url: str) -> None:
    engine = make_engine(empty_database_url)
    assert migrate.pending(engine)
    migrate.upgrade(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    assert not migrate.pending(engine)
    engine.dispose()


def test_facts_lie_in_the_order_of_their_key_on_sqlite(tmp_path: Path) -> None:
    for name, make in (("upgraded", migrate.upgrade), ("made", metadata.create_all)):
        engine = make_engine(f"sqlite:///{tmp_path / name}.sqlite3")
        make(engine)
        with engine.connect() as connection:
            told = "SELECT name FROM pragma_table_list WHERE wr = 1"
            assert connection.exec_driver_sql(told).scalars().all() == ["member_facts"]
        engine.dispose()


def test_upgrade_twice_changes_nothing(empty_database_url: str) -> None:
    engine = make_engine(empty_database_url)
    migrate.upgrade(engine)
    migrate.upgrade(engine)
    assert migrate.current(engine) == migrate.head()
    engine.dispose()


def test_store_in_step_stays_so_over_an_upgrade(empty_database_url: str) -> None:
    database = Database.at(empty_database_url)
    migrate.upgrade(database.engine, "0006")
    columns = (
        "shop_id, name, title, platform, url, currency, timezone, locale, status, status_detail, settings, created_at"
    )
    values = "1, 'a', '', 'woocommerce', '', 'GBP', 'UTC', 'en', '', '', '{}', 5"
    with database.write() as connection:
        connection.exec_driver_sql(f"INSERT INTO shops ({columns}) VALUES ({values})")
        for stream, phase in (("orders", "idle"), ("members", "running")):
            connection.exec_driver_sql(
                "INSERT INTO sync_state (shop_id, stream, cursor, phase, done, started_at, updated_at, detail) "
                f"VALUES (1, '{stream}', 'c', '{phase}', 0, 7, 9, '')"
            )
    migrate.upgrade(database.engine)
    with database.read() as connection:
        told = connection.exec_driver_sql("SELECT stream, whole_since FROM sync_state ORDER BY stream").all()
    assert [tuple(row) for row in told] == [("members", None), ("orders", 7)]
    database.dispose()


def test_newer_database_is_refused(empty_database_url: str) -> None:
    database = Database.at(empty_database_url)
    migrate.upgrade(database.engine)
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigError, match="9999"):
        migrate.upgrade(database.engine)
    assert migrate.current(database.engine) == "9999"
    database.dispose()
