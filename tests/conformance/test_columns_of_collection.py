"""Columns of a collection: what they say of its documents while these change, within their limits."""

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import Shelf, document, replaced, vector_of

from akidb.documents.current import CurrentReader
from akidb.domain.errors import OperationTimeout
from akidb.domain.filters import Filter
from akidb.domain.json import canonical
from akidb.ports.documents import DocumentBatch, DocumentReader, Selection
from akidb.ports.limits import Deadline
from akidb.search.columns import Limits
from akidb.search.columns import collection as module
from akidb.search.columns.collection import CollectionColumns
from akidb.search.columns.matching import Matching
from akidb.search.errors import TooLarge
from akidb.sql.sqlite import SqliteFile

sys.path.insert(0, str(Path(__file__).parents[1] / "property"))  # its documents and filters serve here too

from filter_samples import FILTERS, METADATA, UNTIMED

PLENTY = 2**30
NARROW = Limits(columns=1, row_values=4, table_bytes=300, table_row_bytes=40, pending=3)
"""With these most rows must be read."""
IDS = st.sampled_from(["a", "b", "ab", "c", "d", "é"])
TEXTS = st.sampled_from([None, "a", "ab", "é"])
Contents = dict[int, tuple[str, str | None, dict[str, Any]]]
"""Id, text and metadata of the documents of one state, by sequence."""

on_sqlite = pytest.mark.parametrize("stores", ["sqlite"], indirect=True)


def contents_of(reader: DocumentReader) -> Contents:
    """The state that a reader sees, from its rows."""
    changes = reader.changes(0, contents=False)
    rows = {row.document_key: row.sequence for row in changes.rows}
    found: Contents = {}
    for key, (_sequence, one) in reader.fetch(list(rows), ("text", "metadata")).items():
        assert one is not None
        found[rows[key]] = (one.id, one.text, dict(one.metadata or {}))
    return found


def chosen(contents: Contents, filter: Filter) -> set[int]:
    return {sequence for sequence, row in contents.items() if filter.matches(*row)}


def matched(found: Matching) -> set[int]:
    return set(found.sequences[found.mask].tolist())


class Steps:
    """Writes to a collection, and compares what its columns say with its rows after each step."""

    def __init__(self, shelf: Shelf, limits: Limits) -> None:
        self.shelf = shelf
        self.collection = shelf.new_collection("columns")
        shelf.apply(self.collection)
        self.columns = CollectionColumns(limits)
        self.states: dict[int, Contents] = {0: {}}
        self._held = ExitStack()
        self.readers: list[DocumentReader] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def upsert(self, rows: list[tuple[str, str | None, dict[str, Any], bool]]) -> None:
        bare = [place for place, row in enumerate(rows) if not row[3]]
        batch = DocumentBatch(
            [row[0] for row in rows],
            [row[1] for row in rows],
            [canonical(row[2]).decode() for row in rows],
            [100_000] * len(rows),
            np.array([vector_of(row[0]) for row in rows if row[3]], "<f4").reshape(-1, 16),
            bare,
        )
        with self.shelf.writing(self.collection) as writer:
            writer.upsert(batch)

    def delete(self, ids: list[str]) -> None:
        with self.shelf.writing(self.collection) as writer:
            writer.delete(Selection(ids=ids))

    def update(self, id: str) -> None:
        with self.shelf.writing(self.collection) as writer:
            writer.update(Selection(ids=[id]), replaced({"a": 1, "b": {"a": "ab"}}))

    def clear(self) -> None:
        with self.shelf.writing(self.collection) as writer:
            writer.clear()

    def note(self) -> None:
        with self.shelf.reading(self.collection) as reader:
            self.states[reader.control.sequence] = contents_of(reader)

    def hold(self) -> None:
        """Keep a reader of the present state."""
        self.readers.append(self._held.enter_context(self.shelf.reading(self.collection)))

    def match(self, filter: Filter, place: int | None = None) -> None:
        """Ask with a new reader, or with one that was kept."""
        with ExitStack() as opened:
            if place is None or not self.readers:
                reader = opened.enter_context(self.shelf.reading(self.collection))
            else:
                reader = self.readers[place % len(self.readers)]
            found = self.columns.matching(filter, reader, PLENTY, None)
            if found.complete_from > found.sequence:
                assert reader.control.sequence < self.columns.state.since
                return
            assert found.sequence >= reader.control.sequence
        assert (np.diff(found.sequences) > 0).all()
        assert matched(found) == chosen(self.states[found.sequence], filter)
        for sequence, contents in self.states.items():
            if found.complete_from <= sequence <= found.sequence:
                asked = np.array([*contents, 10**6], np.int64)
                assert set(asked[found.of(asked)].tolist()) == chosen(contents, filter)


