"""Memory of the search index: quota, freshness, eviction, thread safety."""

import threading
from itertools import cycle

import pytest
from samples import Clock, Shelf, document, vector_of
from search_samples import INDEXES, PLENTY, Librarian, scored

from akidb.domain.entities import Collection
from akidb.domain.filters import Filter
from akidb.domain.ids import StoreId, TenantId
from akidb.ports.documents import Selection
from akidb.ports.search import VectorQuery
from akidb.search.index import LocalIndex
from akidb.search.memory import Memory

ROW_BYTES = 16 * 4
QUESTION = vector_of("question")


@pytest.fixture(params=INDEXES)
def librarian(request: pytest.FixtureRequest, shelf: Shelf) -> Librarian:
    return Librarian(shelf, request.param())


@pytest.fixture
def collections(librarian: Librarian) -> list[Collection]:
    """Three collections of 100 documents."""
    made = [librarian.new_collection(name) for name in ("one", "two", "three")]
    for collection in made:
        librarian.shelf.upsert(*(document(f"d{n:03}") for n in range(100)), collection=collection)
    return made


@pytest.fixture
def each_takes(librarian: Librarian, collections: list[Collection]) -> int:
    """Memory size of one collection, in bytes."""
    index = LocalIndex()
    librarian.ask(QUESTION, collection=collections[0], index=index)
    return index.memory_bytes(librarian.shelf.tenant.tenant_id)


def test_index_uses_no_memory_before_first_search(librarian: Librarian) -> None:
    assert librarian.memory_bytes == 0
    assert librarian.index.memory_bytes(TenantId(bytes(16))) == 0


def test_memory_usage_is_accounted(
    librarian: Librarian, collections: list[Collection], each_takes: int
) -> None:
    assert each_takes >= 100 * ROW_BYTES
    for number, collection in enumerate(collections, start=1):
        librarian.ask(QUESTION, collection=collection)
        assert librarian.memory_bytes == number * each_takes
    librarian.ask(QUESTION, collection=collections[0])
    assert librarian.memory_bytes == 3 * each_takes
    librarian.ask(QUESTION, filter={"n": 1}, collection=collections[0])
    assert librarian.memory_bytes > 3 * each_takes  # a filter's rows are kept too


def test_collection_is_loaded_once(librarian: Librarian, collections: list[Collection]) -> None:
    librarian.ask(QUESTION, collection=collections[0])
    assert librarian.asked == [0]
    librarian.ask(QUESTION, collection=collections[0])
    assert librarian.asked == []


def test_only_new_rows_are_loaded(librarian: Librarian, collections: list[Collection]) -> None:
    librarian.ask(QUESTION, collection=collections[0])
    librarian.shelf.upsert(document("new"), collection=collections[0])
    assert librarian.ask(vector_of("new"), 1, collection=collections[0]).hits[0].id == "new"
    assert librarian.asked == [100]


@pytest.mark.parametrize("quota", ["none", "too small"])
def test_search_from_disk_equals_search_from_memory_over_quota(
    librarian: Librarian, collections: list[Collection], each_takes: int, quota: str
) -> None:
    limit = 0 if quota == "none" else each_takes - 1
    for filter in (None, {"n": 1}):
        in_memory = librarian.ask(QUESTION, 20, filter, collection=collections[0], index=LocalIndex())
        on_disk = librarian.ask(QUESTION, 20, filter, collection=collections[0], quota=limit)
        assert (in_memory.statistics.plan, on_disk.statistics.plan) == ("exact", "exact_from_disk")
        assert scored(on_disk) == scored(in_memory)
        assert on_disk.statistics.scanned == 100
        assert librarian.memory_bytes == 0


