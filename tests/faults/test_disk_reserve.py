"""The reserve of a disk: growing writes are refused before it is used, and deleting works on a full disk."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from fault_tools import add_tenant, at, disagreements, documents, failure, opened, unsound

from akidb.domain.errors import StorageFull
from akidb.operations.archives import CopyTenant, CreateBackup, ExportTenant, ImportTenant
from akidb.operations.collections import CreateCollection, DeleteCollection, PurgeCollection
from akidb.operations.databases import CreateDatabase
from akidb.operations.documents import (
    CountDocuments,
    DeleteDocuments,
    GetDocuments,
    SearchDocuments,
    UpdateDocuments,
    UpsertDocuments,
)
from akidb.operations.tenants import (
    ActivateTenant,
    CreateTenant,
    DeleteTenant,
    GetTenant,
    PurgeTenant,
    RestoreTenant,
    SuspendTenant,
    UpdateTenant,
)
from akidb.operations.upkeep import MaintainStores
from akidb.operations.users import CreateUser
from akidb.sql.room import BALLAST_BYTES, LEFT_BYTES, Room
from own_disks import mounted

MIB = 2**20
RESERVE = 4 * MIB
VECTOR = [1.0] * 16


class _Free:
    """How much the system says is free."""

    def __init__(self, free_bytes: int) -> None:
        self.free_bytes = free_bytes


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> _Free:
    """A disk that is as full as a test says; the real one is not."""
    found = _Free(100 * MIB)
    monkeypatch.setattr(Room, "free_bytes", lambda _room: found.free_bytes)
    monkeypatch.setattr("akidb.sql.room.TRUSTED_SECONDS", 0.0)
    return found


class _Sink:
    """Takes an archive."""

    def __init__(self) -> None:
        self.content = bytearray()

    def write(self, data: bytes, /) -> int:
        self.content += data
        return len(data)


class _Pipe:
    """An archive that comes over a connection."""

    def __init__(self, content: bytes) -> None:
        self._left = content

    def read(self, size: int, /) -> bytes:
        piece, self._left = self._left[:size], self._left[size:]
        return piece


def test_growing_operations_are_refused_within_reserve_and_others_are_not(
    tmp_path: Path, free: _Free
) -> None:
    with opened(tmp_path, disk_reserve_bytes=RESERVE) as operations:
        perform = operations.perform
        add_tenant(operations, "t", "c", "old", "gone")
        perform(UpsertDocuments(**at("t")._asdict(), documents=documents(20)))
        archive = _Sink()
        perform(ExportTenant(tenant="t"), sink=archive)
        free.free_bytes = RESERVE - 1
        growing: list[Any] = [
            CreateTenant(name="new"),
            UpdateTenant(tenant="t", metadata={"a": 1}),
            CreateDatabase(tenant="t", name="new"),
            CreateCollection(tenant="t", database="d", name="new", dimension=16),
            CreateUser(tenant="t", email="a@x", password="correct horse"),
            CopyTenant(tenant="t", slug="copy"),
            # More than fits into the pages that making a store leaves free in its file.
            UpsertDocuments(**at("t")._asdict(), documents=documents(200)),
            UpdateDocuments(**at("t")._asdict(), metadata={"a": "x" * 100_000}, ids=["x1"]),
        ]
        assert {failure(perform, each) for each in growing} == {"StorageFull"}
        assert failure(perform, ImportTenant(), source=_Pipe(bytes(archive.content))) == "StorageFull"
        for reading in (CreateBackup(), ExportTenant(tenant="t")):  # they copy the store beside it
            assert failure(perform, reading, sink=_Sink()) == "StorageFull"
        assert perform(CountDocuments(**at("t")._asdict())) == 20
        assert len(perform(SearchDocuments(**at("t")._asdict(), vector=VECTOR, top_k=3)).matches) == 3
        others: list[Any] = [
            DeleteDocuments(**at("t")._asdict(), ids=["x1"]),
            DeleteCollection(**at("t", "old")._asdict()),
            PurgeCollection(**at("t", "old")._asdict()),
            SuspendTenant(tenant="t"),
            ActivateTenant(tenant="t"),
            DeleteTenant(tenant="t"),
            RestoreTenant(tenant="t"),
            MaintainStores(),
        ]
        assert [failure(perform, each) for each in others] == [None] * len(others)
        free.free_bytes = 100 * MIB
        assert [failure(perform, each) for each in growing] == [None] * len(growing)
        assert unsound(operations) == []


def test_batch_larger_than_spare_space_is_refused_whole(tmp_path: Path, free: _Free) -> None:
    with opened(tmp_path, disk_reserve_bytes=RESERVE) as operations:
        add_tenant(operations, "t", "c")
        free.free_bytes = RESERVE + MIB
        much = [{"id": f"m{n}", "text": "x" * 100_000, "vector": VECTOR} for n in range(20)]
        few = UpsertDocuments(**at("t")._asdict(), documents=documents(20))
        operations.perform(few)
        with pytest.raises(StorageFull, match="disk_reserve_bytes"):
            operations.perform(UpsertDocuments(**at("t")._asdict(), documents=much))
        operations.perform(few)
        assert operations.perform(CountDocuments(**at("t")._asdict())) == 20


def test_space_of_deleted_documents_can_be_used_again_within_reserve(tmp_path: Path, free: _Free) -> None:
    large = [{"id": f"m{n}", "text": "x" * 20_000, "vector": VECTOR} for n in range(20)]
    with opened(tmp_path, disk_reserve_bytes=RESERVE) as operations:
        add_tenant(operations, "t", "c")
        operations.perform(UpsertDocuments(**at("t")._asdict(), documents=large))
        free.free_bytes = RESERVE - 1
        again = UpsertDocuments(**at("t")._asdict(), documents=large[:5])
        assert failure(operations.perform, again) == "StorageFull"
        operations.perform(DeleteDocuments(**at("t")._asdict(), ids=[f"m{n}" for n in range(20)]))
        operations.perform(again)
        free.free_bytes = RESERVE // 2
        assert failure(operations.perform, again) == "StorageFull"  # there would be no room for its log


def test_new_tenant_store_is_not_made_within_reserve(tmp_path: Path, free: _Free) -> None:
    with opened(tmp_path, disk_reserve_bytes=RESERVE) as operations:
        add_tenant(operations, "t", "c")
        free.free_bytes = RESERVE + 1
        one = UpsertDocuments(**at("t")._asdict(), documents=documents(1))
        assert failure(operations.perform, one) == "StorageFull"
        assert list((tmp_path / "tenants").iterdir()) == []


def test_uploads_leave_half_of_the_free_space_to_others(tmp_path: Path, free: _Free) -> None:
    room = Room(tmp_path, RESERVE)
    free.free_bytes = RESERVE + 10 * MIB
    with room.uploading() as take, room.uploading() as take_too:
        for upload in (take, take_too):
            for _ in range(2):
                upload(MIB)
                free.free_bytes -= MIB
        take(MIB)
        with pytest.raises(StorageFull, match="half of the free space"):
            take_too(MIB)
        room.require(MIB)
    free.free_bytes = RESERVE + 10 * MIB
    with room.uploading() as take:
        take(5 * MIB)


def test_upload_stops_before_the_reserve(tmp_path: Path, free: _Free) -> None:
    with opened(tmp_path, disk_reserve_bytes=RESERVE) as operations:
        free.free_bytes = RESERVE + 10 * MIB
        assert failure(operations.perform, ImportTenant(), source=_Endless()) == "StorageFull"
        assert not list((tmp_path / "tmp").iterdir())


class _Endless:
    """A body that never ends."""

    def __init__(self) -> None:
        self.given = 0

    def read(self, size: int, /) -> bytes:
        self.given += size
        assert self.given < 100 * MIB
        return bytes(size)


def test_ballast_is_kept_only_on_nearly_full_disk(tmp_path: Path, free: _Free) -> None:
    ballast = tmp_path / "reserve"
    room = Room(tmp_path, 64 * MIB, ballast)
    free.free_bytes = 10 * 2**30
    with room.releasing():
        pass
    assert not ballast.exists()
    free.free_bytes = 500 * MIB
    with room.releasing():
        pass
    assert ballast.stat().st_size == BALLAST_BYTES
    assert ballast.stat().st_blocks * 512 >= BALLAST_BYTES
    assert ballast.stat().st_mode & 0o777 == 0o600
    free.free_bytes = 0
    with room.releasing():
        with room.releasing():
            assert not ballast.exists()
        assert not ballast.exists()
        free.free_bytes = 2 * MIB + LEFT_BYTES  # of what the ballast had, the operations took the rest
    assert ballast.stat().st_size == 2 * MIB
    free.free_bytes = 10 * 2**30
    with room.releasing():
        pass
    assert not ballast.exists()


def test_without_reserve_nothing_is_refused_beforehand(tmp_path: Path, free: _Free) -> None:
    free.free_bytes = 0
    with opened(tmp_path, disk_reserve_bytes=0) as operations:
        add_tenant(operations, "t", "c")
        operations.perform(UpsertDocuments(**at("t")._asdict(), documents=documents(3)))
    assert not (tmp_path / "reserve").exists()


@contextmanager
def _filled(directory: Path) -> Iterator[Callable[[], None]]:
    """Yield what fills the file system of a directory to the last byte, as another program may."""
    path = directory / "others"

    def fill() -> None:
        with path.open("ab", buffering=0) as file:
            for size in (MIB, 4096, 1):
                with suppress(OSError):
                    while True:
                        file.write(bytes(size))
        assert os.statvfs(directory).f_bavail == 0

    yield fill
    path.unlink(missing_ok=True)


@pytest.mark.own_disk
def test_deletes_and_purges_work_on_a_disk_that_others_filled(tmp_path: Path) -> None:
    with mounted(tmp_path, "size=32m"), _filled(tmp_path) as fill:
        data = tmp_path / "data"
        with opened(data, disk_reserve_bytes=BALLAST_BYTES) as operations:
            perform = operations.perform
            for slug in ("t", "u"):
                add_tenant(operations, slug, "c", "old")
                perform(UpsertDocuments(**at(slug)._asdict(), documents=documents(500)))
            fill()
            new = UpsertDocuments(**at("t")._asdict(), documents=documents(1, prefix="n"))
            assert failure(perform, new) == "StorageFull"
            assert failure(perform, CreateTenant(name="v")) == "StorageFull"
            for start in range(0, 400, 50):
                ids = [f"x{n}" for n in range(start, start + 50)]
                assert perform(DeleteDocuments(**at("t")._asdict(), ids=ids)) == 50
                fill()  # whatever becomes free, others take it
            perform(DeleteCollection(**at("t", "old")._asdict()))
            fill()
            assert perform(GetDocuments(**at("t")._asdict(), ids=["x499"]))[0].id == "x499"
        fill()
        with opened(data, disk_reserve_bytes=BALLAST_BYTES) as operations:  # a full disk can be opened
            perform = operations.perform
            assert perform(CountDocuments(**at("t")._asdict())) == 100
            perform(DeleteTenant(tenant="u"))
            perform(PurgeTenant(tenant="u"))
            assert perform(GetTenant(tenant="t")).slug == "t"
        (tmp_path / "others").unlink()
        with opened(data, disk_reserve_bytes=BALLAST_BYTES) as operations:
            operations.perform(new)
            assert operations.perform(CountDocuments(**at("t")._asdict())) == 101
            assert unsound(operations) == []
        assert disagreements(data) == []