ROW = st.tuples(IDS, TEXTS, METADATA, st.booleans())
STEP: st.SearchStrategy[tuple[str, tuple[Any, ...]]] = st.one_of(
    st.tuples(
        st.just("upsert"), st.tuples(st.lists(ROW, max_size=5, min_size=1, unique_by=lambda row: row[0]))
    ),
    st.tuples(st.just("delete"), st.tuples(st.lists(IDS, max_size=4, unique=True))),
    st.tuples(st.just("update"), st.tuples(IDS)),
    st.tuples(st.sampled_from(["clear", "hold"]), st.just(())),
    st.tuples(st.just("match"), st.tuples(st.integers(0, 2), st.none() | st.integers(0, 3))),
)


@on_sqlite
@pytest.mark.parametrize("limits", [Limits(), NARROW], ids=["wide", "narrow"])
@settings(
    UNTIMED,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(STEP, max_size=15), filters=st.lists(FILTERS, min_size=3, max_size=3))
def test_columns_match_as_rows_do_while_these_change(
    limits: Limits,
    shelf: Shelf,
    monkeypatch: pytest.MonkeyPatch,
    steps: list[tuple[str, tuple[Any, ...]]],
    filters: list[dict[str, Any]],
) -> None:
    monkeypatch.setattr(module, "COMPACT_FROM", 2)
    parsed = [Filter.parse(each) for each in filters]
    with Steps(shelf, limits) as world:
        for name, arguments in [*steps, ("match", (0, None)), ("match", (1, 0))]:
            if name == "match":
                world.match(parsed[arguments[0]], arguments[1])
            else:
                getattr(world, name)(*arguments)
            world.note()


class Spied:
    """A reader that notes from which sequences changes are read, and the keys of contents."""

    def __init__(self, reader: DocumentReader) -> None:
        self._reader = reader
        self.asked: list[int] = []
        self.fetched: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def changes(self, since_sequence: int, *, contents: bool, vectors: bool = True) -> Any:
        self.asked.append(since_sequence)
        return self._reader.changes(since_sequence, contents=contents, vectors=vectors)

    def contents(self, keys: list[int]) -> Any:
        self.fetched += keys
        return self._reader.contents(keys)


def ask(shelf: Shelf, columns: CollectionColumns, filter: dict[str, Any]) -> tuple[Matching, Any]:
    with shelf.reading() as reader:
        spied: Any = Spied(reader)
        return columns.matching(Filter.parse(filter), spied, PLENTY, None), spied


def fill(shelf: Shelf, count: int, first: int = 0) -> None:
    rows = [document(f"d{at:04}", f"text {at}", {"n": at}) for at in range(first, first + count)]
    shelf.upsert(*rows)


@on_sqlite
def test_only_new_rows_are_read_and_a_known_mask_reads_none(shelf: Shelf) -> None:
    columns = CollectionColumns()
    fill(shelf, 40)
    filter = {"$text": {"$contains": "9"}}
    found, spied = ask(shelf, columns, filter)
    assert (len(matched(found)), spied.asked, len(spied.fetched)) == (4, [0], 40)
    _, spied = ask(shelf, columns, filter)
    assert (spied.asked, spied.fetched) == ([], [])
    for first, expected in ((40, 5), (50, 19)):  # a few more rows, and many more
        fill(shelf, 10 if first == 40 else 50, first)
        found, spied = ask(shelf, columns, filter)
        assert (len(matched(found)), spied.asked) == (expected, [first])
        assert len(spied.fetched) == (10 if first == 40 else 50)


@on_sqlite
def test_state_newer_than_the_reader_answers_for_the_reader_where_rows_must_be_read(shelf: Shelf) -> None:
    columns = CollectionColumns()
    fill(shelf, 3)
    with shelf.reading() as old:
        before, _ = ask(shelf, columns, {"n": 1})
        fill(shelf, 1, first=3)
        shelf.upsert(document("d0001", "other", {"n": 1}))
        after, _ = ask(shelf, columns, {"n": 1})
        assert (matched(before), matched(after)) == ({2}, {5})
        by_text = columns.matching(Filter.parse({"$text": {"$contains": "text"}}), old, PLENTY, None)
        assert (by_text.sequence, matched(by_text)) == (3, {1, 2, 3})
        by_field = columns.matching(Filter.parse({"n": {"$gte": 1}}), old, PLENTY, None)
        assert (by_field.sequence, matched(by_field)) == (5, {3, 4, 5})
        assert by_field.of(np.array([1, 2, 3], np.int64)).tolist() == [False, True, True]
        assert by_field.complete_from == 3


@on_sqlite
def test_reader_pinned_to_a_later_state_catches_up(shelf: Shelf) -> None:
    columns = CollectionColumns()
    fill(shelf, 3)
    ask(shelf, columns, {"n": 1})
    with shelf.reading() as first, ExitStack() as opened:
        control = first.control

        @contextmanager
        def newer() -> Iterator[DocumentReader]:
            fill(shelf, 1, first=3)
            with shelf.reading() as reader:
                yield reader

        def unused(*_: object) -> Any:
            raise AssertionError

        current = opened.enter_context(CurrentReader(control, unused, unused, newer))
        found = columns.matching(Filter.parse({"$text": {"$contains": "text"}}), current, PLENTY, None)
        assert (found.sequence, matched(found)) == (4, {1, 2, 3, 4})


