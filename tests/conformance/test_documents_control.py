"""The control row: the applied tenant state decides what may be read and written."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest
from samples import Clock, Shelf, batch, document, key, size_of

from akidb.domain.entities import Metric
from akidb.domain.errors import IdempotencyMismatch, InvalidState, NotFound
from akidb.domain.ids import CollectionId
from akidb.domain.lifecycle import Access, CollectionState, DatabaseState, TenantStatus


@pytest.fixture(autouse=True)
def _one_document(shelf: Shelf) -> None:
    shelf.upsert(document("a", "x"))


def set_tenant(state: TenantStatus) -> Callable[[Shelf], None]:
    return lambda shelf: shelf.set_tenant(status=state)


def set_database(state: DatabaseState) -> Callable[[Shelf], None]:
    return lambda shelf: shelf.set_database(state=state)


def set_collection(state: CollectionState) -> Callable[[Shelf], None]:
    return lambda shelf: shelf.set_collection(state=state)


def reads(shelf: Shelf) -> AbstractContextManager[Any]:
    return shelf.reading()


def writes(shelf: Shelf) -> AbstractContextManager[Any]:
    return shelf.writing()


STOPPED = [
    (set_tenant(TenantStatus.SUSPENDED), {"read", "write"}, ("tenant", "suspended")),
    (set_tenant(TenantStatus.PROVISIONING), {"read", "write"}, ("tenant", "provisioning")),
    (set_database(DatabaseState.PROVISIONING), {"read", "write"}, ("database", "provisioning")),
    (set_database(DatabaseState.MIGRATING), {"write"}, ("database", "migrating")),
    (set_collection(CollectionState.CREATING), {"read", "write"}, ("collection", "creating")),
]


@pytest.mark.parametrize(
    ("change", "stopped", "named"), STOPPED, ids=[f"{row[2][0]} {row[2][1]}" for row in STOPPED]
)
def test_states_block_reads_and_writes_as_specified(
    shelf: Shelf, change: Callable[[Shelf], None], stopped: set[str], named: tuple[str, str]
) -> None:
    change(shelf)
    for verb, work in (("read", reads), ("write", writes)):
        if verb in stopped:
            with pytest.raises(InvalidState) as caught, work(shelf):
                pytest.fail("it was let through")
            assert (caught.value.fields["entity"], caught.value.fields["state"]) == named
        else:
            with work(shelf):
                pass
    with shelf.reading(operation=Access.METADATA_READ) as found:
        assert found.control.document_count == 1


@pytest.mark.parametrize(
    "delete",
    [
        set_tenant(TenantStatus.DECOMMISSIONED),
        set_database(DatabaseState.DELETING),
        set_collection(CollectionState.DELETING),
    ],
    ids=["tenant", "database", "collection"],
)
@pytest.mark.parametrize("work", [reads, writes])
def test_collection_under_deleted_parent_is_not_found(
    shelf: Shelf, delete: Callable[[Shelf], None], work: Callable[[Shelf], AbstractContextManager[Any]]
) -> None:
    delete(shelf)
    with pytest.raises(NotFound) as caught, work(shelf):
        pytest.fail("it was let through")
    assert caught.value.fields["entity"] == "collection"


def test_unapplied_collection_is_not_found(shelf: Shelf) -> None:
    with pytest.raises(NotFound), shelf.open() as store, store.read(CollectionId(bytes(16))):
        pytest.fail("it was let through")


def test_restored_collection_keeps_its_documents(shelf: Shelf) -> None:
    shelf.set_collection(state=CollectionState.DELETING)
    assert shelf.usage() == (size_of(document("a", "x")), 0)  # bytes stay taken, documents do not count
    shelf.set_collection(state=CollectionState.READY)
    assert shelf.usage() == (size_of(document("a", "x")), 1)
    assert shelf.all_ids() == ["a"]


def test_purged_collection_releases_its_storage(shelf: Shelf) -> None:
    drafts = shelf.new_collection("drafts", Metric.DOT)
    shelf.apply(drafts)
    shelf.upsert(document("b"), document("c"), collection=drafts)
    with shelf.writing(drafts) as writing:
        writing.answers.add(key(), b"1", None, shelf.tenant.created_at)
    shelf.apply(purged=[drafts.collection_id])
    assert shelf.usage() == (size_of(document("a", "x")), 1)
    with pytest.raises(NotFound), shelf.reading(drafts):
        pytest.fail("it was let through")
    with shelf.writing() as writing:
        assert writing.answers.find(key(), shelf.tenant.created_at) is None
    assert shelf.check() == []
    shelf.apply(purged=[drafts.collection_id])  # twice is harmless
    assert shelf.check() == []


def test_apply_is_idempotent(shelf: Shelf) -> None:
    with shelf.reading() as found:
        before = found.control
    shelf.apply()
    shelf.apply()
    with shelf.reading() as found:
        assert found.control == before


def test_apply_accepts_older_metadata_after_restore(shelf: Shelf) -> None:
    tenant, collection = shelf.tenant, shelf.collection
    shelf.set_tenant(status=TenantStatus.SUSPENDED)
    shelf.set_collection(max_document_count=7)
    with shelf.open() as store:
        store.apply(tenant, [(shelf.database, collection)])
        assert store.control_state().tenant_status is TenantStatus.ACTIVE
        assert [each.max_document_count for each in store.controls()] == [collection.max_document_count]


def test_database_state_change_updates_collection_controls(shelf: Shelf) -> None:
    shelf.set_database(state=DatabaseState.DELETING)
    with shelf.open() as store:
        assert [each.database_state for each in store.controls()] == [DatabaseState.DELETING]
    shelf.set_database(state=DatabaseState.READY)
    with shelf.open() as store:
        assert [each.database_state for each in store.controls()] == [DatabaseState.READY]


def test_control_state_returns_applied_values(shelf: Shelf) -> None:
    shelf.set_tenant(status=TenantStatus.SUSPENDED, storage_quota_bytes=7)
    with shelf.open() as store:
        state = store.control_state()
    assert state == (2, "suspended", 7, size_of(document("a", "x")))


def test_no_write_commits_after_suspension_is_applied(shelf: Shelf) -> None:
    """32 clients write; once `apply` has returned nothing more is let in."""
    acknowledged: list[int] = []
    suspended = threading.Event()
    late: list[int] = []

    def write(number: int) -> None:
        for round in range(1000):
            after = suspended.is_set()
            try:
                shelf.upsert(document(f"{number}-{round}"))
            except InvalidState:
                return
            acknowledged.append(1)
            if after:
                late.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    while len(acknowledged) < 200:
        suspended.wait(0.001)
    shelf.set_tenant(status=TenantStatus.SUSPENDED)
    suspended.set()
    with shelf.open() as store:
        count = store.usage()[1]
    for thread in threads:
        thread.join()
    assert late == []
    with shelf.open() as store:
        assert store.usage()[1] == count == len(acknowledged) + 1


def test_idempotency_answer_is_kept_for_24_hours(shelf: Shelf, clock: Clock) -> None:
    with shelf.writing() as writing:
        assert writing.answers.find(key(), clock.now) is None
        writing.upsert(batch([document("b")]))
        writing.answers.add(key(), b"[1]", shelf.tenant.tenant_id, clock.now)
    with shelf.writing() as writing:
        assert writing.answers.find(key(), clock.now + timedelta(hours=23, minutes=59)) == b"[1]"
        assert writing.answers.find(key(), clock.now + timedelta(hours=24, seconds=1)) is None
        with pytest.raises(IdempotencyMismatch):
            writing.answers.find(key(arguments=b"other"), clock.now)


def test_rollback_discards_idempotency_answer(shelf: Shelf, clock: Clock) -> None:
    with pytest.raises(KeyError), shelf.writing() as writing:  # noqa: PT012
        writing.upsert(batch([document("b")]))
        writing.answers.add(key(), b"1", None, clock.now)
        raise KeyError
    with shelf.writing() as writing:
        assert writing.answers.find(key(), clock.now) is None
    assert shelf.all_ids() == ["a"]
