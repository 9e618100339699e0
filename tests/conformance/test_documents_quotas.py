"""Exact quota accounting: document sizes, and limits under concurrency."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
    run_state_machine_as_test,
)
from samples import DIMENSION, Clock, Shelf, batch, document, make_ids, replaced, same, size_of, vector_of

from akidb.documents.sqlite_pool import SqliteTenantStores
from akidb.domain.documents import Document
from akidb.domain.errors import QuotaExceeded
from akidb.domain.filters import Filter
from akidb.ports.documents import Selection
from akidb.ports.stores import TenantStores

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
METADATA = st.dictionaries(
    TEXTS, TEXTS | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.none(), max_size=3
)
IDS = st.sampled_from(["a", "b", "c", "\u00e9", "\u65e5\u672c", "x" * 512])


def at_once(count: int, work: Callable[[int], None]) -> None:
    start = threading.Barrier(count)

    def run(number: int) -> None:
        start.wait()
        work(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    ("made", "size"),
    [
        (document("a"), 1 + 2 + 4 * DIMENSION),
        (document("\u65e5\u672c", "\u00e9"), 6 + 2 + 2 + 4 * DIMENSION),
        (document("a", "", {"b": [1, None], "a": "\u00e9"}), 1 + len(b'{"a":"\xc3\xa9","b":[1,null]}') + 64),
    ],
)
def test_document_size_matches_specification(shelf: Shelf, made: Document, size: int) -> None:
    shelf.upsert(made)
    assert size_of(made) == size
    assert shelf.usage() == (size, 1)


def test_deletion_and_replacement_release_storage(shelf: Shelf) -> None:
    long, short = document("a", "x" * 1000), document("a", "x")
    shelf.upsert(long, document("b"))
    shelf.upsert(short)
    assert shelf.usage() == (size_of(short) + size_of(document("b")), 2)
    shelf.delete("a", "b")
    assert shelf.usage() == (0, 0)


def test_storage_quota_can_be_filled_to_last_byte(shelf: Shelf) -> None:
    made = document("a", "x" * 100)
    shelf.set_tenant(storage_quota_bytes=size_of(made) - 1)
    with pytest.raises(QuotaExceeded) as caught:
        shelf.upsert(made)
    assert caught.value.fields == {
        "quota": "storage_quota_bytes",
        "limit": size_of(made) - 1,
        "used": 0,
        "requested": size_of(made),
    }
    assert shelf.usage() == (0, 0)
    shelf.set_tenant(storage_quota_bytes=size_of(made))
    shelf.upsert(made)
    shelf.upsert(made)  # takes no more than it gives back
    assert shelf.usage() == (size_of(made), 1)
    with shelf.writing() as writing, pytest.raises(QuotaExceeded):
        writing.update(Selection(ids=["a"]), replaced({"a": 1}))


def test_document_count_quota_can_be_filled_exactly(shelf: Shelf) -> None:
    shelf.set_collection(max_document_count=2)
    shelf.upsert(document("a"))
    with pytest.raises(QuotaExceeded) as caught:
        shelf.upsert(document("a"), document("b"), document("c"))
    assert caught.value.fields == {"quota": "max_document_count", "limit": 2, "used": 1, "requested": 2}
    shelf.upsert(document("a"), document("b"))
    assert shelf.all_ids() == ["a", "b"]


def test_only_non_growing_writes_are_accepted_when_quota_is_below_usage(shelf: Shelf) -> None:
    shelf.upsert(document("a", "x" * 100), document("b", "x" * 100), document("c"))
    used, _ = shelf.usage()
    shelf.set_tenant(storage_quota_bytes=used // 2)
    shelf.set_collection(max_document_count=1)
    for growing in ([document("a", "x" * 101)], [document("d")], [document("a"), document("d", "x" * 500)]):
        with pytest.raises(QuotaExceeded):
            shelf.upsert(*growing)
    shelf.upsert(document("a", "x" * 100))  # the same again
    shelf.upsert(document("a", "x" * 50))
    with shelf.writing() as writing:
        writing.update(Selection(ids=["a"]), replaced({}))
    assert shelf.delete("b") == 1
    assert shelf.usage()[1] == 2
    assert shelf.check() == []


@pytest.mark.parametrize("quota", ["max_document_count", "storage_quota_bytes"])
def test_concurrent_writers_fill_quota_exactly(shelf: Shelf, quota: str) -> None:
    """16 threads of 4 documents each for 40 places."""
    made = [document(f"{number:02}", "x" * 20) for number in range(64)]
    if quota == "max_document_count":
        shelf.set_collection(max_document_count=40)
    else:
        shelf.set_tenant(storage_quota_bytes=40 * size_of(made[0]) + 1)
    refused: list[str] = []
    named: set[str] = set()

    def write(number: int) -> None:
        for each in made[number * 4 : number * 4 + 4]:
            try:
                shelf.upsert(each)
            except QuotaExceeded as error:
                refused.append(each.id)
                named.add(error.fields["quota"])

    at_once(16, write)
    assert len(refused) == 24
    assert named == {quota}
    assert len(shelf.all_ids()) == 40
    assert set(shelf.all_ids()).isdisjoint(refused)
    assert shelf.usage() == (40 * size_of(made[0]), 40)
    assert shelf.check() == []


def test_counts_and_sequences_are_exact_after_concurrent_writes_and_deletions(shelf: Shelf) -> None:
    def write(number: int) -> None:
        for round in range(10):
            mine = [f"{number}-{round}-{n}" for n in range(3)]
            shelf.upsert(*(document(id) for id in mine), document("shared"))
            shelf.delete(mine[0])

    at_once(16, write)
    with shelf.reading() as found:
        assert found.control.document_count == 16 * 10 * 2 + 1
        assert found.control.sequence == 16 * 10 * 5
        rows = list(found.changes(0, contents=False).rows)
        deleted = found.changes(0, contents=False).deleted
    numbers = [row.sequence for row in rows] + [sequence for sequence, _ in deleted]
    assert len(numbers) == len(set(numbers))
    assert shelf.usage() == (sum(size_of(document(row.id)) for row in rows), len(rows))
    assert shelf.check() == []


class Accounting(RuleBasedStateMachine):
    """Random writes against a dictionary; after each the counters must say what the dictionary says."""

    written = Bundle("written")

    def __init__(self, stores: TenantStores) -> None:
        super().__init__()
        self.shelf = Shelf(stores, Clock(), make_ids())
        self.model: dict[str, Document] = {}
        self.sequence = 0

    @rule(target=written, documents=st.dictionaries(IDS, st.tuples(st.none() | TEXTS, METADATA), min_size=1))
    def upsert(self, documents: dict[str, tuple[str | None, dict[str, Any]]]) -> str:
        made = [document(id, text, metadata) for id, (text, metadata) in documents.items()]
        self.shelf.upsert(*made)
        self.model |= {each.id: each for each in made}
        self.sequence += len(made)
        return made[0].id

    @rule(target=written, id=written, seed=st.integers())
    def replace_vector(self, id: str, seed: int) -> str:
        made = document(id, vector=vector_of(str(seed)))
        self.shelf.upsert(made)
        self.model[id] = made
        self.sequence += 1
        return id

    @rule(ids=st.lists(consumes(written), max_size=3), more=st.lists(IDS, max_size=2))
    def delete(self, ids: list[str], more: list[str]) -> None:
        known = {id for id in [*ids, *more] if id in self.model}
        assert self.shelf.delete(*ids, *more) == len(known)
        for id in known:
            del self.model[id]
        self.sequence += len(known)

    @rule(part=st.sampled_from(["a", "x", "\u00e9"]))
    def delete_by_filter(self, part: str) -> None:
        known = {id for id in self.model if part in id}
        with self.shelf.writing() as writing:
            assert writing.delete(Selection(filter=Filter.parse({"$id": {"$contains": part}}))) == len(known)
        for id in known:
            del self.model[id]
        self.sequence += len(known)

    @rule(ids=st.lists(IDS, unique=True, min_size=1), metadata=METADATA)
    def update(self, ids: list[str], metadata: dict[str, Any]) -> None:
        known = [id for id in ids if id in self.model]
        with self.shelf.writing() as writing:
            assert writing.update(Selection(ids=ids), replaced(metadata)) == len(known)
        for id in known:
            old = self.model[id]
            self.model[id] = document(id, old.text, metadata, old.vector)
        self.sequence += len(known)

    @rule(id=IDS)
    def fail_halfway(self, id: str) -> None:
        try:
            with self.shelf.writing() as writing:
                writing.upsert(batch([document(id, "never")]))
                writing.delete(Selection(filter=Filter.parse({"$id": {"$exists": True}})))
                raise KeyError
        except KeyError:
            pass

    @invariant()
    def counters_are_exact(self) -> None:
        assert self.shelf.usage() == (sum(map(size_of, self.model.values())), len(self.model))
        with self.shelf.reading() as found:
            assert found.control.sequence == self.sequence
            assert found.control.document_count == len(self.model)

    @invariant()
    def documents_are_those_of_the_model(self) -> None:
        found = self.shelf.get(*sorted(self.model))
        assert len(found) == len(self.model)
        assert all(same(each, self.model[each.id]) for each in found)
        assert self.shelf.all_ids() == sorted(self.model)

    def teardown(self) -> None:
        assert self.shelf.check() == []
        self.shelf.stores.close()


def test_accounting_is_exact_after_any_writes(tmp_path_factory: pytest.TempPathFactory) -> None:
    class InDirectory(Accounting):
        def __init__(self) -> None:
            directory = tmp_path_factory.mktemp("shelf")
            super().__init__(SqliteTenantStores(directory, max_open=2, synchronous="normal"))

    run_state_machine_as_test(
        InDirectory, settings=settings(max_examples=20, stateful_step_count=30, deadline=None)
    )
