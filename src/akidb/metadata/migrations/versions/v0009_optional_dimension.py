"""Collections without a dimension, until their first vector. One with a model has its dimension."""

from akidb.sql import steps

revision = "0009"
down_revision = "0008"

BOUNDS = "dimension BETWEEN 1 AND 4096"
OPTIONAL = f"{BOUNDS} AND (dimension IS NOT NULL OR embedding_model IS NULL)"
OLD = f"dimension INTEGER NOT NULL CONSTRAINT collections_dimension CHECK ({BOUNDS})"
NEW = f"dimension INTEGER CONSTRAINT collections_dimension CHECK ({OPTIONAL})"


def _altered(null: str, check: str) -> tuple[str, ...]:
    return (
        "ALTER TABLE collections DROP CONSTRAINT collections_dimension",
        f"ALTER TABLE collections ALTER COLUMN dimension {null}",
        f"ALTER TABLE collections ADD CONSTRAINT collections_dimension CHECK ({check})",
    )


def upgrade() -> None:
    """Allow NULL without a model."""
    steps.run(
        sqlite=steps.replaced_in_sqlite("collections", OLD, NEW),
        postgresql=_altered("DROP NOT NULL", OPTIONAL),
    )


def downgrade() -> None:
    """Forbid it again. Collections without a dimension must be gone."""
    steps.run(
        sqlite=steps.replaced_in_sqlite("collections", NEW, OLD),
        postgresql=_altered("SET NOT NULL", BOUNDS),
    )
