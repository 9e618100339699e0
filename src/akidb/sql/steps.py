"""Runs the raw statements of a schema migration for the database in use."""

from collections.abc import Sequence

from alembic import op

from akidb.sql.database import driver_of
from akidb.sql.sqlite_text import replaced_in_sqlite

__all__ = ["replaced_in_sqlite", "run"]


def run(*, sqlite: Sequence[str], postgresql: Sequence[str]) -> None:
    """Run the statements for the database in use, in the transaction of the migration.

    They are passed to the driver unchanged: `%` and `:name` are not parameters.
    """
    connection = op.get_bind()
    driver = driver_of(connection)
    for statement in postgresql if connection.dialect.name == "postgresql" else sqlite:
        driver.execute(statement)
