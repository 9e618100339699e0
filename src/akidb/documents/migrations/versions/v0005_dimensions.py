"""Dimensions below 16."""

from akidb.sql import steps

revision = "0005"
down_revision = "0004"


def _bounded(least: int) -> tuple[str, ...]:
    bound = f"CONSTRAINT collections_dimension CHECK (dimension BETWEEN {least} AND 4096)"
    return (
        "ALTER TABLE collections DROP CONSTRAINT collections_dimension",
        f"ALTER TABLE collections ADD {bound}",
    )


def upgrade() -> None:
    """Lower the bound."""
    steps.run(sqlite=(), postgresql=_bounded(1))


def downgrade() -> None:
    """Raise it again."""
    steps.run(sqlite=(), postgresql=_bounded(16))
