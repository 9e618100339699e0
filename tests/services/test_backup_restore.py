"""Backup and restore of all tenants: identical rows, during concurrent writes, and atomic."""

import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from akidb.deployment.local import open_local, restore_local
from akidb.deployment.restore import MARKER_NAME
from akidb.domain.errors import (
    AkiDBError,
    AlreadyExists,
    InvalidArgument,
    InvalidState,
    NotFound,
    Unavailable,
)
from akidb.domain.fields import CollectionPath
from akidb.domain.ids import CollectionId, TenantId
from akidb.operations.archives import CreateBackup
from akidb.operations.collections import DeleteCollection, GetCollection, ListCollections, PurgeCollection
from akidb.operations.databases import DeleteDatabase, PurgeDatabase
from akidb.operations.documents import CountDocuments, DeleteDocuments, UpsertDocuments
from akidb.operations.tenants import (
    ActivateTenant,
    DeleteTenant,
    GetTenant,
    GetUsage,
    ListTenants,
    PurgeTenant,
    RestoreTenant,
    SuspendTenant,
)
from akidb.operations.upkeep import CheckStores
from akidb.operations.users import CreateUser, VerifyPassword
from akidb.ports.archive import RECORDS, CollectionImage, Documents, PurgedRecord, Rows, StoreHead

from .archived import backed_up, best, changed, exported, files_of, parts_of, put_together, rows_of
from .worlds import World, notes, opened, vector_of

