"""The promises every table keeps, and that migrations give exactly these tables."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import ForeignKeyConstraint, Table, UniqueConstraint, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from crm_plugin.errors import ConfigError
from crm_plugin.resources import migrations_dir
from crm_plugin.rules.tier_undo import undo
from crm_plugin.store import (
    journey_versions,
    member_tiers,
    metadata,
    migrate,
    shops,
    tier_changes,
    tier_entries,
    tier_holds,
    tier_runs,
)
from crm_plugin.store.base import from_micros, to_json
from crm_plugin.store.session import Database, make_engine
from crm_plugin.store.tenants import shop_by_id
from crm_plugin.touchpoints.steps.document import kinds, read_steps

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
        assert index.columns[0].name == "shop_id" or index.name == "ix_shops_store"


@pytest.mark.slow
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


@pytest.mark.slow
def test_facts_lie_in_the_order_of_their_key_on_sqlite(tmp_path: Path) -> None:
    for name, make in (("upgraded", migrate.upgrade), ("made", metadata.create_all)):
        engine = make_engine(f"sqlite:///{tmp_path / name}.sqlite3")
        make(engine)
        with engine.connect() as connection:
            told = "SELECT name FROM pragma_table_list WHERE wr = 1"
            assert connection.exec_driver_sql(told).scalars().all() == ["member_facts"]
        engine.dispose()


def test_revisions_are_those_of_the_files(empty_database_url: str) -> None:
    engine = make_engine(empty_database_url)
    scripts = ScriptDirectory.from_config(migrate._config(engine))
    assert migrate.revisions() == {script.revision for script in scripts.walk_revisions()}
    assert migrate.head() == scripts.get_current_head()
    engine.dispose()


@pytest.mark.slow
def test_upgrade_twice_changes_nothing(empty_database_url: str) -> None:
    engine = make_engine(empty_database_url)
    migrate.upgrade(engine)
    migrate.upgrade(engine)
    assert migrate.current(engine) == migrate.head()
    engine.dispose()


@pytest.mark.slow
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


@pytest.mark.slow
def test_levels_held_before_the_upgrade_count_as_those_of_their_run(empty_database_url: str) -> None:
    """Revision 0018 on rows of 0017: what was held is known by its run, what was only passed by none; runs know no former passes."""
    database = Database.at(empty_database_url)
    migrate.upgrade(database.engine, "0017")
    shop = (
        "shop_id, name, title, platform, url, currency, timezone, locale, status, status_detail, settings, created_at"
    )
    written = [
        f"INSERT INTO shops ({shop}) VALUES (1, 'a', '', 'csv', '', 'GBP', 'UTC', 'en', '', '', '{{}}', 5)",
        "INSERT INTO members (shop_id, member_id, state, email, phone, first_name, last_name, locale, timezone, zone, country, "
        "attributes, first_seen_at, changed_at, fingerprint) "
        "VALUES (1, 7, 'active', '', '', '', '', '', '', 'UTC', '', '{}', 5, 5, '')",
        "INSERT INTO tier_runs (shop_id, run_id, at, as_of, actor, policies) VALUES (1, 30, 5, 20000, 'cli', '{}')",
        "INSERT INTO tier_changes (shop_id, change_id, program_key, member_id, from_level, to_level, changed_at, as_of, reason, run_id) "
        "VALUES (1, 40, 'main', 7, '', 'gold', 5, 20000, '{}', 30)",
        *(
            "INSERT INTO tier_entries (shop_id, program_key, member_id, level_key, held, state, reward, at, as_of, run_id) "
            f"VALUES (1, 'main', 7, '{level}', {held}, 'open', 'x', 5, 20000, {run})"
            for level, held, run in (("silver", "false", 30), ("gold", "true", 30), ("top", "true", "NULL"))
        ),
    ]
    with database.write() as connection:
        for statement in written:
            connection.exec_driver_sql(statement)
    migrate.upgrade(database.engine)
    with database.read() as connection:
        entries = connection.exec_driver_sql(
            "SELECT level_key, held_run_id, run_id, state FROM tier_entries ORDER BY 1"
        )
        assert [tuple(row) for row in entries] == [
            ("gold", 30, 30, "open"),
            ("silver", None, 30, "open"),
            ("top", None, None, "open"),
        ]
        assert connection.execute(select(tier_runs.c.passes)).scalar_one() == {}
        kept = connection.execute(select(tier_changes.c.to_level, tier_changes.c.run_id)).all()
        assert kept == [("gold", 30)]
        assert connection.execute(select(tier_holds)).all() == []
        undone = shop_by_id(connection, 1)
    # A run of before can be undone as before.
    with database.write() as connection:
        connection.execute(update(tier_runs).values(policies={"main": [0, 1]}))
        row = {"shop_id": 1, "program_key": "main", "member_id": 7, "level_key": "gold"}
        connection.execute(insert(member_tiers).values(**row, since_at=from_micros(5), since_on=date(2024, 10, 4)))
        found = undo(connection, undone, today=date(2024, 10, 5), now=from_micros(9), actor="cli", run_id=30)
        assert (found.restored, found.left, found.withdrawn) == (1, 0, 2)
        assert connection.execute(select(tier_entries.c.level_key)).scalars().all() == ["top"]
        assert connection.execute(select(member_tiers)).all() == []
    database.dispose()


@pytest.mark.slow
def test_steps_of_stored_versions_are_told_by_the_upgrade(empty_database_url: str) -> None:
    """Revision 0025 on rows of 0024: what the steps do, as a version that is published now tells it; all that was settled is looked at.

    Back at 0024, whoever waits for a message is due.
    """
    database = Database.at(empty_database_url)
    migrate.upgrade(database.engine, "0024")
    shop = (
        "shop_id, name, title, platform, url, currency, timezone, locale, status, status_detail, settings, created_at"
    )
    inner = [{"key": "w", "wait": {"event": "opened", "within_days": 1}, "then": [{"key": "t", "tag": {"add": ["a"]}}]}]
    steps = [
        {"key": "s", "split": {"a": 50, "b": 50}, "arms": {"a": [], "b": inner}},
        {"key": "x", "wait": {"days": 1}},
        {"key": "y", "send": {"template": "t", "channels": ["email"]}},
    ]
    stored = {1: ({"key": "j"}, {}), 2: ({"key": "j", "steps": steps}, {"s": 1}), 3: ("odd", {"s": 1})}
    with database.write() as connection:
        connection.exec_driver_sql(
            f"INSERT INTO shops ({shop}) VALUES (1, 'a', '', 'csv', '', 'GBP', 'UTC', 'en', '', '', '{{}}', 5)"
        )
        connection.exec_driver_sql(
            "INSERT INTO journeys (shop_id, journey_key, title, trigger, trigger_params, audience_text, channels, template_key, topic, "
            "kind, send_at, validity_days, enabled, version, updated_at, goal_text, exit, reentry, steps) VALUES "
            "(1, 'j', '{}', 'joined', '{}', '', '[]', 't', 'm', 'marketing', '10:00', 3, FALSE, 3, 5, '', '', '\"each\"', '[]')"
        )
        told = text(
            "INSERT INTO journey_versions (shop_id, journey_key, version, document, numbers, actor, published_at) "
            "VALUES (1, 'j', :version, :document, :numbers, '', 5)"
        )
        for version, (document, numbers) in stored.items():
            values = {"version": version, "document": to_json(document), "numbers": to_json(numbers)}
            connection.execute(told, values)
        connection.exec_driver_sql(
            "INSERT INTO members (shop_id, member_id, state, email, phone, first_name, last_name, locale, timezone, zone, country, "
            "attributes, first_seen_at, changed_at, fingerprint) "
            "VALUES (1, 1, 'active', '', '', '', '', '', '', '', '', '{}', 5, 5, '')"
        )
        inside = text(
            "INSERT INTO enrolments (shop_id, enrolment_id, journey_key, member_id, occasion, cause, version, state, end_reason, "
            "step_key, phase, seq, base_at, due_at, occasion_on, enrolled_at, updated_at) "
            "VALUES (1, :id, 'j', 1, CAST(:id AS TEXT), '', 2, 'active', '', 'y', :phase, 0, 7, 99, 20000, 5, 5)"
        )
        for number, phase in ((1, "sent"), (2, "waits")):
            connection.execute(inside, {"id": number, "phase": phase})
    migrate.upgrade(database.engine)
    with database.read() as connection:
        kept = {row.version: row.kinds for row in connection.execute(select(journey_versions))}
    assert kept == {1: [], 2: kinds(read_steps(steps)), 3: None}
    assert kept[2] == ["send", "split", "tag", "wait", "wait:opened"]
    _downgrade(database, "0024")
    with database.read() as connection:
        waking = connection.execute(text("SELECT phase, due_at FROM enrolments ORDER BY enrolment_id")).all()
    assert [tuple(row) for row in waking] == [("sent", 7), ("waits", 99)]
    database.dispose()


@pytest.mark.slow
def test_of_two_shops_that_hold_one_store_one_keeps_it(empty_database_url: str) -> None:
    """Revision 0029 on rows of 0028: one that is connected keeps it, of those the one installed last, the first made where none was."""
    database = Database.at(empty_database_url)
    migrate.upgrade(database.engine, "0028")
    told = text(
        "INSERT INTO shops (shop_id, name, title, platform, url, reference, currency, timezone, locale, status, status_detail, settings, "
        "created_at, installed_at) VALUES (:id, :name, '', :platform, '', :store, 'EUR', 'UTC', 'en', 'connected', '', '{}', 5, :at)"
    )
    rows = [
        *((1, "shopify", "a", 7), (2, "shopify", "a", 9), (3, "shopify", "a", None)),
        *((4, "saleor", "a", None), (5, "saleor", "a", None)),
        *((6, "shopify", "b", 3), (7, "csv", "", None), (8, "csv", "", None), (9, "shopify", "c", 2)),
        *((10, "shopify", "d", 4), (11, "shopify", "d", 8)),
    ]
    with database.write() as connection:
        for number, platform, store, at in rows:
            values = {"id": number, "name": f"s{number}", "platform": platform, "store": store, "at": at}
            connection.execute(told, values)
        connection.execute(text("UPDATE shops SET status = 'uninstalled' WHERE shop_id IN (9, 11)"))
    migrate.upgrade(database.engine)
    with database.read() as connection:
        query = select(shops.c.shop_id, shops.c.reference, shops.c.status, shops.c.status_reason)
        found = {row[0]: tuple(row[1:]) for row in connection.execute(query)}
    off, on = ("", "suspended", "held_elsewhere"), "connected"
    assert found == {
        **dict.fromkeys((1, 3, 5), off),
        **dict.fromkeys((2, 4), ("a", on, "")),
        6: ("b", on, ""),
        **dict.fromkeys((7, 8), ("", on, "")),
        9: ("c", "uninstalled", "taken_away"),
        10: ("d", on, ""),
        11: ("", "uninstalled", "taken_away"),
    }
    with pytest.raises(IntegrityError), database.write() as connection:
        connection.execute(update(shops).where(shops.c.shop_id == 1).values(reference="a"))
    _downgrade(database, "0028")
    database.dispose()


def _downgrade(database: Database, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations_dir()))
    config.set_main_option("path_separator", "os")
    config.attributes["engine"] = database.engine
    command.downgrade(config, revision)


@pytest.mark.slow
def test_newer_database_is_refused(empty_database_url: str) -> None:
    database = Database.at(empty_database_url)
    migrate.upgrade(database.engine)
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigError, match="9999"):
        migrate.upgrade(database.engine)
    assert migrate.current(database.engine) == "9999"
    database.dispose()