def test_least_recently_used_collection_is_evicted(
    librarian: Librarian, collections: list[Collection], each_takes: int
) -> None:
    one, two, three = collections
    quota = 2 * each_takes
    for collection in (one, two, one, three):
        librarian.ask(QUESTION, collection=collection, quota=quota)
        assert librarian.memory_bytes <= quota
    librarian.ask(QUESTION, collection=one, quota=quota)
    assert librarian.asked == []
    librarian.ask(QUESTION, collection=three, quota=quota)
    assert librarian.asked == []
    librarian.ask(QUESTION, collection=two, quota=quota)
    assert librarian.asked == [0]


def test_limit_of_all_tenants_holds_beside_their_quotas(
    librarian: Librarian, collections: list[Collection], each_takes: int
) -> None:
    index = LocalIndex(Memory(limit_bytes=2 * each_takes))
    own = librarian.shelf.tenant.tenant_id

    def ask_as(tenant_id: TenantId, collection: Collection) -> str:
        with librarian.shelf.reading(collection) as reader:
            query = VectorQuery(QUESTION, 10)
            return index.search(tenant_id, librarian.shelf.store_id, PLENTY, reader, query).statistics.plan

    other = TenantId(bytes(16))
    plans = [ask_as(own, collections[0]), ask_as(other, collections[1]), ask_as(other, collections[2])]
    assert plans == ["exact"] * 3
    assert (index.memory_bytes(own), index.memory_bytes(other)) == (0, 2 * each_takes)
    index = LocalIndex(Memory(limit_bytes=each_takes - 1))
    assert ask_as(own, collections[0]) == "exact_from_disk"
    assert index.memory_bytes(own) == 0


def test_reduced_quota_evicts_at_next_search(
    librarian: Librarian, collections: list[Collection], each_takes: int
) -> None:
    for collection in collections:
        librarian.ask(QUESTION, collection=collection)
    librarian.ask(QUESTION, collection=collections[0], quota=each_takes)
    assert librarian.memory_bytes == each_takes
    librarian.ask(QUESTION, collection=collections[0], quota=each_takes - 1)
    assert librarian.memory_bytes == 0


def test_memory_stays_within_quota_while_collections_grow(
    librarian: Librarian, collections: list[Collection], each_takes: int
) -> None:
    quota = 3 * each_takes
    for number, collection in zip(range(60), cycle(collections), strict=False):
        librarian.shelf.upsert(*(document(f"{number}-{n}") for n in range(10)), collection=collection)
        filter = {"n": number % 5} if number % 3 == 0 else None
        answer = librarian.ask(vector_of(f"{number}-3"), 1, filter, collection=collection, quota=quota)
        assert librarian.memory_bytes <= quota
        if number % 3:
            assert answer.hits[0].id == f"{number}-3"


def test_tenants_have_separate_index_memory(librarian: Librarian, collections: list[Collection]) -> None:
    librarian.ask(QUESTION, collection=collections[0])
    kept = librarian.memory_bytes
    other = Librarian(Shelf(librarian.shelf.stores, Clock(), librarian.shelf.ids), librarian.index)
    other.shelf.upsert(document("a"))
    other.ask(QUESTION, quota=10**6)
    assert librarian.memory_bytes == kept
    librarian.index.forget(librarian.shelf.tenant.tenant_id)
    assert librarian.memory_bytes == 0
    assert other.memory_bytes > 0
    assert len(librarian.ask(QUESTION, collection=collections[0]).hits) == 10
    assert librarian.asked == [0]


def test_forgotten_collection_leaves_the_others_in_memory(
    librarian: Librarian, collections: list[Collection], each_takes: int
) -> None:
    tenant_id = librarian.shelf.tenant.tenant_id
    for collection in collections:
        librarian.ask(QUESTION, collection=collection)
    librarian.index.forget(tenant_id, [collections[1].collection_id])
    assert librarian.memory_bytes == 2 * each_takes
    for collection, reads in zip(collections, ([], [0], []), strict=True):
        librarian.ask(QUESTION, collection=collection)
        assert librarian.asked == reads
    librarian.index.forget(tenant_id, [each.collection_id for each in collections])
    assert librarian.memory_bytes == 0
    assert tenant_id not in librarian.index.tenants()


