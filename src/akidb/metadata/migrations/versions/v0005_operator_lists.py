"""Lists for operators: folded names for search, a substring index, and the indexes of sort orders.

SQLite indexes names in batches: new names are queued in `unindexed_names`, which searches read too, until
a batch is large enough to write cheaply. PostgreSQL's GIN index does the same with its pending list.
"""

from alembic import op

from akidb.domain.names import fold_name
from akidb.sql import steps
from akidb.sql.database import driver_of
from akidb.sql.sqlite_library import library

revision = "0005"
down_revision = "0004"

_BATCH = 512
_ROWS = 10_000

_ORDERS = {
    "creation": "created_at, tenant_id",
    "update": "updated_at, tenant_id",
    "name": "name_folded, tenant_id",
    "slug": "slug",
}
_INDEXES = (
    "CREATE INDEX tenants_by_name ON tenants (name_folded, tenant_id)",
    "CREATE INDEX tenants_by_update ON tenants (updated_at, tenant_id)",
    # Nearly all tenants are active and use the full indexes; these partial ones leave them out.
    *(
        f"CREATE INDEX tenants_inactive_by_{order} ON tenants (status, {columns})"
        " WHERE deleted_at IS NULL AND status <> 'active'"
        for order, columns in _ORDERS.items()
    ),
    *(
        f"CREATE INDEX tenants_deleted_by_{order} ON tenants ({columns}) WHERE deleted_at IS NOT NULL"
        for order, columns in _ORDERS.items()
    ),
    "CREATE INDEX databases_deleted ON databases (tenant_id, name) WHERE deleted_at IS NOT NULL",
    """
    CREATE INDEX collections_deleted ON collections (tenant_id, database_id, name)
    WHERE deleted_at IS NOT NULL""",
)

# Padded with two characters that no name contains, so that a needle of 1 or 2 is a prefix of a trigram.
_GRAMS = "name_folded || char(1, 1)"
_TAKE_OUT = """
        INSERT INTO tenant_grams (tenant_grams, rowid, name)
        SELECT 'delete', name_key, OLD.name_folded || char(1, 1) FROM indexed_names
        WHERE tenant_id = OLD.tenant_id;
        DELETE FROM indexed_names WHERE tenant_id = OLD.tenant_id;
        DELETE FROM unindexed_names WHERE tenant_id = OLD.tenant_id;"""
_INDEX_ALL = (
    "INSERT INTO indexed_names (tenant_id) SELECT tenant_id FROM unindexed_names ORDER BY place",
    f"""INSERT INTO tenant_grams (rowid, name)
        SELECT indexed_names.name_key, {_GRAMS} FROM unindexed_names
        JOIN indexed_names USING (tenant_id) JOIN tenants USING (tenant_id)
        ORDER BY indexed_names.name_key""",
    "DELETE FROM unindexed_names",
)

SQLITE = (
    *_INDEXES,
    """
    CREATE TABLE unindexed_names (
        place INTEGER PRIMARY KEY,
        tenant_id BLOB NOT NULL CONSTRAINT unindexed_names_tenant_id CHECK (length(tenant_id) = 16)
    ) STRICT""",
    """
    CREATE TABLE indexed_names (
        name_key INTEGER PRIMARY KEY,
        tenant_id BLOB NOT NULL CONSTRAINT indexed_names_tenant_key UNIQUE
            CONSTRAINT indexed_names_tenant_id CHECK (length(tenant_id) = 16)
    ) STRICT""",
    """
    CREATE VIRTUAL TABLE tenant_grams USING fts5(
        name, content='', detail=none, columnsize=0, tokenize='trigram case_sensitive 1')""",
    "CREATE VIRTUAL TABLE tenant_terms USING fts5vocab(tenant_grams, row)",
    "INSERT INTO unindexed_names (tenant_id) SELECT tenant_id FROM tenants ORDER BY created_at, tenant_id",
    *_INDEX_ALL,
    """
    CREATE TRIGGER tenants_name_insert AFTER INSERT ON tenants FOR EACH ROW
    BEGIN
        INSERT INTO unindexed_names (tenant_id) VALUES (NEW.tenant_id);
    END""",
    f"""
    CREATE TRIGGER tenants_name_update AFTER UPDATE OF name_folded ON tenants FOR EACH ROW
    WHEN NEW.name_folded <> OLD.name_folded
    BEGIN {_TAKE_OUT}
        INSERT INTO unindexed_names (tenant_id) VALUES (NEW.tenant_id);
    END""",
    f"""
    CREATE TRIGGER tenants_name_delete BEFORE DELETE ON tenants FOR EACH ROW
    BEGIN {_TAKE_OUT}
    END""",
    f"""
    CREATE TRIGGER unindexed_names_full AFTER INSERT ON unindexed_names FOR EACH ROW
    WHEN NEW.place >= {_BATCH}
    BEGIN
        {"; ".join(_INDEX_ALL)};
    END""",
)
# Deletes remove the terms at once; SQLite before 3.42 drops them on merge.
_SECURE_DELETE = ("INSERT INTO tenant_grams (tenant_grams, rank) VALUES ('secure-delete', 1)",)

