"""A change that blocks writes has blocked all of them when it returns, including those in flight."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fault_tools import (
    DIMENSION,
    add_tenant,
    at,
    disagreements,
    document,
    opened,
    size_bytes,
    store_sequence,
    unsound,
)

from akidb.deployment.local import TENANTS_NAME, LocalOperations
from akidb.domain.errors import AkiDBError
from akidb.operations.collections import (
    CreateCollection,
    DeleteCollection,
    PurgeCollection,
    RestoreCollection,
    UpdateCollection,
)
from akidb.operations.databases import DeleteDatabase, RestoreDatabase
from akidb.operations.documents import CountDocuments, UpsertDocuments
from akidb.operations.tenants import (
    ActivateTenant,
    DeleteTenant,
    GetUsage,
    PurgeTenant,
    RestoreTenant,
    SuspendTenant,
    UpdateTenant,
)

CLIENTS = 32
ROUNDS = 4
SLUG = "busy"
MORE_STORAGE = UpdateTenant(tenant=SLUG, storage_quota_bytes=2**40)
MORE_DOCUMENTS = UpdateCollection(tenant=SLUG, database="d", collection="c", max_document_count=10**6)


class Clients:
    """Threads that write new documents one by one, whatever they are answered."""

    def __init__(self, operations: LocalOperations, prefix: str = "") -> None:
        self._prefix = prefix
        self._operations = operations
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(CLIENTS)]
        self._lock = threading.Lock()
        self.written = 0
        self.refused: Counter[str] = Counter()
        self.surprises: list[BaseException] = []

    def _run(self, number: int) -> None:
        turn = 0
        while not self._stopped.is_set():
            try:
                wanted = [document(f"{self._prefix}{number}-{turn}")]
                self._operations.perform(UpsertDocuments(**at(SLUG)._asdict(), documents=wanted))
            except AkiDBError as error:
                with self._lock:
                    self.refused[type(error).__name__] += 1
                self._stopped.wait(0.002)
            except BaseException as error:  # noqa: BLE001 - told by the test
                self.surprises.append(error)
                return
            else:
                with self._lock:
                    self.written += 1
            turn += 1

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def writing(operations: LocalOperations, *allowed: str, prefix: str = "") -> Iterator[Clients]:
    """Clients in full flow; afterwards none was answered by anything but what is allowed."""
    clients = Clients(operations, prefix)
    clients.start()
    try:
        deadline = time.monotonic() + 10
        while clients.written < CLIENTS and time.monotonic() < deadline:
            time.sleep(0.005)
        yield clients
        time.sleep(0.05)  # for those that would still get through
    finally:
        clients.stop()
    assert clients.surprises == []
    assert clients.refused.keys() <= set(allowed), clients.refused


def _used(operations: LocalOperations) -> tuple[int, int]:
    usage = operations.perform(GetUsage(tenant=SLUG))
    return usage.documents, usage.storage_bytes.used


def _suspend(operations: LocalOperations) -> None:
    operations.perform(SuspendTenant(tenant=SLUG))


def _lower_storage(operations: LocalOperations) -> None:
    operations.perform(UpdateTenant(tenant=SLUG, storage_quota_bytes=1))


def _lower_documents(operations: LocalOperations) -> None:
    operations.perform(UpdateCollection(tenant=SLUG, database="d", collection="c", max_document_count=1))


def _delete_collection(operations: LocalOperations) -> None:
    operations.perform(DeleteCollection(tenant=SLUG, database="d", collection="c"))


def _delete_database(operations: LocalOperations) -> None:
    operations.perform(DeleteDatabase(tenant=SLUG, database="d"))


def _delete_tenant(operations: LocalOperations) -> None:
    operations.perform(DeleteTenant(tenant=SLUG))


@pytest.mark.parametrize(
    ("change", "undo", "answer"),
    [
        (_suspend, lambda o: o.perform(ActivateTenant(tenant=SLUG)), "InvalidState"),
        (_lower_storage, lambda o: o.perform(MORE_STORAGE), "QuotaExceeded"),
        (_lower_documents, lambda o: o.perform(MORE_DOCUMENTS), "QuotaExceeded"),
        (
            _delete_collection,
            lambda o: o.perform(RestoreCollection(tenant=SLUG, database="d", collection="c")),
            "NotFound",
        ),
        (_delete_database, lambda o: o.perform(RestoreDatabase(tenant=SLUG, database="d")), "NotFound"),
        (_delete_tenant, lambda o: o.perform(RestoreTenant(tenant=SLUG)), "NotFound"),
    ],
)
def test_no_commit_happens_after_blocking_change_returns(
    change: Callable[[LocalOperations], None],
    undo: Callable[[LocalOperations], object],
    answer: str,
    tmp_path: Path,
) -> None:
    written = 0
    with opened(tmp_path) as operations:
        add_tenant(operations, SLUG, "c")
        for turn in range(ROUNDS):
            with writing(operations, answer, prefix=f"{turn}-") as clients:
                change(operations)
                answered = store_sequence(tmp_path)
            assert store_sequence(tmp_path) == answered
            assert clients.refused[answer] > 0
            written += clients.written
            undo(operations)
            assert operations.perform(CountDocuments(**at(SLUG)._asdict())) == written == answered
        assert unsound(operations) == []
    assert disagreements(tmp_path) == []


def test_purge_during_concurrent_writes_leaves_no_file(tmp_path: Path) -> None:
    with opened(tmp_path) as operations:
        for _ in range(ROUNDS):
            add_tenant(operations, SLUG, "c")
            with writing(operations, "NotFound", "InvalidState", "Unavailable"):
                operations.perform(DeleteTenant(tenant=SLUG))
                operations.perform(PurgeTenant(tenant=SLUG))
            assert list((tmp_path / TENANTS_NAME).iterdir()) == []
        assert unsound(operations) == []
    assert disagreements(tmp_path) == []


def test_tenant_purged_before_first_document_leaves_no_file(tmp_path: Path) -> None:
    """The store is made by writers that found the tenant when it was still there."""
    with opened(tmp_path) as operations:
        for _ in range(ROUNDS):
            add_tenant(operations, SLUG, "c")
            clients = Clients(operations)
            clients.start()
            operations.perform(DeleteTenant(tenant=SLUG))
            operations.perform(PurgeTenant(tenant=SLUG))
            time.sleep(0.05)
            clients.stop()
            assert clients.surprises == []
            assert clients.refused.keys() <= {"NotFound", "InvalidState", "Unavailable"}
            assert list((tmp_path / TENANTS_NAME).iterdir()) == []
        assert unsound(operations) == []
    assert disagreements(tmp_path) == []


def test_collection_purged_during_concurrent_writes_keeps_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as operations:
        add_tenant(operations, SLUG, "c", "other")
        operations.perform(UpsertDocuments(**at(SLUG, "other")._asdict(), documents=[document("kept")]))
        for _ in range(ROUNDS):
            with writing(operations, "NotFound"):
                operations.perform(DeleteCollection(tenant=SLUG, database="d", collection="c"))
                operations.perform(PurgeCollection(tenant=SLUG, database="d", collection="c"))
                assert _used(operations) == (1, size_bytes(document("kept")))
            assert _used(operations) == (1, size_bytes(document("kept")))
            operations.perform(CreateCollection(tenant=SLUG, database="d", name="c", dimension=DIMENSION))
        assert unsound(operations) == []
    assert disagreements(tmp_path) == []
