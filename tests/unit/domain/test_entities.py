"""Entities: immutable values whose version and update time never go backwards."""

from datetime import UTC, datetime, timedelta

import pytest

from akidb.domain.entities import Collection, Database, Tenant, User
from akidb.domain.ids import CollectionId, DatabaseId, TenantId, UserId

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
TENANT = Tenant(
    tenant_id=TenantId(bytes(16)), name="Aki Labs", slug="aki-labs", created_at=NOON, updated_at=NOON
)
DATABASE = Database(
    database_id=DatabaseId(bytes(16)), tenant_id=TENANT.tenant_id, name="kb", created_at=NOON, updated_at=NOON
)
COLLECTION = Collection(
    collection_id=CollectionId(bytes(16)),
    tenant_id=TENANT.tenant_id,
    database_id=DATABASE.database_id,
    name="notes",
    dimension=16,
    created_at=NOON,
    updated_at=NOON,
)
USER = User(
    user_id=UserId(bytes(16)), tenant_id=TENANT.tenant_id, email="bob@x", created_at=NOON, updated_at=NOON
)
EACH = pytest.mark.parametrize(
    "entity", [TENANT, DATABASE, COLLECTION, USER], ids=["tenant", "database", "collection", "user"]
)


def test_new_tenant_has_default_quotas() -> None:
    assert (TENANT.memory_quota_bytes, TENANT.storage_quota_bytes, TENANT.qps_quota) == (
        34_359_738_368,
        1_099_511_627_776,
        200,
    )
    assert (TENANT.status, TENANT.version, TENANT.metadata, TENANT.deleted_at) == ("active", 1, {}, None)


def test_new_collection_has_default_settings() -> None:
    assert (COLLECTION.metric, COLLECTION.hnsw_m, COLLECTION.hnsw_ef_construction) == ("cosine", 16, 128)
    assert (COLLECTION.max_document_count, COLLECTION.state) == (50_000_000, "ready")
    assert (DATABASE.state, DATABASE.schema_version) == ("ready", 1)


@EACH
def test_change_returns_new_value_with_next_version(entity: Tenant | Database | Collection | User) -> None:
    later = NOON + timedelta(seconds=1)
    field = "email" if isinstance(entity, User) else "name"
    changed = entity.changed(later, **{field: "other"})
    assert (getattr(changed, field), changed.version, changed.updated_at) == ("other", 2, later)
    assert changed.created_at == NOON
    assert entity.version == 1
    assert getattr(entity, field) != "other"


@EACH
def test_updated_at_never_goes_backwards(entity: Tenant | Database | Collection | User) -> None:
    earlier = NOON - timedelta(hours=1)
    assert entity.changed(earlier).updated_at == NOON
    assert entity.changed(earlier).version == 2


@EACH
def test_entity_is_immutable(entity: Tenant | Database | Collection | User) -> None:
    with pytest.raises(AttributeError):
        entity.version = 7  # type: ignore[misc]
