"""The version of the metadata store's schema: made, checked, brought forward.

Alembic is loaded only when there is a step to take; the version is read without it.
"""

from pathlib import Path

import sqlalchemy as sa

from akidb.domain.errors import Unavailable
from akidb.sql.database import SqlDatabase

HEAD = "0005"
"""The newest step in `migrations/versions`; a test holds the two together."""

_MIGRATIONS = Path(__file__).parent / "migrations"


def version(connection: sa.Connection) -> str | None:
    """The schema that the store has, None for an empty one."""
    if connection.dialect.name == "postgresql":
        exists = "SELECT 1 WHERE to_regclass('alembic_version') IS NOT NULL"
    else:
        exists = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"
    if connection.exec_driver_sql(exists).first() is None:
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one_or_none()
    if found is None:
        raise Unavailable("the metadata store does not say which schema it has; restore it from a backup")
    return str(found)


def lost(name: str) -> Unavailable:
    """The error of metadata that are gone while what they describe is there."""
    return Unavailable(
        f"{name} is missing or empty, but there are tenant stores: restore it from a backup"
    )


def bring_forward(database: SqlDatabase, *, expected: bool) -> None:
    """Take the steps that the store lacks, in one transaction.

    Raises Unavailable for a schema newer than this program, and for none at all where one is expected: a
    file whose log was lost before it was ever folded in has a first page, and no table.
    """
    with database.read() as connection:
        found = version(connection)
    if found == HEAD:
        return
    if found is None and expected:
        raise lost(database.name)
    if found is not None and found > HEAD:
        raise Unavailable(
            f"{database.name} has schema {found}, and this AkiDB knows up to {HEAD}: use a newer AkiDB"
        )
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, HEAD)
