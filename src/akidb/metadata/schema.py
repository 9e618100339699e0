"""Creates, checks and migrates the schema of the metadata store.

A SQLite file is copied before each migration. For PostgreSQL, use its own backup tools.
"""

from pathlib import Path

import sqlalchemy as sa

from akidb.domain.errors import InvalidArgument, Unavailable
from akidb.sql import migrations
from akidb.sql.application_id import METADATA
from akidb.sql.database import SqlDatabase
from akidb.sql.schema_backups import SchemaBackups
from akidb.sql.sqlite import SqliteFile

HEAD = "0009"
"""The newest step in `migrations/versions`; a test compares the two."""

_MIGRATIONS = Path(__file__).parent / "migrations"


def version(connection: sa.Connection) -> str | None:
    """Return the schema version of the store, or None if it is empty."""
    return migrations.recorded(connection)


def lost(name: str) -> Unavailable:
    """Return the error for a missing metadata store with tenant stores that still exist."""
    return Unavailable(f"{name} is missing or empty, but tenant stores exist; restore it from a backup")


def check_version(name: str) -> str:
    """Return `name`. Raises InvalidArgument(`to`) for an unknown schema version."""
    if not (len(name) == len(HEAD) and name.isascii() and name.isdigit() and "0001" <= name <= HEAD):
        raise InvalidArgument("to", f"must be a version from 0001 to {HEAD}")
    return name


def bring_forward(database: SqlDatabase, *, expected: bool, copies: SchemaBackups | None = None) -> None:
    """Apply all pending migrations in one transaction, after taking a copy.

    Raises Unavailable for a schema newer than this program, and for a missing schema if one is expected: a
    file that lost its log before the first checkpoint has a first page but no tables.
    """
    with database.read() as connection:
        found = version(connection)
    if found is None and expected:
        raise lost(database.name)
    go(database, HEAD, copies)


def check_way(database: SqlDatabase, target: str) -> str | None:
    """Return the current version, after checking that it can be migrated to `target`.

    Raises Unavailable for a schema newer than this program, InvalidArgument(`to`) for a step without a
    downgrade.
    """
    with database.read() as connection:
        found = version(connection)
    migrations.check_way(database.name, found, _MIGRATIONS, target, HEAD)
    return found


def go(database: SqlDatabase, target: str, copies: SchemaBackups | None = None) -> None:
    """Migrate to a version, up or down, atomically. Raises the errors of `check_way`."""
    found = check_way(database, target)
    if found == target:
        return
    if found is not None and copies is not None and isinstance(database, SqliteFile):
        copies.take(database, found)
    with database.migration() as connection:
        migrations.go(connection, _MIGRATIONS, target)
        if isinstance(database, SqliteFile):
            connection.exec_driver_sql(f"PRAGMA application_id = {METADATA.application_id}")