@on_sqlite
def test_reading_goes_on_where_the_time_was_up(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_ROWS", 10)
    columns = CollectionColumns()
    fill(shelf, 30)
    passed = iter([0.0, 0.0, 2.0])
    with shelf.reading() as reader, pytest.raises(OperationTimeout):
        columns.matching(Filter.parse({"n": 29}), reader, PLENTY, Deadline(1, lambda: next(passed)))
    shelf.delete("d0005")
    shelf.upsert(document("d0006", "again", {"n": 29}))
    found, spied = ask(shelf, columns, {"n": {"$in": [5, 29]}})
    assert (matched(found), spied.asked, found.complete_from) == ({30, 32}, [20], 32)


@on_sqlite
def test_waiting_for_another_thread_ends_at_the_deadline(shelf: Shelf) -> None:
    columns = CollectionColumns()
    fill(shelf, 3)
    with shelf.reading() as reader, columns._lock, pytest.raises(OperationTimeout):
        columns.matching(Filter.parse({"n": 2}), reader, PLENTY, Deadline(0))


@on_sqlite
def test_columns_that_do_not_fit_are_emptied(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = CollectionColumns()
    empty = columns.resident_bytes
    fill(shelf, 300)
    with shelf.reading() as reader, pytest.raises(TooLarge) as raised:
        columns.matching(Filter.parse({"n": 2}), reader, 10_000, None)
    assert raised.value.memory_bytes > 10_000
    assert columns.resident_bytes == empty
    found, _ = ask(shelf, columns, {"n": 2})
    assert (matched(found), columns.resident_bytes > 10_000) == ({3}, True)
    monkeypatch.setattr("akidb.search.columns.versions.MASKS_LEAST", 4000)
    for at in range(300):
        ask(shelf, columns, {"n": {"$gt": at}})
    assert columns._versions.masks.memory_bytes <= 32 * 300


@on_sqlite
def test_replaced_rows_are_dropped_in_time(shelf: Shelf) -> None:
    columns = CollectionColumns()
    fill(shelf, 200)
    for _ in range(4):
        ask(shelf, columns, {"n": 7})
        fill(shelf, 100)
    found, _ = ask(shelf, columns, {"n": {"$lt": 150}})
    assert found.mask.sum() == 150
    assert len(found.keys) < 500
    assert found.complete_from > 200
    shelf.delete(*(f"d{at:04}" for at in range(10, 200)))
    found, spied = ask(shelf, columns, {"n": {"$lt": 150}})
    assert (found.mask.sum(), len(found.keys), spied.fetched) == (10, 10, [])


@on_sqlite
def test_damaged_rows_are_left_out_until_they_are_replaced_or_deleted(shelf: Shelf, tmp_path: Path) -> None:
    columns = CollectionColumns()
    fill(shelf, 5)
    ask(shelf, columns, {"n": 1})
    for at in (1, 2):
        fill(shelf, 1, first=at)
        file = SqliteFile(tmp_path / f"{shelf.tenant.tenant_id}.db")
        with file.write() as connection:
            connection.exec_driver_sql("UPDATE documents SET text = 'x' WHERE id = ?", (f"d{at:04}",))
        file.close()
        found, _ = ask(shelf, columns, {"n": {"$gte": 0}})
        assert (found.damaged, found.mask.sum()) == (at, 5 - at)
    shelf.upsert(document("d0001", "new", {"n": 1}))
    found, spied = ask(shelf, columns, {"n": {"$gte": 0}})
    assert (found.damaged, found.mask.sum(), spied.asked) == (1, 4, [7])
    shelf.delete("d0002")
    found, spied = ask(shelf, columns, {"n": {"$gte": 0}})
    assert (found.damaged, found.mask.sum(), spied.asked) == (0, 4, [8])


def test_columns_are_right_while_threads_write_and_ask(shelf: Shelf) -> None:
    columns = CollectionColumns()
    fill(shelf, 50)
    ended = threading.Event()
    wrong: list[object] = []

    def check() -> None:
        while not ended.is_set():
            found, _ = ask(shelf, columns, {"n": {"$lt": 50}, "$text": {"$exists": True}})
            if found.mask.sum() != 50 or found.complete_from > found.sequence:
                wrong.append(found)

    threads = [threading.Thread(target=check) for _ in range(2)]
    for thread in threads:
        thread.start()
    for at in range(25):
        fill(shelf, 10, first=at % 5 * 10)
    ended.set()
    for thread in threads:
        thread.join()
    assert not wrong
