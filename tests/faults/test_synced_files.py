"""Files written outside SQLite are synced to disk before completion is reported.

SQLite's own syncs are checked in the system calls, by `test_synced_system_calls.py`.
"""

import hashlib
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from durability import Acknowledged, Event, Moved, Removed, Written, violations
from fault_tools import add_tenant, at, document, opened
from recorded_calls import RecordedCalls, recorded
from stored_parts import PARTS, STORE_ID, TENANT_ID
from volatile_files import BY_SQLITE, DECIDING, VOLATILE

from akidb.cli.main import main
from akidb.client.files import writing
from akidb.deployment.local import METADATA_NAME, TENANTS_NAME
from akidb.deployment.restore import MARKER_NAME, empty_directory
from akidb.documents.archive_image import filled
from akidb.documents.sqlite import SqliteTenantStore
from akidb.documents.sqlite_pool import SqliteTenantStores
from akidb.documents.tenant_copy import branch_file
from akidb.embedding.catalog import ModelFile, ModelSpec
from akidb.embedding.install import install
from akidb.legacy.writing import OutDirectory
from akidb.operations.documents import UpsertDocuments
from akidb.operations.tenants import DeleteTenant, PurgeTenant
from akidb.sql.files import create_file
from akidb.sql.schema_backups import SchemaBackups
from akidb.sql.sqlite import SqliteFile


@pytest.fixture
def calls(tmp_path: Path) -> Iterator[RecordedCalls]:
    with recorded(tmp_path) as calls:
        yield calls


def of_python(events: list[Event], *endings: str) -> list[Event]:
    """The events but for the contents of files that SQLite syncs itself."""
    return [event for event in events if not (isinstance(event, Written) and event.path.endswith(endings))]


def lost(calls: RecordedCalls, *, sqlite: bool = True) -> list[str]:
    """What is not durable; without `sqlite` its files' contents are left out."""
    assert any(isinstance(event, Acknowledged) for event in calls.events)
    events = calls.events if sqlite else of_python(calls.events, ".db", "-wal")
    return violations(events, VOLATILE | ({} if sqlite else BY_SQLITE), DECIDING)


def written(calls: RecordedCalls) -> set[str]:
    return {Path(event.path).name for event in calls.events if isinstance(event, Written)}


def fill(directory: Path, look: Callable[[], None]) -> None:
    with SqliteTenantStores(directory, max_open=1).filling(TENANT_ID, STORE_ID) as filler:
        for part in PARTS:
            filler.add(part)
            look()


def test_filled_store_is_durable_before_registration(calls: RecordedCalls, tmp_path: Path) -> None:
    fill(tmp_path, calls.look)
    calls.acknowledge()
    assert written(calls) >= {f"{TENANT_ID}.db", f"{TENANT_ID}.db-wal"}
    assert lost(calls) == []


