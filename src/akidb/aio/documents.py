"""The handle of a collection: its documents, and search.

The awaitable twin of `akidb.client.handles.documents`, generated from it by `tools/generate_aio.py`.
"""

import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from akidb.aio.base import Twin
from akidb.client.bulk.formats import FormatLike
from akidb.client.files import FileSource, FileTarget
from akidb.client.handles import documents as sync
from akidb.client.handles.base import Field, IncludeLike
from akidb.client.results import LoadResult, Matches, Page, UploadResult
from akidb.client.uploads import (
    DEFAULT_BATCH_DOCUMENTS,
    Column,
    ModeLike,
    Vectors,
)
from akidb.domain.changes import ChangePage, DocumentChange
from akidb.domain.documents import (
    DEFAULT_INCLUDE,
    DEFAULT_PAGE_LIMIT,
    Document,
    DocumentLike,
    Include,
    SearchMode,
    UpsertMode,
    UpsertResult,
)
from akidb.domain.entities import Collection, Metric
from akidb.domain.facets import Facets
from akidb.domain.ids import CollectionId, DatabaseId, TenantId
from akidb.domain.index_state import IndexState
from akidb.domain.lifecycle import CollectionState

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from akidb.client.questions import Queries


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
    dimension = Field[int | None]()
    metric = Field[Metric]()
    embedding_model = Field[str | None]()
    hnsw_m = Field[int]()
    hnsw_ef_construction = Field[int]()
    max_document_count = Field[int]()
    metadata = Field[dict[str, Any]]()
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

    async def upsert(
        self,
        documents: Iterable[DocumentLike] | None = None,
        *,
        ids: Column[str | None] = None,
        vectors: Vectors = None,
        texts: Column[str | None] = None,
        metadatas: Column[Mapping[str, Any] | None] = None,
        mode: ModeLike = UpsertMode.UPSERT,
    ) -> UpsertResult:
        """Write up to 10,000 documents atomically; a document with an existing id is replaced.

        Each has an `id` (generated if absent), and at least one of `text`, `vector` and `metadata`. Without a
        `vector`, the collection's embedding model makes one of the `text`. If there is no model, or no text,
        the document has none: everything but a vector search finds it (`without_vector` counts them). Raises
        InvalidArgument with the path of the invalid value, such as `documents[3].vector`, and
        QuotaExceeded if storage or the document count would exceed its limit.

        Instead of `documents`, give columns of equal length, in which None is an absent value; `vectors` may
        be an array of shape `(n, dimension)`. Paths in errors are then like `vectors[3]`.

        With `mode="insert"` existing documents are refused: AlreadyExists has their `ids`. With `"skip"` they
        are kept, and only new ones are written. With `"update"` only they are written, and keep the parts
        that are not given. The result has the ids of the documents that were written.

        The result names documents whose text is longer than the embedding model accepts (`truncated`,
        `truncated_ids`): their vectors ignore its end.
        """
        return await self._threads(
            self._sync.upsert,
            documents,
            ids=ids,
            vectors=vectors,
            texts=texts,
            metadatas=metadatas,
            mode=mode,
        )

    async def upsert_many(
        self,
        documents: Iterable[DocumentLike] | None = None,
        *,
        ids: Column[str | None] = None,
        vectors: Vectors = None,
        texts: Column[str | None] = None,
        metadatas: Column[Mapping[str, Any] | None] = None,
        mode: ModeLike = UpsertMode.UPSERT,
        batch_size: int = DEFAULT_BATCH_DOCUMENTS,
        progress: Callable[[UploadResult], object] | None = None,
    ) -> UploadResult:
        """Write any number of documents, or columns of them, in batches that are each one `upsert`.

        They are read as they are needed. A batch has at most `batch_size` documents (1-10,000), and fewer if
        they are long. After each batch `progress` is called with what was written so far.

        An error has a note with the number of documents that had been written, and one of AkiDB the fields
        `written` and `batch`; paths such as `documents[2003].vector` are in the whole input. To go on, repeat
        the call: documents with ids are replaced by themselves, and with an idempotency key, batches
        that were written are not written again.
        """
        return await self._threads(
            self._sync.upsert_many,
            documents,
            ids=ids,
            vectors=vectors,
            texts=texts,
            metadatas=metadatas,
            mode=mode,
            batch_size=batch_size,
            progress=progress,
        )

    async def load(
        self,
        file: FileSource,
        *,
        format: FormatLike | None = None,
        columns: Mapping[str, str] | None = None,
        metadata_columns: Sequence[str] | None = None,
        id_prefix: str | None = None,
        mode: ModeLike = UpsertMode.UPSERT,
        batch_size: int = DEFAULT_BATCH_DOCUMENTS,
        resume: bool | str | os.PathLike[str] = False,
        progress: Callable[[LoadResult], object] | None = None,
    ) -> LoadResult:
        """Write the documents of a file, batch by batch: JSON lines, Parquet, Arrow (a file or a stream).

        `columns` names columns that are not called like the fields of documents: `{"vector": "embedding"}`.
        Without a column of metadata all others become metadata, or `metadata_columns`. Rows without an id get
        one of `id_prefix` and their number. With `resume`, progress is recorded in a file (`True`: beside
        `file`) until all is loaded: the same call continues after the last batch that was acknowledged.
        """
        return await self._threads(
            self._sync.load,
            file,
            format=format,
            columns=columns,
            metadata_columns=metadata_columns,
            id_prefix=id_prefix,
            mode=mode,
            batch_size=batch_size,
            resume=resume,
            progress=progress,
        )

    async def export(
        self,
        file: FileTarget,
        *,
        format: FormatLike | None = None,
        filter: Mapping[str, Any] | None = None,
        include: IncludeLike = (Include.TEXT, Include.METADATA, Include.VECTOR),
        overwrite: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> int:
        """Write all matching documents, sorted by id, to a file that `load` reads; return their number.

        A path is written atomically. Documents that are written meanwhile may be in the file or not.
        """
        return await self._threads(
            self._sync.export,
            file,
            format=format,
            filter=filter,
            include=include,
            overwrite=overwrite,
            progress=progress,
        )

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
        order_by: str | None = None,
        descending: bool = False,
        include: IncludeLike = DEFAULT_INCLUDE,
        limit: int = DEFAULT_PAGE_LIMIT,
        cursor: str | None = None,
    ) -> Page[Document]:
        """Return up to `limit` matching documents, sorted by id (by code point).

        `order_by` sorts by a metadata field and then by id; documents without the field come last.
        """
        return await self._threads(
            self._sync.scan,
            filter=filter,
            order_by=order_by,
            descending=descending,
            include=include,
            limit=limit,
            cursor=cursor,
        )

    async def scan_all(
        self,
        *,
        filter: Mapping[str, Any] | None = None,
        order_by: str | None = None,
        descending: bool = False,
        include: IncludeLike = DEFAULT_INCLUDE,
    ) -> AsyncIterator[Document]:
        """Yield all matching documents, sorted as by `scan`, fetched page by page."""
        async for item in self._threads.iterate(
            self._sync.scan_all(filter=filter, order_by=order_by, descending=descending, include=include)
        ):
            yield item

    async def count(self, *, filter: Mapping[str, Any] | None = None) -> int:
        """Return the number of documents, or of those that match `filter`."""
        return await self._threads(self._sync.count, filter=filter)

    async def facets(
        self, field: str, *, filter: Mapping[str, Any] | None = None, limit: int = DEFAULT_PAGE_LIMIT
    ) -> Facets:
        """Return the most frequent values of a metadata field with their numbers of documents.

        The field is named as in a filter. A document counts once for each of its distinct values, elements of
        lists included; objects and empty lists are not counted. Equal counts are sorted by value.
        """
        return await self._threads(self._sync.facets, field, filter=filter, limit=limit)

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

    async def clear(self) -> int:
        """Delete all documents and return their number. The collection itself is kept."""
        return await self._threads(self._sync.clear)

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

    async def index(self) -> IndexState:
        """Return the state of the index of vectors: what is in memory and in segments, and their recall."""
        return await self._threads(self._sync.index)

    async def rebuild_index(self) -> IndexState:
        """Make the index of vectors anew from the documents, and return its state.

        Segments are built in the background.
        """
        return await self._threads(self._sync.rebuild_index)

    async def search(
        self,
        query: "str | Sequence[float] | NDArray[np.float32] | None" = None,
        *,
        id: str | None = None,
        top_k: int = 10,
        filter: Mapping[str, Any] | None = None,
        score_threshold: float | None = None,
        group_by: str | None = None,
        group_size: int = 1,
        ef_search: int | None = None,
        recall: float | None = None,
        explain: bool = False,
        include: IncludeLike = DEFAULT_INCLUDE,
        mode: SearchMode | Literal["vector", "keyword", "hybrid"] = SearchMode.VECTOR,
        vector: "Sequence[float] | NDArray[np.float32] | None" = None,
        weights: Mapping[str, float] | None = None,
        highlights: bool = False,
        cursor: str | None = None,
    ) -> Matches:
        """Return the `top_k` documents that score highest against a text or a vector, best first.

        A text query requires a collection with an embedding model. The score is the cosine similarity, the
        dot product, or the negated Euclidean distance. Matches below `score_threshold` are omitted.

        With `id` instead, return the documents whose vectors are most like the one of that document,
        without itself. Raises NotFound if it does not exist.

        With `mode="keyword"` the documents are found by the words of the text; the score is BM25. With
        `"hybrid"` both rankings are joined, with `weights` such as `{"vector": 1, "keyword": 2}`; the
        `vector` of the text can be given. `highlights` adds the part of each text with these words.

        With `group_by`, a field of the metadata, return the best `group_size` documents of each of `top_k`
        groups with the same text, number or boolean; one with a list belongs to the group of each item.
        `.groups` of the result has them by group.

        Large collections are searched in graphs, which find `recall` of the best matches by measurement
        (0.95 by default; 1 compares all vectors), or keep `ef_search` candidates. `explain` adds `steps` to
        the `statistics`. `cursor`, the `next_cursor` of the previous page, continues after its last match.
        """
        return await self._threads(
            self._sync.search,
            query,
            id=id,
            top_k=top_k,
            filter=filter,
            score_threshold=score_threshold,
            group_by=group_by,
            group_size=group_size,
            ef_search=ef_search,
            recall=recall,
            explain=explain,
            include=include,
            mode=mode,
            vector=vector,
            weights=weights,
            highlights=highlights,
            cursor=cursor,
        )

    async def search_many(
        self,
        queries: "Queries | None" = None,
        *,
        ids: Sequence[str] | None = None,
        top_k: int = 10,
        filter: Mapping[str, Any] | None = None,
        score_threshold: float | None = None,
        group_by: str | None = None,
        group_size: int = 1,
        ef_search: int | None = None,
        recall: float | None = None,
        include: IncludeLike = DEFAULT_INCLUDE,
    ) -> list[Matches]:
        """Answer up to 200 searches in one call, from one snapshot; return the matches of each.

        `queries` are texts, which are embedded as one batch, or vectors: a list, or an array of shape
        `(n, dimension)`. With `ids` instead, each search is for the documents most like that one. The other
        arguments are those of `search`, for each of them. Each counts towards the tenant's rate limit.
        """
        return await self._threads(
            self._sync.search_many,
            queries,
            ids=ids,
            top_k=top_k,
            filter=filter,
            score_threshold=score_threshold,
            group_by=group_by,
            group_size=group_size,
            ef_search=ef_search,
            recall=recall,
            include=include,
        )
