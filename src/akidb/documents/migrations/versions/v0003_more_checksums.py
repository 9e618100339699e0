"""Checksums of tombstones and of remembered answers."""

from akidb.sql import steps

revision = "0003"
down_revision = "0002"

_TABLES = ("tombstones", "remembered_answers")


def upgrade() -> None:
    """Add the columns; rows written before have no checksum."""
    steps.run(sqlite=(), postgresql=[f"ALTER TABLE {table} ADD COLUMN checksum bigint" for table in _TABLES])


def downgrade() -> None:
    """Drop the columns."""
    steps.run(sqlite=(), postgresql=[f"ALTER TABLE {table} DROP COLUMN checksum" for table in _TABLES])
