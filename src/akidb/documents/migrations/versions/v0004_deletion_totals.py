"""The bytes of each tenant's tombstones."""

from akidb.sql import steps

revision = "0004"
down_revision = "0003"

ROW_BYTES = 128
_CHECKED = "bigint NOT NULL DEFAULT 0 CONSTRAINT control_deletions_bytes CHECK (deletions_bytes >= 0)"
_SUMS = f"SELECT tenant_id, sum(octet_length(id) + {ROW_BYTES}) AS size FROM {{}} GROUP BY tenant_id"
_CHANGE = f"""
    UPDATE control SET deletions_bytes = deletions_bytes {{}} found.size FROM ({_SUMS}) AS found
    WHERE control.tenant_id = found.tenant_id"""

# Once for each statement, which writes or discards many rows.
POSTGRESQL = (
    f"ALTER TABLE control ADD COLUMN deletions_bytes {_CHECKED}",
    _CHANGE.format("+", "tombstones"),
    f"""
    CREATE FUNCTION count_deletions() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN {_CHANGE.format("+", "added")}; RETURN NULL; END $$""",
    f"""
    CREATE FUNCTION uncount_deletions() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN {_CHANGE.format("-", "gone")}; RETURN NULL; END $$""",
    """
    CREATE TRIGGER tombstones_count AFTER INSERT ON tombstones
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION count_deletions()""",
    """
    CREATE TRIGGER tombstones_uncount AFTER DELETE ON tombstones
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION uncount_deletions()""",
)
POSTGRESQL_BACK = (
    "DROP TRIGGER tombstones_count ON tombstones",
    "DROP TRIGGER tombstones_uncount ON tombstones",
    "DROP FUNCTION count_deletions()",
    "DROP FUNCTION uncount_deletions()",
    "ALTER TABLE control DROP COLUMN deletions_bytes",
)


def upgrade() -> None:
    """Add the column, and the triggers that maintain it."""
    steps.run(sqlite=(), postgresql=POSTGRESQL)


def downgrade() -> None:
    """Drop them."""
    steps.run(sqlite=(), postgresql=POSTGRESQL_BACK)