def test_partially_filled_store_is_not_durable_until_complete(calls: RecordedCalls, tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    SqliteTenantStore.create(path, TENANT_ID, STORE_ID, synchronous="off")
    with filled(path) as filler:
        filler.add(PARTS[0])
        calls.look()
    calls.acknowledge()
    assert lost(calls) == []


def test_store_of_copied_tenant_is_durable_before_registration(tmp_path: Path) -> None:
    fill(tmp_path, lambda: None)
    with recorded(tmp_path) as calls:
        original = SqliteTenantStore(tmp_path / f"{TENANT_ID}.db", TENANT_ID, STORE_ID)
        with original.image() as image:
            branch_file(image, tmp_path / "branch.db", TENANT_ID, STORE_ID, {})
            calls.acknowledge()
        original.close()
    assert any(isinstance(event, Moved) and event.target == "branch.db" for event in calls.events)
    assert lost(calls) == []


def test_schema_backup_and_its_directory_entry_are_durable(calls: RecordedCalls, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    create_file(data / METADATA_NAME)
    calls.events.clear()
    copies = SchemaBackups(data / "backups", lambda: datetime(2026, 1, 1, tzinfo=UTC))
    file = SqliteFile(data / METADATA_NAME)
    made = copies.take(file, "1")
    calls.acknowledge("take")
    assert copies.remove() == 1
    calls.acknowledge("remove")
    file.close()
    assert not made.exists()
    assert lost(calls, sqlite=False) == []


@pytest.mark.parametrize("place", ["data", "above/it/data"])
def test_restore_marker_is_durable_before_start_and_removed_after_data_is_durable(
    calls: RecordedCalls, tmp_path: Path, place: str
) -> None:
    directory = tmp_path / place
    with empty_directory(directory):
        assert (directory / MARKER_NAME).exists()
        calls.acknowledge("marked")
        create_file(directory / "store.db")
    calls.acknowledge("restored")
    assert lost(calls) == []


def test_unsynced_file_of_restore_is_reported_at_marker_removal(calls: RecordedCalls, tmp_path: Path) -> None:
    """Proves that the test above can fail."""
    with empty_directory(tmp_path / "data"):
        (tmp_path / "data" / "store.db").write_bytes(b"half of it")
    calls.acknowledge()
    assert [line for line in lost(calls) if line.endswith(f"at: the removal of {MARKER_NAME}")] != []


def test_failed_restore_is_removed_before_its_marker(calls: RecordedCalls, tmp_path: Path) -> None:
    directory = tmp_path / "data"

    def fail() -> None:
        (directory / TENANTS_NAME).mkdir()
        create_file(directory / TENANTS_NAME / "store.db")
        create_file(directory / METADATA_NAME)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), empty_directory(directory):
        fail()
    assert not directory.exists()
    assert Removed(f"data/{MARKER_NAME}") in calls.events
    assert violations(calls.events, VOLATILE, DECIDING) == []


def test_manifests_are_durable_before_and_after_rename(calls: RecordedCalls, tmp_path: Path) -> None:
    out = OutDirectory(tmp_path / "out" / "v1")
    for number in range(3):
        out.write(f"below/{number}.json", b"{}")
    out.finish()
    calls.acknowledge()
    assert {path.name for path in tmp_path.rglob("*.json")} == {"0.json", "1.json", "2.json"}
    assert lost(calls) == []


def test_pages_cleared_by_purge_are_durable(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    create_file(path)
    file = SqliteFile(path)
    with file.write() as connection:
        connection.exec_driver_sql("CREATE TABLE things (name TEXT) STRICT")
    file.close()
    with path.open("r+b") as content:
        (end,) = struct.unpack(">H", content.read(107)[105:])  # where the cells of the first page begin
        content.seek(end - 16)
        content.write(b"left of a purge!")
    with recorded(tmp_path) as calls:
        assert file_erased(path)
        calls.acknowledge()
    assert b"left of a purge!" not in path.read_bytes()
    assert written(calls) - {"store.db-shm"} == {"store.db"}
    assert lost(calls) == []


def file_erased(path: Path) -> bool:
    file = SqliteFile(path)
    try:
        return file.erase()
    finally:
        file.close()


def test_wal_truncation_by_purge_is_durable(tmp_path: Path) -> None:
    """Otherwise it could reappear with purged data."""
    path = tmp_path / "store.db"
    create_file(path)
    file = SqliteFile(path)
    with file.write() as connection:
        connection.exec_driver_sql("CREATE TABLE things (name TEXT) STRICT")
    with recorded(tmp_path) as calls:
        assert file.erase()
        calls.acknowledge()
        file.close()
    assert written(calls) >= {"store.db-wal"}
    assert violations(of_python(calls.events, ".db"), VOLATILE) == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_file_named_by_caller_and_its_directory_entry_are_durable(
    calls: RecordedCalls, tmp_path: Path, overwrite: bool
) -> None:
    with writing(tmp_path / "file.akidb", overwrite=overwrite) as target:
        target.write(b"content")
        calls.look()
    calls.acknowledge()
    assert (tmp_path / "file.akidb").read_bytes() == b"content"
    assert lost(calls) == []


@pytest.mark.parametrize("direction", ["v1-to-v2", "v2-to-v1"])
def test_migration_report_and_its_directory_entry_are_durable(tmp_path: Path, direction: str) -> None:
    data, manifests, report = tmp_path / "data", tmp_path / "manifests", tmp_path / "report.json"
    manifests.mkdir()
    option = "--v1-data-dir" if direction == "v1-to-v2" else "--out"
    with opened(data):
        pass
    words = ["--data", data, "migrate", direction, option, manifests, "--report", report]
    with recorded(tmp_path) as calls:
        assert main([str(word) for word in words]) == 0
        calls.acknowledge()
    assert "report.json" in {event.target for event in calls.events if isinstance(event, Moved)}
    assert [line for line in lost(calls, sqlite=False) if "report.json" in line] == []


@pytest.mark.parametrize("known", [False, True])
def test_model_files_are_durable_before_installation(tmp_path: Path, known: bool) -> None:
    """The folders are not synced: a model that is lost is fetched again."""
    source, models = tmp_path / "source", tmp_path / "models"
    source.mkdir()
    content = b"weights"
    (source / "weights").write_bytes(content)
    file = ModelFile("weights", hashlib.sha256(content).hexdigest(), len(content))
    spec = ModelSpec(
        name="tiny",
        embedder="onnx",
        dimension=16,
        max_tokens=8,
        weights="",
        tokenizer="",
        pooling="mean",
        precision="float32",
        prompts={},
        license="Apache-2.0",
        files=(file,),
    )
    if known:
        (models / "tiny").mkdir(parents=True)
        (models / "tiny" / "weights").write_bytes(b"damaged")
    with recorded(models.parent) as calls:
        install(spec, models / "tiny", source, lambda *_: None)
        calls.acknowledge()
    assert (models / "tiny" / "weights").read_bytes() == content
    assert lost(calls) == []


def test_directory_entries_of_data_directory_are_durable(calls: RecordedCalls, tmp_path: Path) -> None:
    data = tmp_path / "above" / "data"
    with opened(data) as operations:
        calls.acknowledge("open")
        add_tenant(operations, "t", "c")
        operations.perform(UpsertDocuments(**at("t")._asdict(), documents=[document("x")]))
        calls.acknowledge("first document")
        operations.perform(DeleteTenant(tenant="t"))
        operations.perform(PurgeTenant(tenant="t"))
        calls.acknowledge("purge")
    assert list((data / TENANTS_NAME).glob("*.db")) == []
    assert lost(calls, sqlite=False) == []


def test_recreated_tenants_directory_is_durable(tmp_path: Path) -> None:
    """Tools that copy directories may leave out one that is empty."""
    data = tmp_path / "data"
    with opened(data) as operations:
        add_tenant(operations, "t", "c")
    (data / TENANTS_NAME).rmdir()
    with recorded(tmp_path) as calls, opened(data) as operations:
        operations.perform(UpsertDocuments(**at("t")._asdict(), documents=[document("x")]))
        calls.acknowledge()
    assert lost(calls, sqlite=False) == []
