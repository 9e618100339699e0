"""Columns: what is in memory and what must be read, its bounds, the file, and reading while they grow."""

import json
import threading
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from akidb.domain.errors import OperationTimeout
from akidb.domain.field_values import SortKey, scalar_of
from akidb.domain.filters import Filter
from akidb.ports.limits import Deadline
from akidb.search.columns import (
    Columns,
    GrowingColumns,
    Limits,
    StoredColumns,
    merged,
    pack,
)

LANGUAGES = ["en", "de", "fr", "ja"]


class Rows:
    """Documents with the same text; `read` are the positions of those that were read."""

    def __init__(self, rows: Sequence[dict[str, Any] | None]) -> None:
        self.rows = rows
        self.ids = [f"d{at}" for at in range(len(rows))]
        self.read: list[int] = []

    def contents(self, positions: NDArray[np.intp]) -> Iterable[tuple[str | None, str] | None]:
        for at in positions.tolist():
            self.read.append(at)
            row = self.rows[at]
            yield None if row is None else ("a text", json.dumps(row))


def grown(rows: Iterable[dict[str, Any]], limits: Limits | None = None) -> GrowingColumns:
    columns = GrowingColumns() if limits is None else GrowingColumns(limits)
    columns.append([("a text", json.dumps(row)) for row in rows])
    return columns


def stored(rows: Iterable[dict[str, Any]], limits: Limits | None = None) -> StoredColumns:
    return StoredColumns(*pack(grown(rows, limits)))


KINDS = pytest.mark.parametrize("columns_of", [grown, stored])
Maker = Callable[..., Columns]


def positions(columns: Columns, filter: dict[str, Any], documents: Rows) -> list[int]:
    return np.flatnonzero(columns.mask(Filter.parse(filter), columns.count, documents)).tolist()


@KINDS
def test_filter_on_metadata_reads_no_documents(columns_of: Maker) -> None:
    rows = [{"n": at, "tags": ["a", at], "of": {"lang": LANGUAGES[at % 4]}} for at in range(50)]
    documents = Rows(rows)
    columns = columns_of(rows)
    assert positions(columns, {"n": {"$gte": 47}}, documents) == [47, 48, 49]
    assert positions(columns, {"tags": 7, "$id": {"$ne": "d9"}}, documents) == [7]
    assert positions(columns, {"of.lang": "ja", "n": {"$lt": 10}}, documents) == [3, 7]
    assert positions(columns, {"missing": {"$exists": False}, "n": 1}, documents) == [1]
    assert documents.read == []


@KINDS
def test_text_is_read_only_where_other_conditions_hold(columns_of: Maker) -> None:
    rows = [{"n": at} for at in range(20)]
    documents = Rows(rows)
    filter = {"$text": {"$contains": "text"}, "n": {"$in": [3, 5]}}
    assert positions(columns_of(rows), filter, documents) == [3, 5]
    assert documents.read == [3, 5]
    either = {"$or": [{"$text": "a text"}, {"n": {"$gt": 1}}]}
    assert len(positions(columns_of(rows), either, documents)) == 20
    assert documents.read == [3, 5, 0, 1]


@KINDS
def test_whether_there_is_a_text_is_known(columns_of: Maker) -> None:
    documents = Rows([{}, {}])
    columns = columns_of([{}, {}])
    assert positions(columns, {"$text": {"$exists": True}}, documents) == [0, 1]
    assert positions(columns, {"$text": 1}, documents) == []
    assert documents.read == []


@KINDS
def test_document_that_is_gone_does_not_match(columns_of: Maker) -> None:
    columns = columns_of([{"n": 1}, {"n": 1}])
    documents = Rows([None, {"n": 1}])
    assert positions(columns, {"$text": "a text"}, documents) == [1]


@KINDS
def test_document_outside_of_those_asked_for_is_not_read(columns_of: Maker) -> None:
    rows = [{"n": at} for at in range(4)]
    documents, among = Rows(rows), np.array([False, True, True, False])
    mask = columns_of(rows).mask(Filter.parse({"$text": "a text"}), 4, documents, among=among)
    assert mask.tolist() == [False, True, True, False]
    assert documents.read == [1, 2]


