"""Control rows, collections, documents, tombstones, remembered answers, each partitioned by the tenant."""

from akidb.sql import steps

revision = "0001"
down_revision = None

PARTITIONS = 16
"""Per table; a power of two allows halving partitions later."""


def _partitioned(table: str, columns: str) -> tuple[str, ...]:
    return (
        f"CREATE TABLE {table} (tenant_id uuid NOT NULL, {columns}) PARTITION BY HASH (tenant_id)",
        *(
            f"CREATE TABLE {table}_{part} PARTITION OF {table}"
            f" FOR VALUES WITH (MODULUS {PARTITIONS}, REMAINDER {part})"
            for part in range(PARTITIONS)
        ),
    )


_CONTROL = """
    store_id uuid NOT NULL,
    tenant_version bigint NOT NULL CONSTRAINT control_tenant_version CHECK (tenant_version >= 0),
    tenant_status text COLLATE "C" NOT NULL CONSTRAINT control_tenant_status
        CHECK (tenant_status IN ('provisioning', 'active', 'suspended', 'decommissioned')),
    storage_quota_bytes bigint NOT NULL
        CONSTRAINT control_storage_quota_bytes CHECK (storage_quota_bytes >= 0),
    storage_used_bytes bigint NOT NULL
        CONSTRAINT control_storage_used_bytes CHECK (storage_used_bytes >= 0),
    CONSTRAINT control_pkey PRIMARY KEY (tenant_id)"""

_COLLECTIONS = """
    collection_key bigint NOT NULL DEFAULT nextval('collection_keys'),
    collection_id uuid NOT NULL,
    database_id uuid NOT NULL,
    version bigint NOT NULL CONSTRAINT collections_version CHECK (version >= 1),
    state text COLLATE "C" NOT NULL
        CONSTRAINT collections_state CHECK (state IN ('creating', 'ready', 'deleting')),
    database_state text COLLATE "C" NOT NULL CONSTRAINT collections_database_state
        CHECK (database_state IN ('provisioning', 'ready', 'migrating', 'deleting')),
    dimension integer NOT NULL CONSTRAINT collections_dimension CHECK (dimension BETWEEN 16 AND 4096),
    metric text COLLATE "C" NOT NULL CONSTRAINT collections_metric CHECK (metric IN ('cosine', 'dot', 'l2')),
    max_document_count bigint NOT NULL
        CONSTRAINT collections_max_document_count CHECK (max_document_count >= 0),
    document_count bigint NOT NULL DEFAULT 0
        CONSTRAINT collections_document_count CHECK (document_count >= 0),
    storage_used_bytes bigint NOT NULL DEFAULT 0
        CONSTRAINT collections_storage_used_bytes CHECK (storage_used_bytes >= 0),
    sequence bigint NOT NULL DEFAULT 0 CONSTRAINT collections_sequence CHECK (sequence >= 0),
    tombstone_floor bigint NOT NULL DEFAULT 0
        CONSTRAINT collections_tombstone_floor CHECK (tombstone_floor BETWEEN 0 AND sequence),
    CONSTRAINT collections_pkey PRIMARY KEY (tenant_id, collection_key),
    CONSTRAINT collections_id_key UNIQUE (tenant_id, collection_id),
    CONSTRAINT collections_control FOREIGN KEY (tenant_id) REFERENCES control"""

_OF_COLLECTION = """FOREIGN KEY (tenant_id, collection_key) REFERENCES collections"""

_DOCUMENTS = f"""
    document_key bigint NOT NULL DEFAULT nextval('document_keys'),
    collection_key bigint NOT NULL,
    id text COLLATE "C" NOT NULL CONSTRAINT documents_id CHECK (octet_length(id) BETWEEN 1 AND 512),
    sequence bigint NOT NULL CONSTRAINT documents_sequence CHECK (sequence >= 1),
    size_bytes bigint NOT NULL CONSTRAINT documents_size_bytes CHECK (size_bytes >= 0),
    text text COLLATE "C",
    metadata text COLLATE "C" NOT NULL,
    vector bytea STORAGE EXTERNAL NOT NULL CONSTRAINT documents_vector CHECK (length(vector) % 4 = 0),
    CONSTRAINT documents_pkey PRIMARY KEY (tenant_id, document_key),
    CONSTRAINT documents_id_key UNIQUE (tenant_id, collection_key, id),
    CONSTRAINT documents_sequence_key UNIQUE (tenant_id, collection_key, sequence),
    CONSTRAINT documents_collection {_OF_COLLECTION}"""

_TOMBSTONES = f"""
    collection_key bigint NOT NULL,
    sequence bigint NOT NULL CONSTRAINT tombstones_sequence CHECK (sequence >= 1),
    id text COLLATE "C" NOT NULL,
    CONSTRAINT tombstones_pkey PRIMARY KEY (tenant_id, collection_key, sequence),
    CONSTRAINT tombstones_collection {_OF_COLLECTION}"""

_REMEMBERED_ANSWERS = f"""
    scope text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    fingerprint bytea NOT NULL
        CONSTRAINT remembered_answers_fingerprint CHECK (length(fingerprint) = 32),
    answer bytea NOT NULL,
    collection_key bigint NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT remembered_answers_pkey PRIMARY KEY (tenant_id, scope, key),
    CONSTRAINT remembered_answers_collection {_OF_COLLECTION}"""

POSTGRESQL = (
    "CREATE SEQUENCE collection_keys",
    "CREATE SEQUENCE document_keys",
    *_partitioned("control", _CONTROL),
    *_partitioned("collections", _COLLECTIONS),
    *_partitioned("documents", _DOCUMENTS),
    *_partitioned("tombstones", _TOMBSTONES),
    *_partitioned("remembered_answers", _REMEMBERED_ANSWERS),
    "CREATE INDEX remembered_answers_by_time ON remembered_answers (tenant_id, created_at)",
    "CREATE INDEX remembered_answers_by_collection ON remembered_answers (tenant_id, collection_key)",
)


def upgrade() -> None:
    """Create the first schema."""
    steps.run(sqlite=(), postgresql=POSTGRESQL)
