"""How a step of the metadata schema is taken: its statements, as they are, for the database at hand."""

from collections.abc import Sequence

from alembic import op

from akidb.sql.database import driver_of


def run(*, sqlite: Sequence[str], postgresql: Sequence[str]) -> None:
    """Run one database's statements in the transaction of the migration.

    They go to the driver as they stand: no `%` and no `:name` in them is taken for a parameter.
    """
    connection = op.get_bind()
    driver = driver_of(connection)
    for statement in postgresql if connection.dialect.name == "postgresql" else sqlite:
        driver.execute(statement)
