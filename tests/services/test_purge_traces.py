"""A purge removes every byte of the purged data from all files of the directory, and nothing else."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from akidb.domain.documents import Include
from akidb.domain.fields import CollectionPath
from akidb.metadata.store import SqliteMetadataStore
from akidb.metadata.tables import legacy_manifests
from akidb.operations.collections import DeleteCollection, ListCollections, PurgeCollection
from akidb.operations.databases import DeleteDatabase, ListDatabases, PurgeDatabase
from akidb.operations.documents import ScanDocuments
from akidb.operations.tenants import DeleteTenant, ListTenants, PurgeTenant
from akidb.operations.upkeep import CheckStores, MaintainStores
from akidb.operations.users import ListUsers

from .purge_marks import Marks, fill_collection, fill_crowd, fill_database, fill_tenant, traces
from .worlds import World, keyed, opened


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened(tmp_path, retention_seconds=0) as made:
        yield made


def sweep(world: World, _path: CollectionPath) -> None:
    report = world.ops.perform(MaintainStores())
    assert (report.problems, report.traces_remain) == ([], False)


def purge_tenant(world: World, path: CollectionPath) -> None:
    with keyed(idempotency_key=f"purge {path.tenant}"):
        world.ops.perform(PurgeTenant(tenant=path.tenant))


def purge_database(world: World, path: CollectionPath) -> None:
    with keyed(idempotency_key=f"purge {path.database}"):
        world.ops.perform(PurgeDatabase(tenant=path.tenant, database=path.database))


def purge_collection(world: World, path: CollectionPath) -> None:
    with keyed(idempotency_key=f"purge {path.collection}"):
        world.on(path, PurgeCollection)


Purge = Callable[[World, CollectionPath], None]


def everything(world: World) -> list[object]:
    """What there is beside the deleted."""
    found: list[object] = []
    for tenant in world.ops.perform(ListTenants(limit=1000)).items:
        found += [tenant, world.ops.perform(ListUsers(tenant=tenant.slug)).items]
        for database in world.ops.perform(ListDatabases(tenant=tenant.slug)).items:
            found.append(database)
            for collection in world.ops.perform(
                ListCollections(tenant=tenant.slug, database=database.name)
            ).items:
                path = CollectionPath(tenant.slug, database.name, collection.name)
                documents = world.on(path, ScanDocuments, limit=1000, include=tuple(Include)).items
                found += [
                    collection,
                    [
                        (d.id, d.text, d.metadata, d.vector is not None and d.vector.tobytes())
                        for d in documents
                    ],
                ]
    return found


@pytest.mark.parametrize("purge", [purge_tenant, sweep])
def test_purged_tenant_leaves_no_trace(world: World, tmp_path: Path, purge: Purge) -> None:
    goes = Marks()
    fill_crowd(world)
    path = fill_tenant(world, goes)
    fill_tenant(world, Marks())
    fill_crowd(world)
    world.ops.perform(DeleteTenant(tenant=path.tenant))
    assert len(traces(tmp_path, goes)) >= len(goes.made) / 2  # what was replaced may be gone already
    stays = everything(world)
    purge(world, path)
    assert traces(tmp_path, goes) == []
    assert everything(world) == stays
    world.ops.close()
    assert traces(tmp_path, goes) == []
    world.ops = world.connect()
    assert everything(world) == stays
    assert all(finding.ok for finding in world.ops.perform(CheckStores()).items)


@pytest.mark.parametrize("purge", [purge_database, sweep])
def test_purged_database_leaves_no_trace(world: World, tmp_path: Path, purge: Purge) -> None:
    goes = Marks()
    kept = fill_tenant(world, Marks())
    path = fill_database(world, goes, str(kept.tenant))
    world.ops.perform(DeleteDatabase(tenant=path.tenant, database=path.database))
    assert traces(tmp_path, goes) != []
    stays = everything(world)
    purge(world, path)
    assert traces(tmp_path, goes) == []
    assert everything(world) == stays
    world.ops.close()
    assert traces(tmp_path, goes) == []
    world.ops = world.connect()
    assert all(finding.ok for finding in world.ops.perform(CheckStores()).items)


@pytest.mark.parametrize("purge", [purge_collection, sweep])
def test_purged_collection_leaves_no_trace(world: World, tmp_path: Path, purge: Purge) -> None:
    goes = Marks()
    kept = fill_tenant(world, Marks())
    path = fill_collection(world, goes, str(kept.tenant), str(kept.database))
    world.on(path, DeleteCollection)
    assert traces(tmp_path, goes) != []
    stays = everything(world)
    purge(world, path)
    assert traces(tmp_path, goes) == []
    assert everything(world) == stays
    world.ops.close()
    assert traces(tmp_path, goes) == []


def test_purge_keeps_remembered_responses_of_other_databases(world: World) -> None:
    """A request about another database is answered as before."""
    world.tenant()
    with keyed(idempotency_key="one"):
        one = world.database(name="one")
    with keyed(idempotency_key="two"):
        world.database(name="two")
    world.ops.perform(DeleteDatabase(tenant="aki-labs", database="two"))
    world.ops.perform(PurgeDatabase(tenant="aki-labs", database="two"))
    with keyed(idempotency_key="one"):
        assert world.database(name="one") == one


def test_response_to_purge_is_replayed_after_purge(world: World) -> None:
    world.tenant()
    world.ops.perform(DeleteTenant(tenant="aki-labs"))
    for _ in range(2):
        with keyed(idempotency_key="again"):
            world.ops.perform(PurgeTenant(tenant="aki-labs"))


def test_long_read_delays_trace_removal_but_not_purge(world: World, tmp_path: Path) -> None:
    goes = Marks()
    path = fill_tenant(world, goes)
    world.ops.perform(DeleteTenant(tenant=path.tenant))
    with world.ops._runtime.metadata.snapshot() as tx:
        tx.outbox.depth()
        purge_tenant(world, path)
        assert world.ops.perform(ListTenants(deleted=True)).items == []
        assert traces(tmp_path, goes) != []
        assert world.ops.perform(MaintainStores()).traces_remain
    assert not world.ops.perform(MaintainStores()).traces_remain
    assert traces(tmp_path, goes) == []


def test_close_finishes_pending_purge(world: World, tmp_path: Path) -> None:
    goes = Marks()
    path = fill_tenant(world, goes)
    world.ops.perform(DeleteTenant(tenant=path.tenant))
    with world.ops._runtime.metadata.snapshot() as tx:
        tx.outbox.depth()
        purge_tenant(world, path)
    world.ops.close()
    assert traces(tmp_path, goes) == []


KILLED = """
import os, sys
from pathlib import Path
from akidb.deployment.local import open_local
from akidb.operations.tenants import PurgeTenant
from akidb.services.purging import Purging
from akidb.settings import Settings
operations = open_local(Path(sys.argv[1]), Settings(retention_seconds=0))
Purging.finish = lambda self: os._exit(9)
operations.perform(PurgeTenant(tenant=sys.argv[2]))
"""


def test_killed_purge_is_finished_by_maintenance(world: World, tmp_path: Path) -> None:
    goes = Marks()
    path = fill_tenant(world, goes)
    world.ops.perform(DeleteTenant(tenant=path.tenant))
    world.ops.close()
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(path.tenant)]
    assert subprocess.run(command, check=False).returncode == 9
    assert traces(tmp_path, goes) != []
    world.ops = world.connect()
    world.ops.perform(MaintainStores())
    assert traces(tmp_path, goes) == []


def test_purge_removes_1x_manifest_of_tenant(world: World, tmp_path: Path) -> None:
    goes = Marks()
    fill_crowd(world)
    tenant = world.tenant()
    values = {
        "tenant_id": tenant.tenant_id,
        "path": goes.text("path").encode(),
        "manifest": f"{goes.text('manifest')} {'long ' * 3000} {goes.text('end')}".encode(),
        "sha256": bytes(32),
        "slug": goes.text("slug"),
        "migrated_at": tenant.created_at,
    }
    metadata = world.ops._runtime.metadata
    assert isinstance(metadata, SqliteMetadataStore)
    with metadata._file.write() as connection:
        connection.execute(sa.insert(legacy_manifests).values(values))
    world.ops.perform(DeleteTenant(tenant="aki-labs"))
    assert len(traces(tmp_path, goes)) >= len(goes.made)
    world.ops.perform(PurgeTenant(tenant="aki-labs"))
    assert traces(tmp_path, goes) == []
