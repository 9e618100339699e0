"""Opening and closing a data directory: shared in a process, locked against others, refused after a fork."""

import gc
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from akidb.deployment import composition
from akidb.deployment.local import open_local
from akidb.deployment.owner import DirectoryHeld
from akidb.deployment.schema_changes import migrate
from akidb.domain.errors import InvalidArgument, Unavailable
from akidb.domain.fields import CollectionPath
from akidb.operations.audit import ListAuditEntries
from akidb.operations.documents import (
    CountDocuments,
    GetDocuments,
    ScanDocuments,
    SearchDocuments,
    UpsertDocuments,
)
from akidb.operations.embeddings import EmbedTexts, GetModel
from akidb.operations.tenants import DeleteTenant, GetTenant, ListTenants, PurgeTenant
from akidb.operations.upkeep import CheckStores
from akidb.settings import Settings

from .worlds import World, ids_of, notes, opened

PATH = CollectionPath("aki-labs", "kb", "notes")
HASH = Settings(default_model="hash")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "far" / "data"


@pytest.fixture
def world(directory: Path) -> Iterator[World]:
    with opened(directory) as made:
        made.place()
        made.on(PATH, UpsertDocuments, documents=notes("a"))
        yield made


def in_child(work: Callable[[], Any]) -> str:
    """What a forked child says of it: the text of an exception, or `done`."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work()
            said = "done"
        except Unavailable as error:
            said = f"Unavailable: {error.message}"
        except BaseException:  # noqa: BLE001 - told to the parent
            said = traceback.format_exc()
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said


def test_new_directory_is_accessible_only_to_owner(directory: Path) -> None:
    with opened(directory):
        assert directory.stat().st_mode & 0o777 == 0o700
        assert (directory / "tenants").stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in directory.iterdir() if path.is_file()} == {0o600}


def test_connections_of_one_process_share_one_open_directory(world: World, directory: Path) -> None:
    other = world.connect()
    through_another_name = open_local(directory / ".." / "data", world.settings)
    assert ids_of(other.perform(GetDocuments(**PATH._asdict(), ids=["a"]))) == ["a"]
    other.perform(UpsertDocuments(**PATH._asdict(), documents=notes("b")))
    assert ids_of(world.on(PATH, SearchDocuments, vector=notes("b")[0]["vector"], top_k=1).matches) == ["b"]
    assert through_another_name.perform(CountDocuments(**PATH._asdict())) == 2
    other.close()
    through_another_name.close()
    assert world.on(PATH, CountDocuments) == 2


@pytest.mark.parametrize("others", [0, 1], ids=["the last", "one of two"])
def test_closed_connection_rejects_calls(world: World, others: int) -> None:
    left = [world.connect() for _ in range(others)]
    world.ops.close()
    world.ops.close()  # again is harmless
    for refused in (
        lambda: world.ops.perform(GetTenant(tenant="aki-labs")),
        lambda: world.on(PATH, CountDocuments),
        lambda: world.ops.perform(ListAuditEntries(tenant="aki-labs")),
        lambda: world.ops.perform(EmbedTexts(texts=["x"])),
        lambda: world.ops.perform(GetModel(model="hash")),
        lambda: world.ops.perform(CheckStores()),
        world.ops.ready,
    ):
        with pytest.raises(Unavailable, match="the connection is closed"):
            refused()
    for other in left:
        assert other.perform(CountDocuments(**PATH._asdict())) == 1
        other.close()


def test_close_checkpoints_every_wal_and_releases_directory(world: World, directory: Path) -> None:
    tenant = world.ops.perform(GetTenant(tenant="aki-labs"))
    world.ops.close()
    left = sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())
    assert left == ["clock.json", "metadata.db", "owner.lock", f"tenants/{tenant.tenant_id}.db"]
    world.ops = world.connect()
    assert world.on(PATH, CountDocuments) == 1


def test_second_close_does_not_release_directory_of_another_connection(world: World) -> None:
    other = world.connect()
    other.close()
    other.close()
    assert world.on(PATH, CountDocuments) == 1


def test_close_waits_for_running_operations(world: World) -> None:
    started, failures = threading.Event(), list[BaseException]()

    def write() -> None:
        try:
            for number in range(10_000):
                world.on(PATH, UpsertDocuments, documents=notes(f"d{number}"))
                started.set()
        except Unavailable as error:
            failures.append(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    started.wait()
    world.ops.close()
    for thread in threads:
        thread.join()
    assert [str(error) for error in failures] == ["the connection is closed"] * 4
    world.ops = world.connect()
    assert all(finding.ok for finding in world.ops.perform(CheckStores()).items)


def test_shutdown_rejects_new_and_finishes_running_operations(world: World) -> None:
    world.ops.begin_shutdown()
    with pytest.raises(Unavailable, match="shutting down"):
        world.on(PATH, CountDocuments)
    with pytest.raises(Unavailable, match="shutting down"):
        world.ops.ready()


def test_ready_when_stores_and_model_work(world: World) -> None:
    world.ops.ready()


@pytest.mark.parametrize("content", [None, "x"])
def test_path_that_is_not_a_directory_is_rejected(tmp_path: Path, content: str | None) -> None:
    place = tmp_path / "file"
    place.write_text("x")
    with pytest.raises(Unavailable):
        open_local(place if content is None else place / content, HASH)
    assert place.read_text() == "x"


@pytest.mark.parametrize("left", ["missing", "empty"])
def test_missing_metadata_next_to_tenant_stores_is_detected(world: World, directory: Path, left: str) -> None:
    world.ops.close()
    (directory / "metadata.db").unlink()
    if left == "empty":
        (directory / "metadata.db").touch()
    before = sorted(path.name for path in directory.rglob("*"))
    with pytest.raises(Unavailable, match=r"metadata\.db is missing or empty.*restore it from a backup"):
        world.connect()
    assert sorted(path.name for path in directory.rglob("*")) == before


def test_directory_that_fails_to_open_is_not_locked(world: World, directory: Path) -> None:
    world.ops.close()
    metadata = (directory / "metadata.db").read_bytes()
    (directory / "metadata.db").write_bytes(b"garbage!" * 1000)
    for _ in range(2):
        with pytest.raises(Unavailable, match="damaged"):
            world.connect()
    (directory / "metadata.db").write_bytes(metadata)
    world.ops = world.connect()
    assert world.on(PATH, CountDocuments) == 1


HOLDER = """
import sys
from pathlib import Path
from akidb.deployment.local import open_local
from akidb.deployment.schema_changes import migrate
from akidb.settings import Settings
ops = open_local(Path(sys.argv[1]), Settings())
if len(sys.argv) > 2:
    ops.publish_socket(Path(sys.argv[2]))
