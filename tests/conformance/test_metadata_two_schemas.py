"""The SQLite and PostgreSQL schemas match: tables, columns, keys, checks, indexes, collation."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa

from akidb.documents import schema as documents_schema
from akidb.documents.postgresql import PostgresTenantStores
from akidb.metadata.store import PostgresMetadataStore, SqliteMetadataStore
from akidb.sql.files import create_file
from akidb.sql.sqlite import SqliteFile

NAMES_ALONE = {"indexed_names", "unindexed_names"}
"""SQLite's index of names; PostgreSQL has a GIN index for them."""
PARTITION = re.compile(r"_\d+$")
OF_TYPES = re.compile(
    r"_(id|tenant_id|store_id|feed_id|entity_id|created_at|updated_at|deleted_at|last_login_at|migrated_at)$"
    r"|^purged_at$"
)
"""Checks that PostgreSQL's types `uuid` and `timestamptz` make needless."""


class Shape(NamedTuple):
    """What a schema says of a table."""

    columns: list[tuple[str, bool]]
    """Names, and whether they may be null."""
    primary_key: tuple[str, ...]
    unique: set[tuple[str, ...]]
    foreign_keys: set[tuple[Any, ...]]
    """Columns, the table and columns that they refer to, and what a deletion there does."""


def shapes(connection: sa.Connection, schema: str | None = None, *, without: str = "") -> dict[str, Shape]:
    """The tables of a schema; `without` a column that the shared tables have in every key."""
    inspector = sa.inspect(connection)
    return {
        name: _shape(inspector, name, schema, without)
        for name in inspector.get_table_names(schema)
        if not PARTITION.search(name) and not name.startswith(("tenant_grams", "tenant_terms"))
    }


def _shape(inspector: sa.Inspector, table: str, schema: str | None, without: str) -> Shape:
    def kept(names: Any) -> tuple[str, ...]:
        return tuple(name for name in names if name != without)

    return Shape(
        columns=[
            (each["name"], each["nullable"] and each["name"] not in _key(inspector, table, schema))
            for each in inspector.get_columns(table, schema)
            if each["name"] != without
        ],
        primary_key=kept(_key(inspector, table, schema)),
        unique={kept(each["column_names"]) for each in inspector.get_unique_constraints(table, schema)},
        foreign_keys={
            (kept(own), other, kept(theirs), on_delete)
            for own, other, theirs, on_delete in _foreign_keys(inspector, table, schema)
            if kept(own) and not PARTITION.search(other)
        },
    )


ForeignKey = tuple[list[str], str, list[str], str]


def _foreign_keys(inspector: sa.Inspector, table: str, schema: str | None) -> list[ForeignKey]:
    if inspector.dialect.name == "postgresql":
        return [
            (
                each["constrained_columns"],
                each["referred_table"],
                each["referred_columns"],
                each["options"].get("ondelete", "NO ACTION"),
            )
            for each in inspector.get_foreign_keys(table, schema)
        ]
    assert isinstance(inspector.bind, sa.Connection)
    found: dict[int, ForeignKey] = {}
    for number, _, other, own, theirs, _, on_delete, _ in inspector.bind.exec_driver_sql(
        f"PRAGMA foreign_key_list({table})"  # which says what SQLAlchemy does not read from the statement
    ):
        key = found.setdefault(number, ([], other, [], on_delete))
        key[0].append(own)
        key[2].append(theirs)
    return list(found.values())


def _key(inspector: sa.Inspector, table: str, schema: str | None) -> list[str]:
    return inspector.get_pk_constraint(table, schema)["constrained_columns"]


@contextmanager
def metadata_schemas(path: Path, url: str) -> Iterator[tuple[sa.Connection, sa.Connection]]:
    on_file, on_server = SqliteMetadataStore(path / "metadata.db"), PostgresMetadataStore(url)
    with on_file._database.read() as first, on_server._database.read() as second:
        yield first, second
    on_file.close()
    on_server.close()


def sqlite_names(connection: sa.Connection, pattern: str, kind: str = "table") -> set[str]:
    """What a pattern finds in the statements that made the schema."""
    made = connection.exec_driver_sql(
        "SELECT sql FROM sqlite_master WHERE type = ? AND sql NOT NULL", (kind,)
    )
    return set(chain.from_iterable(re.findall(pattern, text) for (text,) in made))


def postgres_names(connection: sa.Connection, statement: str) -> set[str]:
    return {name for (name,) in connection.exec_driver_sql(statement)}


def constraints(connection: sa.Connection, kind: str) -> set[str]:
    return postgres_names(
        connection,
        f"SELECT conname FROM pg_constraint WHERE contype = '{kind}'"
        " AND connamespace = 'akidb_metadata'::regnamespace",
    )


