"""Limits of one operation on documents: the bytes of its answer, and the time to compare with its filter."""

import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from samples import RawSql, Shelf, document, replaced, vector_of

from akidb.documents import reader
from akidb.domain.changes import ChangeType
from akidb.domain.documents import Document, Include
from akidb.domain.errors import OperationTimeout
from akidb.domain.filters import Filter
from akidb.ports.documents import DocumentReader, DocumentWriter, Selection
from akidb.ports.limits import AnswerTooLarge, Deadline
from akidb.ports.search import VectorQuery
from akidb.search.index import LocalIndex

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT = frozenset({Include.TEXT})
LONG = 1_000
IDS = [f"d{n:02}" for n in range(20)]
EVERY = Filter.parse({"n": {"$gte": 0}})
NO_ROOM = 5 * LONG
"""Bytes of an answer that has room for four of the documents."""


@pytest.fixture
def texts(shelf: Shelf) -> Shelf:
    """Documents with long texts, two of which are so long that neither fits beside another."""
    lengths = {7: 4 * LONG, 8: 6 * LONG}
    shelf.upsert(*(document(id, "x" * lengths.get(n, LONG), {"n": n}) for n, id in enumerate(IDS)))
    return shelf


class Ticks:
    """A clock on which every look takes a second."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        self.seconds += 1
        return self.seconds


def after(rows: int) -> Deadline:
    """A deadline that passes after so many rows."""
    return Deadline(rows + 1, Ticks())


@pytest.mark.parametrize("unicode", [False, True])
def test_answer_over_limit_is_refused(texts: Shelf, unicode: bool) -> None:
    if unicode:  # two bytes each, in half as many characters
        texts.upsert(*(document(id, "é" * (LONG // 2), {"n": n}) for n, id in enumerate(IDS)))
    with texts.reading() as found:
        four = [IDS[n] for n in (3, 2, 1, 0)]
        assert [each.id for each in found.get(four, TEXT, most_bytes=NO_ROOM)] == four
        keys = [row.document_key for row in found.changes(0, contents=False).rows]
        assert len(found.fetch(keys[:4], TEXT, most_bytes=NO_ROOM)) == 4
        with pytest.raises(AnswerTooLarge):
            found.get(IDS[:5], TEXT, most_bytes=NO_ROOM)
        with pytest.raises(AnswerTooLarge):
            found.fetch(keys[:5], TEXT, most_bytes=NO_ROOM)


def test_parts_left_out_do_not_count(texts: Shelf) -> None:
    with texts.reading() as found:
        keys = [row.document_key for row in found.changes(0, contents=False).rows]
        assert len(found.get(IDS, (), most_bytes=NO_ROOM)) == len(IDS)
        assert len(found.fetch(keys, {Include.METADATA}, most_bytes=NO_ROOM)) == len(IDS)
        for filter in (None, EVERY):
            page, position = found.scan(
                after=None, filter=filter, include={Include.METADATA}, limit=100, most_bytes=NO_ROOM
            )
            assert len(page) == len(IDS)
            assert position is None
        with pytest.raises(AnswerTooLarge):  # 16 numbers of 12 bytes for each document
            found.get(IDS, {Include.VECTOR}, most_bytes=16 * 12 * len(IDS) - 1)


def test_parts_left_out_are_not_kept(shelf: Shelf) -> None:
    ids = [f"d{n}" for n in range(80)]
    for at in range(0, len(ids), 20):
        shelf.upsert(*(document(id, "x" * 2**16, {"n": 1}) for id in ids[at : at + 20]))
    whole = len(ids) * 2**16
    with shelf.reading() as found:
        keys = [row.document_key for row in found.changes(0, contents=False).rows]
        for read in (
            lambda: found.get(ids, ()),
            lambda: found.fetch(keys, ()),
            lambda: found.fetch(keys, {"metadata.n"}),
        ):
            tracemalloc.start()
            try:
                assert len(read()) == len(ids)
                assert tracemalloc.get_traced_memory()[1] < 0.6 * whole
            finally:
                tracemalloc.stop()


def test_rows_with_a_wrong_checksum_are_damaged_among_others(shelf: Shelf) -> None:
    ids = [f"d{n:02}" for n in range(40)]
    shelf.upsert(*(document(id, "text", {"n": 1}) for id in ids))
    with shelf.open() as store:
        RawSql(store._database)("UPDATE documents SET text = 'other' WHERE id IN ('d03', 'd38')")  # type: ignore[attr-defined]
    with shelf.reading() as found:
        keys = {row.id: row.document_key for row in found.changes(0, contents=False).rows}
        for some in (ids[:10], ids):
            rows = found.fetch([keys[id] for id in some], TEXT)
            damaged = {id for id in some if rows[keys[id]][1] is None}
            assert damaged == {"d03", "d38"}.intersection(some)
            assert [rows[keys[id]][1] for id in some if id not in damaged] == [
                Document(id=id, text="text") for id in some if id not in damaged
            ]


@pytest.mark.parametrize("filter", [None, EVERY])
@pytest.mark.parametrize("rows_at_a_time", [1, 100])
def test_scan_ends_its_pages_at_the_limit_and_skips_nothing(
    texts: Shelf, monkeypatch: pytest.MonkeyPatch, filter: Filter | None, rows_at_a_time: int
) -> None:
    monkeypatch.setattr(reader, "WIDE_ROWS", rows_at_a_time)
    pages: list[list[Document]] = []
    position = None
    while position is not None or not pages:
        with texts.reading() as found:
            page, position = found.scan(
                after=position, filter=filter, include=TEXT, limit=10, most_bytes=NO_ROOM
            )
        pages.append(page)
    assert [each.id for page in pages for each in page] == IDS
    assert [len(page) for page in pages] == [4, 3, 1, 1, 4, 4, 3]


def test_feed_ends_its_pages_at_the_limit_and_skips_nothing(texts: Shelf) -> None:
    texts.delete(IDS[3], IDS[12])
    seen, lengths = [], []
    since = 0
    while True:
        with texts.reading() as found:
            part = found.feed(since, 10, TEXT, most_bytes=NO_ROOM)
        seen += part.changes
        lengths.append(len(part.changes))
        if part.last is None:
            break
        since = part.last
    assert [each.sequence for each in seen] == sorted(each.sequence for each in seen)
    assert [each.id for each in seen if each.type is ChangeType.UPSERT] == [
        id for id in IDS if id not in {IDS[3], IDS[12]}
    ]
    assert {each.id for each in seen if each.type is ChangeType.DELETE} == {IDS[3], IDS[12]}
    assert max(lengths) <= 6
    assert 1 in lengths  # the document that is longer than the limit comes alone


def test_count_ends_with_its_time(texts: Shelf) -> None:
    with texts.reading() as found:
        assert found.count(EVERY, after(20)) == 20
        with pytest.raises(OperationTimeout, match=r"filter: .* within 11 seconds"):
            found.count(EVERY, after(10))


def test_change_that_runs_out_of_time_changes_nothing(texts: Shelf) -> None:
    usage = texts.usage()
    changes: list[Callable[[DocumentWriter], Any]] = [
        lambda writer: writer.delete(Selection(filter=EVERY, deadline=after(10))),
        lambda writer: writer.update(Selection(filter=EVERY, deadline=after(10)), replaced({"n": -1})),
    ]
    for change in changes:
        with pytest.raises(OperationTimeout), texts.writing() as writer:
            change(writer)
    assert texts.all_ids() == IDS
    assert texts.usage() == usage
    with texts.writing() as writer:
        assert writer.delete(Selection(filter=EVERY, deadline=after(20))) == 20


@pytest.mark.parametrize(("quota", "looks"), [(0, 10), (2**30, 0)])  # columns are read in chunks
def test_search_ends_with_its_time(texts: Shelf, quota: int, looks: int) -> None:
    index, tenant_id = LocalIndex(), texts.tenant.tenant_id

    def search(deadline: Deadline | None) -> int:
        query = VectorQuery(vector_of("q"), 5, EVERY, deadline=deadline)
        with texts.reading() as found:
            return index.search(tenant_id, texts.store_id, quota, found, query).statistics.allowed

    with pytest.raises(OperationTimeout):
        search(after(looks))
    assert search(after(30)) == 20  # it reads 20 rows, and applies the filter
    texts.upsert(document("new", "text", {"n": 1}))
    assert search(None) == 21  # what the first search kept of the filter has no deadline


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_scan_that_runs_out_of_time_returns_what_it_found(texts: Shelf, rows: int) -> None:
    odd = Filter.parse({"n": {"$in": [1, 11, 13]}})
    seen = []
    position = None
    pages = 0
    while position is not None or not pages:
        with texts.reading() as found:
            page, position = found.scan(after=position, filter=odd, include=(), limit=2, deadline=after(rows))
        pages += 1
        seen += [each.id for each in page]
        assert pages <= len(IDS) + 1
    assert seen == [IDS[1], IDS[11], IDS[13]]
    assert pages >= len(IDS) // (rows + 1)


def test_failed_read_leaves_no_old_snapshot_behind(texts: Shelf) -> None:
    failures: list[Any] = []
    reads: list[Callable[[DocumentReader], Any]] = [
        lambda found: found.count(EVERY, after(3)),
        lambda found: found.get(IDS, TEXT, most_bytes=NO_ROOM),
        lambda found: found.scan(after=None, filter=None, include=TEXT, limit=20, most_bytes=NO_ROOM),
        lambda found: found.feed(0, 20, TEXT, most_bytes=NO_ROOM),
    ]
    for _ in range(3):
        for read in reads:
            try:
                with texts.reading() as found:
                    failures.append(read(found))
            except (OperationTimeout, AnswerTooLarge) as error:
                failures.append(error)  # as a caller that keeps the error, with its frames
    texts.upsert(document("later", "text", {"n": 100}))
    for _ in range(5):
        with texts.reading() as found:
            assert found.count(EVERY) == 21
            assert found.control.document_count == 21
    assert len(failures) == 12
