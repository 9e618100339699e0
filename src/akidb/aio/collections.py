"""Collections as handles, and with them documents and search.

The awaitable twin of `akidb.client.handles.collections`, generated from it by `tools/generate_aio.py`.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Unpack

from akidb.client.handles import collections as sync
from akidb.client.handles.base import Field, IncludeLike
from akidb.client.results import Matches, Page
from akidb.client.threads import Threads
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


class Collections:
    """The collections of a database. Iterating goes over all that are not deleted, by name.

    With `if_version` a change is made only while the collection has that version; otherwise it raises
    PreconditionFailed and changes nothing.
    """

    def __init__(self, handle: sync.Collections, threads: Threads) -> None:
        self._sync = handle
        self._threads = threads

    async def create(self, name: str, **options: Unpack[NewCollection]) -> "CollectionHandle":
        """Create a collection, compared by cosine unless `metric` says otherwise.

        It needs a `dimension` (16-4096), or an `embedding_model`, whose dimension it has. Raises
        AlreadyExists for a name that is taken, also by a deleted collection.
        """
        return CollectionHandle(await self._threads(self._sync.create, name, **options), self._threads)

    async def get(self, collection: CollectionRef) -> "CollectionHandle":
        """The collection with this name or ID. Raises NotFound."""
        return CollectionHandle(await self._threads(self._sync.get, collection), self._threads)

    async def find(self, collection: CollectionRef) -> "CollectionHandle | None":
        """The collection with this name or ID, or None."""
        found = await self._threads(self._sync.find, collection)
        return None if found is None else CollectionHandle(found, self._threads)

    async def exists(self, collection: CollectionRef) -> bool:
        """Whether there is a collection with this name or ID."""
        return await self._threads(self._sync.exists, collection)

    async def get_or_create(self, name: str, **options: Unpack[NewCollection]) -> "CollectionHandle":
        """The collection with this name; created when there is none.

        Raises InvalidArgument when there is one with another dimension, metric or embedding model
        than asked for: these cannot change, and vectors of two models cannot be compared.
        """
        return CollectionHandle(await self._threads(self._sync.get_or_create, name, **options), self._threads)

    async def list(
        self, *, deleted: bool = False, limit: int = DEFAULT_PAGE_LIMIT, cursor: str | None = None
    ) -> Page["CollectionHandle"]:
        """Up to `limit` collections by name; with `deleted` the deleted ones alone."""
        page = await self._threads(self._sync.list, deleted=deleted, limit=limit, cursor=cursor)
        return Page((CollectionHandle(item, self._threads) for item in page), page.next_cursor)

    async def __aiter__(self) -> AsyncIterator["CollectionHandle"]:
        async for item in self._threads.iterate(self._sync):
            yield CollectionHandle(item, self._threads)

    async def count(self, *, deleted: bool = False) -> int:
        """How many collections there are, or deleted ones."""
        return await self._threads(self._sync.count, deleted=deleted)

    async def update(
        self, collection: CollectionRef, *, if_version: int | None = None, **changes: Unpack[CollectionFields]
    ) -> "CollectionHandle":
        """Change fields of a collection; what is left out stays."""
        return CollectionHandle(
            await self._threads(self._sync.update, collection, if_version=if_version, **changes),
            self._threads,
        )

    async def delete(self, collection: CollectionRef, *, if_version: int | None = None) -> None:
        """Delete a collection and its documents, until `restore` or `purge`."""
        await self._threads(self._sync.delete, collection, if_version=if_version)

    async def restore(
        self, collection: CollectionRef, *, if_version: int | None = None
    ) -> "CollectionHandle":
        """Bring a deleted collection back, documents and all."""
        return CollectionHandle(
            await self._threads(self._sync.restore, collection, if_version=if_version), self._threads
        )

    async def purge(self, collection: CollectionRef, *, if_version: int | None = None) -> None:
        """Remove a deleted collection and its documents for good."""
        await self._threads(self._sync.purge, collection, if_version=if_version)


class CollectionHandle:
    """A collection: documents whose vectors share a dimension, a metric and a model.

    Its methods are about the documents; the collection itself is changed, deleted and restored
    through `database.collections`. Vectors are lists or arrays; those in answers are float32 arrays
    of shape `(dimension,)`. `include` says which of `text`, `metadata` and `vector` an answer has.
    """

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

    def __init__(self, handle: sync.CollectionHandle, threads: Threads) -> None:
        self._sync = handle
        self._threads = threads

    def __repr__(self) -> str:
        return repr(self._sync)

    @property
    def entity(self) -> Collection:
        """The collection as it was last read through this handle."""
        return self._sync.entity

    @property
    def id(self) -> CollectionId:
        """Its ID, which never changes."""
        return self._sync.id

    async def refresh(self) -> None:
        """Read the collection's fields again."""
        await self._threads(self._sync.refresh)

    async def upsert(self, documents: Sequence[DocumentLike]) -> UpsertResult:
        """Write up to 10,000 documents, all or none; a document with a known id is replaced.

        Each has an `id` (one is made if absent), a `text` or a `vector` or both, and `metadata`. Raises
        InvalidArgument naming the wrong one by its place, as in `documents[3].vector`, and
        QuotaExceeded when storage or the document count would pass its limit.
        """
        return await self._threads(self._sync.upsert, documents)

    async def get(self, id: str, *, include: IncludeLike = DEFAULT_INCLUDE) -> Document:
        """The document with this id. Raises NotFound."""
        return await self._threads(self._sync.get, id, include=include)

    async def find(self, id: str, *, include: IncludeLike = DEFAULT_INCLUDE) -> Document | None:
        """The document with this id, or None."""
        return await self._threads(self._sync.find, id, include=include)

    async def exists(self, id: str) -> bool:
        """Whether there is a document with this id."""
        return await self._threads(self._sync.exists, id)

    async def get_many(self, ids: Sequence[str], *, include: IncludeLike = DEFAULT_INCLUDE) -> list[Document]:
        """The documents with these ids, in their order; unknown ids are left out."""
        return await self._threads(self._sync.get_many, ids, include=include)

    async def scan(
        self,
        *,
        filter: Mapping[str, Any] | None = None,
        include: IncludeLike = DEFAULT_INCLUDE,
        limit: int = DEFAULT_PAGE_LIMIT,
        cursor: str | None = None,
    ) -> Page[Document]:
        """Up to `limit` documents that match, in the order of their ids (by code point)."""
        return await self._threads(
            self._sync.scan, filter=filter, include=include, limit=limit, cursor=cursor
        )

    async def scan_all(
        self, *, filter: Mapping[str, Any] | None = None, include: IncludeLike = DEFAULT_INCLUDE
    ) -> AsyncIterator[Document]:
        """All documents that match, in the order of their ids, read page by page."""
        async for item in self._threads.iterate(self._sync.scan_all(filter=filter, include=include)):
            yield item

    async def count(self, *, filter: Mapping[str, Any] | None = None) -> int:
        """How many documents there are, or match."""
        return await self._threads(self._sync.count, filter=filter)

    async def update(
        self,
        metadata: Mapping[str, Any],
        *,
        ids: Sequence[str] | None = None,
        filter: Mapping[str, Any] | None = None,
    ) -> int:
        """Merge `metadata` into that of the chosen documents; a key set to None is removed (RFC 7396).

        Needs either ids or a filter that is not empty; gives how many documents were chosen.
        """
        return await self._threads(self._sync.update, metadata, ids=ids, filter=filter)

    async def delete(
        self, ids: Sequence[str] | None = None, *, filter: Mapping[str, Any] | None = None
    ) -> int:
        """Delete the chosen documents; gives how many there were.

        Needs either ids or a filter that is not empty.
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
        """The `top_k` documents that score highest against a text or a vector, best first.

        A text needs the collection's embedding model. Scores: the cosine similarity, the dot product,
        or minus the Euclidean distance. Matches below `score_threshold` are left out.
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
        """Up to `limit` documents that were written or deleted after a sequence, each as it is now.

        Start with nothing, which gives all there is, and go on with the `next_since` and `feed` of each
        answer. PreconditionFailed says to start again. With `wait_seconds` (0-60) an answer without a
        change is given only when the time is up.
        """
        return await self._threads(
            self._sync.changes, since, feed=feed, limit=limit, wait_seconds=wait_seconds, include=include
        )
