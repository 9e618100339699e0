"""Facets: how many documents have each value of a field."""

import heapq
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from akidb.domain.errors import InvalidArgument
from akidb.domain.field_values import SortKey, distinct, scalar_of, values_of

MAX_COUNTED_BYTES: Final = 64 * 1024 * 1024
"""Maximum memory of the distinct values that one call counts."""
VALUE_BYTES: Final = 200
"""Of a distinct value beside the bytes of a string."""


class Facet(msgspec.Struct, kw_only=True, frozen=True):
    """A value, and the number of documents that have it."""

    value: bool | int | float | str | None
    count: int


class Facets(msgspec.Struct, kw_only=True, frozen=True):
    """The most frequent values of a field; equal counts are sorted by value."""

    values: list[Facet]
    distinct: int
    """The number of distinct values, those that are not returned included."""


class FacetCounts:
    """Counts documents by value."""

    def __init__(self, field: str) -> None:
        self._field = field
        self._counts: dict[SortKey, int] = {}
        self._bytes = 0

    def add_document(self, metadata: Mapping[str, Any]) -> None:
        """Count a document once for each of its distinct values; raises the error of `add`."""
        for key in distinct(values_of(self._field, metadata)):
            self.add(key, 1)

    def add(self, key: SortKey, count: int) -> None:
        """Count documents with a value. Raises InvalidArgument if there are too many distinct values."""
        known = self._counts.get(key)
        if known is None:
            self._bytes += VALUE_BYTES + (len(key.value.encode()) if isinstance(key.value, str) else 0)
            if self._bytes > MAX_COUNTED_BYTES:
                raise InvalidArgument("field", "has too many distinct values to count; use a filter")
            known = 0
        self._counts[key] = known + count

    def most_frequent(self, limit: int) -> Facets:
        """Return the values with the highest counts."""
        best = heapq.nsmallest(limit, self._counts.items(), key=lambda item: (-item[1], item[0]))
        values = [Facet(value=scalar_of(key), count=count) for key, count in best]
        return Facets(values=values, distinct=len(self._counts))
