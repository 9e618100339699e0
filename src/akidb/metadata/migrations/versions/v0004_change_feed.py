"""The change feed of each tenant's metadata, maintained by triggers, so that no change is missed.

Only the last change of each entity is kept; that of the tenant itself is in the feed row, so that creating a
tenant writes one row here. The feed is deleted with its tenant. Deletions are dropped once the feed is
100,000 changes further; the tombstone floor is the last dropped sequence.
"""

from akidb.sql import steps

revision = "0004"
down_revision = "0003"

_TABLES = ("databases", "collections", "users")
_KEPT = 100_000
_ID = "length({0}) = 16"
_ROWS = (
    "SELECT tenant_id, 'database' AS entity, database_id AS entity_id FROM databases"
    " UNION ALL SELECT tenant_id, 'collection', collection_id FROM collections"
    " UNION ALL SELECT tenant_id, 'user', user_id FROM users"
)
_ENTITIES = "'database', 'collection', 'user'"


def _entity(table: str) -> str:
    return table.removesuffix("s")


def _note(table: str, row: str, deleted: int) -> str:
    """Give a change the tenant's next sequence; record nothing for a tenant without a feed."""
    tenant, entity = f"{row}.tenant_id", _entity(table)
    return f"""
        UPDATE metadata_feeds SET sequence = sequence + 1 WHERE tenant_id = {tenant};
        INSERT INTO metadata_changes (tenant_id, sequence, entity, entity_id, deleted)
        SELECT tenant_id, sequence, '{entity}', {row}.{entity}_id, {deleted}
        FROM metadata_feeds WHERE tenant_id = {tenant}
        ON CONFLICT (tenant_id, entity_id) DO UPDATE SET
            sequence = excluded.sequence, deleted = excluded.deleted;"""


def _forget(tenant: str) -> str:
    """Drop the oldest deletions, and raise the floor to the last one dropped."""
    old = f"""tenant_id = {tenant} AND deleted = 1
            AND sequence <= (SELECT sequence - {_KEPT} FROM metadata_feeds WHERE tenant_id = {tenant})"""
    return f"""
        UPDATE metadata_feeds SET tombstone_floor = coalesce(
            (SELECT max(sequence) FROM metadata_changes WHERE {old}), tombstone_floor)
        WHERE tenant_id = {tenant};
        DELETE FROM metadata_changes WHERE {old};"""


def _sqlite_triggers(table: str) -> tuple[str, ...]:
    """Return the triggers that record changes of one table; they also fire for cascaded deletes."""
    return tuple(
        f"""
        CREATE TRIGGER {table}_feed_{verb.lower()} AFTER {verb} ON {table} FOR EACH ROW
        BEGIN {_note(table, "OLD" if verb == "DELETE" else "NEW", int(verb == "DELETE"))}
        {_forget("OLD.tenant_id") if verb == "DELETE" else ""}
        END"""
        for verb in ("INSERT", "UPDATE", "DELETE")
    )