NOTES = CollectionPath("aki-labs", "kb", "notes")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Two tenants with documents, one without, one suspended, one deleted, one purged."""
    with opened(tmp_path / "data") as made:
        for name in ("Aki Labs", "Second", "Suspended", "Deleted", "Purged"):
            path = made.place(name)
            made.on(path, UpsertDocuments, documents=notes("a", "b", "c", metadata={"of": name}))
            made.on(path, DeleteDocuments, ids=["b"])
        made.tenant("Empty")
        made.ops.perform(SuspendTenant(tenant="suspended", reason="late"))
        made.ops.perform(DeleteTenant(tenant="deleted"))
        made.ops.perform(DeleteTenant(tenant="purged"))
        made.ops.perform(PurgeTenant(tenant="purged"))
        made.ops.perform(
            CreateUser(tenant="second", email="bob@example.com", password="correct horse battery")
        )
        yield made


def restored(world: World, archive: bytes, name: str = "restored") -> World:
    """A new place that holds what the archive holds."""
    place = world.directory.with_name(name)
    restore_local(place, world.settings, io.BytesIO(archive))
    return World(place)


def tables_of(world: World) -> dict[str, list[Any]]:
    """The metadata, but for which store is whose."""
    with world.ops._runtime.metadata.snapshot() as tx:
        return {table: [row for part in tx.records.read(table) for row in part.rows] for table in RECORDS}


def test_restored_data_is_identical_row_for_row(world: World) -> None:
    new = restored(world, backed_up(world))
    expected, found = tables_of(world), tables_of(new)
    restores = [row for row in found["audit_entries"] if row.action == "backup.restore"]
    assert {row.tenant_id for row in restores} == {row.tenant_id for row in expected["tenants"]}
    found["audit_entries"] = [row for row in found["audit_entries"] if row not in restores]
    assert found == expected
    assert len(tables_of(new)["tenants"]) == 5
    assert len(tables_of(new)["purged"]) == 1
    assert all(finding.ok for finding in new.ops.perform(CheckStores()).items)
    assert (
        new.ops.perform(
            VerifyPassword(tenant="second", email="BOB@example.com", password="correct horse battery")
        ).role
        == "viewer"
    )
    tenants = tables_of(world)["tenants"]
    for each in (world, new):
        each.ops.close()
    stores = [tenant for tenant in tenants if world.store_file(tenant).exists()]
    assert len(stores) == 4
    for tenant in stores:
        assert rows_of(new.store_file(tenant)) == rows_of(world.store_file(tenant))


def test_restored_store_has_new_incarnation(world: World) -> None:
    new = restored(world, backed_up(world))
    found = []
    for each in (world, new):
        with each.ops._runtime.metadata.read() as tx:
            found.append(dict(tx.stores.list()))
    assert found[0].keys() == found[1].keys()
    assert not set(found[0].values()) & set(found[1].values())
    new.ops.close()


def test_restore_keeps_states_and_deleted_tenants(world: World) -> None:
    new = restored(world, backed_up(world))
    with pytest.raises(InvalidState):
        new.on(NOTES._replace(tenant="suspended"), UpsertDocuments, documents=notes("x"))
    assert new.ops.perform(RestoreTenant(tenant="deleted")).status == "active"
    assert new.on(NOTES._replace(tenant="deleted"), CountDocuments) == 2
    with pytest.raises(NotFound):
        new.ops.perform(GetTenant(tenant="purged"))
    question = vector_of("q")
    assert best(new, NOTES, question) == best(world, NOTES, question)
    new.ops.close()


def test_backup_is_consistent_during_concurrent_writes(world: World) -> None:
    """Each tenant as of one instant: a batch is in it whole or not at all, and the last one seen is in it."""
    stop = threading.Event()
    acknowledged: list[int] = []

    def write() -> None:
        number = 0
        while not stop.is_set():
            world.on(NOTES, UpsertDocuments, documents=notes(*(f"{number}-{at}" for at in range(7))))
            acknowledged.append(number)
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            before = len(acknowledged)
            archive = backed_up(world)
            documents = [part for part in parts_of(archive)[1] if isinstance(part, Documents)]
            ids = {id for part in documents for id in part.ids}
            batches = {int(id.partition("-")[0]) for id in ids if "-" in id}
            assert batches == set(range(len(batches)))
            assert len(batches) >= before
            assert all(f"{number}-{at}" in ids for number in batches for at in range(7))
    finally:
        stop.set()
        writer.join()
    new = restored(world, archive)
    assert new.ops.perform(GetUsage(tenant="aki-labs")).documents == 2 + 7 * len(batches)
    new.ops.close()


def test_data_purged_between_store_and_metadata_reads_is_not_restored(world: World) -> None:
    """The stores come first: what was purged after one was read is in it still, and among what was purged."""
    collection = world.ops.perform(GetCollection(tenant="aki-labs", database="kb", collection="notes"))
    header, before = parts_of(backed_up(world))
    world.ops.perform(DeleteCollection(tenant="aki-labs", database="kb", collection="notes"))
    world.ops.perform(PurgeCollection(tenant="aki-labs", database="kb", collection=collection.collection_id))
    world.ops.perform(DeleteDatabase(tenant="second", database="kb"))
    world.ops.perform(PurgeDatabase(tenant="second", database="kb"))
    world.ops.perform(PurgeTenant(tenant="deleted"))
    _, after = parts_of(backed_up(world))
    mixed = [part for part in before if not isinstance(part, Rows)]
    mixed += [part for part in after if isinstance(part, Rows)]
    new = restored(world, put_together(header, mixed))
    assert new.ops.perform(ListCollections(tenant="aki-labs", database="kb")).items == []
    assert new.ops.perform(GetUsage(tenant="aki-labs")).storage_bytes.used == 0
    assert new.ops.perform(GetUsage(tenant="second")).storage_bytes.used == 0
    assert len(list((new.directory / "tenants").glob("*.db"))) == 3
    assert all(finding.ok for finding in new.ops.perform(CheckStores()).items)
    new.ops.close()


def test_collections_and_tenants_created_after_store_read_are_restored_empty(world: World) -> None:
    header, before = parts_of(backed_up(world))
    world.collection(name="later")
    world.on(NOTES._replace(collection="later"), UpsertDocuments, documents=notes("x"))
    world.place("Latest")
    world.on(NOTES._replace(tenant="latest"), UpsertDocuments, documents=notes("y"))
    world.ops.perform(DeleteCollection(tenant="second", database="kb", collection="notes"))
    _, after = parts_of(backed_up(world))
    mixed = [part for part in before if not isinstance(part, Rows)]
    mixed += [part for part in after if isinstance(part, Rows)]
    new = restored(world, put_together(header, mixed))
    for path in (NOTES._replace(collection="later"), NOTES._replace(tenant="latest")):
        assert new.on(path, CountDocuments) == 0
        new.on(path, UpsertDocuments, documents=notes("z"))
        assert new.on(path, CountDocuments) == 1
    assert new.ops.perform(GetUsage(tenant="second")).documents == 0
    assert all(finding.ok for finding in new.ops.perform(CheckStores()).items)
    new.ops.close()


def test_store_unknown_to_metadata_is_rejected(world: World) -> None:
    header, parts = parts_of(backed_up(world))
    rows = [part for part in parts if isinstance(part, Rows) and part.table == "purged"]
    assert isinstance(rows[0].rows[0], PurgedRecord)
    alien = replace(parts[0], tenant_id=type(parts[0].tenant_id)(bytes(16)))
    assert isinstance(parts[0], StoreHead)
    _refused(world, put_together(header, [alien, *parts]), "not in the metadata")
    unknown = changed(
        put_together(header, parts),
        CollectionImage,
        lambda part: replace(part, collection_id=CollectionId(part.collection_id.raw[:-1] + b"\0")),
    )
    _refused(world, unknown, "not in the metadata")


def _refused(world: World, archive: bytes, reason: str) -> None:
    place = world.directory.with_name("refused")
    with pytest.raises(AkiDBError, match=reason) as caught:
        restore_local(place, world.settings, io.BytesIO(archive))
    assert isinstance(caught.value, InvalidArgument)
    assert caught.value.field.startswith("archive")
    assert not place.exists()


def test_damaged_backup_leaves_nothing_behind(world: World) -> None:
    archive = backed_up(world)
    altered = archive[:5000] + bytes([archive[5000] ^ 1]) + archive[5001:]
    for wrong in (archive[:-1], archive[: len(archive) // 2], archive + b"x", b"", altered):
        _refused(world, wrong, "archive")
    _refused(world, exported(world), "akidb tenant import")


def test_rejected_restore_leaves_empty_directory_empty(world: World) -> None:
    place = world.directory.with_name("empty")
    place.mkdir()
    with pytest.raises(InvalidArgument):
        restore_local(place, world.settings, io.BytesIO(b"nonsense"))
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("kind", ["store", "anything"])
def test_restore_requires_empty_target(kind: str, world: World, tmp_path: Path) -> None:
    archive = backed_up(world)
    place = tmp_path / "taken"
    if kind == "store":
        with opened(place):
            pass
    else:
        place.mkdir()
        (place / "letter.txt").write_text("dear")
    before = files_of(place)
    with pytest.raises(AlreadyExists, match="not empty"):
        restore_local(place, world.settings, io.BytesIO(archive))
    assert files_of(place) == before
    with pytest.raises(AlreadyExists, match="not empty"):
        world.ops.restore(io.BytesIO(archive))


def test_directory_with_interrupted_restore_is_not_opened(world: World, tmp_path: Path) -> None:
    place = tmp_path / "broken"
    place.mkdir()
    (place / MARKER_NAME).touch()
    with pytest.raises(Unavailable, match="interrupted"):
        open_local(place, world.settings)
    with pytest.raises(AlreadyExists):
        restore_local(place, world.settings, io.BytesIO(backed_up(world)))
    (place / MARKER_NAME).unlink()
    open_local(place, world.settings).close()


def test_empty_data_directory_is_backed_up_and_restored(tmp_path: Path) -> None:
    with opened(tmp_path / "nothing") as nothing:
        new = restored(nothing, backed_up(nothing))
        assert new.ops.perform(ListTenants()).items == []
        new.tenant()
        new.ops.close()


def test_restoring_only_older_metadata_deletes_no_documents(world: World) -> None:
    """A store holds collections that older metadata do not know: they stay, and are heard of again."""
    world.ops.close()
    metadata = world.directory / "metadata.db"
    yesterday = metadata.read_bytes()
    world.ops = world.connect()
    world.collection(name="today")
    world.on(NOTES._replace(collection="today"), UpsertDocuments, documents=notes("t1", "t2"))
    world.on(NOTES, UpsertDocuments, documents=notes("new"))
    tenant = world.ops.perform(GetTenant(tenant="aki-labs"))
    world.ops.close()
    before = rows_of(world.store_file(tenant))
    metadata.write_bytes(yesterday)
    world.ops = world.connect()
    assert world.on(NOTES, CountDocuments) == 3
    with pytest.raises(NotFound):
        world.on(NOTES._replace(collection="today"), CountDocuments)
    world.ops.perform(SuspendTenant(tenant="aki-labs"))
    world.ops.perform(ActivateTenant(tenant="aki-labs"))
    world.ops.perform(CheckStores())
    world.ops.close()
    after = rows_of(world.store_file(tenant))
    assert (after["documents"], after["collections"]) == (before["documents"], before["collections"])
    world.ops = world.connect()


def test_backup_keeps_data_purged_later(world: World) -> None:
    archive = backed_up(world)
    tenant = world.ops.perform(GetTenant(tenant="second"))
    world.ops.perform(DeleteTenant(tenant="second"))
    world.ops.perform(PurgeTenant(tenant="second"))
    new = restored(world, archive)
    assert new.ops.perform(GetTenant(tenant="second")) == tenant
    assert new.on(NOTES._replace(tenant="second"), CountDocuments) == 2
    new.ops.close()


def test_temporary_images_are_removed(world: World) -> None:
    backed_up(world)
    exported(world)
    assert list(world.directory.rglob("tmp/*")) == []
    scratch = world.directory / "tenants" / "tmp" / "left-by-a-crash.db"
    scratch.write_bytes(b"secret")
    world.reopen()
    assert not scratch.exists()


def test_tenant_purged_during_backup_is_excluded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in the list that a backup begins with, and gone when its turn comes."""
    gone = world.ops.perform(GetTenant(tenant="second")).tenant_id
    stores = world.ops._runtime.stores
    existing = stores.existing

    def purging(tenant_id: TenantId) -> Any:
        if tenant_id == gone and world.ops.perform(ListTenants(limit=1000)).items:
            monkeypatch.setattr(stores, "existing", existing)
            world.ops.perform(DeleteTenant(tenant=gone))
            world.ops.perform(PurgeTenant(tenant=gone))
        return existing(tenant_id)

    monkeypatch.setattr(stores, "existing", purging)
    _, parts = parts_of(backed_up(world))
    heads = [part.tenant_id for part in parts if isinstance(part, StoreHead)]
    assert len(heads) == 3
    assert gone not in heads


