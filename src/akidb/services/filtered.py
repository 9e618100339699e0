"""Reads and writes by a filter: by the columns of the metadata where they know, else by reading the rows."""

from collections.abc import Collection as AbstractCollection
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from akidb.domain.entities import Scope, limit_of
from akidb.domain.errors import Damaged, OperationTimeout
from akidb.domain.facets import FacetCounts
from akidb.domain.field_values import SortKey
from akidb.domain.filters import Filter
from akidb.domain.ordering import After, Ordered
from akidb.ports.columns import Asked, MetadataColumns
from akidb.ports.documents import DocumentReader, Scanned, Selection
from akidb.ports.limits import Deadline
from akidb.ports.stores import TenantStore

SCANNED_ROWS: Final = 1_000
"""Rows that a scan reads before it asks the columns: a filter that many documents match needs no more."""
FEW_DOCUMENTS: Final = 50
"""A write by a filter reads so many rows in less time than columns are brought up to date."""
LAST_SECONDS: Final = 1.0
"""How long a scan whose time is up still reads rows, so that its next page begins further on."""


class Order(NamedTuple):
    """The order of a list by a field."""

    field: str
    descending: bool


class Filtered:
    """Answers from one collection, by its columns or its rows."""

    def __init__(self, columns: MetadataColumns, scope: Scope, store: TenantStore) -> None:
        self._columns = columns
        self._place = scope.tenant.tenant_id, store.store_id, limit_of(scope.tenant.memory_quota_bytes)

    def count(self, reader: DocumentReader, filter: Filter | None, deadline: Deadline | None) -> int:
        if filter is None:
            return reader.count(None)
        found = self._columns.count(self._asked(reader, filter, deadline))
        return reader.count(filter, deadline) if found is None else found

    def facets(
        self, reader: DocumentReader, field: str, filter: Filter | None, deadline: Deadline
    ) -> FacetCounts:
        found = self._columns.facets(self._asked(reader, filter, deadline), field)
        return reader.facets(field, filter, deadline) if found is None else found

    def catch_up(self, reader: DocumentReader, filter: Filter, deadline: Deadline | None) -> bool:
        """Bring the columns up to date; return whether to use them for a write."""
        if reader.control.document_count <= FEW_DOCUMENTS:
            return False
        return self._columns.catch_up(self._asked(reader, filter, deadline))

    def selection(self, reader: DocumentReader, filter: Filter, deadline: Deadline | None) -> Selection:
        """Select what matches, before a transaction has written."""
        keys = self._columns.keys(self._asked(reader, filter, deadline))
        return Selection(filter=filter, keys=keys, deadline=deadline)

    def matches(
        self, reader: DocumentReader, filter: Filter, deadline: Deadline | None, sequences: Sequence[int]
    ) -> Sequence[bool] | None:
        """Return which documents match, by their sequences; None if their rows must be read."""
        return self._columns.matches(self._asked(reader, filter, deadline), sequences)

    def scan(
        self,
        reader: DocumentReader,
        *,
        after: str | None,
        filter: Filter | None,
        include: AbstractCollection[str],
        limit: int,
        most_bytes: int,
        deadline: Deadline | None,
    ) -> Scanned:
        """Return a page as the reader does: of dense matches by reading rows, of rare ones by the columns."""

        def scan(within: Deadline | None) -> Scanned:
            return reader.scan(
                after=after,
                filter=filter,
                include=include,
                limit=limit,
                most_bytes=most_bytes,
                deadline=within,
            )

        if filter is None or deadline is None:
            return scan(deadline)
        asked = self._asked(reader, filter, deadline)
        first = None
        if not self._columns.are_ready(asked):
            some = _Rows(SCANNED_ROWS, deadline)
            first = scan(some)
            if not some.are_read:
                return first
        try:
            page = self._columns.page(asked, after, limit)
        except OperationTimeout:
            return first or scan(_Rows(SCANNED_ROWS, Deadline(LAST_SECONDS)))
        if page is None:
            return scan(deadline)
        return reader.page(page.keys, include, is_last=page.is_last, most_bytes=most_bytes)

    def ordered(
        self,
        reader: DocumentReader,
        order: Order,
        *,
        after: tuple[SortKey, str] | None,
        filter: Filter | None,
        include: AbstractCollection[str],
        limit: int,
        most_bytes: int,
        deadline: Deadline,
    ) -> tuple[Scanned, list[Ordered]]:
        """Return a page in the order of a field, and the places of its documents.

        Raises Damaged with the place of the document as `next_cursor`, if it is the first of the page.
        """
        field, descending = order
        wanted: Any = {"descending": descending, "limit": limit + 1, "after": after}
        asked = self._asked(reader, filter, deadline)
        found = self._columns.order(asked, field, **wanted)
        if found is None:
            found = reader.order(field, **wanted, filter=filter, deadline=deadline)
        is_last, found = len(found) <= limit, found[:limit]
        if not found:
            return Scanned([], None), found
        keys = [one.position for one in found]
        try:
            return reader.page(keys, include, is_last=is_last, most_bytes=most_bytes), found
        except Damaged as error:
            if error.document_id is not None:
                error.fields["next_cursor"] = After.of(found[0])
            raise

    def _asked(self, reader: DocumentReader, filter: Filter | None, deadline: Deadline | None) -> Asked:
        return Asked(*self._place, reader, filter, deadline)


class _Rows(Deadline):
    """Ends a scan after some rows, if it is not yet complete."""

    __slots__ = ("_left", "_within", "are_read")

    def __init__(self, rows: int, within: Deadline) -> None:
        self._left = rows
        self._within = within
        self.are_read = False

    def is_over(self) -> bool:
        self._left -= 1
        self.are_read = self._left < 0
        return self.are_read or self._within.is_over()
