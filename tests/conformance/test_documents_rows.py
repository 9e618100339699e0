"""Documents of one collection: write, read, filter, update, delete; sequences and tombstones."""

from typing import Any

import numpy as np
import pytest
from samples import DIMENSION, EVERYTHING, Shelf, batch, document, replaced, same, size_of, vector_of

from akidb.documents import deletions, reader
from akidb.domain.documents import Document, Include
from akidb.domain.entities import Metric
from akidb.domain.filters import Filter
from akidb.ports.documents import Changes, Selection

TRICKY_IDS = [
    "a",
    "A",
    "\u00e9",
    "e\u0301",
    "\u65e5\u672c",
    "\U0001f9ea",
    "a b",
    "a\n",
    "'; --",
    "%",
    "[1]",
    '"',
    "\\",
    "\x7f",
]


@pytest.fixture
def books(shelf: Shelf) -> list[Document]:
    """Three stored documents."""
    made = [
        document("kokoro", "A friendship.", {"year": 1914, "tags": ["novel"]}),
        document("botchan", "A teacher.", {"year": 1906}),
        document("sanshiro", None, {"year": 1908, "read": True}),
    ]
    shelf.upsert(*made)
    return made


def sequences(shelf: Shelf) -> dict[str, int]:
    with shelf.reading() as found:
        return {row.id: row.sequence for row in found.changes(0, contents=False).rows}


def changes(shelf: Shelf, since: int) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """Deletions and writes after a sequence."""
    with shelf.reading() as found:
        answer: Changes = found.changes(since, contents=False)
        return list(answer.deleted), [(row.sequence, row.id) for row in answer.rows]


def test_get_returns_documents_in_requested_order(shelf: Shelf, books: list[Document]) -> None:
    found = shelf.get("sanshiro", "absent", "kokoro", "botchan")
    assert [each.id for each in found] == ["sanshiro", "kokoro", "botchan"]
    for each, original in zip(found, (books[2], books[0], books[1]), strict=True):
        assert same(each, original)


@pytest.mark.parametrize("part", list(Include))
def test_get_returns_only_requested_parts(shelf: Shelf, books: list[Document], part: Include) -> None:
    with shelf.reading() as found:
        [each] = found.get(["kokoro"], {part})
    present = {name for name in ("text", "metadata", "vector") if getattr(each, name) is not None}
    assert present == {part.value}


def test_any_text_is_accepted_as_id(shelf: Shelf) -> None:
    shelf.upsert(*(document(id, id) for id in TRICKY_IDS))
    assert [each.text for each in shelf.get(*TRICKY_IDS)] == TRICKY_IDS
    assert shelf.all_ids() == sorted(TRICKY_IDS)
    assert shelf.delete(*TRICKY_IDS[:5]) == 5
    assert shelf.all_ids() == sorted(TRICKY_IDS[5:])


def test_upsert_replaces_whole_document(shelf: Shelf, books: list[Document]) -> None:
    shelf.upsert(document("kokoro", vector=vector_of("other")), document("mon", "A couple."))
    [found] = shelf.get("kokoro")
    assert (found.text, found.metadata) == (None, {})
    assert found.vector is not None
    assert np.array_equal(found.vector, vector_of("other"))
    assert shelf.all_ids() == ["botchan", "kokoro", "mon", "sanshiro"]


def test_vectors_round_trip_bit_for_bit(shelf: Shelf) -> None:
    values = np.array([1e-45, -1e-30, 3e38, -0.0, 1 / 3, 2**-149, 1, 0] * 2, dtype=np.float32)
    shelf.upsert(document("odd", vector=values))
    [found] = shelf.get("odd")
    assert found.vector is not None
    assert found.vector.tobytes() == values.tobytes()


