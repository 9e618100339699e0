"""The columns of this process: made on first use, within the memory quotas of the tenants."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import numpy as np

from akidb.domain.facets import FacetCounts
from akidb.domain.field_values import SortKey
from akidb.domain.filters import Filter
from akidb.domain.ordering import Ordered
from akidb.ports.columns import Asked, KeyPage
from akidb.search.columns.collection import CollectionColumns
from akidb.search.columns.matching import Matching
from akidb.search.columns.seen import Seen
from akidb.search.errors import TooLarge
from akidb.search.memory import COLUMNS, Memory

T = TypeVar("T")

SMALL_ROWS: Final = 2_000
"""Of collections up to this size columns are made at once, of larger ones for the second question."""
ROWS_READ_FOR_A_MATCH: Final = 50
"""Matches that are sorted by id in the time in which one row is read and compared with a filter."""


class LocalColumns:
    """`akidb.ports.columns.MetadataColumns`."""

    def __init__(self, memory: Memory) -> None:
        """Take the memory to share with the vectors."""
        self._memory = memory

    def are_ready(self, asked: Asked) -> bool:
        memory = self._memory.of(asked.tenant_id, asked.store_id)
        collection_id = asked.documents.control.collection_id
        return memory.used(COLUMNS, collection_id, asked.memory_quota_bytes) is not None

    def catch_up(self, asked: Asked) -> bool:
        def catch_up(columns: CollectionColumns, most_bytes: int) -> bool:
            columns.catch_up(asked.documents, most_bytes, asked.deadline)
            return True

        return self._with_columns(asked, catch_up) is not None

    def count(self, asked: Asked) -> int | None:
        filter = asked.filter
        assert filter is not None
        found = self._with_columns(asked, lambda columns, most: _matching(columns, asked, filter, most))
        return None if found is None or found.damaged else int(np.count_nonzero(found.mask))

    def keys(self, asked: Asked) -> Sequence[int] | None:
        seen = self._seen(asked)
        return None if seen is None else seen.keys(seen.positions(None, len(seen.mask)))

    def page(self, asked: Asked, after: str | None, limit: int) -> KeyPage | None:
        seen = self._seen(asked)
        if seen is None:
            return None
        matches = int(np.count_nonzero(seen.mask))
        if matches * matches > ROWS_READ_FOR_A_MATCH * limit * max(len(seen.mask), 1):
            return None
        positions = seen.positions(after, limit + 1)
        return KeyPage(seen.keys(positions[:limit]), len(positions) <= limit)

    def facets(self, asked: Asked, field: str) -> FacetCounts | None:
        seen = self._seen(asked)
        found = None if seen is None else seen.facet(field, asked.documents, asked.deadline)
        if found is None:
            return None
        counts = FacetCounts(field)
        for key, count in found.items():
            counts.add(key, count)
        return counts

    def order(
        self, asked: Asked, field: str, *, descending: bool, limit: int, after: tuple[SortKey, str] | None
    ) -> list[Ordered] | None:
        seen = self._seen(asked)
        if seen is None:
            return None
        return seen.order(
            field, asked.documents, asked.deadline, descending=descending, limit=limit, after=after
        )

    def matches(self, asked: Asked, sequences: Sequence[int]) -> Sequence[bool] | None:
        filter, sequence = asked.filter, asked.documents.control.sequence
        assert filter is not None
        found = self._with_columns(asked, lambda columns, most: _matching(columns, asked, filter, most))
        if found is None or not found.complete_from <= sequence <= found.sequence:
            return None
        passing: list[bool] = found.of(np.array(sequences, np.int64)).tolist()
        return passing

    def _seen(self, asked: Asked) -> Seen | None:
        return self._with_columns(
            asked, lambda columns, most: columns.seen(asked.filter, asked.documents, most, asked.deadline)
        )

    def _with_columns(self, asked: Asked, ask: Callable[[CollectionColumns, int], T | None]) -> T | None:
        """Return what columns say; None if they do not fit, or are not made for a first question."""
        memory = self._memory.of(asked.tenant_id, asked.store_id)
        control, quota = asked.documents.control, asked.memory_quota_bytes
        room = memory.room(COLUMNS, control.collection_id, quota)
        columns = memory.used(COLUMNS, control.collection_id, room)
        if columns is None:
            is_large = control.document_count > SMALL_ROWS
            if is_large and memory.is_first_question(control.collection_id):
                return None
            columns = memory.take(COLUMNS, control, quota)
            if columns is None:
                return None
        state, masks_bytes = columns.state, columns.masks_bytes
        has_changed = True
        try:
            found = ask(columns, room)
            has_changed = state is not columns.state or masks_bytes != columns.masks_bytes
        except TooLarge as error:
            memory.note_too_large(COLUMNS, control, error.memory_bytes)
            return None
        finally:
            if has_changed:
                memory.settle(COLUMNS, control.collection_id, columns, quota)
        return found


def _matching(columns: CollectionColumns, asked: Asked, filter: Filter, most_bytes: int) -> Matching | None:
    found = columns.matching(filter, asked.documents, most_bytes, asked.deadline)
    return found if found.complete_from <= found.sequence else None