def test_tenant_of_missing_store_is_left_out(world: World) -> None:
    tenant = world.ops.perform(GetTenant(tenant="second"))
    world.ops.close()
    world.store_file(tenant).unlink()
    world.ops = world.connect()
    archive = io.BytesIO()
    assert world.ops.perform(CreateBackup(), sink=archive).tenants_left_out == [tenant.tenant_id]
    new = restored(world, archive.getvalue())
    assert {each.slug for each in new.ops.perform(ListTenants()).items} == {"aki-labs", "suspended", "empty"}
    new.ops.close()


def test_backup_cut_short_in_a_store_must_say_so(world: World) -> None:
    """A tenant may only be less than whole if the summary names it, and if nothing else is said of it."""
    header, parts = parts_of(backed_up(world))
    second = world.ops.perform(GetTenant(tenant="second")).tenant_id
    begin = next(at for at, part in enumerate(parts) if part == StoreHead(tenant_id=second))
    cut = [*parts[: begin + 2], *parts[next_store(parts, begin) :]]
    target = world.directory.with_name("target")
    for archive, reason in (
        (put_together(header, cut), "is 2, but the documents have 0"),
        (put_together(header, cut, [second]), "is left out, but in the metadata"),
        (put_together(header, parts, [second]), "is left out, but in the metadata"),
    ):
        with pytest.raises(InvalidArgument, match=reason):
            restore_local(target, world.settings, io.BytesIO(archive))
        assert not target.exists()


def next_store(parts: list[Any], begin: int) -> int:
    """Where the parts of a store end."""
    kinds = (StoreHead, Rows)
    return next(at for at in range(begin + 1, len(parts)) if isinstance(parts[at], kinds))
