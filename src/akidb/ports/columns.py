"""The port to the columns of metadata: which documents match a filter, without reading the rows."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from akidb.domain.facets import FacetCounts
from akidb.domain.field_values import SortKey
from akidb.domain.filters import Filter
from akidb.domain.ids import StoreId, TenantId
from akidb.domain.ordering import Ordered
from akidb.ports.documents import DocumentReader
from akidb.ports.limits import Deadline


class Asked(NamedTuple):
    """A question about the documents that a reader sees, which is pinned."""

    tenant_id: TenantId
    store_id: StoreId
    memory_quota_bytes: int
    documents: DocumentReader
    filter: Filter | None
    """None for all documents."""
    deadline: Deadline | None


class KeyPage(NamedTuple):
    """Documents in some order."""

    keys: Sequence[int]
    is_last: bool
    """Whether no further one matches."""


class MetadataColumns(Protocol):
    """The columns of all tenants of this process, derived from the rows and brought up to date by each call.

    An answer is None where the caller must read the rows: if the columns do not fit into the tenant's memory,
    if documents are damaged, or if a large collection is asked about for the first time, since its rows are
    read once in less time than columns are made of them. What a transaction has written itself is not seen.

    All raise OperationTimeout.
    """

    def are_ready(self, asked: Asked) -> bool:
        """Return whether columns of the collection are in memory."""

    def catch_up(self, asked: Asked) -> bool:
        """Read what was written since the last time, so that the next call has less to do.

        Return whether columns are used.
        """

    def count(self, asked: Asked) -> int | None:
        """Return how many documents match, in the reader's state or a later one."""

    def keys(self, asked: Asked) -> Sequence[int] | None:
        """Return the keys of the documents that match, in the order of ids."""

    def page(self, asked: Asked, after: str | None, limit: int) -> KeyPage | None:
        """Return the keys of the first documents after an id, in the order of ids.

        None also if so many match that reading rows until there are enough takes less time.
        """

    def facets(self, asked: Asked, field: str) -> FacetCounts | None:
        """Count the documents with each value of a field.

        Raises InvalidArgument for too many distinct values.
        """

    def order(
        self, asked: Asked, field: str, *, descending: bool, limit: int, after: tuple[SortKey, str] | None
    ) -> list[Ordered] | None:
        """Return the first documents in the order of a field, after a place in it, by document key."""

    def matches(self, asked: Asked, sequences: Sequence[int]) -> Sequence[bool] | None:
        """Return which documents match, of those with these sequences in the reader's state."""
