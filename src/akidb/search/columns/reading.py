"""What columns answer: which rows match a filter, the values of a field, and the order by it."""

import heapq
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from akidb.domain.field_values import MISSING_KEY, SortKey, distinct, is_cut, row_key, sort_key, values_of
from akidb.domain.filters import Filter
from akidb.domain.filters.nodes import TEXT
from akidb.domain.ordering import Ordered, merged
from akidb.ports.limits import Deadline
from akidb.search.columns.entries import Entries, Mask
from akidb.search.columns.evaluation import Column, Evaluation
from akidb.search.columns.tables import Table
from akidb.search.columns.values import EMPTY, FIRST, MISSING, OBJECT, SPECIAL_KEYS, UNREAD

TEXT_FIELD: Final = TEXT
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Documents(Protocol):
    """The documents of a part, for what its columns do not contain."""

    @property
    def ids(self) -> Sequence[str]:
        """The id by position."""

    def contents(self, positions: NDArray[np.intp]) -> Iterable[tuple[str | None, str] | None]:
        """Yield text and metadata (JSON) at each position; None for a document that is gone."""


class Columns(ABC):
    """The values of the fields of documents, by position."""

    @property
    @abstractmethod
    def count(self) -> int:
        """The number of rows."""

    @property
    @abstractmethod
    def memory_bytes(self) -> int:
        """Bytes in memory."""

    @abstractmethod
    def column(self, field: str) -> Column:
        """Return what is known of a field."""

    def mask(
        self,
        filter: Filter,
        count: int,
        documents: Documents,
        *,
        among: Mask | None = None,
        deadline: Deadline | None = None,
    ) -> Mask:
        """Return which of the first `count` rows match, as `Filter.matches` would; false outside of `among`.

        Contents are read only of rows that nothing else decides. Raises OperationTimeout.
        """
        known = Evaluation(self.column, count, documents, deadline).of(filter.root, among)
        mask = known.passes if among is None else known.passes & among
        if known.open is not None:
            left = known.open & ~mask if among is None else known.open & among & ~mask
            _read(filter, np.flatnonzero(left), documents, deadline, mask)
        return mask

    def facet(
        self, field: str, mask: Mask, documents: Documents, deadline: Deadline | None = None
    ) -> dict[SortKey, int]:
        """Return how many rows of a mask have each value of a field; `scalar_of` returns the value of a key.

        A row counts once for each of its distinct values. Objects and empty lists do not count.
        """
        column = self.column(field)
        loose = np.zeros(len(mask), dtype=np.bool_)
        loose[column.loose[: np.searchsorted(column.loose, len(mask))]] = True
        entries = column.entries.until(len(mask)).among(mask & ~loose)
        counts, cut = _counts(column.table, entries)
        if cut:  # of a long string the beginning alone is in memory
            assert entries.positions is not None
            loose[entries.positions[np.isin(entries.codes >> 1, cut)]] = True
            counts, _ = _counts(column.table, column.entries.until(len(mask)).among(mask & ~loose))
        positions = np.flatnonzero(loose & mask)
        for content in _contents(positions, documents, deadline):
            if content is not None:
                for key in distinct(values_of(field, _decode(content[1]))):
                    counts[key] = counts.get(key, 0) + 1
        return counts

    def order(
        self,
        field: str,
        mask: Mask,
        documents: Documents,
        *,
        descending: bool = False,
        limit: int,
        after: tuple[SortKey, str] | None = None,
        deadline: Deadline | None = None,
    ) -> list[Ordered]:
        """Return the first rows of a mask in the order of a field, then of ids; `after` continues.

        A list counts with its smallest element, or descending with its largest.
        """
        column = self.column(field)
        loose = np.zeros(len(mask), dtype=np.bool_)
        loose[column.loose[: np.searchsorted(column.loose, len(mask))]] = True
        best = _best(column, mask & ~loose, documents.ids, descending, limit, after)
        positions = np.flatnonzero(loose & mask)
        for position, content in zip(
            positions.tolist(), _contents(positions, documents, deadline), strict=True
        ):
            if content is not None:
                key = row_key(values_of(field, _decode(content[1])), descending=descending)
                best.append(Ordered(key, documents.ids[position], position))
        return merged([best], descending=descending, limit=limit, after=after)


