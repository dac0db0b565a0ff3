"""Indexes of some rows alone, and of beginnings: what each database is told."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Index, Integer, MetaData, Table, Text, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateIndex

from crm_plugin.store import members


def _told(name: str, dialect: Dialect) -> str:
    index = next(one for one in members.indexes if one.name == name)
    return str(CreateIndex(index).compile(dialect=dialect))


@pytest.mark.parametrize("dialect", [postgresql.dialect(), sqlite.dialect()], ids=["postgresql", "sqlite"])
def test_index_of_some_rows_leaves_out_the_others(dialect: Dialect) -> None:
    assert _told("ix_members_gone", dialect).endswith("(shop_id, member_id) WHERE state <> 'active'")
    assert _told("ix_members_touched", dialect).endswith("(shop_id, touched_at)")


def test_names_are_found_by_their_beginning_on_postgres() -> None:
    assert "lower(first_name) text_pattern_ops" in _told("ix_members_first_name", postgresql.dialect())
    assert "text_pattern_ops" not in _told("ix_members_first_name", sqlite.dialect())


def test_indexes_of_other_programs_are_made_as_they_say() -> None:
    other = Table("other", MetaData(), Column("number", Integer), Column("name", Text))
    used = text("number > 0")
    told = [
        Index("used", other.c.number, unique=True, postgresql_where=used),
        Index("numbers", other.c.number, sqlite_where=used),
        Index("names", other.c.name, postgresql_ops={"name": "text_pattern_ops"}),
    ]
    assert [str(CreateIndex(one).compile(dialect=postgresql.dialect())) for one in told] == [
        "CREATE UNIQUE INDEX used ON other (number) WHERE number > 0",
        "CREATE INDEX numbers ON other (number)",
        "CREATE INDEX names ON other (name text_pattern_ops)",
    ]