@pytest.mark.parametrize("limit", [1, 2, 3, 10])
@pytest.mark.parametrize("rows_at_a_time", [1, 2, 1000])
def test_scan_returns_all_documents_ordered_by_id(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, limit: int, rows_at_a_time: int
) -> None:
    monkeypatch.setattr(reader, "WIDE_ROWS", rows_at_a_time)
    shelf.upsert(*(document(f"d{n}", metadata={"even": n % 2 == 0}) for n in range(7)))
    for filter, expected in ((None, range(7)), (Filter.parse({"even": True}), (0, 2, 4, 6))):
        seen: list[str] = []
        after = None
        while True:
            with shelf.reading() as found:
                page, after = found.scan(after=after, filter=filter, include=(), limit=limit)
            assert len(page) == limit or after is None
            seen += [each.id for each in page]
            if after is None:
                break
        assert seen == [f"d{n}" for n in expected]


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({"year": {"$lt": 1910}}, ["botchan", "sanshiro"]),
        ({"tags": "novel"}, ["kokoro"]),
        ({"$text": {"$contains": "teacher"}}, ["botchan"]),
        ({"$id": "sanshiro"}, ["sanshiro"]),
        ({"year": 2000}, []),
        ({}, ["botchan", "kokoro", "sanshiro"]),
    ],
)
def test_filter_selects_same_documents_in_every_operation(
    shelf: Shelf, books: list[Document], filter: dict[str, Any], expected: list[str]
) -> None:
    parsed = Filter.parse(filter)
    with shelf.reading() as found:
        assert found.count(parsed) == len(expected)
        assert [each.id for each in found.scan(after=None, filter=parsed, include=(), limit=9)[0]] == expected
    with shelf.writing() as writing:
        assert writing.update(Selection(filter=parsed), replaced({"seen": 1})) == len(expected)
    seen = Filter.parse({"seen": 1})
    with shelf.writing() as writing:
        assert writing.delete(Selection(filter=seen)) == len(expected)
    assert shelf.all_ids() == sorted({"botchan", "kokoro", "sanshiro"} - set(expected))


def test_update_replaces_only_metadata(shelf: Shelf, books: list[Document]) -> None:
    with shelf.writing() as writing:
        changed = writing.update(Selection(ids=["kokoro", "absent"]), replaced({"year": 2000}))
    assert changed == 1
    [found] = shelf.get("kokoro")
    assert same(found, document("kokoro", "A friendship.", {"year": 2000}))


def test_delete_ignores_unknown_ids(shelf: Shelf, books: list[Document]) -> None:
    before = sequences(shelf)
    assert shelf.delete("absent", "gone") == 0
    assert shelf.delete("kokoro", "absent") == 1
    assert shelf.delete("kokoro") == 0
    assert {id: n for id, n in before.items() if id != "kokoro"} == sequences(shelf)


def test_exception_rolls_back_all_writes_of_transaction(shelf: Shelf, books: list[Document]) -> None:
    before = (sequences(shelf), shelf.usage())
    with pytest.raises(KeyError), shelf.writing() as writing:  # noqa: PT012
        writing.upsert(batch([document("mon"), document("kokoro", "changed")]))
        writing.delete(Selection(ids=["botchan"]))
        writing.update(Selection(ids=["sanshiro"]), replaced({}))
        raise KeyError
    assert (sequences(shelf), shelf.usage()) == before
    assert shelf.check() == []


def test_each_write_increments_sequence_by_one(shelf: Shelf, books: list[Document]) -> None:
    assert sequences(shelf) == {"kokoro": 1, "botchan": 2, "sanshiro": 3}
    shelf.upsert(document("botchan"), document("mon"))
    assert sequences(shelf) == {"kokoro": 1, "sanshiro": 3, "botchan": 4, "mon": 5}
    with shelf.writing() as writing:
        writing.update(Selection(ids=["kokoro", "mon"]), replaced({}))
        writing.upsert(batch([document("kusamakura")]))
    assert sequences(shelf) == {"sanshiro": 3, "botchan": 4, "kokoro": 6, "mon": 7, "kusamakura": 8}
    shelf.delete("mon", "botchan")
    with shelf.reading() as found:
        assert found.control.sequence == 10
    assert changes(shelf, 0)[0] == [(9, "botchan"), (10, "mon")]


def test_transaction_reads_its_own_writes(shelf: Shelf) -> None:
    with shelf.writing() as writing:
        writing.upsert(batch([document("kokoro", "first")]))
        writing.upsert(batch([document("kokoro", "second"), document("botchan")]))
        assert [each.text for each in writing.get(["kokoro"], EVERYTHING)] == ["second"]
        assert writing.delete(Selection(ids=["botchan"])) == 1
    assert shelf.usage() == (size_of(document("kokoro", "second")), 1)
    assert sequences(shelf) == {"kokoro": 2}
    assert shelf.check() == []


