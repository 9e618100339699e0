"""Telemetry of the repositories of each adapter, and the gauges of their stores."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest
from samples import Library, Shelf

from akidb.domain.errors import AlreadyExists, NotFound, PreconditionFailed
from akidb.metadata.store import SqlMetadataStore
from akidb.observe import telemetry
from akidb.observe.context import WorkSubject
from akidb.observe.telemetry import Call, End, StoreKind
from akidb.ports.documents import DocumentBatch
from akidb.ports.stores import TenantStores


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()
        self.systems: set[str] = set()
        self.waits: Counter[tuple[str, str]] = Counter()
        self.counts: Counter[tuple[str, str]] = Counter()

    def begin(self, operation: str) -> End:
        raise AssertionError(operation)

    def called(self, call: Call, seconds: float, code: str) -> None:
        assert 0 < seconds < 10
        self.calls[f"{call.store}.{call.repository}.{call.operation}", code] += 1
        self.systems.add(call.system)

    def waited(self, queue: telemetry.Queue, store: StoreKind, seconds: float) -> None:
        assert 0 <= seconds < 10
        self.waits[queue, store] += 1

    def counted(self, counter: str, label: str, amount: int) -> None:
        self.counts[counter, label] += amount


@pytest.fixture
def heard() -> Iterator[Heard]:
    listener = Heard()
    telemetry.listen(listener)
    yield listener
    telemetry.leave(listener)


def _is_sqlite(metadata: SqlMetadataStore) -> bool:
    return metadata._database.system == "sqlite"


def test_calls_and_commits_are_reported_with_result_code(
    metadata: SqlMetadataStore, library: Library, heard: Heard
) -> None:
    tenant = library.new_tenant()
    with metadata.transaction() as tx:
        tx.tenants.create(tenant)
        tx.databases.create(library.new_database(tenant))
    with metadata.read() as tx:
        tx.tenants.get("aki-labs")
        with pytest.raises(NotFound):
            tx.tenants.get("none")
        tx.databases.list(tenant.tenant_id, deleted=False, limit=10, cursor=None)
    with pytest.raises(AlreadyExists), metadata.transaction() as tx:
        tx.tenants.create(library.new_tenant())
    with pytest.raises(PreconditionFailed), metadata.transaction() as tx:
        tx.tenants.update(tenant)  # the same version once more
    assert heard.calls == {
        ("metadata.tenants.create", "ok"): 1,
        ("metadata.databases.create", "ok"): 1,
        ("metadata.transaction.commit", "ok"): 1,
        ("metadata.tenants.get", "ok"): 1,
        ("metadata.tenants.get", "not_found"): 1,
        ("metadata.databases.list", "ok"): 1,
        ("metadata.tenants.create", "already_exists"): 1,
        ("metadata.tenants.update", "precondition_failed"): 1,
    }
    assert heard.systems == {metadata._database.system}


def test_write_wait_times_are_reported(metadata: SqlMetadataStore, library: Library, heard: Heard) -> None:
    library.tenant()
    assert (metadata.figures().wal_bytes > 0) == _is_sqlite(metadata)
    if _is_sqlite(metadata):
        assert heard.waits == {("gate", "metadata"): 1}
    else:
        assert heard.waits == {("pool", "metadata"): 1}


def test_in_use_and_idle_connections_are_counted(metadata: SqlMetadataStore, heard: Heard) -> None:
    were_idle = metadata.figures().connections_idle
    readers = were_idle + 2
    with ExitStack() as stack:
        for _ in range(readers):
            stack.enter_context(metadata.read()).outbox.depth()
        in_use = metadata.figures()
        assert (in_use.connections_in_use, in_use.connections_idle) == (readers, 0)
    figures = metadata.figures()
    assert (figures.connections_in_use, figures.connections_idle) == (0, readers)
    assert heard.counts["connections_opened", "metadata"] == 2
    assert (figures.open_stores, figures.gate_waiting) == (1, 0)
    metadata.close()
    assert metadata.figures().connections_idle == 0


def test_connection_is_released_after_failed_transaction(metadata: SqlMetadataStore) -> None:
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), metadata.transaction():
            _ = 1 / 0
    assert metadata.figures().connections_in_use == 0


def test_work_subject_records_found_tenant(metadata: SqlMetadataStore, library: Library) -> None:
    tenant = library.tenant()
    with WorkSubject() as work, metadata.read() as tx:
        with pytest.raises(NotFound):
            tx.tenants.get("none")
        assert work.tenant_id is None
        tx.tenants.get("aki-labs")
        assert work.tenant_id == tenant.tenant_id


def test_tenant_store_reports_document_and_store_calls(
    stores: TenantStores, shelf: Shelf, heard: Heard
) -> None:
    batch = DocumentBatch(["a"], ["text"], ["{}"], [70], np.ones((1, 16), np.float32))
    with shelf.open() as store:
        with store.transaction(shelf.collection.collection_id) as writer:
            writer.upsert(batch)
            assert writer.control.document_count == 0
        with store.read(shelf.collection.collection_id) as reader:
            assert reader.count(None) == 1
        with pytest.raises(NotFound), store.read(shelf.new_collection("unknown").collection_id):
            raise AssertionError
        store.usage()
    assert heard.calls == {
        ("tenant.documents.upsert", "ok"): 1,
        ("tenant.transaction.commit", "ok"): 1,
        ("tenant.documents.count", "ok"): 1,
        ("tenant.store.usage", "ok"): 1,
    }
    figures = stores.figures()
    assert figures.open_stores == stores.open_count()
    assert figures.connections_in_use == 0
    assert figures.connections_idle >= 1