@KINDS
def test_long_string_is_read_only_if_its_beginning_does_not_decide(columns_of: Maker) -> None:
    long = "x" * 1000
    rows = [{"s": long + "1"}, {"s": "y" * 1000}, {"s": "short"}]
    documents = Rows(rows)
    columns = columns_of(rows)
    assert positions(columns, {"s": {"$gt": "xy"}}, documents) == [1]
    assert positions(columns, {"s": {"$in": ["short", "z"]}}, documents) == [2]
    assert documents.read == []
    assert positions(columns, {"s": long + "1"}, documents) == [0]
    assert documents.read == [0]


@KINDS
def test_values_beyond_the_limits_are_read_from_their_rows(columns_of: Maker) -> None:
    rows: list[dict[str, Any]] = [
        {"lang": "en"},
        {"lang": "de", "list": list(range(1000))},
        {"lang": "de", **{f"k{at:04}": at for at in range(1000)}},
        {"lang": "de", "of": {f"k{at:04}": at for at in range(1000)}},
    ]
    documents = Rows(rows)
    columns = columns_of(rows)
    assert positions(columns, {"lang": "de"}, documents) == [1, 2, 3]
    assert documents.read == []
    assert positions(columns, {"list": 999}, documents) == [1]
    assert documents.read == [1, 2, 3]
    assert positions(columns, {"lang": "de", "k0999": 999}, documents) == [2]
    assert positions(columns, {"of.k0999": 999}, documents) == [3]
    assert positions(columns, {"k0001": 1}, documents) == [2]


def test_field_that_comes_late_gets_a_column_among_many_rare_ones() -> None:
    rows: list[dict[str, Any]] = [{f"own{at}": at} for at in range(2000)]
    rows += [{f"own{at}": at, "late": at % 7} for at in range(2000, 2100)]
    documents = Rows(rows)
    columns = grown(rows, Limits(columns=20))
    assert positions(columns, {"late": 3}, documents) == [at for at in range(2000, 2100) if at % 7 == 3]
    assert len(documents.read) < 10
    documents.read.clear()
    assert positions(columns, {"own1999": {"$gt": 0}}, documents) == [1999]
    assert len(documents.read) <= 1
    assert len(columns.parts()) <= 40


@pytest.mark.parametrize(
    "rows",
    [
        [{f"own{at}-{i}": "x" * 20 for i in range(20)} for at in range(1000)],
        [{f"own{at}-{i}": f"{at}-{i}" * 20 for i in range(1000)} for at in range(50)],
        [{f"k{i}": f"{at}-{i}" * 20 for i in range(250)} for at in range(100)],
        [{"body": f"{at}" * 10_000} for at in range(300)],
        [{"list": [f"{at}-{i}" for i in range(3000)]} for at in range(200)],
        [{"objects": [{"n": f"{at}-{i}"} for i in range(1000)]} for at in range(100)],
    ],
    ids=["rare", "wide", "full", "long", "list", "objects"],
)
def test_memory_is_bounded(rows: list[dict[str, Any]]) -> None:
    limits = Limits(table_bytes=100_000)
    bound = 100_000 + 512 * 3000 + 5000 * len(rows)
    assert grown(rows, limits).memory_bytes < bound
    assert stored(rows, limits).memory_bytes < bound


def test_memory_is_a_fraction_of_the_json_for_few_distinct_values() -> None:
    rows = [{"lang": LANGUAGES[at % 4], "year": 2000 + at % 20, "draft": at % 9 == 0} for at in range(20_000)]
    size = sum(len(json.dumps(row)) for row in rows)
    assert grown(rows).memory_bytes < size / 4
    assert stored(rows).memory_bytes < size / 8


def test_memory_is_accounted_for() -> None:
    rows = [(None, json.dumps({"n": at, "s": f"value {at}", "t": ["a", at % 5]})) for at in range(5000)]
    filter = Filter.parse({"n": {"$gt": 3}, "s": "x", "t": 1})
    grown([{"n": 1}]).mask(filter, 1, Rows([{}]))  # what the first use alone takes
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        columns = GrowingColumns()
        columns.append(rows)
        columns.mask(filter, 5000, Rows([{}] * 5000))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert columns.memory_bytes == pytest.approx(after - before, rel=0.2)


def test_columns_are_mapped_from_a_file(tmp_path: Path) -> None:
    rows = [{"n": at, "s": f"é{at}", "x": at / 2, "deep": {"list": [at, None, "e"]}} for at in range(100)]
    header, body = pack(grown(rows))
    body.tofile(tmp_path / "columns")
    columns = StoredColumns(header, np.memmap(tmp_path / "columns", dtype=np.uint8, mode="r"))
    documents = Rows(rows)
    assert columns.count == 100
    assert positions(columns, {"s": "é7"}, documents) == [7]
    assert positions(columns, {"deep.list": 9, "x": {"$lte": 4.5}}, documents) == [9]
    assert documents.read == []


