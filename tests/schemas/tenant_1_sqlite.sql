-- A tenant's file as the first release made it. Released: never changed.

CREATE TABLE control (
    singleton INTEGER PRIMARY KEY CHECK (singleton = 1),
    store_id BLOB NOT NULL CHECK (length(store_id) = 16),
    tenant_id BLOB NOT NULL CHECK (length(tenant_id) = 16),
    tenant_version INTEGER NOT NULL CHECK (tenant_version >= 0),
    tenant_status TEXT NOT NULL
        CHECK (tenant_status IN ('provisioning', 'active', 'suspended', 'decommissioned')),
    storage_quota_bytes INTEGER NOT NULL CHECK (storage_quota_bytes >= 0),
    storage_used_bytes INTEGER NOT NULL CHECK (storage_used_bytes >= 0)
) STRICT;

CREATE TABLE collections (
    collection_key INTEGER PRIMARY KEY,
    collection_id BLOB NOT NULL UNIQUE CHECK (length(collection_id) = 16),
    database_id BLOB NOT NULL CHECK (length(database_id) = 16),
    version INTEGER NOT NULL CHECK (version >= 1),
    state TEXT NOT NULL CHECK (state IN ('creating', 'ready', 'deleting')),
    database_state TEXT NOT NULL
        CHECK (database_state IN ('provisioning', 'ready', 'migrating', 'deleting')),
    dimension INTEGER NOT NULL CHECK (dimension BETWEEN 16 AND 4096),
    metric TEXT NOT NULL CHECK (metric IN ('cosine', 'dot', 'l2')),
    max_document_count INTEGER NOT NULL CHECK (max_document_count >= 0),
    document_count INTEGER NOT NULL DEFAULT 0 CHECK (document_count >= 0),
    storage_used_bytes INTEGER NOT NULL DEFAULT 0 CHECK (storage_used_bytes >= 0),
    sequence INTEGER NOT NULL DEFAULT 0 CHECK (sequence >= 0),
    tombstone_floor INTEGER NOT NULL DEFAULT 0 CHECK (tombstone_floor BETWEEN 0 AND sequence)
) STRICT;

CREATE TABLE documents (
    document_key INTEGER PRIMARY KEY,
    collection_key INTEGER NOT NULL REFERENCES collections (collection_key),
    id TEXT NOT NULL CHECK (length(CAST(id AS BLOB)) BETWEEN 1 AND 512),
    sequence INTEGER NOT NULL CHECK (sequence >= 1),
    size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
    text TEXT,
    metadata TEXT NOT NULL,
    vector BLOB NOT NULL CHECK (length(vector) % 4 = 0),
    UNIQUE (collection_key, id),
    UNIQUE (collection_key, sequence)
) STRICT;

CREATE TABLE tombstones (
    collection_key INTEGER NOT NULL REFERENCES collections (collection_key),
    sequence INTEGER NOT NULL CHECK (sequence >= 1),
    id TEXT NOT NULL,
    PRIMARY KEY (collection_key, sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE remembered_answers (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
    answer BLOB NOT NULL,
    collection_key INTEGER NOT NULL REFERENCES collections (collection_key),
    created_at TEXT NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT;

CREATE INDEX remembered_answers_by_time ON remembered_answers (created_at);

CREATE INDEX remembered_answers_by_collection ON remembered_answers (collection_key);

PRAGMA user_version = 1;
