"""Tenants, databases, collections, users and audit entries as immutable values.

A change creates a new value: `tenant.changed(now, name="...")` increments the version, and `updated_at`
never goes backwards.
"""

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

import msgspec

from akidb.domain.ids import AuditEntryId, CollectionId, DatabaseId, TenantId, UserId
from akidb.domain.lifecycle import CollectionState, DatabaseState, TenantStatus, UserStatus
from akidb.domain.names import MAX_INTEGER

UNLIMITED = MAX_INTEGER
"""The number that stands for no limit in databases and in 1.x manifests; in entities it is None."""
DEFAULT_MEMORY_QUOTA_BYTES = 32 * 2**30
DEFAULT_STORAGE_QUOTA_BYTES = 2**40
DEFAULT_QPS_QUOTA = 200
DEFAULT_MAX_DOCUMENT_COUNT = 50_000_000
MIN_DIMENSION, MAX_DIMENSION = 1, 4096


def limit_of(quota: int | None) -> int:
    """Return a quota as a number to compare with."""
    return UNLIMITED if quota is None else quota


class Metric(StrEnum):
    """The similarity metric of vectors; a higher score is always better."""

    COSINE = "cosine"
    DOT = "dot"
    L2 = "l2"


class Entity(msgspec.Struct, frozen=True, kw_only=True):
    """Base class of tenants, databases, collections and users. Times are timezone-aware and in UTC."""

    if TYPE_CHECKING:  # each entity declares them last, so that its JSON begins with its ID

        @property
        def version(self) -> int: ...  # noqa: D102
        @property
        def updated_at(self) -> datetime: ...  # noqa: D102

    def changed(self, now: datetime, **values: Any) -> Self:
        """Return the next version of this entity."""
        return msgspec.structs.replace(
            self, version=self.version + 1, updated_at=max(now, self.updated_at), **values
        )


class Tenant(Entity, frozen=True, kw_only=True):
    """A customer: the unit of isolation, of quotas, and of storage."""

    tenant_id: TenantId
    external_id: str | None = None
    name: str
    slug: str
    status: TenantStatus = TenantStatus.ACTIVE
    memory_quota_bytes: int | None = DEFAULT_MEMORY_QUOTA_BYTES
    """A quota of None is unlimited."""
    storage_quota_bytes: int | None = DEFAULT_STORAGE_QUOTA_BYTES
    qps_quota: int | None = DEFAULT_QPS_QUOTA
    placement: str | None = None
    metadata: dict[str, Any] = {}
    version: int = 1
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None


class Database(Entity, frozen=True, kw_only=True):
    """A named group of collections of one tenant."""

    database_id: DatabaseId
    tenant_id: TenantId
    name: str
    description: str = ""
    state: DatabaseState = DatabaseState.READY
    schema_version: int = 1
    metadata: dict[str, Any] = {}
    version: int = 1
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None


class Collection(Entity, frozen=True, kw_only=True):
    """Documents whose vectors share a dimension, a metric and a model."""

    collection_id: CollectionId
    tenant_id: TenantId
    database_id: DatabaseId
    name: str
    dimension: int | None
    """None before the first vector, unless a dimension or a model was given."""
    metric: Metric = Metric.COSINE
    embedding_model: str | None = None
    embedding_fingerprint: str | None = None
    hnsw_m: int = 16
    hnsw_ef_construction: int = 128
    max_document_count: int = DEFAULT_MAX_DOCUMENT_COUNT
    metadata: dict[str, Any] = {}
    state: CollectionState = CollectionState.READY
    version: int = 1
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None


class UserRole(StrEnum):
    """The role of a user in the tenant."""

    ADMIN = "admin"
    DEVELOPER = "developer"
    VIEWER = "viewer"
    AUDITOR = "auditor"


class User(Entity, frozen=True, kw_only=True):
    """A user of a tenant. The password hash is stored separately and is not part of this value."""

    user_id: UserId
    tenant_id: TenantId
    email: str
    role: UserRole = UserRole.VIEWER
    status: UserStatus = UserStatus.ACTIVE
    last_login_at: datetime | None = None
    created_by: UserId | None = None
    version: int = 1
    created_at: datetime
    updated_at: datetime


class AuditResult(StrEnum):
    """Whether the operation was allowed."""

    ALLOWED = "allowed"
    DENIED = "denied"


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A record of an action of a user on a resource, and its result. Never changed, never deleted."""

    audit_entry_id: AuditEntryId
    tenant_id: TenantId | None
    user_id: str | None = None
    action: str
    resource_type: str
    resource_id: str
    result: AuditResult = AuditResult.ALLOWED
    reason: str | None = None
    metadata: dict[str, Any] = {}
    ip_address: str | None = None
    user_agent: str | None = None
    request_id: str | None = None
    created_at: datetime


class Scope(msgspec.Struct, frozen=True):
    """A collection with its database and tenant."""

    tenant: Tenant
    database: Database
    collection: Collection


class QuotaUsage(msgspec.Struct, frozen=True, kw_only=True):
    """A limit, None if there is none, and its current usage."""

    limit: int | None
    used: int


class RateLimit(msgspec.Struct, frozen=True, kw_only=True):
    """A limit in operations per second, None if there is none."""

    limit: int | None


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and exact usage of a tenant."""

    storage_bytes: QuotaUsage
    memory_bytes: QuotaUsage
    qps: RateLimit
    documents: int
    databases: int
    collections: int
