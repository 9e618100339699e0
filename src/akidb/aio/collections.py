"""Handles of collections, with documents and search.

The awaitable twin of `akidb.client.handles.collections`, generated from it by `tools/generate_aio.py`.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Unpack

from akidb.aio.base import Twin
from akidb.client.handles import collections as sync
from akidb.client.handles.base import Field, IncludeLike
from akidb.client.results import Matches, Page
from akidb.domain.changes import ChangePage, DocumentChange
from akidb.domain.documents import DEFAULT_INCLUDE, DEFAULT_PAGE_LIMIT, Document, DocumentLike, UpsertResult
from akidb.domain.entities import Collection, Metric
from akidb.domain.fields import CollectionRef
from akidb.domain.ids import CollectionId, DatabaseId, TenantId
from akidb.domain.lifecycle import CollectionState

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
from akidb.client.handles.collections import CollectionFields, NewCollection


class Collections(Twin[sync.Collections]):
    """The collections of a database. Iterating yields all that are not deleted, sorted by name.

    With `if_version`, a method changes the collection only if it has that version; otherwise it changes
    nothing and raises PreconditionFailed.
    """

    __slots__ = ()

    async def create(self, name: str, **options: Unpack[NewCollection]) -> "CollectionHandle":
        """Create a collection. The default `metric` is cosine.

        Requires either a `dimension` (16-4096) or an `embedding_model`, which determines the dimension.
        Raises AlreadyExists if the name is taken, even by a deleted collection.
        """
        return CollectionHandle(await self._threads(self._sync.create, name, **options), self._threads)

    async def get(self, collection: CollectionRef) -> "CollectionHandle":
        """Return the collection with this name or ID. Raises NotFound."""
        return CollectionHandle(await self._threads(self._sync.get, collection), self._threads)

    async def find(self, collection: CollectionRef) -> "CollectionHandle | None":
        """Return the collection with this name or ID, or None."""
        found = await self._threads(self._sync.find, collection)
        return None if found is None else CollectionHandle(found, self._threads)

    async def exists(self, collection: CollectionRef) -> bool:
        """Return whether a collection with this name or ID exists."""
        return await self._threads(self._sync.exists, collection)

    async def get_or_create(self, name: str, **options: Unpack[NewCollection]) -> "CollectionHandle":
        """Return the collection with this name; create it if it does not exist.

        Raises AlreadyExists, with the `field`, if it differs from a given option, such as the dimension or
        the embedding model, or is deleted.
        """
        return CollectionHandle(await self._threads(self._sync.get_or_create, name, **options), self._threads)

    async def list(
        self, *, deleted: bool = False, limit: int = DEFAULT_PAGE_LIMIT, cursor: str | None = None
    ) -> Page["CollectionHandle"]:
        """Return up to `limit` collections, sorted by name; with `deleted`, only deleted ones."""
        page = await self._threads(self._sync.list, deleted=deleted, limit=limit, cursor=cursor)
        return Page((CollectionHandle(item, self._threads) for item in page), page.next_cursor, page.damaged)

    async def __aiter__(self) -> AsyncIterator["CollectionHandle"]:
        async for item in self._threads.iterate(self._sync):
            yield CollectionHandle(item, self._threads)

    async def count(self, *, deleted: bool = False) -> int:
        """Return the number of collections; with `deleted`, only of deleted ones."""
        return await self._threads(self._sync.count, deleted=deleted)

    async def update(
        self, collection: CollectionRef, *, if_version: int | None = None, **changes: Unpack[CollectionFields]
    ) -> "CollectionHandle":
        """Change fields of a collection; omitted fields keep their values."""
        return CollectionHandle(
            await self._threads(self._sync.update, collection, if_version=if_version, **changes),
            self._threads,
        )

    async def delete(
        self, collection: CollectionRef, *, purge: bool = False, if_version: int | None = None
    ) -> None:
        """Delete a collection and its documents. Undo it with `restore`; make it permanent with `purge`.

        With `purge=True` it is made permanent at once, and its name is free again.
        """
        await self._threads(self._sync.delete, collection, purge=purge, if_version=if_version)

    async def restore(
        self, collection: CollectionRef, *, if_version: int | None = None
    ) -> "CollectionHandle":
        """Restore a deleted collection and its documents."""
        return CollectionHandle(
            await self._threads(self._sync.restore, collection, if_version=if_version), self._threads
        )

    async def purge(self, collection: CollectionRef, *, if_version: int | None = None) -> None:
        """Permanently remove a deleted collection and its documents."""
        await self._threads(self._sync.purge, collection, if_version=if_version)


class CollectionHandle(Twin[sync.CollectionHandle]):
    """A collection: documents whose vectors share a dimension, a metric and a model.

    The methods operate on documents; to change, delete or restore the collection itself, use
    `database.collections`. Vectors are lists or arrays; returned vectors are float32 arrays of shape
    `(dimension,)`. `include` selects which of `text`, `metadata` and `vector` are returned; `metadata.FIELD`
    selects a field of the metadata, named as in filters.
    """

    __slots__ = ()
    _changed_by = "use database.collections.update()"
    tenant_id = Field[TenantId]()
    database_id = Field[DatabaseId]()
    name = Field[str]()
    dimension = Field[int]()
    metric = Field[Metric]()
    embedding_model = Field[str | None]()
    hnsw_m = Field[int]()
    hnsw_ef_construction = Field[int]()
    max_document_count = Field[int]()
    state = Field[CollectionState]()
    version = Field[int]()
    created_at = Field[datetime]()
    updated_at = Field[datetime]()
    deleted_at = Field[datetime | None]()

    def __repr__(self) -> str:
        return repr(self._sync)

    @property
    def entity(self) -> Collection:
        """The collection as last read through this handle."""
        return self._sync.entity

    @property
    def id(self) -> CollectionId:
        """The ID of the collection; it never changes."""
        return self._sync.id

    async def refresh(self) -> None:
        """Reload the collection."""
        await self._threads(self._sync.refresh)

    async def upsert(self, documents: Sequence[DocumentLike]) -> UpsertResult:
        """Write up to 10,000 documents atomically; a document with an existing id is replaced.

        Each has an `id` (generated if absent), a `text` or a `vector` or both, and `metadata`. Raises
        InvalidArgument with the path of the invalid value, such as `documents[3].vector`, and
        QuotaExceeded if storage or the document count would exceed its limit.

        The result names documents whose text is longer than the embedding model accepts (`truncated`,
        `truncated_ids`): their vectors ignore its end.
        """
        return await self._threads(self._sync.upsert, documents)

    async def get(self, id: str, *, include: IncludeLike = DEFAULT_INCLUDE) -> Document:
        """Return the document with this id. Raises NotFound."""
        return await self._threads(self._sync.get, id, include=include)

    async def find(self, id: str, *, include: IncludeLike = DEFAULT_INCLUDE) -> Document | None:
        """Return the document with this id, or None."""
        return await self._threads(self._sync.find, id, include=include)

    async def exists(self, id: str) -> bool:
        """Return whether a document with this id exists."""
        return await self._threads(self._sync.exists, id)

    async def get_many(self, ids: Sequence[str], *, include: IncludeLike = DEFAULT_INCLUDE) -> list[Document]:
        """Return the documents with these ids, in the given order; unknown ids are skipped."""
        return await self._threads(self._sync.get_many, ids, include=include)

    async def scan(
        self,
        *,
        filter: Mapping[str, Any] | None = None,
        include: IncludeLike = DEFAULT_INCLUDE,
        limit: int = DEFAULT_PAGE_LIMIT,
        cursor: str | None = None,
    ) -> Page[Document]:
        """Return up to `limit` matching documents, sorted by id (by code point)."""
        return await self._threads(
            self._sync.scan, filter=filter, include=include, limit=limit, cursor=cursor
        )

    async def scan_all(
        self, *, filter: Mapping[str, Any] | None = None, include: IncludeLike = DEFAULT_INCLUDE
    ) -> AsyncIterator[Document]:
        """Yield all matching documents, sorted by id, fetched page by page."""
        async for item in self._threads.iterate(self._sync.scan_all(filter=filter, include=include)):
            yield item

    async def count(self, *, filter: Mapping[str, Any] | None = None) -> int:
        """Return the number of documents, or of those that match `filter`."""
        return await self._threads(self._sync.count, filter=filter)

    async def update(
        self,
        metadata: Mapping[str, Any],
        *,
        ids: Sequence[str] | None = None,
        filter: Mapping[str, Any] | None = None,
    ) -> int:
        """Merge `metadata` into that of the selected documents; a key set to None is removed (RFC 7396).

        Requires either ids or a non-empty filter. Return the number of selected documents.
        """
        return await self._threads(self._sync.update, metadata, ids=ids, filter=filter)

    async def delete(
        self, ids: Sequence[str] | None = None, *, filter: Mapping[str, Any] | None = None
    ) -> int:
        """Delete the selected documents and return how many were deleted.

        Requires either ids or a non-empty filter.
        """
        return await self._threads(self._sync.delete, ids, filter=filter)

    async def search(
        self,
        query: "str | Sequence[float] | NDArray[np.float32]",
        *,
        top_k: int = 10,
        filter: Mapping[str, Any] | None = None,
        score_threshold: float | None = None,
        ef_search: int | None = None,
        include: IncludeLike = DEFAULT_INCLUDE,
    ) -> Matches:
        """Return the `top_k` documents that score highest against a text or a vector, best first.

        A text query requires a collection with an embedding model. The score is the cosine similarity, the
        dot product, or the negated Euclidean distance. Matches below `score_threshold` are omitted.
        """
        return await self._threads(
            self._sync.search,
            query,
            top_k=top_k,
            filter=filter,
            score_threshold=score_threshold,
            ef_search=ef_search,
            include=include,
        )

    async def changes(
        self,
        since: int = 0,
        *,
        feed: str | None = None,
        limit: int = DEFAULT_PAGE_LIMIT,
        wait_seconds: float = 0,
        include: IncludeLike = DEFAULT_INCLUDE,
    ) -> ChangePage[DocumentChange]:
        """Return up to `limit` documents written or deleted after sequence `since`, in their current state.

        The first call, without arguments, starts from the beginning; pass the `next_since` and `feed` of each
        page to the next call. On PreconditionFailed, start from the beginning again. With `wait_seconds`
        (0-60), the call waits up to that long for a change before it returns an empty page.
        """
        return await self._threads(
            self._sync.changes, since, feed=feed, limit=limit, wait_seconds=wait_seconds, include=include
        )
