"""Table definitions for queries. Migrations create the tables; a test compares the two."""

import sqlalchemy as sa

from akidb.domain.entities import AuditResult, Metric, UserRole
from akidb.domain.fields import Dimension, DocumentCount, EfConstruction, HnswM, SchemaVersion, bounds_of
from akidb.domain.ids import AuditEntryId, CollectionId, DatabaseId, EntityId, StoreId, TenantId, UserId
from akidb.domain.lifecycle import CollectionState, DatabaseState, TenantStatus, UserStatus
from akidb.domain.names import MAX_INTEGER, MAX_SEQUENCE
from akidb.sql.types import Enumerated, Id, Instant, JsonObject, Quota, bounded

schema = sa.MetaData()
_VERSION = bounded(1, MAX_SEQUENCE)  # an imported one may be MAX_VERSION, and be incremented
_SEQUENCE = bounded(1, MAX_SEQUENCE)
_QUOTA = bounded(0, MAX_INTEGER)


def _versioned() -> list[sa.Column[object]]:
    return [
        sa.Column("version", sa.Integer, nullable=False, info=_VERSION),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.Column("deleted_at", Instant),
    ]


tenants = sa.Table(
    "tenants",
    schema,
    sa.Column("tenant_id", Id(TenantId), primary_key=True),
    sa.Column("external_id", sa.Text, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("slug", sa.Text, nullable=False, unique=True),
    sa.Column("status", Enumerated(TenantStatus), nullable=False),
    sa.Column("memory_quota_bytes", Quota, nullable=False, info=_QUOTA),
    sa.Column("storage_quota_bytes", Quota, nullable=False, info=_QUOTA),
    sa.Column("qps_quota", Quota, nullable=False, info=_QUOTA),
    sa.Column("placement", sa.Text),
    sa.Column("metadata", JsonObject, nullable=False),
    *_versioned(),
    sa.Column("state_before_deletion", Enumerated(TenantStatus)),
    sa.Column("name_folded", sa.Text, nullable=False, server_default=""),
)

databases = sa.Table(
    "databases",
    schema,
    sa.Column("database_id", Id(DatabaseId), primary_key=True),
    sa.Column("tenant_id", Id(TenantId), sa.ForeignKey("tenants.tenant_id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("state", Enumerated(DatabaseState), nullable=False),
    sa.Column("schema_version", sa.Integer, nullable=False, info=bounded(*bounds_of(SchemaVersion))),
    *_versioned(),
    sa.Column("state_before_deletion", Enumerated(DatabaseState)),
    sa.Column("metadata", JsonObject, nullable=False),
)

collections = sa.Table(
    "collections",
    schema,
    sa.Column("collection_id", Id(CollectionId), primary_key=True),
    sa.Column("tenant_id", Id(TenantId), nullable=False),
    sa.Column("database_id", Id(DatabaseId), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("dimension", sa.Integer, info=bounded(*bounds_of(Dimension))),
    sa.Column("metric", Enumerated(Metric), nullable=False),
    sa.Column("embedding_model", sa.Text),
    sa.Column("embedding_fingerprint", sa.Text),
    sa.Column("hnsw_m", sa.Integer, nullable=False, info=bounded(*bounds_of(HnswM))),
    sa.Column("hnsw_ef_construction", sa.Integer, nullable=False, info=bounded(*bounds_of(EfConstruction))),
    sa.Column("max_document_count", sa.BigInteger, nullable=False, info=bounded(*bounds_of(DocumentCount))),
    sa.Column("state", Enumerated(CollectionState), nullable=False),
    *_versioned(),
    sa.Column("state_before_deletion", Enumerated(CollectionState)),
    sa.Column("metadata", JsonObject, nullable=False),
)

users = sa.Table(
    "users",
    schema,
    sa.Column("user_id", Id(UserId), primary_key=True),
    sa.Column("tenant_id", Id(TenantId), sa.ForeignKey("tenants.tenant_id"), nullable=False),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("email_key", sa.Text, nullable=False),
    sa.Column("password_hash", sa.Text, nullable=False),
    sa.Column("role", Enumerated(UserRole), nullable=False),
    sa.Column("status", Enumerated(UserStatus), nullable=False),
    sa.Column("last_login_at", Instant),
    sa.Column("created_by", Id(UserId)),
    sa.Column("version", sa.Integer, nullable=False, info=_VERSION),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)

audit_entries = sa.Table(
    "audit_entries",
    schema,
    sa.Column("audit_entry_id", Id(AuditEntryId), primary_key=True),
    sa.Column("tenant_id", Id(TenantId)),
    sa.Column("user_id", sa.Text),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("resource_type", sa.Text, nullable=False),
    sa.Column("resource_id", sa.Text, nullable=False),
    sa.Column("result", Enumerated(AuditResult), nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("metadata", JsonObject, nullable=False),
    sa.Column("ip_address", sa.Text),
    sa.Column("user_agent", sa.Text),
    sa.Column("request_id", sa.Text),
    sa.Column("created_at", Instant, nullable=False),
)

tenant_stores = sa.Table(
    "tenant_stores",
    schema,
    sa.Column("tenant_id", Id(TenantId), primary_key=True),
    sa.Column("store_id", Id(StoreId), nullable=False),
)

outbox = sa.Table(
    "outbox",
    schema,
    sa.Column("sequence", sa.BigInteger, primary_key=True, info=_SEQUENCE),
    sa.Column("tenant_id", Id(TenantId), nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("subject_id", sa.LargeBinary(16), nullable=False),
)

purged = sa.Table(
    "purged",
    schema,
    sa.Column("entity_id", sa.LargeBinary(16), primary_key=True),
    sa.Column("entity", sa.Text, nullable=False),
    sa.Column("purged_at", Instant, nullable=False),
)

remembered_answers = sa.Table(
    "remembered_answers",
    schema,
    sa.Column("scope", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.LargeBinary, nullable=False),
    sa.Column("answer", sa.LargeBinary, nullable=False),
    sa.Column("tenant_id", Id(TenantId)),
    sa.Column("created_at", Instant, nullable=False),
)

answer_totals = sa.Table(
    "answer_totals",
    schema,
    sa.Column("tenant_id", Id(TenantId), primary_key=True),
    sa.Column("bytes", sa.BigInteger, nullable=False, info=_QUOTA),
)

legacy_manifests = sa.Table(
    "legacy_manifests",
    schema,
    sa.Column("tenant_id", Id(TenantId), primary_key=True),
    sa.Column("path", sa.LargeBinary, nullable=False),
    sa.Column("manifest", sa.LargeBinary, nullable=False),
    sa.Column("sha256", sa.LargeBinary(32), nullable=False),
    sa.Column("slug", sa.Text, nullable=False),
    sa.Column("migrated_at", Instant, nullable=False),
)

metadata_feeds = sa.Table(
    "metadata_feeds",
    schema,
    sa.Column("tenant_id", Id(TenantId), primary_key=True),
    sa.Column("feed_id", Id(EntityId), nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False, info=_SEQUENCE),
    sa.Column("tenant_sequence", sa.BigInteger, nullable=False, info=_SEQUENCE),
    sa.Column("tombstone_floor", sa.BigInteger, nullable=False, info=bounded(0, MAX_SEQUENCE)),
)

metadata_changes = sa.Table(
    "metadata_changes",
    schema,
    sa.Column("tenant_id", Id(TenantId), primary_key=True),
    sa.Column("sequence", sa.BigInteger, primary_key=True, info=_SEQUENCE),
    sa.Column("entity", sa.Text, nullable=False),
    sa.Column("entity_id", Id(EntityId), nullable=False),
    sa.Column("deleted", sa.SmallInteger, nullable=False, info=bounded(0, 1)),
)
