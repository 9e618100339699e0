"""Refuses to replace an audit entry by inserting another one with its ID.

SQLite deletes the row replaced by `INSERT OR REPLACE` without firing the trigger that forbids it.
PostgreSQL's `ON CONFLICT DO UPDATE` is an update, which is already refused there.
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
    """Create the trigger."""
    steps.run(sqlite=SQLITE, postgresql=())


def downgrade() -> None:
    """Drop the trigger."""
    steps.run(sqlite=SQLITE_BACK, postgresql=())
