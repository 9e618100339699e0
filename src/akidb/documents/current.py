"""Reads of a collection whose state is known, since nothing was written to the store since it was read."""

from collections.abc import Callable, Sequence
from collections.abc import Collection as AbstractCollection
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Self

import sqlalchemy as sa

from akidb.domain.changes import DocumentChange, FeedSlice
from akidb.domain.documents import Document
from akidb.domain.facets import FacetCounts
from akidb.domain.field_values import SortKey
from akidb.domain.filters import Filter
from akidb.domain.ordering import Ordered
from akidb.ports.answers import Answers
from akidb.ports.documents import ANY_SIZE, Changes, CollectionControl, DocumentReader, Scanned
from akidb.ports.limits import Deadline

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Reading = AbstractContextManager[DocumentReader]


class CurrentReader:
    """`akidb.ports.documents.DocumentReader` that opens its snapshot when more than single rows are read.

    A search of an index that is up to date needs no transaction this way.
    """

    def __init__(
        self,
        control: CollectionControl,
        connected: Callable[[], AbstractContextManager[sa.Connection]],
        reader: Callable[[sa.Connection, CollectionControl], DocumentReader],
        snapshot: Callable[[], Reading],
    ) -> None:
        """Take the known state, and functions: for a connection, a reader on it, a reader of a snapshot."""
        self.control = control
        self._connected = connected
        self._reader_on = reader
        self._open = snapshot
        self._opened: Reading | None = None
        self._reader: DocumentReader | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is not None:
            self._opened.__exit__(kind, error, trace)

    def pin(self) -> None:
        """Open the snapshot; the state is then that of the snapshot."""
        self._pinned()

    def _pinned(self) -> DocumentReader:
        if self._reader is None:
            opened = self._open()
            self._reader = opened.__enter__()
            self._opened = opened
            self.control = self._reader.control
        return self._reader

    @property
    def answers(self) -> Answers:
        return self._pinned().answers

    def get(
        self, ids: Sequence[str], include: AbstractCollection[str], *, most_bytes: int = ANY_SIZE
    ) -> list[Document]:
        if self._reader is not None:
            return self._reader.get(ids, include, most_bytes=most_bytes)
        with self._connected() as connection:
            return self._reader_on(connection, self.control).get(ids, include, most_bytes=most_bytes)

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
        return self._pinned().scan(
            after=after, filter=filter, include=include, limit=limit, most_bytes=most_bytes, deadline=deadline
        )

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
        return self._pinned().order(
            field, descending=descending, limit=limit, after=after, filter=filter, deadline=deadline
        )

    def count(self, filter: Filter | None, deadline: Deadline | None = None) -> int:
        if self._reader is None and (filter is None or filter.is_empty):
            return self.control.document_count
        return self._pinned().count(filter, deadline)

    def facets(self, field: str, filter: Filter | None, deadline: Deadline) -> FacetCounts:
        return self._pinned().facets(field, filter, deadline)

    def fetch(
        self, keys: Sequence[int], include: AbstractCollection[str], *, most_bytes: int = ANY_SIZE
    ) -> dict[int, tuple[int, Document | None]]:
        if self._reader is not None:
            return self._reader.fetch(keys, include, most_bytes=most_bytes)
        with self._connected() as connection:
            return self._reader_on(connection, self.control).fetch(keys, include, most_bytes=most_bytes)

    def contents(self, keys: Sequence[int]) -> dict[int, tuple[str | None, str]]:
        return self._pinned().contents(keys)

    def page(
        self,
        keys: Sequence[int],
        include: AbstractCollection[str],
        *,
        is_last: bool,
        most_bytes: int = ANY_SIZE,
    ) -> Scanned:
        return self._pinned().page(keys, include, is_last=is_last, most_bytes=most_bytes)

    def changes(self, since_sequence: int, *, contents: bool, vectors: bool = True) -> Changes:
        return self._pinned().changes(since_sequence, contents=contents, vectors=vectors)

    def versions(self) -> "NDArray[np.int64]":
        return self._pinned().versions()

    def feed(
        self, since: int, limit: int, include: AbstractCollection[str], *, most_bytes: int = ANY_SIZE
    ) -> FeedSlice[DocumentChange]:
        return self._pinned().feed(since, limit, include, most_bytes=most_bytes)