print("open", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("socket", [None, "/run/akidb.sock"])
def test_error_names_owning_process_and_its_socket(directory: Path, socket: str | None) -> None:
    command = [sys.executable, "-c", HOLDER, str(directory), *([socket] if socket else [])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        advice = "`akidb serve` lets" if socket is None else "listening at unix:///run/akidb.sock"
        with pytest.raises(DirectoryHeld, match=advice) as caught:
            open_local(directory, HASH)
        assert caught.value.pid == holder.pid
        assert caught.value.socket == (None if socket is None else Path(socket))
        assert caught.value.code == "unavailable"
        with pytest.raises(DirectoryHeld):
            migrate(directory, msgspec.structs.replace(HASH, open_wait_seconds=0), dry_run=True)
        holder.communicate("")
    open_local(directory, HASH).close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_child_is_rejected_and_parent_continues(world: World) -> None:
    for work in (
        lambda: world.ops.perform(ListTenants()),
        lambda: world.on(PATH, UpsertDocuments, documents=notes("b")),
        lambda: world.on(PATH, CountDocuments),
        lambda: world.ops.perform(CheckStores()),
        world.ops.ready,
        lambda: world.ops.publish_socket(Path("/run/child.sock")),
    ):
        assert in_child(work).startswith("Unavailable: the connection was opened before a fork")
    world.on(PATH, UpsertDocuments, documents=notes("c"))
    assert ids_of(world.on(PATH, ScanDocuments).items) == ["a", "c"]
    assert all(finding.ok for finding in world.ops.perform(CheckStores()).items)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_close_in_forked_child_does_not_affect_parent(world: World) -> None:
    """As a child does that leaves the `with` block in which it was forked."""

    def close_and_reuse() -> None:
        spare = os.open(os.devnull, os.O_RDONLY)  # gets the number of the lock's descriptor
        world.ops.close()
        os.fstat(spare)

    assert in_child(close_and_reuse) == "done"
    assert in_child(world.connect).startswith("Unavailable: ")
    assert "in use by process" in in_child(world.connect)
    world.on(PATH, UpsertDocuments, documents=notes("c"))
    assert world.on(PATH, CountDocuments) == 2


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_garbage_collection_in_forked_child_does_not_affect_parent(world: World, directory: Path) -> None:
    def forget() -> None:
        world.ops.__dict__.clear()
        composition.every_runtime.clear()
        gc.collect()

    assert in_child(forget) == "done"
    assert any(path.name.endswith("-wal") for path in directory.iterdir())
    world.on(PATH, UpsertDocuments, documents=notes("c"))
    world.tenant("Other")
    world.reopen()
    assert ids_of(world.on(PATH, ScanDocuments).items) == ["a", "c"]
    assert len(world.ops.perform(ListTenants()).items) == 2
    assert all(finding.ok for finding in world.ops.perform(CheckStores()).items)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_fork_does_not_close_descriptors_reused_after_connection_close(world: World) -> None:
    world.ops.close()
    spares = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]
    try:
        assert in_child(lambda: [os.fstat(spare) for spare in spares]) == "done"
    finally:
        for spare in spares:
            os.close(spare)


def test_store_that_cannot_be_removed_does_not_block_other_tenants(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.place("Other")

    def refuse(*_: object) -> None:
        raise Unavailable("the disk says no")

    world.ops.perform(DeleteTenant(tenant="aki-labs"))
    with monkeypatch.context() as broken:
        broken.setattr("akidb.documents.sqlite_pool.remove_files", refuse)
        with pytest.raises(Unavailable):
            world.ops.perform(PurgeTenant(tenant="aki-labs"))
        world.reopen()
        assert world.ops.perform(GetTenant(tenant="other")).slug == "other"
        assert [f.detail for f in world.ops.perform(CheckStores()).items if not f.ok] == ["the disk says no"]
    world.reopen()
    assert all(finding.ok for finding in world.ops.perform(CheckStores()).items)
    assert not list((world.directory / "tenants").glob("*.db"))


def test_metadata_without_schema_version_is_rejected(world: World, directory: Path) -> None:
    world.ops.close()
    world.execute(directory / "metadata.db", "DELETE FROM alembic_version")
    with pytest.raises(Unavailable, match="has no schema version"):
        open_local(directory, HASH)


def test_connection_with_different_settings_is_rejected(world: World, directory: Path) -> None:
    other = msgspec.structs.replace(world.settings, synchronous="normal")
    with pytest.raises(InvalidArgument, match="is 'full' in a connection") as caught:
        open_local(directory, other)
    assert caught.value.field == "synchronous"
    world.ops.close()
    open_local(directory, other).close()