POSTGRESQL = (
    *_INDEXES,
    # The high COST keeps the planner from computing it for every row of the table.
    """
    CREATE FUNCTION name_grams(name text) RETURNS text[]
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 10000 AS $$
        SELECT array_agg(DISTINCT substr(name, at, size))
        FROM generate_series(1, length(name)) AS at, generate_series(1, 3) AS size
        WHERE at + size <= length(name) + 1
    $$""",
    """
    CREATE INDEX tenants_name_grams ON tenants USING gin (name_grams(name_folded))
    WITH (gin_pending_list_limit = 256)""",
)

_DROP_INDEXES = tuple(f"DROP INDEX {statement.split()[2]}" for statement in _INDEXES)
SQLITE_BACK = (
    "DROP TRIGGER unindexed_names_full",
    *(f"DROP TRIGGER tenants_name_{verb}" for verb in ("insert", "update", "delete")),
    "DROP TABLE tenant_terms",
    "DROP TABLE tenant_grams",
    "DROP TABLE indexed_names",
    "DROP TABLE unindexed_names",
    *_DROP_INDEXES,
    "ALTER TABLE tenants DROP COLUMN name_folded",
)
POSTGRESQL_BACK = (
    "DROP INDEX tenants_name_grams",
    "DROP FUNCTION name_grams(text)",
    *_DROP_INDEXES,
    "ALTER TABLE tenants DROP COLUMN name_folded",
)


def upgrade() -> None:
    """Fold the existing names, then index them."""
    if op.get_bind().dialect.name == "postgresql":
        _fold_on_postgresql()
    else:
        _fold_on_sqlite()
    secure = _SECURE_DELETE if library.sqlite_version_info >= (3, 42) else ()
    steps.run(sqlite=(*SQLITE, *secure), postgresql=POSTGRESQL)


def downgrade() -> None:
    """Drop all of it; the names themselves are kept."""
    steps.run(sqlite=SQLITE_BACK, postgresql=POSTGRESQL_BACK)


def _fold_on_sqlite() -> None:
    driver = driver_of(op.get_bind())
    driver.execute("ALTER TABLE tenants ADD COLUMN name_folded TEXT NOT NULL DEFAULT ''")
    # Filling the column is not a change of the tenant: version and feed must stay as they are.
    triggers = driver.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'tenants'"
    ).fetchall()
    for name, _ in triggers:
        driver.execute(f"DROP TRIGGER {name}")
    after = 0
    while rows := driver.execute(
        "SELECT rowid, name FROM tenants WHERE rowid > ? ORDER BY rowid LIMIT ?", (after, _ROWS)
    ).fetchall():
        after = rows[-1][0]
        driver.executemany(
            "UPDATE tenants SET name_folded = ? WHERE rowid = ?",
            [(fold_name(name), row) for row, name in rows],
        )
    for _, statement in triggers:
        driver.execute(statement)


def _fold_on_postgresql() -> None:
    driver = driver_of(op.get_bind())
    driver.execute("ALTER TABLE tenants ADD COLUMN name_folded text COLLATE \"C\" NOT NULL DEFAULT ''")
    driver.execute("ALTER TABLE tenants DISABLE TRIGGER USER")
    with driver.cursor(name="akidb_names") as names:
        names.itersize = _ROWS
        names.execute("SELECT tenant_id::text, name FROM tenants")
        while rows := names.fetchmany(_ROWS):
            driver.execute(
                "UPDATE tenants SET name_folded = folded.name"
                " FROM unnest(%s::uuid[], %s::text[]) AS folded (tenant_id, name)"
                " WHERE tenants.tenant_id = folded.tenant_id",
                ([tenant_id for tenant_id, _ in rows], [fold_name(name) for _, name in rows]),
            )
    driver.execute("ALTER TABLE tenants ENABLE TRIGGER USER")
