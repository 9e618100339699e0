"""The version of the metadata store's schema: made, checked, brought forward or back.

A SQLite file is copied before a step is taken. PostgreSQL's own tools copy a database.
"""

from pathlib import Path

import sqlalchemy as sa

from akidb.domain.errors import InvalidArgument, Unavailable
from akidb.sql import migrations
from akidb.sql.database import SqlDatabase
from akidb.sql.schema_backups import SchemaBackups
from akidb.sql.sqlite import SqliteFile

HEAD = "0006"
"""The newest step in `migrations/versions`; a test holds the two together."""

_MIGRATIONS = Path(__file__).parent / "migrations"


def version(connection: sa.Connection) -> str | None:
    """The schema that the store has, None for an empty one."""
    return migrations.recorded(connection)


def lost(name: str) -> Unavailable:
    """The error of metadata that are gone while what they describe is there."""
    return Unavailable(f"{name} is missing or empty, but there are tenant stores: restore it from a backup")


def check_version(name: str) -> str:
    """Refuse what is no version of the schema, or one that this program does not know."""
    if not (len(name) == len(HEAD) and name.isascii() and name.isdigit() and "0001" <= name <= HEAD):
        raise InvalidArgument("to", f"must be a version from 0001 to {HEAD}")
    return name


def bring_forward(database: SqlDatabase, *, expected: bool, copies: SchemaBackups | None = None) -> None:
    """Take the steps that the store lacks, in one transaction, after a copy was taken.

    Raises Unavailable for a schema newer than this program, and for none at all where one is expected: a
    file whose log was lost before it was ever folded in has a first page, and no table.
    """
    with database.read() as connection:
        found = version(connection)
    if found is None and expected:
        raise lost(database.name)
    go(database, HEAD, copies)


def check_way(database: SqlDatabase, target: str) -> str | None:
    """Refuse to go where there is no way; gives the version that is there.

    Raises Unavailable for a schema newer than this program, InvalidArgument(`to`) for a step that has no way
    back.
    """
    with database.read() as connection:
        found = version(connection)
    migrations.check_way(database.name, found, _MIGRATIONS, target, HEAD)
    return found


def go(database: SqlDatabase, target: str, copies: SchemaBackups | None = None) -> None:
    """Take the steps to a version, forward or back, all of them or none. Raises as `check_way` does."""
    found = check_way(database, target)
    if found == target:
        return
    if found is not None and copies is not None and isinstance(database, SqliteFile):
        copies.take(database, found)
    with database.migration() as connection:
        migrations.go(connection, _MIGRATIONS, target)