SQLITE = (
    f"""
    CREATE TABLE metadata_feeds (
        tenant_id BLOB NOT NULL CONSTRAINT metadata_feeds_pkey PRIMARY KEY
            CONSTRAINT metadata_feeds_tenant_id CHECK ({_ID.format("tenant_id")}),
        feed_id BLOB NOT NULL CONSTRAINT metadata_feeds_feed_id CHECK ({_ID.format("feed_id")}),
        sequence INTEGER NOT NULL,
        tenant_sequence INTEGER NOT NULL,
        tombstone_floor INTEGER NOT NULL,
        CONSTRAINT metadata_feeds_tenant_sequence CHECK (tenant_sequence BETWEEN 1 AND sequence),
        CONSTRAINT metadata_feeds_floor CHECK (tombstone_floor BETWEEN 0 AND sequence)
    ) STRICT, WITHOUT ROWID""",
    f"""
    CREATE TABLE metadata_changes (
        tenant_id BLOB NOT NULL
            CONSTRAINT metadata_changes_tenant_id CHECK ({_ID.format("tenant_id")}),
        sequence INTEGER NOT NULL CONSTRAINT metadata_changes_sequence CHECK (sequence >= 1),
        entity TEXT NOT NULL CONSTRAINT metadata_changes_entity CHECK (entity IN ({_ENTITIES})),
        entity_id BLOB NOT NULL
            CONSTRAINT metadata_changes_entity_id CHECK ({_ID.format("entity_id")}),
        deleted INTEGER NOT NULL CONSTRAINT metadata_changes_deleted CHECK (deleted IN (0, 1)),
        CONSTRAINT metadata_changes_pkey PRIMARY KEY (tenant_id, sequence),
        CONSTRAINT metadata_changes_entity_key UNIQUE (tenant_id, entity_id)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX metadata_changes_deletions ON metadata_changes (tenant_id, sequence) WHERE deleted = 1",
    f"""
    INSERT INTO metadata_changes (tenant_id, sequence, entity, entity_id, deleted)
    SELECT tenant_id, 1 + row_number() OVER (PARTITION BY tenant_id ORDER BY entity_id), entity, entity_id, 0
    FROM ({_ROWS})""",
    """
    INSERT INTO metadata_feeds (tenant_id, feed_id, sequence, tenant_sequence, tombstone_floor)
    SELECT tenants.tenant_id, randomblob(16), coalesce(max(metadata_changes.sequence), 1), 1, 0
    FROM tenants LEFT JOIN metadata_changes ON metadata_changes.tenant_id = tenants.tenant_id
    GROUP BY tenants.tenant_id""",
    """
    CREATE TRIGGER tenants_feed_insert AFTER INSERT ON tenants FOR EACH ROW
    BEGIN
        INSERT INTO metadata_feeds VALUES (NEW.tenant_id, randomblob(16), 1, 1, 0);
    END""",
    """
    CREATE TRIGGER tenants_feed_update AFTER UPDATE ON tenants FOR EACH ROW
    BEGIN
        UPDATE metadata_feeds SET sequence = sequence + 1, tenant_sequence = sequence + 1
        WHERE tenant_id = NEW.tenant_id;
    END""",
    # Before the cascade deletes the rows of the tenant, so that those are not recorded.
    """
    CREATE TRIGGER tenants_feed_delete BEFORE DELETE ON tenants FOR EACH ROW
    BEGIN
        DELETE FROM metadata_changes WHERE tenant_id = OLD.tenant_id;
        DELETE FROM metadata_feeds WHERE tenant_id = OLD.tenant_id;
    END""",
    *(trigger for table in _TABLES for trigger in _sqlite_triggers(table)),
)

POSTGRESQL = (
    """
    CREATE TABLE metadata_feeds (
        tenant_id uuid NOT NULL CONSTRAINT metadata_feeds_pkey PRIMARY KEY,
        feed_id uuid NOT NULL,
        sequence bigint NOT NULL,
        tenant_sequence bigint NOT NULL,
        tombstone_floor bigint NOT NULL,
        CONSTRAINT metadata_feeds_tenant_sequence CHECK (tenant_sequence BETWEEN 1 AND sequence),
        CONSTRAINT metadata_feeds_floor CHECK (tombstone_floor BETWEEN 0 AND sequence)
    )""",
    f"""
    CREATE TABLE metadata_changes (
        tenant_id uuid NOT NULL,
        sequence bigint NOT NULL CONSTRAINT metadata_changes_sequence CHECK (sequence >= 1),
        entity text COLLATE "C" NOT NULL
            CONSTRAINT metadata_changes_entity CHECK (entity IN ({_ENTITIES})),
        entity_id uuid NOT NULL,
        deleted smallint NOT NULL CONSTRAINT metadata_changes_deleted CHECK (deleted IN (0, 1)),
        CONSTRAINT metadata_changes_pkey PRIMARY KEY (tenant_id, sequence),
        CONSTRAINT metadata_changes_entity_key UNIQUE (tenant_id, entity_id)
    )""",
    "CREATE INDEX metadata_changes_deletions ON metadata_changes (tenant_id, sequence) WHERE deleted = 1",
    f"""
    INSERT INTO metadata_changes (tenant_id, sequence, entity, entity_id, deleted)
    SELECT tenant_id, 1 + row_number() OVER (PARTITION BY tenant_id ORDER BY entity_id), entity, entity_id, 0
    FROM ({_ROWS}) AS everything""",
    """
    INSERT INTO metadata_feeds (tenant_id, feed_id, sequence, tenant_sequence, tombstone_floor)
    SELECT tenants.tenant_id, gen_random_uuid(), coalesce(max(metadata_changes.sequence), 1), 1, 0
    FROM tenants LEFT JOIN metadata_changes ON metadata_changes.tenant_id = tenants.tenant_id
    GROUP BY tenants.tenant_id""",
    # The update locks the feed row, so that sequences are committed in order.
    f"""
    CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        whose uuid; which uuid; gone smallint := 0; next bigint;
    BEGIN
        IF TG_OP = 'DELETE' THEN
            gone := 1;
            whose := OLD.tenant_id;
            IF TG_ARGV[0] = 'database' THEN which := OLD.database_id;
            ELSIF TG_ARGV[0] = 'collection' THEN which := OLD.collection_id;
            ELSE which := OLD.user_id;
            END IF;
        ELSE
            whose := NEW.tenant_id;
            IF TG_ARGV[0] = 'database' THEN which := NEW.database_id;
            ELSIF TG_ARGV[0] = 'collection' THEN which := NEW.collection_id;
            ELSE which := NEW.user_id;
            END IF;
        END IF;
        UPDATE metadata_feeds SET sequence = sequence + 1 WHERE tenant_id = whose
            RETURNING sequence INTO next;
        IF FOUND THEN
            INSERT INTO metadata_changes (tenant_id, sequence, entity, entity_id, deleted)
            VALUES (whose, next, TG_ARGV[0], which, gone)
            ON CONFLICT (tenant_id, entity_id) DO UPDATE SET
                sequence = excluded.sequence, deleted = excluded.deleted;
            IF gone = 1 THEN {_forget("whose")}
            END IF;
        END IF;
        RETURN NULL;
    END $$""",
    """
    CREATE FUNCTION begin_feed() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO metadata_feeds VALUES (NEW.tenant_id, gen_random_uuid(), 1, 1, 0);
        RETURN NULL;
    END $$""",
    """
    CREATE FUNCTION note_tenant() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE metadata_feeds SET sequence = sequence + 1, tenant_sequence = sequence + 1
        WHERE tenant_id = NEW.tenant_id;
        RETURN NULL;
    END $$""",
    """
    CREATE FUNCTION end_feed() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        DELETE FROM metadata_changes WHERE tenant_id = OLD.tenant_id;
        DELETE FROM metadata_feeds WHERE tenant_id = OLD.tenant_id;
        RETURN OLD;
    END $$""",
    """
    CREATE TRIGGER tenants_feed_insert AFTER INSERT ON tenants FOR EACH ROW EXECUTE FUNCTION begin_feed()""",
    """
    CREATE TRIGGER tenants_feed_update AFTER UPDATE ON tenants FOR EACH ROW
    EXECUTE FUNCTION note_tenant()""",
    """
    CREATE TRIGGER tenants_feed_delete BEFORE DELETE ON tenants FOR EACH ROW EXECUTE FUNCTION end_feed()""",
    *(
        f"""
        CREATE TRIGGER {table}_feed AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW
        EXECUTE FUNCTION note_change('{_entity(table)}')"""
        for table in _TABLES
    ),
)

SQLITE_BACK = (
    *(
        f"DROP TRIGGER {table}_feed_{verb}"
        for table in ("tenants", *_TABLES)
        for verb in ("insert", "update", "delete")
    ),
    "DROP TABLE metadata_changes",
    "DROP TABLE metadata_feeds",
)
POSTGRESQL_BACK = (
    *(f"DROP TRIGGER tenants_feed_{verb} ON tenants" for verb in ("insert", "update", "delete")),
    *(f"DROP TRIGGER {table}_feed ON {table}" for table in _TABLES),
    "DROP FUNCTION note_change()",
    "DROP FUNCTION note_tenant()",
    "DROP FUNCTION begin_feed()",
    "DROP FUNCTION end_feed()",
    "DROP TABLE metadata_changes",
    "DROP TABLE metadata_feeds",
)


def upgrade() -> None:
    """Create the feeds, with the existing entities as their first changes."""
    steps.run(sqlite=SQLITE, postgresql=POSTGRESQL)


def downgrade() -> None:
    """Drop the feeds; readers of later feeds start from the beginning."""
    steps.run(sqlite=SQLITE_BACK, postgresql=POSTGRESQL_BACK)
