"""`doctor` passes a sound directory, also during concurrent writes, and detects damage."""

import shutil
import threading
from contextlib import closing

import pytest

from akidb.domain.entities import Tenant
from akidb.domain.fields import CollectionPath
from akidb.domain.upkeep import Finding
from akidb.operations.collections import DeleteCollection, PurgeCollection
from akidb.operations.documents import CountDocuments, DeleteDocuments, UpsertDocuments
from akidb.operations.tenants import DeleteTenant, GetTenant, SuspendTenant
from akidb.operations.upkeep import CheckStores
from akidb.sql.sqlite_library import library

from .worlds import World, notes, on_files

PATH = CollectionPath("aki-labs", "kb", "notes")


@pytest.fixture
def world(world: World) -> World:
    world.place()
    world.on(PATH, UpsertDocuments, documents=notes(*(f"d{n}" for n in range(200))))
    return world


@pytest.fixture
def tenant(world: World) -> Tenant:
    return world.ops.perform(GetTenant(tenant="aki-labs"))


def wrong(world: World) -> list[Finding]:
    return [finding for finding in world.ops.perform(CheckStores()).items if not finding.ok]


def test_sound_directory_passes(world: World, tenant: Tenant) -> None:
    findings = world.ops.perform(CheckStores()).items
    assert {finding.store for finding in findings} == {"metadata", str(tenant.tenant_id)}
    assert all(finding.ok and finding.detail for finding in findings)


def test_doctor_passes_after_every_kind_of_change(world: World) -> None:
    world.on(PATH, DeleteCollection)
    assert wrong(world) == []
    world.on(PATH, PurgeCollection)
    assert wrong(world) == []
    world.ops.perform(SuspendTenant(tenant="aki-labs"))
    assert wrong(world) == []
    world.ops.perform(DeleteTenant(tenant="aki-labs"))
    assert wrong(world) == []


def test_doctor_passes_during_concurrent_writes(world: World) -> None:
    done = threading.Event()

    def write() -> None:
        number = 0
        while not done.is_set():
            number += 1
            world.on(PATH, UpsertDocuments, documents=notes(f"e{number}"))
            world.on(PATH, DeleteDocuments, ids=[f"e{number}"])

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(10):
            assert wrong(world) == []
    finally:
        done.set()
        thread.join()


@on_files
@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE control SET storage_used_bytes = 7", "counted as 7"),
        ("UPDATE collections SET document_count = 7", "200 documents, counted as 7"),
        ("DELETE FROM documents WHERE id = 'd7'", "199 documents, counted as 200"),
        ("UPDATE collections SET sequence = 3", "counted as 3"),
        ("UPDATE collections SET sequence = 4611686018427387904", "counted as 4611686018427387904"),
        ("UPDATE collections SET sequence = 9223372036854775807", "is damaged: sequence"),
        ("UPDATE collections SET version = 99", "1 in the metadata, 99 in the store"),
        ("UPDATE control SET tenant_version = 99", "1 in the metadata, 99 in the store"),
        ("UPDATE control SET tenant_status = 'suspended'", "suspended in the store"),
        ("UPDATE control SET storage_quota_bytes = 7", "7 in the store"),
        ("UPDATE collections SET state = 'deleting'", "deleting in the store"),
        ("UPDATE collections SET database_state = 'migrating'", "migrating in the store"),
        ("UPDATE collections SET max_document_count = 9", "9 in the store"),
    ],
)
def test_externally_modified_store_is_detected(
    world: World, tenant: Tenant, statement: str, said: str
) -> None:
    world.execute(world.store_file(tenant), statement)
    found = wrong(world)
    assert {finding.store for finding in found} == {str(tenant.tenant_id)}
    assert any(said in finding.detail for finding in found)


@on_files
def test_damaged_store_is_detected_and_remaining_stores_are_checked(world: World, tenant: Tenant) -> None:
    other = world.place("Other")
    world.on(other, UpsertDocuments, documents=notes("a"))
    world.ops.close()
    file = world.store_file(tenant)
    content = bytearray(file.read_bytes())
    content[8192:-4096] = b"\xa5" * (len(content) - 8192 - 4096)
    file.write_bytes(content)
    world.ops = world.connect()
    assert {finding.store for finding in wrong(world)} == {str(tenant.tenant_id)}
    assert world.on(other, CountDocuments) == 1


@on_files
def test_missing_store_is_detected(world: World, tenant: Tenant) -> None:
    world.ops.close()
    world.store_file(tenant).unlink()
    world.ops = world.connect()
    found = wrong(world)
    assert {finding.store for finding in found} >= {str(tenant.tenant_id)}
    of_store = {each.check: each.checked for each in found if each.store == str(tenant.tenant_id)}
    assert of_store == {"integrity": True, "control row": False}
    assert any("missing" in finding.detail for finding in found)


@on_files
def test_unreadable_metadata_leave_other_checks_unmade(world: World) -> None:
    world.execute(world.directory / "metadata.db", "DROP TABLE outbox")
    found = {finding.check: finding.checked for finding in wrong(world)}
    assert found["stores"]
    assert [check for check, checked in found.items() if not checked] == [
        "tenant stores",
        "clock",
        "outbox",
        "stray stores",
    ]


@on_files
def test_stray_file_is_detected(world: World, tenant: Tenant) -> None:
    tenants = world.directory / "tenants"
    world.reopen()  # so that the file holds what was in its log
    shutil.copy(world.store_file(tenant), tenants / "00000000-0000-7000-8000-000000000000.db")
    (tenants / "notes.db").write_bytes(b"not ours")
    [found] = wrong(world)
    assert (found.store, found.check) == ("metadata", "stray stores")
    assert "00000000-0000-7000-8000-000000000000" in found.detail
    assert "store notes" in found.detail
    assert (tenants / "notes.db").read_bytes() == b"not ours"


@on_files
def test_damaged_metadata_is_detected(world: World) -> None:
    world.ops.close()
    path = world.directory / "metadata.db"
    with closing(library.connect(path)) as connection:  # a page that is not needed to open the store
        [(page,)] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'audit_entries'")
    content = bytearray(path.read_bytes())
    content[(page - 1) * 4096 : page * 4096] = b"\xa5" * 4096
    path.write_bytes(content)
    world.ops = world.connect()
    assert any(finding.store == "metadata" and finding.check == "integrity" for finding in wrong(world))
