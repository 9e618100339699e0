"""Many threads on few stores: no spurious errors, wrong counts or starvation."""

import threading
import time
from pathlib import Path

import pytest
from fault_tools import DIMENSION, add_tenant, at, disagreements, document, opened, size_bytes, unsound

from akidb.deployment.local import LocalOperations
from akidb.operations.collections import CreateCollection, DeleteCollection, PurgeCollection
from akidb.operations.documents import CountDocuments, DeleteDocuments, ScanDocuments, UpsertDocuments
from akidb.operations.tenants import (
    ActivateTenant,
    DeleteTenant,
    GetUsage,
    PurgeTenant,
    SuspendTenant,
    UpdateTenant,
)

THREADS = 64
TENANTS = [f"t{number}" for number in range(8)]
MAX_UNFAIRNESS = 3


class Writer(threading.Thread):
    """Upserts batches of new documents, replaces some of them, deletes some, until told to stop."""

    def __init__(self, operations: LocalOperations, number: int, stop: threading.Event) -> None:
        super().__init__()
        self._operations = operations
        self._path = at(TENANTS[number % len(TENANTS)])
        self._name = f"w{number}"
        self._stop_event = stop
        self.commits = 0
        self.kept: dict[str, int] = {}
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._stop_event.is_set():
                self._write(self.commits)
                self.commits += 1
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.error = error

    def _write(self, turn: int) -> None:
        if turn % 5 == 4:
            gone = list(self.kept)[:2]
            deleted = self._operations.perform(DeleteDocuments(**self._path._asdict(), ids=gone))
            assert deleted == len(gone)
            for id in gone:
                del self.kept[id]
        else:
            batch = [document(f"{self._name}-{turn * 2 % 31 + place}", turn, turn=turn) for place in (0, 1)]
            self._operations.perform(UpsertDocuments(**self._path._asdict(), documents=batch))
            self.kept.update({d["id"]: size_bytes(d) for d in batch})


@pytest.mark.parametrize(
    ("seconds", "max_open_stores"),
    [(3, 128), (2, 3), pytest.param(10, 128, marks=pytest.mark.slow)],
)
def test_64_threads_write_to_8_tenants(seconds: float, max_open_stores: int, tmp_path: Path) -> None:
    with opened(tmp_path, max_open_stores=max_open_stores) as operations:
        for slug in TENANTS:
            add_tenant(operations, slug, "c")
        stop = threading.Event()
        writers = [Writer(operations, number, stop) for number in range(THREADS)]
        for writer in writers:
            writer.start()
        time.sleep(seconds)
        stop.set()
        for writer in writers:
            writer.join()
        assert [writer.error for writer in writers if writer.error is not None] == []
        for number, slug in enumerate(TENANTS):
            own = writers[number :: len(TENANTS)]
            expected = {id: size for writer in own for id, size in writer.kept.items()}
            usage = operations.perform(GetUsage(tenant=slug))
            assert (
                usage.documents == operations.perform(CountDocuments(**at(slug)._asdict())) == len(expected)
            )
            assert usage.storage_bytes.used == sum(expected.values())
            commits = [writer.commits for writer in own]
            assert max(commits) <= MAX_UNFAIRNESS * min(commits), commits
        assert unsound(operations) == []
    assert disagreements(tmp_path) == []


def test_concurrent_creates_stop_at_quota(tmp_path: Path) -> None:
    limit = 20
    with opened(tmp_path) as operations:
        one = size_bytes(document("00"))
        add_tenant(operations, "full", "c", storage_quota_bytes=limit * one)
        written: list[str] = []
        refused: list[str] = []

        def write(number: int) -> None:
            try:
                operations.perform(
                    UpsertDocuments(**at("full")._asdict(), documents=[document(f"{number:02}")])
                )
                written.append(f"{number:02}")
            except Exception as error:  # noqa: BLE001 - told by the test
                refused.append(type(error).__name__)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(written) == limit
        assert refused == ["QuotaExceeded"] * (THREADS - limit)
        found = operations.perform(ScanDocuments(**at("full")._asdict(), limit=1000)).items
        assert [d.id for d in found] == sorted(written)
        assert operations.perform(GetUsage(tenant="full")).storage_bytes.used == limit * one


def test_concurrent_creates_of_same_resources_create_each_once(tmp_path: Path) -> None:
    outcomes: list[str] = []
    with opened(tmp_path) as operations:
        add_tenant(operations, "shared")

        def make() -> None:
            for number in range(5):
                try:
                    operations.perform(
                        CreateCollection(
                            tenant="shared", database="d", name=f"c{number}", dimension=DIMENSION
                        )
                    )
                    outcomes.append("made")
                except Exception as error:  # noqa: BLE001 - told by the test
                    outcomes.append(type(error).__name__)
                operations.perform(
                    UpsertDocuments(**at("shared", f"c{number}")._asdict(), documents=[document("same")])
                )

        threads = [threading.Thread(target=make) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["AlreadyExists"] * 75 + ["made"] * 5
        assert operations.perform(GetUsage(tenant="shared")).documents == 5
        assert unsound(operations) == []
    assert disagreements(tmp_path) == []


def test_doctor_passes_during_concurrent_changes(tmp_path: Path) -> None:
    stop = threading.Event()
    errors: list[BaseException] = []

    def change(slug: str) -> None:
        turn = 0
        while not stop.is_set():
            add_tenant(operations, slug, "c")
            operations.perform(UpsertDocuments(**at(slug)._asdict(), documents=[document("x")]))
            operations.perform(UpdateTenant(tenant=slug, storage_quota_bytes=10**9 + turn))
            operations.perform(SuspendTenant(tenant=slug))
            operations.perform(ActivateTenant(tenant=slug))
            operations.perform(DeleteCollection(tenant=slug, database="d", collection="c"))
            operations.perform(PurgeCollection(tenant=slug, database="d", collection="c"))
            operations.perform(DeleteTenant(tenant=slug))
            operations.perform(PurgeTenant(tenant=slug))
            turn += 1

    def guarded(slug: str) -> None:
        try:
            change(slug)
        except BaseException as error:  # noqa: BLE001 - told by the test
            errors.append(error)

    with opened(tmp_path) as operations:
        threads = [threading.Thread(target=guarded, args=(f"t{number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        try:
            deadline = time.monotonic() + 3
            while time.monotonic() < deadline:
                assert unsound(operations) == []
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert errors == []
    assert disagreements(tmp_path) == []
