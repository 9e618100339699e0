"""Tenants, databases, collections, audit entries, the outbox, remembered answers."""

from akidb.sql import steps

revision = "0001"
down_revision = None

_DIGIT = "[0-9]"
_INSTANT = f"{_DIGIT * 4}-[01]{_DIGIT}-[0-3]{_DIGIT}T[0-2]{_DIGIT}:[0-5]{_DIGIT}:[0-5]{_DIGIT}.{_DIGIT * 6}Z"
_HEX = "[0-9A-Fa-f]"
_UUID = "-".join(_HEX * n for n in (8, 4, 4, 4, 12))


def _id(column: str) -> str:
    return f"length({column}) = 16"


def _name(column: str) -> str:
    return (
        f"length({column}) BETWEEN 1 AND 128 AND {column} NOT GLOB '*[^A-Za-z0-9_.-]*'"
        f" AND {column} GLOB '[A-Za-z0-9]*' AND {column} NOT GLOB '{_UUID}'"
    )


def _versioned(table: str, state: str, deleted: str) -> str:
    """Return the trailing columns shared by all entities."""
    return f"""
        version INTEGER NOT NULL CONSTRAINT {table}_version CHECK (version >= 1),
        created_at TEXT NOT NULL CONSTRAINT {table}_created_at CHECK (created_at GLOB '{_INSTANT}'),
        updated_at TEXT NOT NULL CONSTRAINT {table}_updated_at CHECK (updated_at GLOB '{_INSTANT}'),
        deleted_at TEXT CONSTRAINT {table}_deleted_at CHECK (deleted_at GLOB '{_INSTANT}'),
        state_before_deletion TEXT,
        CONSTRAINT {table}_deletion CHECK (({state} = '{deleted}') = (deleted_at IS NOT NULL)),
        CONSTRAINT {table}_restores CHECK ((state_before_deletion IS NULL) OR (deleted_at IS NOT NULL))"""


def _touch(table: str, key: str) -> str:
    """Keep version and time correct if a row is changed outside AkiDB."""
    return f"""
    CREATE TRIGGER {table}_touch AFTER UPDATE ON {table} FOR EACH ROW WHEN NEW.version = OLD.version
    BEGIN
        UPDATE {table} SET version = OLD.version + 1,
            updated_at = max(OLD.updated_at, strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z')
        WHERE {key} = NEW.{key};
    END"""


def _refuse(table: str, verb: str) -> str:
    return f"""
    CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table}
    BEGIN
        SELECT RAISE(ABORT, 'audit entries are never changed or deleted');
    END"""


