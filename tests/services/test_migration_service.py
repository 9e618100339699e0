"""Migration and tenants with an existing store, listings, and maintenance."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from akidb.domain.errors import InvalidState, NotFound, QuotaExceeded
from akidb.domain.fields import CollectionPath
from akidb.domain.ids import TenantId
from akidb.operations.databases import GetDatabase
from akidb.operations.documents import CountDocuments, UpsertDocuments
from akidb.operations.migration import MigrateV1ToV2
from akidb.operations.tenants import (
    DeleteTenant,
    GetTenant,
    ListTenants,
    PurgeTenant,
    RestoreTenant,
    UpdateTenant,
)
from akidb.operations.upkeep import CheckStores, MaintainStores

from .worlds import World, notes, opened

ID = TenantId(bytes.fromhex("018f3c2e7b6a7c3d8e9f0a1b2c3d4e5f"))
PATH = CollectionPath("aki", "default", "notes")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened(tmp_path / "data", retention_seconds=0) as made:
        yield made


def put(v1: Path, **fields: Any) -> Path:
    """Write the one manifest."""
    v1.mkdir(exist_ok=True)
    manifest = {
        "tenant_id": ID.raw.hex(),
        "name": "Aki",
        "created_at": "2025-03-01T10:00:00Z",
        "updated_at": "2025-03-01T10:00:00Z",
    }
    (v1 / "aki.json").write_text(json.dumps({**manifest, **fields}))
    return v1


def test_migrated_tenant_accepts_operations(world: World, tmp_path: Path) -> None:
    world.ops.perform(MigrateV1ToV2(v1_data_dir=put(tmp_path / "v1", quotas={"max_storage_bytes": 1000})))
    world.collection("aki", "default")
    world.on(PATH, UpsertDocuments, documents=notes("a"))
    with pytest.raises(QuotaExceeded):
        world.on(PATH, UpsertDocuments, documents=notes(*(f"n{n}" for n in range(50))))
    assert world.on(PATH, CountDocuments) == 1
    assert all(finding.ok for finding in world.ops.perform(CheckStores()).items)


def test_overwriting_migration_updates_tenant_store(world: World, tmp_path: Path) -> None:
    v1 = put(tmp_path / "v1")
    world.ops.perform(MigrateV1ToV2(v1_data_dir=v1))
    world.collection("aki", "default")
    world.on(PATH, UpsertDocuments, documents=notes("a"))
    world.ops.perform(MigrateV1ToV2(v1_data_dir=put(v1, quotas={"max_storage_bytes": 0}), overwrite=True))
    with pytest.raises(QuotaExceeded):
        world.on(PATH, UpsertDocuments, documents=notes("b"))
    world.ops.perform(MigrateV1ToV2(v1_data_dir=put(v1, status="suspended"), overwrite=True))
    with pytest.raises(InvalidState):
        world.on(PATH, CountDocuments)
    world.ops.perform(MigrateV1ToV2(v1_data_dir=put(v1, status="deleted"), overwrite=True))
    with pytest.raises(NotFound):
        world.on(PATH, CountDocuments)
    world.ops.perform(MigrateV1ToV2(v1_data_dir=put(v1), overwrite=True))
    assert world.on(PATH, CountDocuments) == 1
    assert all(finding.ok for finding in world.ops.perform(CheckStores()).items)
    assert world.actions(ID) == ["tenant.migrate", "collection.create", *4 * ["tenant.migrate"]]


def test_tenant_deleted_in_1x_is_not_swept(world: World, tmp_path: Path) -> None:
    world.ops.perform(MigrateV1ToV2(v1_data_dir=put(tmp_path / "v1", status="deleted")))
    assert world.ops.perform(MaintainStores()).tenants_purged == 0
    restored = world.ops.perform(RestoreTenant(tenant=ID))
    assert restored.status == "active"
    assert world.ops.perform(GetDatabase(tenant=ID, database="default")).deleted_at is None
    world.ops.perform(DeleteTenant(tenant=ID))
    assert world.ops.perform(MaintainStores()).tenants_purged == 1
    assert world.ops.perform(MigrateV1ToV2(v1_data_dir=tmp_path / "v1")).counts.purged == 1


def test_purge_removes_legacy_manifest(world: World, tmp_path: Path) -> None:
    world.ops.perform(
        MigrateV1ToV2(
            v1_data_dir=put(tmp_path / "v1", api_key_hash="5ecret-0f-1x", name="Aki To Be Forgotten")
        )
    )
    world.ops.perform(DeleteTenant(tenant=ID))
    world.ops.perform(PurgeTenant(tenant=ID))
    world.ops.close()
    for path in world.directory.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"5ecret-0f-1x" not in content, path
            assert b"To Be Forgotten" not in content, path
    world.ops = world.connect()


def test_migrated_tenants_are_found_by_name(world: World, tmp_path: Path) -> None:
    world.ops.perform(MigrateV1ToV2(v1_data_dir=put(tmp_path / "v1", name="Ångström & Söhne")))
    for part in ("ångström", "SÖHNE", "m & s"):
        assert [t.tenant_id for t in world.ops.perform(ListTenants(name_contains=part)).items] == [ID], part


def test_migrated_tenant_with_name_invalid_in_2_0_can_be_updated(world: World, tmp_path: Path) -> None:
    world.ops.perform(MigrateV1ToV2(v1_data_dir=put(tmp_path / "v1", name="two\nlines")))
    tenant = world.ops.perform(UpdateTenant(tenant=ID, qps_quota=5))
    assert (tenant.name, tenant.qps_quota) == ("two\nlines", 5)
    world.reopen()
    assert world.ops.perform(GetTenant(tenant="two-lines")).name == "two\nlines"
