"""The change feed of a collection: writes and deletions in sequence order."""

from random import Random
from typing import Any

import numpy as np
from samples import EVERYTHING, Shelf, document, replaced, same

from akidb.documents import deletions
from akidb.domain.changes import ChangeType, DocumentChange
from akidb.domain.documents import Document, Include
from akidb.ports.documents import Selection

PARTS = frozenset({Include.TEXT, Include.METADATA})


def read(shelf: Shelf, since: int = 0, limit: int = 1000, include: Any = EVERYTHING) -> list[DocumentChange]:
    with shelf.reading() as reader:
        return reader.feed(since, limit, include).changes


def shown(changes: list[DocumentChange]) -> list[tuple[int, str, str]]:
    return [(change.sequence, change.type, change.id) for change in changes]


def as_document(change: DocumentChange) -> Document:
    return Document(id=change.id, text=change.text, metadata=change.metadata, vector=change.vector)


def test_feed_orders_writes_and_deletions_by_sequence(shelf: Shelf) -> None:
    one, two, three = (document(id, text=f"text {id}", metadata={"id": id}) for id in ("a", "b", "c"))
    shelf.upsert(one, two)
    shelf.delete("a")
    shelf.upsert(three, one)
    with shelf.writing() as writer:
        writer.update(Selection(ids=["b"]), replaced({"new": 1}))
    found = read(shelf)
    assert shown(found) == [(3, "delete", "a"), (4, "upsert", "c"), (5, "upsert", "a"), (6, "upsert", "b")]
    assert same(as_document(found[1]), three)
    assert same(as_document(found[2]), one)
    assert (found[3].text, found[3].metadata) == ("text b", {"new": 1})
    assert (found[0].text, found[0].metadata, found[0].vector) == (None, None, None)
    assert shown(read(shelf, since=4)) == shown(found)[2:]
    assert read(shelf, since=6) == []


def test_feed_includes_only_requested_parts(shelf: Shelf) -> None:
    shelf.upsert(document("a", text="words", metadata={"n": 1}))
    (bare,) = read(shelf, include=frozenset())
    assert (bare.text, bare.metadata, bare.vector) == (None, None, None)
    (full,) = read(shelf, include=PARTS)
    assert (full.text, full.metadata, full.vector) == ("words", {"n": 1}, None)
    (vector,) = read(shelf, include=frozenset({Include.VECTOR}))
    assert vector.vector is not None
    assert vector.vector.dtype == np.dtype("float32")


def test_feed_is_same_for_every_page_size(shelf: Shelf) -> None:
    shelf.upsert(*(document(f"d{number}") for number in range(9)))
    shelf.delete("d3", "d4", "d8")
    shelf.upsert(document("d4"))
    whole = shown(read(shelf))
    for limit in (1, 2, 3, 10, 11, 12):
        seen: list[DocumentChange] = []
        since = 0
        while True:
            with shelf.reading() as reader:
                part = reader.feed(since, limit, PARTS)
            assert len(part.changes) <= limit
            seen += part.changes
            if part.last is None:
                break
            since = part.last
        assert shown(seen) == whole


def test_feed_excludes_other_collections(shelf: Shelf) -> None:
    other = shelf.new_collection("other")
    shelf.apply(other)
    shelf.upsert(document("a"))
    shelf.upsert(document("b"), collection=other)
    assert shown(read(shelf)) == [(1, "upsert", "a")]


def test_replica_built_from_feed_equals_collection(shelf: Shelf, monkeypatch: Any) -> None:
    """Also when old deletions are forgotten: the floor stays behind the reader here."""
    monkeypatch.setattr(deletions, "TOMBSTONES_KEPT", 60)
    random = Random(3)
    replica: dict[str, Document] = {}
    live: dict[str, Document] = {}
    since = 0
    for step in range(80):
        ids = random.sample([f"d{number}" for number in range(30)], 3)
        if random.random() < 0.6:
            batch = [document(id, text=f"{id} at {step}") for id in ids]
            shelf.upsert(*batch)
            live.update({each.id: each for each in batch})
        else:
            shelf.delete(*ids)
            for id in ids:
                live.pop(id, None)
        if step % 7 == 0:
            since = follow(shelf, replica, since)
    follow(shelf, replica, since)
    assert replica.keys() == live.keys()
    assert all(same(replica[id], live[id]) for id in live)
    with shelf.reading() as reader:
        assert reader.control.tombstone_floor > 0


def follow(shelf: Shelf, replica: dict[str, Document], since: int) -> int:
    with shelf.reading() as reader:
        assert since >= reader.control.tombstone_floor or since == 0
        changes = reader.feed(since, 1000, EVERYTHING).changes
    for change in changes:
        if change.type == ChangeType.DELETE:
            replica.pop(change.id, None)
        else:
            replica[change.id] = as_document(change)
    return changes[-1].sequence if changes else since