SQLITE = (
    f"""
    CREATE TABLE tenants (
        tenant_id BLOB PRIMARY KEY NOT NULL CONSTRAINT tenants_id CHECK ({_id("tenant_id")}),
        external_id TEXT CONSTRAINT tenants_external_id_key UNIQUE
            CONSTRAINT tenants_external_id CHECK (length(external_id) BETWEEN 1 AND 255),
        name TEXT NOT NULL CONSTRAINT tenants_name CHECK (length(name) BETWEEN 1 AND 255),
        slug TEXT NOT NULL CONSTRAINT tenants_slug_key UNIQUE
            CONSTRAINT tenants_slug CHECK (
                length(slug) BETWEEN 1 AND 63 AND slug NOT GLOB '*[^a-z0-9-]*'
                AND slug NOT GLOB '-*' AND slug NOT GLOB '*-' AND slug NOT GLOB '{_UUID}'),
        status TEXT NOT NULL CONSTRAINT tenants_status
            CHECK (status IN ('provisioning', 'active', 'suspended', 'decommissioned')),
        memory_quota_bytes INTEGER NOT NULL
            CONSTRAINT tenants_memory_quota_bytes CHECK (memory_quota_bytes >= 0),
        storage_quota_bytes INTEGER NOT NULL
            CONSTRAINT tenants_storage_quota_bytes CHECK (storage_quota_bytes >= 0),
        qps_quota INTEGER NOT NULL CONSTRAINT tenants_qps_quota CHECK (qps_quota >= 0),
        placement TEXT,
        metadata TEXT NOT NULL
            CONSTRAINT tenants_metadata CHECK (json_valid(metadata) AND json_type(metadata) = 'object'),
        {_versioned("tenants", "status", "decommissioned")}
    ) STRICT""",
    "CREATE INDEX tenants_by_creation ON tenants (created_at, tenant_id)",
    _touch("tenants", "tenant_id"),
    f"""
    CREATE TABLE databases (
        database_id BLOB PRIMARY KEY NOT NULL CONSTRAINT databases_id CHECK ({_id("database_id")}),
        tenant_id BLOB NOT NULL
            CONSTRAINT databases_tenant REFERENCES tenants (tenant_id) ON DELETE CASCADE,
        name TEXT NOT NULL CONSTRAINT databases_name CHECK ({_name("name")}),
        description TEXT NOT NULL,
        state TEXT NOT NULL CONSTRAINT databases_state
            CHECK (state IN ('provisioning', 'ready', 'migrating', 'deleting')),
        schema_version INTEGER NOT NULL CONSTRAINT databases_schema_version CHECK (schema_version >= 1),
        {_versioned("databases", "state", "deleting")},
        CONSTRAINT databases_name_key UNIQUE (tenant_id, name),
        CONSTRAINT databases_tenant_key UNIQUE (tenant_id, database_id)
    ) STRICT""",
    _touch("databases", "database_id"),
    f"""
    CREATE TABLE collections (
        collection_id BLOB PRIMARY KEY NOT NULL CONSTRAINT collections_id CHECK ({_id("collection_id")}),
        tenant_id BLOB NOT NULL,
        database_id BLOB NOT NULL,
        name TEXT NOT NULL CONSTRAINT collections_name CHECK ({_name("name")}),
        dimension INTEGER NOT NULL CONSTRAINT collections_dimension CHECK (dimension BETWEEN 16 AND 4096),
        metric TEXT NOT NULL CONSTRAINT collections_metric CHECK (metric IN ('cosine', 'dot', 'l2')),
        embedding_model TEXT,
        embedding_fingerprint TEXT,
        hnsw_m INTEGER NOT NULL CONSTRAINT collections_hnsw_m CHECK (hnsw_m >= 2),
        hnsw_ef_construction INTEGER NOT NULL
            CONSTRAINT collections_hnsw_ef_construction CHECK (hnsw_ef_construction >= 1),
        max_document_count INTEGER NOT NULL
            CONSTRAINT collections_max_document_count CHECK (max_document_count >= 0),
        state TEXT NOT NULL
            CONSTRAINT collections_state CHECK (state IN ('creating', 'ready', 'deleting')),
        {_versioned("collections", "state", "deleting")},
        CONSTRAINT collections_name_key UNIQUE (database_id, name),
        CONSTRAINT collections_model
            CHECK ((embedding_model IS NULL) = (embedding_fingerprint IS NULL)),
        CONSTRAINT collections_database FOREIGN KEY (tenant_id, database_id)
            REFERENCES databases (tenant_id, database_id) ON DELETE CASCADE
    ) STRICT""",
    "CREATE INDEX collections_by_database ON collections (tenant_id, database_id)",
    _touch("collections", "collection_id"),
    f"""
    CREATE TABLE audit_entries (
        audit_entry_id BLOB PRIMARY KEY NOT NULL
            CONSTRAINT audit_entries_id CHECK ({_id("audit_entry_id")}),
        tenant_id BLOB CONSTRAINT audit_entries_tenant_id CHECK ({_id("tenant_id")}),
        user_id TEXT,
        action TEXT NOT NULL,
        resource_type TEXT NOT NULL,
        resource_id TEXT NOT NULL,
        result TEXT NOT NULL CONSTRAINT audit_entries_result CHECK (result IN ('allowed', 'denied')),
        reason TEXT,
        metadata TEXT NOT NULL CONSTRAINT audit_entries_metadata
            CHECK (json_valid(metadata) AND json_type(metadata) = 'object'),
        ip_address TEXT,
        user_agent TEXT,
        request_id TEXT,
        created_at TEXT NOT NULL
            CONSTRAINT audit_entries_created_at CHECK (created_at GLOB '{_INSTANT}')
    ) STRICT""",
    "CREATE INDEX audit_entries_by_tenant ON audit_entries (tenant_id, audit_entry_id)",
    _refuse("audit_entries", "UPDATE"),
    _refuse("audit_entries", "DELETE"),
    f"""
    CREATE TABLE tenant_stores (
        tenant_id BLOB PRIMARY KEY NOT NULL
            CONSTRAINT tenant_stores_tenant REFERENCES tenants (tenant_id) ON DELETE CASCADE,
        store_id BLOB NOT NULL CONSTRAINT tenant_stores_store_id CHECK ({_id("store_id")})
    ) STRICT""",
    f"""
    CREATE TABLE outbox (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        tenant_id BLOB NOT NULL CONSTRAINT outbox_tenant_id CHECK ({_id("tenant_id")}),
        subject TEXT NOT NULL
            CONSTRAINT outbox_subject CHECK (subject IN
                ('tenant', 'database', 'collection', 'collection_purge', 'tenant_purge')),
        subject_id BLOB NOT NULL CONSTRAINT outbox_subject_id CHECK ({_id("subject_id")})
    ) STRICT""",
    "CREATE INDEX outbox_by_tenant ON outbox (tenant_id, sequence)",
    f"""
    CREATE TABLE purged (
        entity_id BLOB PRIMARY KEY NOT NULL CONSTRAINT purged_id CHECK ({_id("entity_id")}),
        entity TEXT NOT NULL,
        purged_at TEXT NOT NULL CONSTRAINT purged_at CHECK (purged_at GLOB '{_INSTANT}')
    ) STRICT, WITHOUT ROWID""",
    f"""
    CREATE TABLE remembered_answers (
        scope TEXT NOT NULL,
        key TEXT NOT NULL,
        fingerprint BLOB NOT NULL
            CONSTRAINT remembered_answers_fingerprint CHECK (length(fingerprint) = 32),
        answer BLOB NOT NULL,
        tenant_id BLOB
            CONSTRAINT remembered_answers_tenant REFERENCES tenants (tenant_id) ON DELETE CASCADE,
        created_at TEXT NOT NULL
            CONSTRAINT remembered_answers_created_at CHECK (created_at GLOB '{_INSTANT}'),
        PRIMARY KEY (scope, key)
    ) STRICT""",
    "CREATE INDEX remembered_answers_by_time ON remembered_answers (created_at)",
    "CREATE INDEX remembered_answers_by_tenant ON remembered_answers (tenant_id)",
)