def test_collections_have_independent_sequences_and_counts(shelf: Shelf, books: list[Document]) -> None:
    drafts = shelf.new_collection("drafts", Metric.L2)
    shelf.apply(drafts)
    shelf.upsert(document("kokoro", "A draft."), collection=drafts)
    with shelf.reading(drafts) as found:
        assert (found.control.sequence, found.control.document_count, found.control.metric) == (1, 1, "l2")
        assert [each.text for each in found.get(["kokoro", "botchan"], EVERYTHING)] == ["A draft."]
        assert found.fetch([1, 2, 3], ()) == {}  # keys of the other collection
    assert shelf.get("kokoro")[0].text == "A friendship."


def test_changes_returns_writes_and_deletions_since_sequence(shelf: Shelf, books: list[Document]) -> None:
    assert changes(shelf, 0) == ([], [(1, "kokoro"), (2, "botchan"), (3, "sanshiro")])
    assert changes(shelf, 3) == ([], [])
    shelf.delete("botchan")
    shelf.upsert(document("kokoro"), document("mon"))
    assert changes(shelf, 3) == ([(4, "botchan")], [(5, "kokoro"), (6, "mon")])
    assert changes(shelf, 4) == ([], [(5, "kokoro"), (6, "mon")])
    shelf.upsert(document("botchan"))
    assert changes(shelf, 3) == ([(4, "botchan")], [(5, "kokoro"), (6, "mon"), (7, "botchan")])


def test_changes_include_contents_on_request(shelf: Shelf, books: list[Document]) -> None:
    with shelf.reading() as found:
        bare = list(found.changes(2, contents=False).rows)
        full = list(found.changes(1, contents=True).rows)
    assert [(row.text, row.metadata) for row in bare] == [(None, "{}")]
    assert [(row.text, row.metadata) for row in full] == [
        ("A teacher.", '{"year":1906}'),
        (None, '{"read":true,"year":1908}'),
    ]
    assert all(len(row.vector) == 4 * DIMENSION for row in bare + full)


def test_fetch_returns_rows_by_key(shelf: Shelf, books: list[Document]) -> None:
    with shelf.reading() as found:
        keys = {row.id: row.document_key for row in found.changes(0, contents=False).rows}
        fetched = found.fetch([keys["kokoro"], keys["sanshiro"], 10**9], EVERYTHING)
    assert {key: (sequence, each and each.id) for key, (sequence, each) in fetched.items()} == {
        keys["kokoro"]: (1, "kokoro"),
        keys["sanshiro"]: (3, "sanshiro"),
    }


def test_old_tombstones_are_pruned_and_floor_advances(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletions, "TOMBSTONES_KEPT", 5)
    shelf.upsert(*(document(f"d{n}") for n in range(10)))
    shelf.delete("d0", "d1", "d2")
    with shelf.reading() as found:
        assert found.control.tombstone_floor == 8
    assert changes(shelf, 10)[0] == [(11, "d0"), (12, "d1"), (13, "d2")]
    shelf.upsert(*(document(f"e{n}") for n in range(4)))
    shelf.delete("d3")
    with shelf.reading() as found:
        assert (found.control.sequence, found.control.tombstone_floor) == (18, 13)
    assert changes(shelf, 13)[0] == [(18, "d3")]
    assert changes(shelf, 0)[0] == [(18, "d3")]
    assert shelf.check() == []


def test_reader_sees_consistent_snapshot(shelf: Shelf, books: list[Document]) -> None:
    with shelf.reading() as before:
        shelf.upsert(document("mon"))
        shelf.delete("kokoro")
        assert [each.id for each in before.get(["mon", "kokoro"], ())] == ["kokoro"]
        assert before.count(None) == 3
        assert before.count(Filter.parse({"year": {"$exists": True}})) == 3
        assert before.changes(3, contents=False).deleted == []
    assert shelf.all_ids() == ["botchan", "mon", "sanshiro"]