def _counts(table: Table, entries: Entries) -> tuple[dict[SortKey, int], list[int]]:
    """Return the rows by value, and the numbers of cut strings."""
    positions = entries.positions
    assert positions is not None
    numbers = entries.codes >> 1
    # Of a row's codes those of one value, alone and in a list, are next to each other.
    again = (numbers[1:] == numbers[:-1]) & (positions[1:] == positions[:-1])
    if again.any():
        numbers = numbers[np.concatenate([[True], ~again])]
    counted = np.bincount(numbers, minlength=FIRST)
    present = np.flatnonzero(counted)
    counts: dict[SortKey, int] = {}
    cut = []
    for number, count in zip(present.tolist(), counted[present].tolist(), strict=True):
        if number >= FIRST:
            value = table.value(number)
            counts[sort_key(value)] = count
            if is_cut(value):
                cut.append(number)
        elif number not in (MISSING, OBJECT, EMPTY, UNREAD):
            counts[SPECIAL_KEYS[number]] = count
    return counts, cut


def _best(
    column: Column,
    mask: Mask,
    ids: Sequence[str],
    descending: bool,
    limit: int,
    after: tuple[SortKey, str] | None,
) -> list[Ordered]:
    """Return the first rows whose values are in the column, unsorted, and possibly more than `limit`."""
    entries = column.entries.until(len(mask)).among(mask)
    positions = entries.positions
    assert positions is not None
    ranks = column.table.ranks()
    missing = int(ranks[MISSING])
    sign = -1 if descending else 1
    places = np.full(len(mask), missing, dtype=np.int64)
    if len(positions):
        first = np.flatnonzero(np.concatenate([[True], positions[1:] != positions[:-1]]))
        places[positions[first]] = np.minimum.reduceat(sign * ranks[entries.codes >> 1], first)
    chosen = np.flatnonzero(mask)
    places = places[chosen]
    numbers = np.argsort(ranks, kind="stable")
    keys = _Keys(column.table, numbers)
    if after is not None:
        place = bisect_left(keys, after[0])
        bound = int(ranks[numbers[place]]) if place < len(keys) else missing
        exact = place < len(keys) and keys[place] == after[0]
        bound = sign * bound if after[0] != MISSING_KEY else missing
        kept = places >= bound if exact or not descending else places > bound
        chosen, places = chosen[kept], places[kept]
        if exact:
            equal = places == bound
            tied = np.array([ids[at] > after[1] for at in chosen[equal].tolist()], dtype=np.bool_)
            kept = ~equal
            kept[equal] = tied
            chosen, places = chosen[kept], places[kept]
    if len(chosen) > limit > 0:
        worst = np.partition(places, limit - 1)[limit - 1]
        sure = np.flatnonzero(places < worst)
        tied_ones = np.flatnonzero(places == worst).tolist()
        ties = heapq.nsmallest(limit - len(sure), tied_ones, key=lambda at: ids[int(chosen[at])])
        kept_at = np.concatenate([sure, np.array(ties, dtype=np.intp)])
        chosen, places = chosen[kept_at], places[kept_at]
    by_rank = {int(ranks[number]): int(number) for number in numbers} if len(numbers) <= len(chosen) else None
    sorted_ranks = ranks[numbers]

    def key_of(place: int) -> SortKey:
        rank = place if place == missing else sign * place
        if by_rank is not None:
            return keys.of(by_rank[rank])
        return keys.of(int(numbers[np.searchsorted(sorted_ranks, rank)]))

    return [
        Ordered(key_of(place), ids[at], at)
        for at, place in zip(chosen.tolist(), places.tolist(), strict=True)
    ]


class _Keys(Sequence[SortKey]):
    """The keys of a table's numbers, in order."""

    def __init__(self, table: Table, numbers: NDArray[np.intp]) -> None:
        self._table, self._numbers = table, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, at: Any) -> Any:
        return self.of(int(self._numbers[at]))

    def of(self, number: int) -> SortKey:
        return SPECIAL_KEYS[number] if number < FIRST else sort_key(self._table.value(number))


def _contents(
    positions: NDArray[np.intp], documents: Documents, deadline: Deadline | None
) -> Iterable[tuple[str | None, str] | None]:
    if len(positions):
        for content in documents.contents(positions):
            if deadline is not None:
                deadline.check()
            yield content


def _read(
    filter: Filter, positions: NDArray[np.intp], documents: Documents, deadline: Deadline | None, mask: Mask
) -> None:
    """Decide rows by their contents."""
    contents = _contents(positions, documents, deadline)
    for position, content in zip(positions.tolist(), contents, strict=True):
        if content is not None:
            mask[position] = filter.matches(documents.ids[position], content[0], _decode(content[1]))
