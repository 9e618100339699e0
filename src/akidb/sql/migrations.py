"""The version of a schema that Alembic keeps, and the steps between versions.

Alembic is loaded only when there is a step to take; the version is read without it.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from akidb.domain.errors import InvalidArgument, Unavailable

if TYPE_CHECKING:
    from alembic.config import Config


def recorded(connection: sa.Connection) -> str | None:
    """The version that the database says its schema has, None when it has none.

    Raises Unavailable when it has a schema and does not say which.
    """
    if connection.dialect.name == "postgresql":
        exists = "SELECT 1 WHERE to_regclass('alembic_version') IS NOT NULL"
    else:
        exists = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"
    if connection.exec_driver_sql(exists).first() is None:
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one_or_none()
    if found is None:
        raise Unavailable("the store does not say which schema it has; restore it from a backup")
    return str(found)


def newer(name: str, found: str, known: str) -> Unavailable:
    """The error of a schema that a later program made."""
    return Unavailable(f"{name} has schema {found}, and this AkiDB knows up to {known}: use a newer AkiDB")


def check_way(name: str, found: str | None, scripts: Path, revision: str, head: str) -> None:
    """Refuse to go where there is no way, before anything is done.

    Raises Unavailable for a schema newer than `head`, InvalidArgument(`to`) for a step without a way back.
    """
    if found is not None and found > head:
        raise newer(name, found, head)
    if found is None or found <= revision:
        return
    from alembic.script import ScriptDirectory

    for step in ScriptDirectory.from_config(_config(scripts)).iterate_revisions(found, revision):
        if not hasattr(step.module, "downgrade"):
            raise InvalidArgument("to", f"there is no way back from version {step.revision}")


def go(connection: sa.Connection, scripts: Path, revision: str) -> None:
    """Take the steps in `scripts`, forward or back, in the transaction of the connection."""
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
