"""The port to the documents of a collection: what is read and written in one transaction."""

from collections.abc import Callable, Generator, Mapping, Sequence
from collections.abc import Collection as AbstractCollection
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from akidb.domain.changes import DocumentChange, FeedSlice
from akidb.domain.documents import Document
from akidb.domain.entities import Metric
from akidb.domain.facets import FacetCounts
from akidb.domain.field_values import SortKey
from akidb.domain.filters import Filter
from akidb.domain.ids import CollectionId
from akidb.domain.lifecycle import CollectionState, DatabaseState, TenantStatus
from akidb.domain.ordering import Ordered
from akidb.ports.answers import Answers
from akidb.ports.limits import Deadline

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


ANY_SIZE = 2**62
"""No limit, in bytes."""


class ControlState(NamedTuple):
    """The state of the tenant as last applied to its store."""

    tenant_version: int
    """The tenant's version that was applied last, 0 if none was applied yet."""
    tenant_status: TenantStatus
    storage_quota_bytes: int
    storage_used_bytes: int


class CollectionControl(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a collection, and of its tenant, as last applied to the store."""

    collection_key: int
    """The collection's number within its store."""
    collection_id: CollectionId
    dimension: int | None
    """None before the first vector."""
    metric: Metric
    sequence: int
    """The sequence of the last write to the collection; 0 before the first."""
    tombstone_floor: int
    """Deletions up to this sequence are discarded."""
    document_count: int
    max_document_count: int
    tenant_status: TenantStatus
    database_state: DatabaseState
    state: CollectionState


class DocumentBatch(NamedTuple):
    """Checked documents to write: four columns of equal length, and a matrix."""

    ids: Sequence[str]
    texts: Sequence[str | None]
    metadata: Sequence[str]
    """Each in canonical JSON."""
    sizes: Sequence[int]
    """Bytes that each counts towards the storage quota."""
    vectors: "NDArray[np.float32]"
    """Of the documents that have one. Shape `(m, dimension)`, C-contiguous, little-endian."""
    without_vector: Sequence[int] = ()
    """Places of the documents that have none, ascending."""


class DocumentChanges(NamedTuple):
    """Checked changes of documents: three columns of equal length, and a matrix."""

    ids: Sequence[str]
    texts: Sequence[str | None]
    """None for a text that stays as it is."""
    metadata: Sequence[str | None]
    """In canonical JSON; None for metadata that stays as it is."""
    vectors: "NDArray[np.float32]"
    """Shape `(m, dimension)`, C-contiguous, little-endian."""
    vector_of: Mapping[int, int]
    """The row of `vectors` for each place with a new vector."""


class Selection(NamedTuple):
    """Selected documents: those with these ids, or those that match the filter."""

    ids: Sequence[str] | None = None
    filter: Filter | None = None
    keys: Sequence[int] | None = None
    """The keys of all documents that match the filter, which is checked again; in the order of ids."""
    deadline: Deadline | None = None
    """When comparing with the filter must end."""


class Changes(NamedTuple):
    """Changes of a collection after some sequence, with the current content of each row."""

    deleted: Sequence[tuple[int, str]]
    """Sequence and id of each deletion."""
    rows: "Generator[Row, None, None]"
    """Rows written, in the order of their sequences, without damaged ones.

    Close it when it is not read to its end.
    """
    damaged: list[int]
    """The keys of damaged rows, as they are met."""
    deletions_damaged: bool = False
    """Whether a deletion is damaged, so that another document may be gone."""


class Scanned(NamedTuple):
    """A part of a collection, in the order of ids."""

    documents: list[Document]
    after: str | None
    """The id after which to continue; None at the end of the collection."""


class Row(NamedTuple):
    """A document as an index needs it."""

    document_key: int
    sequence: int
    id: str
    vector: bytes
    """Empty for a document without a vector."""
    text: str | None
    metadata: str
    """JSON."""


class DocumentReader(Protocol):
    """Reads of one collection."""

    @property
    def control(self) -> CollectionControl:
        """The collection as it was when the reader was opened."""

    @property
    def answers(self) -> Answers:
        """Stored responses to requests with idempotency keys."""

    def pin(self) -> None:
        """Let all that is read from now on be of one state, and `control` that state."""

    def get(
        self, ids: Sequence[str], include: AbstractCollection[str], *, most_bytes: int = ANY_SIZE
    ) -> list[Document]:
        """Return the documents in the order of `ids`; unknown ids are skipped.

        Raises AnswerTooLarge if they take more than `most_bytes`, Damaged for a damaged one.
        """

    def scan(
        self,
        *,
        after: str | None,
        filter: Filter | None,
        include: AbstractCollection[str],
        limit: int,
        most_bytes: int = ANY_SIZE,
        deadline: Deadline | None = None,
    ) -> Scanned:
        """Return documents with ids after `after`, sorted by id: up to `limit`, and up to `most_bytes`.

        It returns at least one, unless no further one matches or the time is up. Ends before a damaged one.
        Raises Damaged if that is the first.
        """

    def order(
        self,
        field: str,
        *,
        descending: bool,
        limit: int,
        after: tuple[SortKey, str] | None,
        filter: Filter | None,
        deadline: Deadline | None,
    ) -> list[Ordered]:
        """Return the first documents in the order of a field, after a place in it, by document key.

        Raises OperationTimeout, Damaged.
        """

    def count(self, filter: Filter | None, deadline: Deadline | None = None) -> int:
        """Return the number of documents, or of those that match.

        May raise OperationTimeout and Damaged if there is a filter.
        """

    def facets(self, field: str, filter: Filter | None, deadline: Deadline) -> FacetCounts:
        """Count the documents with each value of a field, among all or those that match.

        Raises InvalidArgument for too many distinct values, OperationTimeout, Damaged.
        """

    def fetch(
        self, keys: Sequence[int], include: AbstractCollection[str], *, most_bytes: int = ANY_SIZE
    ) -> dict[int, tuple[int, Document | None]]:
        """Return the row's sequence and the document by document key; None for a damaged document.

        Unknown keys are omitted. Raises AnswerTooLarge if the documents take more than `most_bytes`.
        """

    def contents(self, keys: Sequence[int]) -> dict[int, tuple[str | None, str]]:
        """Return text and metadata (JSON) by document key, without unknown and damaged documents."""

    def page(
        self,
        keys: Sequence[int],
        include: AbstractCollection[str],
        *,
        is_last: bool,
        most_bytes: int = ANY_SIZE,
    ) -> Scanned:
        """Return the documents with these keys, of the state read, in their order: up to `most_bytes`.

        `is_last` says whether nothing follows them. Ends before a damaged one. Raises Damaged if that is the
        first.
        """

    def changes(self, since_sequence: int, *, contents: bool, vectors: bool = True) -> Changes:
        """Return all changes after a sequence; `contents` includes text and metadata.

        Without `vectors` rows have none, and are not checked for damage of theirs.
        """

    def versions(self) -> "NDArray[np.int64]":
        """Return key and sequence of each document, shape `(n, 2)`, in the order of sequences."""

    def feed(
        self,
        since: int,
        limit: int,
        include: AbstractCollection[str],
        *,
        most_bytes: int = ANY_SIZE,
    ) -> FeedSlice[DocumentChange]:
        """Return changes after a sequence, writes and deletions in order: up to `limit` and `most_bytes`.

        Ends before a damaged document. Raises Damaged if that is the first.
        """


class DocumentWriter(DocumentReader, Protocol):
    """A write transaction on one collection.

    The first vector written settles the dimension, which `control` then has.
    """

    def upsert(self, batch: DocumentBatch) -> None:
        """Write all documents. Raises QuotaExceeded for storage or the number of documents."""

    def insert(self, batch: DocumentBatch, *, skip: bool) -> list[int]:
        """Write the documents that do not exist; return their places. Raises the errors of `upsert`.

        Without `skip`, raises AlreadyExists if one exists.
        """

    def change(self, changes: DocumentChanges) -> tuple[list[int], int]:
        """Change the documents that exist; return their places, and how many of them have no vector.

        Raises QuotaExceeded, Damaged.
        """

    def delete(self, selection: Selection) -> int:
        """Delete documents, leaving tombstones; return how many were deleted.

        Raises OperationTimeout, and Damaged for a damaged document, if there is a filter.
        """

    def clear(self) -> int:
        """Delete all documents, also damaged ones, and the tombstones; return how many were deleted."""

    def update(self, selection: Selection, change: Callable[[str, dict[str, Any]], str]) -> int:
        """Replace metadata with the result of `change(id, metadata)` (canonical JSON).

        Return how many documents were selected. Raises QuotaExceeded for storage, Damaged for a damaged one.
        """