def test_metadata_schemas_have_same_tables(tmp_path: Path, postgres_url: str) -> None:
    with metadata_schemas(tmp_path, postgres_url) as (first, second):
        on_file = shapes(first)
        assert {name: shape for name, shape in on_file.items() if name not in NAMES_ALONE} == shapes(second)
    assert len(on_file) > 10


def test_metadata_schemas_have_same_check_constraints(tmp_path: Path, postgres_url: str) -> None:
    with metadata_schemas(tmp_path, postgres_url) as (first, second):
        on_file = sqlite_names(first, r"CONSTRAINT\s+(\w+)\s+CHECK")
        on_server = constraints(second, "c")
    assert on_server <= on_file
    assert {name for name in on_file - on_server if not OF_TYPES.search(name)} == set()
    assert len(on_server) > 30


def test_metadata_schemas_have_same_foreign_key_names(tmp_path: Path, postgres_url: str) -> None:
    with metadata_schemas(tmp_path, postgres_url) as (first, second):
        on_server = constraints(second, "f")
        assert sqlite_names(first, r"CONSTRAINT\s+(\w+)\s+(?:REFERENCES|FOREIGN)") == on_server


def test_metadata_schemas_have_same_indexes(tmp_path: Path, postgres_url: str) -> None:
    """Those of unique constraints aside."""
    with metadata_schemas(tmp_path, postgres_url) as (first, second):
        on_server = postgres_names(
            second,
            "SELECT indexname FROM pg_indexes WHERE schemaname = 'akidb_metadata'"
            " AND indexname !~ '(_pkey|_key|_pkc)$'",
        )
        on_file = sqlite_names(first, r"CREATE INDEX (\w+)", "index")
    assert on_server - {"tenants_name_grams"} == on_file


def test_metadata_schemas_have_same_triggers(tmp_path: Path, postgres_url: str) -> None:
    """PostgreSQL has one for all verbs, and one against TRUNCATE; SQLite one against REPLACE."""
    with metadata_schemas(tmp_path, postgres_url) as (first, second):
        on_server = postgres_names(
            second,
            "SELECT tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid"
            " WHERE NOT tgisinternal AND relnamespace = 'akidb_metadata'::regnamespace",
        )
        on_file = sqlite_names(first, r"CREATE TRIGGER (\w+)", "trigger")
    on_file -= {"audit_entries_no_replace"}
    of_names = {name for name in on_file if re.search(r"_name(s_full|_insert|_update|_delete)$", name)}
    joined = re.compile(r"^(databases|collections|users)_feed_(insert|update|delete)$")
    assert {joined.sub(r"\1_feed", name) for name in on_file - of_names} == on_server - {
        "audit_entries_no_truncate"
    }


def test_tenant_stores_have_same_tables(tmp_path: Path, postgres_url: str) -> None:
    """But for the tenant in every row of the shared ones, and the one row of a file's control table."""
    create_file(tmp_path / "tenant.db")
    file = SqliteFile(tmp_path / "tenant.db")
    documents_schema.bring_forward(file)
    with file.read() as connection:
        on_file = shapes(connection, without="tenant_id")
    file.close()
    with reading_documents(postgres_url) as connection:
        on_server = shapes(connection, without="tenant_id")
    del on_server["alembic_version"]
    control = on_file["control"]
    assert control.columns[0] == ("singleton", False)
    on_file["control"] = control._replace(columns=control.columns[1:], primary_key=())
    assert on_file == on_server


@contextmanager
def reading_documents(url: str) -> Iterator[sa.Connection]:
    stores = PostgresTenantStores(url, max_open=1)
    with stores._database.read() as connection:
        yield connection
    stores.close()


@pytest.mark.parametrize("schema", ["akidb_metadata", "akidb_documents"])
def test_every_text_column_sorts_by_code_points(postgres_url: str, schema: str) -> None:
    """By the column's own collation: the database's default is another one."""
    with reading_documents(postgres_url) as connection:
        (default,) = connection.exec_driver_sql(
            "SELECT datcollate FROM pg_database WHERE datname = current_database()"
        ).one()
        assert default == "en_US.UTF-8"
        assert connection.exec_driver_sql("SELECT 'a' < 'B'").scalar_one() is True
        texts = connection.exec_driver_sql(
            "SELECT table_name || '.' || column_name, collation_name FROM information_schema.columns"
            " WHERE table_schema = %s AND data_type IN ('text', 'character varying', 'character')"
            " AND table_name <> 'alembic_version'",
            (schema,),
        ).all()
    assert len(texts) > 10
    assert {name for name, collation in texts if collation != "C"} == set()