def _pg_name(column: str) -> str:
    return f"{column} ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{{0,127}}$' AND {column} !~ '^{_UUID}$'"


def _pg_versioned(table: str, state: str, deleted: str) -> str:
    """Return the trailing columns shared by all entities."""
    return f"""
        version bigint NOT NULL CONSTRAINT {table}_version CHECK (version >= 1),
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        deleted_at timestamptz,
        state_before_deletion text COLLATE "C",
        CONSTRAINT {table}_deletion CHECK (({state} = '{deleted}') = (deleted_at IS NOT NULL)),
        CONSTRAINT {table}_restores CHECK ((state_before_deletion IS NULL) OR (deleted_at IS NOT NULL))"""


def _pg_touch(table: str) -> str:
    return f"""
    CREATE TRIGGER {table}_touch BEFORE UPDATE ON {table} FOR EACH ROW
    WHEN (NEW.version = OLD.version) EXECUTE FUNCTION touch()"""


POSTGRESQL = (
    """
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.version := OLD.version + 1;
        NEW.updated_at := greatest(OLD.updated_at, date_trunc('milliseconds', clock_timestamp()));
        RETURN NEW;
    END $$""",
    f"""
    CREATE TABLE tenants (
        tenant_id uuid NOT NULL CONSTRAINT tenants_pkey PRIMARY KEY,
        external_id text COLLATE "C" CONSTRAINT tenants_external_id_key UNIQUE
            CONSTRAINT tenants_external_id CHECK (length(external_id) BETWEEN 1 AND 255),
        name text COLLATE "C" NOT NULL CONSTRAINT tenants_name CHECK (length(name) BETWEEN 1 AND 255),
        slug text COLLATE "C" NOT NULL CONSTRAINT tenants_slug_key UNIQUE
            CONSTRAINT tenants_slug CHECK (
                slug ~ '^[a-z0-9]([a-z0-9-]{{0,61}}[a-z0-9])?$' AND slug !~ '^{_UUID}$'),
        status text COLLATE "C" NOT NULL CONSTRAINT tenants_status
            CHECK (status IN ('provisioning', 'active', 'suspended', 'decommissioned')),
        memory_quota_bytes bigint NOT NULL
            CONSTRAINT tenants_memory_quota_bytes CHECK (memory_quota_bytes >= 0),
        storage_quota_bytes bigint NOT NULL
            CONSTRAINT tenants_storage_quota_bytes CHECK (storage_quota_bytes >= 0),
        qps_quota bigint NOT NULL CONSTRAINT tenants_qps_quota CHECK (qps_quota >= 0),
        placement text COLLATE "C",
        metadata text COLLATE "C" NOT NULL CONSTRAINT tenants_metadata CHECK (metadata IS JSON OBJECT),
        {_pg_versioned("tenants", "status", "decommissioned")}
    )""",
    "CREATE INDEX tenants_by_creation ON tenants (created_at, tenant_id)",
    _pg_touch("tenants"),
    f"""
    CREATE TABLE databases (
        database_id uuid NOT NULL CONSTRAINT databases_pkey PRIMARY KEY,
        tenant_id uuid NOT NULL CONSTRAINT databases_tenant REFERENCES tenants ON DELETE CASCADE,
        name text COLLATE "C" NOT NULL CONSTRAINT databases_name CHECK ({_pg_name("name")}),
        description text COLLATE "C" NOT NULL,
        state text COLLATE "C" NOT NULL CONSTRAINT databases_state
            CHECK (state IN ('provisioning', 'ready', 'migrating', 'deleting')),
        schema_version bigint NOT NULL CONSTRAINT databases_schema_version CHECK (schema_version >= 1),
        {_pg_versioned("databases", "state", "deleting")},
        CONSTRAINT databases_name_key UNIQUE (tenant_id, name),
        CONSTRAINT databases_tenant_key UNIQUE (tenant_id, database_id)
    )""",
    _pg_touch("databases"),
    f"""
    CREATE TABLE collections (
        collection_id uuid NOT NULL CONSTRAINT collections_pkey PRIMARY KEY,
        tenant_id uuid NOT NULL,
        database_id uuid NOT NULL,
        name text COLLATE "C" NOT NULL CONSTRAINT collections_name CHECK ({_pg_name("name")}),
        dimension integer NOT NULL CONSTRAINT collections_dimension CHECK (dimension BETWEEN 16 AND 4096),
        metric text COLLATE "C" NOT NULL
            CONSTRAINT collections_metric CHECK (metric IN ('cosine', 'dot', 'l2')),
        embedding_model text COLLATE "C",
        embedding_fingerprint text COLLATE "C",
        hnsw_m bigint NOT NULL CONSTRAINT collections_hnsw_m CHECK (hnsw_m >= 2),
        hnsw_ef_construction bigint NOT NULL
            CONSTRAINT collections_hnsw_ef_construction CHECK (hnsw_ef_construction >= 1),
        max_document_count bigint NOT NULL
            CONSTRAINT collections_max_document_count CHECK (max_document_count >= 0),
        state text COLLATE "C" NOT NULL
            CONSTRAINT collections_state CHECK (state IN ('creating', 'ready', 'deleting')),
        {_pg_versioned("collections", "state", "deleting")},
        CONSTRAINT collections_name_key UNIQUE (database_id, name),
        CONSTRAINT collections_model
            CHECK ((embedding_model IS NULL) = (embedding_fingerprint IS NULL)),
        CONSTRAINT collections_database FOREIGN KEY (tenant_id, database_id)
            REFERENCES databases (tenant_id, database_id) ON DELETE CASCADE
    )""",
    "CREATE INDEX collections_by_database ON collections (tenant_id, database_id)",
    _pg_touch("collections"),
    """
    CREATE TABLE audit_entries (
        audit_entry_id uuid NOT NULL CONSTRAINT audit_entries_pkey PRIMARY KEY,
        tenant_id uuid,
        user_id text COLLATE "C",
        action text COLLATE "C" NOT NULL,
        resource_type text COLLATE "C" NOT NULL,
        resource_id text COLLATE "C" NOT NULL,
        result text COLLATE "C" NOT NULL
            CONSTRAINT audit_entries_result CHECK (result IN ('allowed', 'denied')),
        reason text COLLATE "C",
        metadata text COLLATE "C" NOT NULL CONSTRAINT audit_entries_metadata CHECK (metadata IS JSON OBJECT),
        ip_address text COLLATE "C",
        user_agent text COLLATE "C",
        request_id text COLLATE "C",
        created_at timestamptz NOT NULL
    )""",
    "CREATE INDEX audit_entries_by_tenant ON audit_entries (tenant_id, audit_entry_id)",
    """
    CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'audit entries are never changed or deleted' USING ERRCODE = 'restrict_violation';
    END $$""",
    *(
        f"""
        CREATE TRIGGER audit_entries_no_{verb.lower()} BEFORE {verb} ON audit_entries
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()"""
        for verb in ("UPDATE", "DELETE", "TRUNCATE")
    ),
    """
    CREATE TABLE tenant_stores (
        tenant_id uuid NOT NULL CONSTRAINT tenant_stores_pkey PRIMARY KEY
            CONSTRAINT tenant_stores_tenant REFERENCES tenants ON DELETE CASCADE,
        store_id uuid NOT NULL
    )""",
    """
    CREATE TABLE outbox (
        sequence bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT outbox_pkey PRIMARY KEY,
        tenant_id uuid NOT NULL,
        subject text COLLATE "C" NOT NULL
            CONSTRAINT outbox_subject CHECK (subject IN
                ('tenant', 'database', 'collection', 'collection_purge', 'tenant_purge')),
        subject_id bytea NOT NULL CONSTRAINT outbox_subject_id CHECK (length(subject_id) = 16)
    )""",
    "CREATE INDEX outbox_by_tenant ON outbox (tenant_id, sequence)",
    """
    CREATE TABLE purged (
        entity_id bytea NOT NULL CONSTRAINT purged_pkey PRIMARY KEY
            CONSTRAINT purged_id CHECK (length(entity_id) = 16),
        entity text COLLATE "C" NOT NULL,
        purged_at timestamptz NOT NULL
    )""",
    """
    CREATE TABLE remembered_answers (
        scope text COLLATE "C" NOT NULL,
        key text COLLATE "C" NOT NULL,
        fingerprint bytea NOT NULL
            CONSTRAINT remembered_answers_fingerprint CHECK (length(fingerprint) = 32),
        answer bytea NOT NULL,
        tenant_id uuid CONSTRAINT remembered_answers_tenant REFERENCES tenants ON DELETE CASCADE,
        created_at timestamptz NOT NULL,
        CONSTRAINT remembered_answers_pkey PRIMARY KEY (scope, key)
    )""",
    "CREATE INDEX remembered_answers_by_time ON remembered_answers (created_at)",
    "CREATE INDEX remembered_answers_by_tenant ON remembered_answers (tenant_id)",
)


def upgrade() -> None:
    """Create the first schema."""
    steps.run(sqlite=SQLITE, postgresql=POSTGRESQL)
