"""Checksums of documents, and the bytes of each tenant's remembered answers."""

from akidb.sql import steps

revision = "0002"
down_revision = "0001"

ROW_BYTES = 512
_SIZE = f"length(answer) + {ROW_BYTES}"
_CHECKED = "bigint NOT NULL DEFAULT 0 CONSTRAINT control_answers_bytes CHECK (answers_bytes >= 0)"
_SUMS = f"SELECT tenant_id, sum({_SIZE}) AS size FROM {{}} GROUP BY tenant_id"
_ADD_ALL = f"""
    UPDATE control SET answers_bytes = found.size FROM ({_SUMS.format("remembered_answers")}) AS found
    WHERE control.tenant_id = found.tenant_id"""
_ADD = f"""
    UPDATE control SET answers_bytes = answers_bytes + (length(NEW.answer) + {ROW_BYTES})
    WHERE tenant_id = NEW.tenant_id"""
_SUBTRACT = f"""
    UPDATE control SET answers_bytes = answers_bytes - found.size FROM ({_SUMS.format("gone")}) AS found
    WHERE control.tenant_id = found.tenant_id"""

POSTGRESQL = (
    "ALTER TABLE documents ADD COLUMN content_checksum bigint, ADD COLUMN vector_checksum bigint",
    f"ALTER TABLE control ADD COLUMN answers_bytes {_CHECKED}",
    _ADD_ALL,
    f"""
    CREATE FUNCTION count_answer() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN {_ADD}; RETURN NULL; END $$""",
    f"""
    CREATE FUNCTION uncount_answers() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN {_SUBTRACT}; RETURN NULL; END $$""",
    """
    CREATE TRIGGER remembered_answers_count AFTER INSERT ON remembered_answers FOR EACH ROW
    EXECUTE FUNCTION count_answer()""",
    # Once for each statement: a purge deletes many rows.
    """
    CREATE TRIGGER remembered_answers_uncount AFTER DELETE ON remembered_answers
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION uncount_answers()""",
)
POSTGRESQL_BACK = (
    "DROP TRIGGER remembered_answers_count ON remembered_answers",
    "DROP TRIGGER remembered_answers_uncount ON remembered_answers",
    "DROP FUNCTION count_answer()",
    "DROP FUNCTION uncount_answers()",
    "ALTER TABLE control DROP COLUMN answers_bytes",
    "ALTER TABLE documents DROP COLUMN content_checksum, DROP COLUMN vector_checksum",
)


def upgrade() -> None:
    """Add the columns; documents written before have no checksum."""
    steps.run(sqlite=(), postgresql=POSTGRESQL)


def downgrade() -> None:
    """Drop the columns."""
    steps.run(sqlite=(), postgresql=POSTGRESQL_BACK)
