"""Columns compared with the reference on random documents: filters, facets, orders; growing and stored."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from filter_samples import FILTERS, METADATA, STRINGS, UNTIMED
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from akidb.domain.field_values import MAX_CHARACTERS, MISSING_KEY, SortKey, row_key, scalar_of, values_of
from akidb.domain.filters import Filter
from akidb.search.columns import (
    Columns,
    GrowingColumns,
    Limits,
    StoredColumns,
    merged,
    pack,
)
from akidb.search.columns.excerpts import Window

FIELDS = st.sampled_from(["a", "b", "a.b", "b.a.b", "c"])
ROWS = st.lists(st.tuples(st.none() | STRINGS, METADATA), max_size=6)
WIDE = Limits()
NARROW = Limits(columns=1, row_values=4, table_bytes=300, table_row_bytes=40, pending=3)
"""With these most rows must be read."""
PREFIX = "é" * MAX_CHARACTERS

QUICK = settings(UNTIMED, max_examples=40)

Row = tuple[str | None, dict[str, Any]]


class Rows:
    """The documents of a part; counts how many are read."""

    def __init__(self, rows: Sequence[Row], chosen: Sequence[int] | None = None) -> None:
        places = range(len(rows)) if chosen is None else chosen
        self.rows = [rows[at] for at in places]
        self.ids = [f"{(7 * at) % 13}-{at}" for at in places]
        self.read = 0

    def contents(self, positions: NDArray[np.intp]) -> Iterable[tuple[str | None, str]]:
        for at in positions.tolist():
            self.read += 1
            yield self.rows[at][0], json.dumps(self.rows[at][1])


def _long(value: Any) -> Any:
    """Lengthen the strings that begin with `a`, so that they differ where they are not in memory."""
    if isinstance(value, str):
        return PREFIX + value if value.startswith("a") else value
    if isinstance(value, dict):
        return {key: item if key == "$regex" else _long(item) for key, item in value.items()}
    return [_long(item) for item in value] if isinstance(value, list) else value


def _kinds(rows: Sequence[Row], limits: Limits = WIDE) -> Iterator[Columns]:
    columns = GrowingColumns(limits)
    half = len(rows) // 2
    for some in (rows[:half], rows[half:]):
        columns.append([(text, json.dumps(metadata)) for text, metadata in some])
        columns.parts()  # what readers do in between
    yield columns
    yield StoredColumns(*pack(columns))


def _check_mask(
    rows: Sequence[Row], filter: Filter, limits: Limits = WIDE, among: list[bool] | None = None
) -> None:
    documents = Rows(rows)
    expected = [
        filter.matches(id, *row) and (among is None or among[at])
        for at, (id, row) in enumerate(zip(documents.ids, rows, strict=True))
    ]
    live = None if among is None else np.array(among, dtype=np.bool_)
    for columns in _kinds(rows, limits):
        assert columns.mask(filter, len(rows), documents, among=live).tolist() == expected


@QUICK
@given(ROWS, FILTERS, st.data())
def test_mask_is_filter_matches(rows: list[Row], value: dict[str, Any], data: st.DataObject) -> None:
    among = data.draw(st.none() | st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    _check_mask(rows, Filter.parse(value), among=among)


@QUICK
@given(ROWS, FILTERS)
def test_mask_is_filter_matches_when_little_fits_in_memory(rows: list[Row], value: dict[str, Any]) -> None:
    _check_mask(rows, Filter.parse(value), NARROW)


@QUICK
@given(ROWS, FILTERS)
def test_mask_is_filter_matches_for_long_strings(rows: list[Row], value: dict[str, Any]) -> None:
    lengthened = [(text, _long(metadata)) for text, metadata in rows]
    _check_mask(lengthened, Filter.parse(_long(value)))


@QUICK
@given(ROWS, FILTERS)
def test_mask_of_first_rows_is_start_of_mask(rows: list[Row], value: dict[str, Any]) -> None:
    filter, documents = Filter.parse(value), Rows(rows)
    for columns in _kinds(rows):
        whole = columns.mask(filter, len(rows), documents)
        for count in range(len(rows)):
            assert columns.mask(filter, count, documents).tolist() == whole[:count].tolist()


@pytest.mark.parametrize("limits", [WIDE, NARROW])
@QUICK
@given(ROWS, FILTERS, st.data())
def test_excerpts_match_as_the_whole(
    limits: Limits, rows: list[Row], value: dict[str, Any], data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(rows)))
    kept = sorted(data.draw(st.sets(st.integers(0, len(rows) - 1)))) if rows else []
    filter = Filter.parse(value)
    for columns in _kinds(rows, limits):
        window, documents = Window(columns, start, len(rows)), Rows(rows, range(start, len(rows)))
        expected = [filter.matches(id, *row) for id, row in zip(documents.ids, documents.rows, strict=True)]
        assert window.mask(filter, window.count, documents).tolist() == expected
        if isinstance(columns, GrowingColumns):
            only, documents = columns.only(np.array(kept, dtype=np.intp)), Rows(rows, kept)
            for _ in range(2):
                expected = [
                    filter.matches(id, *row) for id, row in zip(documents.ids, documents.rows, strict=True)
                ]
                assert only.mask(filter, len(documents.rows), documents).tolist() == expected
                only.append([(text, json.dumps(metadata)) for text, metadata in rows])  # it grows as others
                documents = Rows(rows, [*kept, *range(len(rows))])


def _facet(field: str, rows: Iterable[Row]) -> dict[SortKey, int]:
    counts: dict[SortKey, int] = {}
    for _, metadata in rows:
        reached = values_of(field, metadata)
        items = [item for value in reached for item in (value if isinstance(value, list) else [value])]
        scalars = [item for item in items if not isinstance(item, list | dict)]
        for key in {row_key([item], descending=False) for item in scalars}:
            counts[key] = counts.get(key, 0) + 1
    return counts


@pytest.mark.parametrize("limits", [WIDE, NARROW])
@QUICK
@given(ROWS, FIELDS, st.data())
def test_facet_counts_rows_by_value(limits: Limits, rows: list[Row], field: str, data: st.DataObject) -> None:
    mask = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    expected = _facet(field, [row for row, chosen in zip(rows, mask, strict=True) if chosen])
    for columns in _kinds(rows, limits):
        documents = Rows(rows)
        found = columns.facet(field, np.array(mask, dtype=np.bool_), documents)
        assert found == expected
        for key, count in found.items():  # the facet's value is the operand that selects its rows
            filter = Filter.parse({field: scalar_of(key)})
            selected = columns.mask(filter, len(rows), documents, among=np.array(mask, dtype=np.bool_))
            assert selected.sum() == count


@pytest.mark.parametrize("limits", [WIDE, NARROW])
@QUICK
@given(ROWS, FIELDS, st.booleans(), st.integers(1, 5), st.data())
def test_pages_of_order_are_sorted_by_value_then_id(
    limits: Limits, rows: list[Row], field: str, descending: bool, limit: int, data: st.DataObject
) -> None:
    mask = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    documents = Rows(rows)
    chosen = sorted((at for at, one in enumerate(mask) if one), key=documents.ids.__getitem__)
    keys = [row_key(values_of(field, metadata), descending=descending) for _, metadata in rows]
    expected = sorted(chosen, key=keys.__getitem__, reverse=descending)
    if descending:
        expected.sort(key=lambda at: keys[at] == MISSING_KEY)
    for columns in _kinds(rows, limits):
        found: list[int] = []
        after = None
        while page := columns.order(
            field,
            np.array(mask, dtype=np.bool_),
            documents,
            descending=descending,
            limit=limit,
            after=after,
        ):
            assert len(page) <= limit
            assert merged([page[1::2], page[::2]], descending=descending, limit=limit) == page
            found += [one.position for one in page]
            after = page[-1].key, page[-1].id
        assert found == expected
