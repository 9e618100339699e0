"""No audit entry is replaced by inserting another one with its ID.

SQLite deletes what `INSERT OR REPLACE` replaces without a word to the trigger that forbids it. PostgreSQL's
`ON CONFLICT DO UPDATE` is an update, which is refused there already.
"""

from akidb.sql import steps

revision = "0006"
down_revision = "0005"

SQLITE = (
    """
    CREATE TRIGGER audit_entries_no_replace BEFORE INSERT ON audit_entries
    WHEN EXISTS (SELECT 1 FROM audit_entries WHERE audit_entry_id = NEW.audit_entry_id)
    BEGIN
        SELECT RAISE(ABORT, 'audit entries are never changed or deleted');
    END""",
)
SQLITE_BACK = ("DROP TRIGGER audit_entries_no_replace",)


def upgrade() -> None:
    """Refuse it."""
    steps.run(sqlite=SQLITE, postgresql=())


def downgrade() -> None:
    """Let it pass."""
    steps.run(sqlite=SQLITE_BACK, postgresql=())
