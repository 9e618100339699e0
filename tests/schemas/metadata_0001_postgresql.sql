-- The metadata store as the first release made it on PostgreSQL. Released: never changed.

CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.version := OLD.version + 1;
    NEW.updated_at := greatest(OLD.updated_at, date_trunc('milliseconds', clock_timestamp()));
    RETURN NEW;
END $$;

CREATE TABLE tenants (
    tenant_id uuid NOT NULL CONSTRAINT tenants_pkey PRIMARY KEY,
    external_id text COLLATE "C" CONSTRAINT tenants_external_id_key UNIQUE
        CONSTRAINT tenants_external_id CHECK (length(external_id) BETWEEN 1 AND 255),
    name text COLLATE "C" NOT NULL CONSTRAINT tenants_name CHECK (length(name) BETWEEN 1 AND 255),
    slug text COLLATE "C" NOT NULL CONSTRAINT tenants_slug_key UNIQUE
        CONSTRAINT tenants_slug CHECK (
            slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$' AND slug !~ '^[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]-[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]-[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]-[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]-[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]$'),
    status text COLLATE "C" NOT NULL CONSTRAINT tenants_status
        CHECK (status IN ('provisioning', 'active', 'suspended', 'decommissioned')),
    memory_quota_bytes bigint NOT NULL
        CONSTRAINT tenants_memory_quota_bytes CHECK (memory_quota_bytes >= 0),
    storage_quota_bytes bigint NOT NULL
        CONSTRAINT tenants_storage_quota_bytes CHECK (storage_quota_bytes >= 0),
    qps_quota bigint NOT NULL CONSTRAINT tenants_qps_quota CHECK (qps_quota >= 0),
    placement text COLLATE "C",
    metadata text COLLATE "C" NOT NULL CONSTRAINT tenants_metadata CHECK (metadata IS JSON OBJECT),

    version bigint NOT NULL CONSTRAINT tenants_version CHECK (version >= 1),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz,
    state_before_deletion text COLLATE "C",
    CONSTRAINT tenants_deletion CHECK ((status = 'decommissioned') = (deleted_at IS NOT NULL)),
    CONSTRAINT tenants_restores CHECK ((state_before_deletion IS NULL) OR (deleted_at IS NOT NULL))
);

CREATE INDEX tenants_by_creation ON tenants (created_at, tenant_id);

CREATE TRIGGER tenants_touch BEFORE UPDATE ON tenants FOR EACH ROW
WHEN (NEW.version = OLD.version) EXECUTE FUNCTION touch();

CREATE TABLE databases (
    database_id uuid NOT NULL CONSTRAINT databases_pkey PRIMARY KEY,
    tenant_id uuid NOT NULL CONSTRAINT databases_tenant REFERENCES tenants ON DELETE CASCADE,
    name text COLLATE "C" NOT NULL CONSTRAINT databases_name CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$' AND name !~ '^[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]-[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]-[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]-[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]-[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]$'),
    description text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL CONSTRAINT databases_state
        CHECK (state IN ('provisioning', 'ready', 'migrating', 'deleting')),
    schema_version bigint NOT NULL CONSTRAINT databases_schema_version CHECK (schema_version >= 1),

    version bigint NOT NULL CONSTRAINT databases_version CHECK (version >= 1),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz,
    state_before_deletion text COLLATE "C",
    CONSTRAINT databases_deletion CHECK ((state = 'deleting') = (deleted_at IS NOT NULL)),
    CONSTRAINT databases_restores CHECK ((state_before_deletion IS NULL) OR (deleted_at IS NOT NULL)),
    CONSTRAINT databases_name_key UNIQUE (tenant_id, name),
    CONSTRAINT databases_tenant_key UNIQUE (tenant_id, database_id)
);

CREATE TRIGGER databases_touch BEFORE UPDATE ON databases FOR EACH ROW
WHEN (NEW.version = OLD.version) EXECUTE FUNCTION touch();

CREATE TABLE collections (
    collection_id uuid NOT NULL CONSTRAINT collections_pkey PRIMARY KEY,
    tenant_id uuid NOT NULL,
    database_id uuid NOT NULL,
    name text COLLATE "C" NOT NULL CONSTRAINT collections_name CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$' AND name !~ '^[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]-[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]-[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]-[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]-[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f]$'),
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

    version bigint NOT NULL CONSTRAINT collections_version CHECK (version >= 1),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz,
    state_before_deletion text COLLATE "C",
    CONSTRAINT collections_deletion CHECK ((state = 'deleting') = (deleted_at IS NOT NULL)),
    CONSTRAINT collections_restores CHECK ((state_before_deletion IS NULL) OR (deleted_at IS NOT NULL)),
    CONSTRAINT collections_name_key UNIQUE (database_id, name),
    CONSTRAINT collections_model
        CHECK ((embedding_model IS NULL) = (embedding_fingerprint IS NULL)),
    CONSTRAINT collections_database FOREIGN KEY (tenant_id, database_id)
        REFERENCES databases (tenant_id, database_id) ON DELETE CASCADE
);

CREATE INDEX collections_by_database ON collections (tenant_id, database_id);

CREATE TRIGGER collections_touch BEFORE UPDATE ON collections FOR EACH ROW
WHEN (NEW.version = OLD.version) EXECUTE FUNCTION touch();

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
);

CREATE INDEX audit_entries_by_tenant ON audit_entries (tenant_id, audit_entry_id);

CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit entries are never changed or deleted' USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER audit_entries_no_update BEFORE UPDATE ON audit_entries
FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();

CREATE TRIGGER audit_entries_no_delete BEFORE DELETE ON audit_entries
FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();

CREATE TRIGGER audit_entries_no_truncate BEFORE TRUNCATE ON audit_entries
FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();

CREATE TABLE tenant_stores (
    tenant_id uuid NOT NULL CONSTRAINT tenant_stores_pkey PRIMARY KEY
        CONSTRAINT tenant_stores_tenant REFERENCES tenants ON DELETE CASCADE,
    store_id uuid NOT NULL
);

CREATE TABLE outbox (
    sequence bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT outbox_pkey PRIMARY KEY,
    tenant_id uuid NOT NULL,
    subject text COLLATE "C" NOT NULL
        CONSTRAINT outbox_subject CHECK (subject IN
            ('tenant', 'database', 'collection', 'collection_purge', 'tenant_purge')),
    subject_id bytea NOT NULL CONSTRAINT outbox_subject_id CHECK (length(subject_id) = 16)
);

CREATE INDEX outbox_by_tenant ON outbox (tenant_id, sequence);

CREATE TABLE purged (
    entity_id bytea NOT NULL CONSTRAINT purged_pkey PRIMARY KEY
        CONSTRAINT purged_id CHECK (length(entity_id) = 16),
    entity text COLLATE "C" NOT NULL,
    purged_at timestamptz NOT NULL
);

CREATE TABLE remembered_answers (
    scope text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    fingerprint bytea NOT NULL
        CONSTRAINT remembered_answers_fingerprint CHECK (length(fingerprint) = 32),
    answer bytea NOT NULL,
    tenant_id uuid CONSTRAINT remembered_answers_tenant REFERENCES tenants ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    CONSTRAINT remembered_answers_pkey PRIMARY KEY (scope, key)
);

CREATE INDEX remembered_answers_by_time ON remembered_answers (created_at);

CREATE INDEX remembered_answers_by_tenant ON remembered_answers (tenant_id);

CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

INSERT INTO alembic_version VALUES ('0001');
