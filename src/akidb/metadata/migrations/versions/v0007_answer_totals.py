"""The bytes of each tenant's remembered answers, kept by triggers, so that bounding them needs no count."""

from akidb.sql import steps

revision = "0007"
down_revision = "0006"

ROW_BYTES = 512
"""What an answer takes beside itself: its keys, its fingerprint, and three indexes."""
_SIZE = f"length({{}}.answer) + {ROW_BYTES}"
_FILL = f"""
    INSERT INTO answer_totals (tenant_id, bytes)
    SELECT tenant_id, sum({_SIZE.format("remembered_answers")}) FROM remembered_answers
    WHERE tenant_id IS NOT NULL GROUP BY tenant_id"""
_ADD = f"""
        INSERT INTO answer_totals (tenant_id, bytes) VALUES (NEW.tenant_id, {_SIZE.format("NEW")})
        ON CONFLICT (tenant_id) DO UPDATE SET bytes = answer_totals.bytes + excluded.bytes;"""
_SUBTRACT = f"""
        UPDATE answer_totals SET bytes = bytes - ({_SIZE.format("OLD")}) WHERE tenant_id = OLD.tenant_id;"""
_SUBTRACT_ALL = f"""
        UPDATE answer_totals SET bytes = bytes - found.size FROM (
            SELECT tenant_id, sum({_SIZE.format("gone")}) AS size FROM gone GROUP BY tenant_id
        ) AS found WHERE answer_totals.tenant_id = found.tenant_id;"""

SQLITE = (
    """
    CREATE TABLE answer_totals (
        tenant_id BLOB NOT NULL CONSTRAINT answer_totals_pkey PRIMARY KEY
            CONSTRAINT answer_totals_tenant REFERENCES tenants (tenant_id) ON DELETE CASCADE,
        bytes INTEGER NOT NULL CONSTRAINT answer_totals_bytes CHECK (bytes >= 0)
    ) STRICT, WITHOUT ROWID""",
    _FILL,
    f"""
    CREATE TRIGGER remembered_answers_count AFTER INSERT ON remembered_answers FOR EACH ROW
    WHEN NEW.tenant_id IS NOT NULL
    BEGIN {_ADD}
    END""",
    f"""
    CREATE TRIGGER remembered_answers_uncount AFTER DELETE ON remembered_answers FOR EACH ROW
    WHEN OLD.tenant_id IS NOT NULL
    BEGIN {_SUBTRACT}
    END""",
)
POSTGRESQL = (
    """
    CREATE TABLE answer_totals (
        tenant_id uuid NOT NULL CONSTRAINT answer_totals_pkey PRIMARY KEY
            CONSTRAINT answer_totals_tenant REFERENCES tenants ON DELETE CASCADE,
        bytes bigint NOT NULL CONSTRAINT answer_totals_bytes CHECK (bytes >= 0)
    )""",
    _FILL,
    f"""
    CREATE FUNCTION count_answer() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN {_ADD}
        RETURN NULL;
    END $$""",
    f"""
    CREATE FUNCTION uncount_answers() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN {_SUBTRACT_ALL}
        RETURN NULL;
    END $$""",
    """
    CREATE TRIGGER remembered_answers_count AFTER INSERT ON remembered_answers FOR EACH ROW
    WHEN (NEW.tenant_id IS NOT NULL) EXECUTE FUNCTION count_answer()""",
    """
    CREATE TRIGGER remembered_answers_uncount AFTER DELETE ON remembered_answers
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION uncount_answers()""",
)
SQLITE_BACK = (
    "DROP TRIGGER remembered_answers_count",
    "DROP TRIGGER remembered_answers_uncount",
    "DROP TABLE answer_totals",
)
POSTGRESQL_BACK = (
    "DROP TRIGGER remembered_answers_count ON remembered_answers",
    "DROP TRIGGER remembered_answers_uncount ON remembered_answers",
    "DROP FUNCTION count_answer()",
    "DROP FUNCTION uncount_answers()",
    "DROP TABLE answer_totals",
)


def upgrade() -> None:
    """Create the totals, with the existing answers counted."""
    steps.run(sqlite=SQLITE, postgresql=POSTGRESQL)


def downgrade() -> None:
    """Drop the totals; the answers stay."""
    steps.run(sqlite=SQLITE_BACK, postgresql=POSTGRESQL_BACK)
