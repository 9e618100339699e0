"""The schema version recorded by Alembic, and the migrations between versions.

Alembic is imported only to run migrations; the version is read without it.
"""

import re
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from akidb.domain.errors import InvalidArgument, Unavailable
from akidb.sql.database import driver_of
from akidb.sql.prepared import lenient

if TYPE_CHECKING:
    from alembic.config import Config

_VERSION = re.compile("[0-9]{4}", re.ASCII)


def recorded(connection: sa.Connection) -> str | None:
    """Return the recorded schema version, or None for an empty database.

    Raises Unavailable if there is a schema without a recorded version.
    """
    if connection.dialect.name == "postgresql":
        exists = "SELECT 1 WHERE to_regclass('alembic_version') IS NOT NULL"
    else:
        exists = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"
    if connection.exec_driver_sql(exists).first() is None:
        return None
    with lenient(connection) if connection.dialect.name == "sqlite" else nullcontext():
        rows = driver_of(connection).execute("SELECT version_num FROM alembic_version").fetchall()
    if not rows:
        raise Unavailable("the store has no schema version; restore it from a backup")
    found = rows[0][0]
    if len(rows) > 1 or type(found) is not str or _VERSION.fullmatch(found) is None:
        raise Unavailable("the schema version of the store is damaged; restore it from a backup")
    return found


def newer(name: str, found: str, known: str) -> Unavailable:
    """Return the error for a schema of a newer AkiDB."""
    return Unavailable(f"{name} has schema {found}, but this AkiDB supports up to {known}; use a newer AkiDB")


def check_way(name: str, found: str | None, scripts: Path, revision: str, head: str) -> None:
    """Check that a migration to `revision` is possible, before any change.

    Raises Unavailable for a schema newer than `head`, InvalidArgument(`to`) for a step without a downgrade.
    """
    if found is not None and found > head:
        raise newer(name, found, head)
    if found is None or found <= revision:
        return
    from alembic.script import ScriptDirectory

    for step in ScriptDirectory.from_config(_config(scripts)).iterate_revisions(found, revision):
        if not hasattr(step.module, "downgrade"):
            raise InvalidArgument("to", f"there is no downgrade from version {step.revision}")


def go(connection: sa.Connection, scripts: Path, revision: str) -> None:
    """Run the migrations in `scripts`, up or down, in the transaction of the connection."""
    from alembic import command

    config = _config(scripts)
    config.attributes["connection"] = connection
    found = recorded(connection)
    step = command.downgrade if found is not None and found > revision else command.upgrade
    step(config, revision)


def _config(scripts: Path) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    return config
