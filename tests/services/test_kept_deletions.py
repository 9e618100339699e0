"""Deletions kept for change feeds take a bounded share of the storage quota, all collections together."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from akidb.deployment.local import LocalOperations, open_local
from akidb.documents.tables import DELETION_BYTES
from akidb.domain.errors import PreconditionFailed
from akidb.operations.changes import GetCollectionChanges
from akidb.operations.collections import CreateCollection, DeleteCollection, PurgeCollection
from akidb.operations.databases import CreateDatabase
from akidb.operations.documents import DeleteDocuments, SearchDocuments, UpsertDocuments
from akidb.operations.tenants import CreateTenant, GetUsage
from akidb.operations.upkeep import CheckStores
from akidb.settings import Settings

LIMIT = 2**20
ID_BYTES = 512
ROUND = 300
KEPT = LIMIT // (ID_BYTES + DELETION_BYTES)
V = [1.0] * 16


def place(collection: int) -> Any:
    return {"tenant": "t", "database": "d", "collection": f"c{collection}"}


@pytest.fixture(params=["sqlite", "postgresql"])
def operations(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalOperations]:
    on = tmp_path if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    with closing(open_local(on, Settings())) as operations:
        operations.perform(CreateTenant(name="t", slug="t", qps_quota=None, storage_quota_bytes=LIMIT))
        operations.perform(CreateDatabase(tenant="t", name="d"))
        for number in range(4):
            operations.perform(
                CreateCollection(tenant="t", database="d", name=f"c{number}", dimension=len(V))
            )
        yield operations


def write(operations: LocalOperations, collection: int, *ids: str) -> None:
    documents = [{"id": id, "vector": V} for id in ids]
    operations.perform(UpsertDocuments(**place(collection), documents=documents))


def write_and_delete(operations: LocalOperations, collection: int, name: int) -> None:
    """In UTF-8 the ids have twice as many bytes as letters."""
    ids = [f"{name:05}{n:05}" + "ä" * ((ID_BYTES - 10) // 2) for n in range(ROUND)]
    write(operations, collection, *ids)
    assert operations.perform(DeleteDocuments(**place(collection), ids=ids)) == ROUND


def feed_of(operations: LocalOperations, collection: int) -> tuple[int, int, str | None]:
    """The number of deletions in a feed, and where and with which token its reader goes on."""
    found, since, feed = 0, 0, None
    while True:
        asked = GetCollectionChanges(**place(collection), since=since, feed=feed, limit=1000)
        page = operations.perform(asked)
        found += sum(change.type == "delete" for change in page.changes)
        since, feed = page.next_since, page.feed
        if not page.more:
            return found, since, feed


def counted(operations: LocalOperations) -> int:
    """The bytes as the triggers count them, and doctor finds them right."""
    assert [found for found in operations.perform(CheckStores()).items if not found.ok] == []
    stores: Any = operations._runtime.tenant_stores
    if hasattr(stores, "_database"):
        database = stores._database
    else:
        [entry] = stores._entries.values()
        database = entry.store._file
    with database.read() as connection:
        return int(connection.execute(text("SELECT deletions_bytes FROM control")).scalar_one())


def test_deletions_of_one_collection_are_discarded_beyond_the_share(operations: LocalOperations) -> None:
    write(operations, 0, "kept", "another")
    _, since, feed = feed_of(operations, 0)
    for name in range(10):
        write_and_delete(operations, 0, name)
        assert counted(operations) <= LIMIT
    found, *_ = feed_of(operations, 0)
    assert KEPT * 3 // 4 - 1 <= found <= KEPT
    assert operations.perform(GetUsage(tenant="t")).documents == 2
    with pytest.raises(PreconditionFailed, match="start again from 0"):
        operations.perform(GetCollectionChanges(**place(0), since=since, feed=feed))


def test_collections_share_the_bound(operations: LocalOperations) -> None:
    """Those with the most deletions lose theirs; readers that keep up notice nothing."""
    write(operations, 3, "a", "b")
    assert operations.perform(DeleteDocuments(**place(3), ids=["a"])) == 1
    small, since, feed = feed_of(operations, 3)
    for name in range(9):
        write_and_delete(operations, name % 3, name)
    assert counted(operations) <= LIMIT
    found = [feed_of(operations, number)[0] for number in range(3)]
    assert KEPT * 3 // 4 - 1 <= sum(found) + small <= KEPT
    assert small == 1
    assert feed_of(operations, 3)[0] == 1
    write(operations, 3, "c")
    page = operations.perform(GetCollectionChanges(**place(3), since=since, feed=feed))
    assert [change.id for change in page.changes] == ["c"]


def test_more_collections_than_fit_are_bounded_together(operations: LocalOperations) -> None:
    rounds = 2 * KEPT // ROUND + 2
    for number in range(4, rounds):
        operations.perform(CreateCollection(tenant="t", database="d", name=f"c{number}", dimension=len(V)))
    for number in range(rounds):
        write_and_delete(operations, number, number)
    assert counted(operations) <= LIMIT
    assert sum(feed_of(operations, number)[0] for number in range(rounds)) <= KEPT


def test_index_in_memory_does_without_discarded_deletions(operations: LocalOperations) -> None:
    """Also that of a collection whose deletions were discarded by those of another."""
    ids = [f"{n:05}".ljust(ID_BYTES, "x") for n in range(KEPT - 10)]
    for at in range(0, len(ids), ROUND):
        write(operations, 0, *ids[at : at + ROUND])
        assert operations.perform(DeleteDocuments(**place(0), ids=ids[at + 1 : at + ROUND]))
    search = SearchDocuments(**place(0), vector=V, top_k=100)
    before = {match.id for match in operations.perform(search).matches}
    assert before == set(ids[::ROUND])
    write_and_delete(operations, 1, 1)
    operations.perform(DeleteDocuments(**place(0), ids=[ids[0]]))
    for name in range(2, 9):
        write_and_delete(operations, 0, name)
    assert {match.id for match in operations.perform(search).matches} == before - {ids[0]}


def test_purge_of_a_collection_gives_its_share_back(operations: LocalOperations) -> None:
    write_and_delete(operations, 0, 0)
    write_and_delete(operations, 1, 1)
    both = counted(operations)
    operations.perform(DeleteCollection(**place(0)))
    operations.perform(PurgeCollection(**place(0)))
    assert counted(operations) == both // 2 == ROUND * (ID_BYTES + DELETION_BYTES)