def test_new_store_id_reloads_collection(librarian: Librarian, collections: list[Collection]) -> None:
    librarian.ask(QUESTION, collection=collections[0])
    librarian.ask(QUESTION, collection=collections[0], store_id=StoreId(bytes(16)))
    assert librarian.asked == [0]


def test_older_snapshot_is_searched_correctly_after_newer_one(
    librarian: Librarian, collections: list[Collection]
) -> None:
    """Another search has taken the index further than this reader sees."""
    shelf, one = librarian.shelf, collections[0]
    chosen = Filter.parse({"$id": {"$lt": "d050"}})
    with shelf.reading(one) as older:
        librarian.ask(QUESTION, filter=chosen.to_json(), collection=one)
        shelf.upsert(document("d000", vector=QUESTION), document("a-new-one"), collection=one)
        with shelf.writing(one) as writing:
            writing.delete(Selection(ids=["d001", "d002"]))
        librarian.ask(QUESTION, collection=one)
        for filter in (chosen, Filter.parse({"$id": {"$gt": "d090"}})):
            query = VectorQuery(QUESTION, 100, filter)
            answer = librarian.index.search(shelf.tenant.tenant_id, shelf.store_id, 10**6, older, query)
            found = {hit.id: hit.sequence for hit in answer.hits}
            with shelf.reading(one) as newer:
                states = [
                    {
                        row.id: row.sequence
                        for row in reader.changes(0, contents=False).rows
                        if filter.matches(row.id, None, {})
                    }
                    for reader in (older, newer)
                ]
            assert found in states


def test_concurrent_searches_and_writes_give_consistent_answers(librarian: Librarian) -> None:
    """Writers replace and delete documents; each hit is a row that had that score when it was read."""
    ids = [f"d{n:02}" for n in range(40)]
    librarian.shelf.upsert(*(document(id, "0", {"round": 0}, vector_of(f"{id} 0")) for id in ids))
    failures: list[BaseException] = []
    done = threading.Event()

    def write(number: int) -> None:
        try:
            for round in range(1, 40):
                mine = ids[number::4]
                librarian.shelf.upsert(
                    *(document(id, str(round), {"round": round}, vector_of(f"{id} {round}")) for id in mine)
                )
                with librarian.shelf.writing() as writing:
                    writing.delete(Selection(ids=[mine[round % len(mine)]]))
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failures.append(error)

    def search(number: int) -> None:
        asker = Librarian(librarian.shelf, librarian.index)
        filters = cycle([None, {"round": {"$gte": 3}}, {"$id": {"$lt": "d20"}}])
        try:
            while not done.is_set():
                filter = next(filters)
                answer = asker.ask(vector_of(f"question {number}"), 10, filter, quota=10**6)
                scores = [(-hit.score, hit.id) for hit in answer.hits]
                assert scores == sorted(scores)
                assert len({hit.id for hit in answer.hits}) == len(answer.hits)
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failures.append(error)

    searchers = [threading.Thread(target=search, args=(number,)) for number in range(4)]
    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in searchers + writers:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in searchers:
        thread.join()
    assert failures == []
    fresh = librarian.ask(QUESTION, 100, index=LocalIndex())
    assert scored(librarian.ask(QUESTION, 100)) == scored(fresh)


def test_deletions_release_index_memory(
    librarian: Librarian, collections: list[Collection], each_takes: int
) -> None:
    librarian.ask(QUESTION, collection=collections[0])
    with librarian.shelf.writing(collections[0]) as writer:
        writer.delete(Selection(ids=[f"d{n:03}" for n in range(95)]))
    found = librarian.ask(QUESTION, collection=collections[0])
    assert {hit.id for hit in found.hits} == {f"d{n:03}" for n in range(95, 100)}
    assert librarian.index.memory_bytes(librarian.shelf.tenant.tenant_id) < each_takes / 4
