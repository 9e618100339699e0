"""A migration in a process that exits after a given number of statements."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from akidb.deployment.schema_changes import migrate
from akidb.documents import schema
from akidb.documents.schema import Step
from akidb.settings import Settings
from akidb.sql import sqlite_library

LATER = Step("0002", ("CREATE TABLE later (number INTEGER) STRICT",), ("DROP TABLE later",))
"""One more step for tenants' files."""
DIED = 9
_COUNTED = ("CREATE", "DROP T", "ALTER ", "UPDATE", "INSERT", "PRAGMA", "COMMIT")


def migrate_until(directory: Path, statements: int, to: str) -> None:
    """Migrate a directory; the process ends by itself if so many statements do not suffice."""
    schema.STEPS = (*schema.STEPS, LATER)
    sqlite_library._engine = sa.create_engine(
        "sqlite+pysqlite://",
        module=sqlite_library.library,
        creator=_traced(statements),
        poolclass=sa.pool.NullPool,
        isolation_level="AUTOCOMMIT",
    )
    migrate(directory, Settings(), to=to)


def _traced(statements: int) -> Callable[[], Any]:
    """Make connections which count what changes a store."""
    left = statements

    def count(statement: str) -> None:
        nonlocal left
        if statement.lstrip()[:6].upper() in _COUNTED:
            left -= 1
            if left < 0:
                os._exit(DIED)

    connect = sqlite_library._opened

    def traced() -> Any:
        made: Any = connect()
        made.set_trace_callback(count)
        return made

    return traced
