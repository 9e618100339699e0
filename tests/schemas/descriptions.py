"""Schema introspection: tables, columns, constraints, indexes, triggers, functions."""

import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from akidb.sql.database import SqlDatabase

Description = dict[str, Any]

_POSTGRESQL = {
    # A column that went and came again has another number, but the same place.
    "columns": "SELECT table_name, column_name,"
    " row_number() OVER (PARTITION BY table_name ORDER BY ordinal_position),"
    " column_default, is_nullable, data_type, collation_name, is_identity"
    " FROM information_schema.columns WHERE table_schema = current_schema()",
    "constraints": "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)"
    " FROM pg_constraint WHERE connamespace = current_schema()::regnamespace",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()",
    "triggers": "SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid), tgenabled FROM pg_trigger"
    " WHERE NOT tgisinternal",
    "functions": "SELECT proname, pg_get_functiondef(oid) FROM pg_proc"
    " WHERE pronamespace = current_schema()::regnamespace",
    "sequences": "SELECT sequence_name, data_type FROM information_schema.sequences"
    " WHERE sequence_schema = current_schema()",
}


def describe(database: SqlDatabase) -> Description:
    """All there is, but for the order in which it was made and the blanks between words."""
    with database.read() as connection:
        if connection.dialect.name == "postgresql":
            return {name: _squeezed(_rows(connection, query)) for name, query in _POSTGRESQL.items()}
        found = _rows(connection, "SELECT type, name, tbl_name, sql FROM sqlite_master")
        tables = [name for kind, name, *_ in found if kind == "table"]
        return {
            "objects": _squeezed(found),
            "columns": {name: _rows(connection, f"PRAGMA table_xinfo('{name}')") for name in tables},
            "references": {name: _rows(connection, f"PRAGMA foreign_key_list('{name}')") for name in tables},
        }


def rows_of(database: SqlDatabase, tables: Sequence[str], columns: dict[str, str]) -> dict[str, Any]:
    """What tables hold in these columns."""
    with database.read() as connection:
        return {name: _rows(connection, f"SELECT {columns[name]} FROM {name}") for name in tables}


def _rows(connection: sa.Connection, query: str) -> list[tuple[Any, ...]]:
    return sorted((tuple(row) for row in connection.exec_driver_sql(query)), key=repr)


def _squeezed(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [tuple(re.sub(r"\s+", " ", v) if isinstance(v, str) else v for v in row) for row in rows]
