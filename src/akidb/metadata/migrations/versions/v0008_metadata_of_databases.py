"""Metadata of databases and collections, and dimensions below 16."""

from akidb.sql import steps

revision = "0008"
down_revision = "0007"

TABLES = ("databases", "collections")
OLD, NEW = "dimension BETWEEN 16 AND 4096", "dimension BETWEEN 1 AND 4096"


def _bounded(bounds: str) -> tuple[str, ...]:
    return (
        "ALTER TABLE collections DROP CONSTRAINT collections_dimension",
        f"ALTER TABLE collections ADD CONSTRAINT collections_dimension CHECK ({bounds})",
    )


SQLITE = (
    *steps.replaced_in_sqlite("collections", OLD, NEW),
    *(
        f"""
        ALTER TABLE {table} ADD COLUMN metadata TEXT NOT NULL DEFAULT '{{}}'
            CONSTRAINT {table}_metadata CHECK (json_valid(metadata) AND json_type(metadata) = 'object')"""
        for table in TABLES
    ),
)
POSTGRESQL = (
    *_bounded(NEW),
    *(
        f"""
        ALTER TABLE {table} ADD COLUMN metadata text COLLATE "C" NOT NULL DEFAULT '{{}}'
            CONSTRAINT {table}_metadata CHECK (metadata IS JSON OBJECT)"""
        for table in TABLES
    ),
)
SQLITE_BACK = (
    *(f"ALTER TABLE {table} DROP COLUMN metadata" for table in TABLES),
    *steps.replaced_in_sqlite("collections", NEW, OLD),
)
POSTGRESQL_BACK = (*(f"ALTER TABLE {table} DROP COLUMN metadata" for table in TABLES), *_bounded(OLD))


def upgrade() -> None:
    """Add the columns, and lower the bound."""
    steps.run(sqlite=SQLITE, postgresql=POSTGRESQL)


def downgrade() -> None:
    """Drop the columns. Collections of fewer dimensions than 16 must be gone."""
    steps.run(sqlite=SQLITE_BACK, postgresql=POSTGRESQL_BACK)
