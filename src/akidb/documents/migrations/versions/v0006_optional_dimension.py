"""Collections without a dimension."""

from akidb.sql import steps

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Allow NULL."""
    steps.run(sqlite=(), postgresql=("ALTER TABLE collections ALTER COLUMN dimension DROP NOT NULL",))


def downgrade() -> None:
    """Forbid it again. Collections without a dimension must be gone."""
    steps.run(sqlite=(), postgresql=("ALTER TABLE collections ALTER COLUMN dimension SET NOT NULL",))