def test_empty_columns() -> None:
    for columns in (GrowingColumns(), StoredColumns(*pack(GrowingColumns()))):
        assert columns.count == 0
        assert positions(columns, {"a": {"$ne": 1}}, Rows([])) == []
        assert columns.facet("a", np.zeros(0, dtype=np.bool_), Rows([])) == {}
        assert columns.order("a", np.zeros(0, dtype=np.bool_), Rows([]), limit=3) == []


def test_damaged_header_is_an_error() -> None:
    header, body = pack(grown([{"n": 1}]))
    with pytest.raises(msgspec.MsgspecError):
        StoredColumns(header[:-3], body)


@KINDS
@pytest.mark.parametrize(
    "filter",
    [{"s": {"$regex": "1$"}}, {"$id": {"$contains": "1"}}, {"$text": "a"}, {"s": {"$contains": "1"}}],
)
def test_deadline_ends_the_comparison(columns_of: Maker, filter: dict[str, Any]) -> None:
    rows = [{"s": f"value {at}"} for at in range(500)]
    with pytest.raises(OperationTimeout):
        columns_of(rows).mask(Filter.parse(filter), 500, Rows(rows), deadline=Deadline(0))


@KINDS
def test_facets_count_documents_once_per_value(columns_of: Maker) -> None:
    rows: list[dict[str, Any]] = [
        {"t": ["a", "a", 1.0]},
        {"t": 1},
        {"t": [True, {}, []]},
        {"t": None},
        {},
        {"t": "x" * 999},
    ]
    documents = Rows(rows)
    counts = columns_of(rows).facet("t", np.ones(6, dtype=np.bool_), documents)
    assert [(scalar_of(key), count) for key, count in sorted(counts.items())] == [
        (None, 1),
        (True, 1),
        (1, 2),
        ("a", 1),
        ("x" * 999, 1),
    ]
    assert documents.read == [5]


@KINDS
@pytest.mark.parametrize("descending", [False, True])
def test_order_is_total_across_types(columns_of: Maker, descending: bool) -> None:
    values: list[Any] = [None, False, True, -1, 0.5, 2**53, 2.0**53 + 2, "", "Z", "a", {}]
    rows: list[dict[str, Any]] = [{"v": value} for value in values]
    if descending:
        rows.reverse()
    rows = [*rows, {}, {"other": 1}]
    documents = Rows(rows)
    found = columns_of(rows).order(
        "v", np.ones(len(rows), dtype=np.bool_), documents, descending=descending, limit=99
    )
    assert [one.position for one in found] == list(range(len(rows)))


def test_parts_are_merged_in_order() -> None:
    first: list[dict[str, Any]] = [{"v": 3}, {"v": 1}, {}]
    second: list[dict[str, Any]] = [{"v": 2}, {"v": "a"}]
    pages = [
        part.order("v", np.ones(part.count, dtype=np.bool_), Rows(rows), descending=True, limit=2)
        for part, rows in ((grown(first), first), (stored(second), second))
    ]
    keys = [one.key for one in merged(pages, descending=True, limit=3)]
    assert keys == [SortKey(3, "a"), SortKey(2, 3), SortKey(2, 2)]


def test_readers_see_whole_rows_while_columns_grow() -> None:
    rows = [{"n": at, "m": at, "own": {str(at % 700): at}} for at in range(6000)]
    documents = Rows(rows)
    columns = GrowingColumns(Limits(columns=50, pending=7))
    done = threading.Event()

    def write() -> None:
        for start in range(0, len(rows), 10):
            columns.append([("a text", json.dumps(row)) for row in rows[start : start + 10]])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    over = False
    while not over:
        over = done.is_set()
        count = columns.count
        both = {"n": {"$gte": 100}, "m": {"$gte": 100}, "$not": {"own.3": {"$lt": 0}}}
        mask = columns.mask(Filter.parse(both), count, documents)
        assert mask.sum() == max(0, count - 100)
        rare = columns.mask(Filter.parse({"own.5": {"$gte": 0}}), count, documents)
        assert np.flatnonzero(rare).tolist() == list(range(5, count, 700))
    writer.join()
