"""A version of its own for documents without a vector, whose empty vectors the constraints permit."""

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Change nothing."""


def downgrade() -> None:
    """Change nothing: there are no such documents any more."""
