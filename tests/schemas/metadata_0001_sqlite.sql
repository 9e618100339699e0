-- The metadata store as the first release made it on SQLite. Released: never changed.

CREATE TABLE tenants (
    tenant_id BLOB PRIMARY KEY NOT NULL CONSTRAINT tenants_id CHECK (length(tenant_id) = 16),
    external_id TEXT CONSTRAINT tenants_external_id_key UNIQUE
        CONSTRAINT tenants_external_id CHECK (length(external_id) BETWEEN 1 AND 255),
    name TEXT NOT NULL CONSTRAINT tenants_name CHECK (length(name) BETWEEN 1 AND 255),
    slug TEXT NOT NULL CONSTRAINT tenants_slug_key UNIQUE
        CONSTRAINT tenants_slug CHECK (
            length(slug) BETWEEN 1 AND 63 AND slug NOT GLOB '*[^a-z0-9-]*'
            AND slug NOT GLOB '-*' AND slug NOT GLOB '*-' AND slug NOT GLOB '[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]-[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]-[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]-[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]-[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]'),
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

    version INTEGER NOT NULL CONSTRAINT tenants_version CHECK (version >= 1),
    created_at TEXT NOT NULL CONSTRAINT tenants_created_at CHECK (created_at GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'),
    updated_at TEXT NOT NULL CONSTRAINT tenants_updated_at CHECK (updated_at GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'),
    deleted_at TEXT CONSTRAINT tenants_deleted_at CHECK (deleted_at GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'),
    state_before_deletion TEXT,
    CONSTRAINT tenants_deletion CHECK ((status = 'decommissioned') = (deleted_at IS NOT NULL)),
    CONSTRAINT tenants_restores CHECK ((state_before_deletion IS NULL) OR (deleted_at IS NOT NULL))
) STRICT;

CREATE INDEX tenants_by_creation ON tenants (created_at, tenant_id);

CREATE TRIGGER tenants_touch AFTER UPDATE ON tenants FOR EACH ROW WHEN NEW.version = OLD.version
BEGIN
    UPDATE tenants SET version = OLD.version + 1,
        updated_at = max(OLD.updated_at, strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z')
    WHERE tenant_id = NEW.tenant_id;
END;

CREATE TABLE databases (
    database_id BLOB PRIMARY KEY NOT NULL CONSTRAINT databases_id CHECK (length(database_id) = 16),
    tenant_id BLOB NOT NULL
        CONSTRAINT databases_tenant REFERENCES tenants (tenant_id) ON DELETE CASCADE,
    name TEXT NOT NULL CONSTRAINT databases_name CHECK (length(name) BETWEEN 1 AND 128 AND name NOT GLOB '*[^A-Za-z0-9_.-]*' AND name GLOB '[A-Za-z0-9]*' AND name NOT GLOB '[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]-[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]-[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]-[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]-[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]'),
    description TEXT NOT NULL,
    state TEXT NOT NULL CONSTRAINT databases_state
        CHECK (state IN ('provisioning', 'ready', 'migrating', 'deleting')),
    schema_version INTEGER NOT NULL CONSTRAINT databases_schema_version CHECK (schema_version >= 1),

    version INTEGER NOT NULL CONSTRAINT databases_version CHECK (version >= 1),
    created_at TEXT NOT NULL CONSTRAINT databases_created_at CHECK (created_at GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'),
    updated_at TEXT NOT NULL CONSTRAINT databases_updated_at CHECK (updated_at GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'),
    deleted_at TEXT CONSTRAINT databases_deleted_at CHECK (deleted_at GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'),
    state_before_deletion TEXT,
    CONSTRAINT databases_deletion CHECK ((state = 'deleting') = (deleted_at IS NOT NULL)),
    CONSTRAINT databases_restores CHECK ((state_before_deletion IS NULL) OR (deleted_at IS NOT NULL)),
    CONSTRAINT databases_name_key UNIQUE (tenant_id, name),
    CONSTRAINT databases_tenant_key UNIQUE (tenant_id, database_id)
) STRICT;

CREATE TRIGGER databases_touch AFTER UPDATE ON databases FOR EACH ROW WHEN NEW.version = OLD.version
BEGIN
    UPDATE databases SET version = OLD.version + 1,
        updated_at = max(OLD.updated_at, strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z')
    WHERE database_id = NEW.database_id;
END;

CREATE TABLE collections (
    collection_id BLOB PRIMARY KEY NOT NULL CONSTRAINT collections_id CHECK (length(collection_id) = 16),
    tenant_id BLOB NOT NULL,
    database_id BLOB NOT NULL,
    name TEXT NOT NULL CONSTRAINT collections_name CHECK (length(name) BETWEEN 1 AND 128 AND name NOT GLOB '*[^A-Za-z0-9_.-]*' AND name GLOB '[A-Za-z0-9]*' AND name NOT GLOB '[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]-[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]-[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]-[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]-[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]'),
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

    version INTEGER NOT NULL CONSTRAINT collections_version CHECK (version >= 1),
    created_at TEXT NOT NULL CONSTRAINT collections_created_at CHECK (created_at GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'),
    updated_at TEXT NOT NULL CONSTRAINT collections_updated_at CHECK (updated_at GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'),
    deleted_at TEXT CONSTRAINT collections_deleted_at CHECK (deleted_at GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'),
    state_before_deletion TEXT,
    CONSTRAINT collections_deletion CHECK ((state = 'deleting') = (deleted_at IS NOT NULL)),
    CONSTRAINT collections_restores CHECK ((state_before_deletion IS NULL) OR (deleted_at IS NOT NULL)),
    CONSTRAINT collections_name_key UNIQUE (database_id, name),
    CONSTRAINT collections_model
        CHECK ((embedding_model IS NULL) = (embedding_fingerprint IS NULL)),
    CONSTRAINT collections_database FOREIGN KEY (tenant_id, database_id)
        REFERENCES databases (tenant_id, database_id) ON DELETE CASCADE
) STRICT;

CREATE INDEX collections_by_database ON collections (tenant_id, database_id);

CREATE TRIGGER collections_touch AFTER UPDATE ON collections FOR EACH ROW WHEN NEW.version = OLD.version
BEGIN
    UPDATE collections SET version = OLD.version + 1,
        updated_at = max(OLD.updated_at, strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z')
    WHERE collection_id = NEW.collection_id;
END;

CREATE TABLE audit_entries (
    audit_entry_id BLOB PRIMARY KEY NOT NULL
        CONSTRAINT audit_entries_id CHECK (length(audit_entry_id) = 16),
    tenant_id BLOB CONSTRAINT audit_entries_tenant_id CHECK (length(tenant_id) = 16),
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
        CONSTRAINT audit_entries_created_at CHECK (created_at GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z')
) STRICT;

CREATE INDEX audit_entries_by_tenant ON audit_entries (tenant_id, audit_entry_id);

CREATE TRIGGER audit_entries_no_update BEFORE UPDATE ON audit_entries
BEGIN
    SELECT RAISE(ABORT, 'audit entries are never changed or deleted');
END;

CREATE TRIGGER audit_entries_no_delete BEFORE DELETE ON audit_entries
BEGIN
    SELECT RAISE(ABORT, 'audit entries are never changed or deleted');
END;

CREATE TABLE tenant_stores (
    tenant_id BLOB PRIMARY KEY NOT NULL
        CONSTRAINT tenant_stores_tenant REFERENCES tenants (tenant_id) ON DELETE CASCADE,
    store_id BLOB NOT NULL CONSTRAINT tenant_stores_store_id CHECK (length(store_id) = 16)
) STRICT;

CREATE TABLE outbox (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant_id BLOB NOT NULL CONSTRAINT outbox_tenant_id CHECK (length(tenant_id) = 16),
    subject TEXT NOT NULL
        CONSTRAINT outbox_subject CHECK (subject IN
            ('tenant', 'database', 'collection', 'collection_purge', 'tenant_purge')),
    subject_id BLOB NOT NULL CONSTRAINT outbox_subject_id CHECK (length(subject_id) = 16)
) STRICT;

CREATE INDEX outbox_by_tenant ON outbox (tenant_id, sequence);

CREATE TABLE purged (
    entity_id BLOB PRIMARY KEY NOT NULL CONSTRAINT purged_id CHECK (length(entity_id) = 16),
    entity TEXT NOT NULL,
    purged_at TEXT NOT NULL CONSTRAINT purged_at CHECK (purged_at GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z')
) STRICT, WITHOUT ROWID;

CREATE TABLE remembered_answers (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL
        CONSTRAINT remembered_answers_fingerprint CHECK (length(fingerprint) = 32),
    answer BLOB NOT NULL,
    tenant_id BLOB
        CONSTRAINT remembered_answers_tenant REFERENCES tenants (tenant_id) ON DELETE CASCADE,
    created_at TEXT NOT NULL
        CONSTRAINT remembered_answers_created_at CHECK (created_at GLOB '[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9].[0-9][0-9][0-9][0-9][0-9][0-9]Z'),
    PRIMARY KEY (scope, key)
) STRICT;

CREATE INDEX remembered_answers_by_time ON remembered_answers (created_at);

CREATE INDEX remembered_answers_by_tenant ON remembered_answers (tenant_id);

CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

INSERT INTO alembic_version VALUES ('0001');
