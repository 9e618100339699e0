"""The handle of a collection: its documents, and search."""

import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from akidb.client.bulk.formats import FormatLike, format_of
from akidb.client.files import FileSource, FileTarget, writing
from akidb.client.handles.base import Field, IncludeLike, every, parts
from akidb.client.handles.searching import Searching
from akidb.client.results import LoadResult, Page, UploadResult
from akidb.client.uploads import (
    DEFAULT_BATCH_DOCUMENTS,
    Column,
    ModeLike,
    Vectors,
    batches,
    columns_of,
    lazy_columns_of,
    upload,
)
from akidb.domain.changes import ChangePage, DocumentChange
from akidb.domain.columns import DocumentColumns, placed
from akidb.domain.documents import (
    DEFAULT_INCLUDE,
    DEFAULT_PAGE_LIMIT,
    Document,
    DocumentLike,
    Include,
    UpsertMode,
    UpsertResult,
)
from akidb.domain.entities import Collection, Metric
from akidb.domain.errors import InvalidArgument, NotFound
from akidb.domain.facets import Facets
from akidb.domain.fields import CollectionPath
from akidb.domain.ids import CollectionId, DatabaseId, TenantId
from akidb.domain.lifecycle import CollectionState
from akidb.domain.names import check_word
from akidb.operations import changes, collections
from akidb.operations import documents as docs
from akidb.operations.declare import Operations


class CollectionHandle(Searching):
    """A collection: documents whose vectors share a dimension, a metric and a model.

    The methods operate on documents; to change, delete or restore the collection itself, use
    `database.collections`. Vectors are lists or arrays; returned vectors are float32 arrays of shape
    `(dimension,)`. `include` selects which of `text`, `metadata` and `vector` are returned; `metadata.FIELD`
    selects a field of the metadata, named as in filters.
    """

    __slots__ = ("_entity",)
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

    def __init__(self, operations: Operations, entity: Collection) -> None:
        super().__init__(operations)
        self._entity = entity
        path = CollectionPath(entity.tenant_id, entity.database_id, entity.collection_id)
        self._where = path._asdict()

    def _key(self) -> Hashable:
        return self.id

    def __repr__(self) -> str:
        return f"<collection {self.name} {self.id}>"

    @property
    def entity(self) -> Collection:
        """The collection as last read through this handle."""
        return self._entity

    @property
    def id(self) -> CollectionId:
        """The ID of the collection; it never changes."""
        return self._entity.collection_id

    def refresh(self) -> None:
        """Reload the collection."""
        self._entity = self._perform(collections.GetCollection(**self._where))

    def upsert(
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
        columns = {"ids": ids, "vectors": vectors, "texts": texts, "metadatas": metadatas}
        given = columns_of(columns, documents)
        if not given:
            return self._upsert(documents, mode)
        try:
            return self._upsert(DocumentColumns(given), mode)
        except InvalidArgument as error:
            raise placed(error, columns=list(given)) from None

    def upsert_many(
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
        columns = {"ids": ids, "vectors": vectors, "texts": texts, "metadatas": metadatas}
        given = lazy_columns_of(columns, documents)
        parts = batches(documents, given, batch_size)
        return upload(parts, lambda part: self._upsert(part, mode), list(given), progress)

    def load(
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
        from akidb.client.bulk.loading import load

        self.refresh()
        return load(
            file,
            self._entity,
            self._upsert,
            format=format,
            columns=columns,
            metadata_columns=metadata_columns,
            id_prefix=id_prefix,
            mode=check_word(UpsertMode, mode, "mode"),
            batch_size=batch_size,
            resume=resume,
            progress=progress,
        )

    def export(
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
        from akidb.client.bulk import exporting

        chosen, included = format_of(file, format), parts(include)
        self.refresh()
        with writing(file, overwrite=overwrite) as sink:
            writer = exporting.writer_of(chosen, sink, included, self._entity.dimension)
            return exporting.export(self._perform, self._where, filter, included, writer, progress)

    def _upsert(self, documents: Any, mode: ModeLike) -> UpsertResult:
        word = check_word(UpsertMode, mode, "mode")
        return self._perform(docs.UpsertDocuments(**self._where, documents=documents, mode=word))

    def get(self, id: str, *, include: IncludeLike = DEFAULT_INCLUDE) -> Document:
        """Return the document with this id. Raises NotFound."""
        if (document := self.find(id, include=include)) is None:
            raise NotFound("document", id)
        return document

    def find(self, id: str, *, include: IncludeLike = DEFAULT_INCLUDE) -> Document | None:
        """Return the document with this id, or None."""
        if not isinstance(id, str):
            given = f"must be the id of one document as text, not {type(id).__name__}"
            raise InvalidArgument("id", f"{given}; get_many takes several")
        try:
            documents = self.get_many([id], include=include)
        except InvalidArgument as error:
            if error.field != "ids[0]":
                raise
            return None
        return documents[0] if documents else None

    def exists(self, id: str) -> bool:
        """Return whether a document with this id exists."""
        return self.find(id, include=()) is not None

    def __contains__(self, id: object) -> bool:
        """Return whether a document with this id exists."""
        return isinstance(id, str) and self.exists(id)

    def get_many(self, ids: Sequence[str], *, include: IncludeLike = DEFAULT_INCLUDE) -> list[Document]:
        """Return the documents with these ids, in the given order; unknown ids are skipped."""
        return self._perform(docs.GetDocuments(**self._where, ids=ids, include=parts(include)))

    def scan(
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
        page = self._perform(
            docs.ScanDocuments(
                **self._where,
                filter=filter,
                order_by=order_by,
                descending=descending,
                include=parts(include),
                limit=limit,
                cursor=cursor,
            )
        )
        return Page(page.items, page.next_cursor, page.damaged)

    def scan_all(
        self,
        *,
        filter: Mapping[str, Any] | None = None,
        order_by: str | None = None,
        descending: bool = False,
        include: IncludeLike = DEFAULT_INCLUDE,
    ) -> Iterator[Document]:
        """Yield all matching documents, sorted as by `scan`, fetched page by page."""
        asked: Any = {"filter": filter, "order_by": order_by, "descending": descending}
        return every(
            lambda cursor: self._perform(
                docs.ScanDocuments(**self._where, **asked, include=parts(include), cursor=cursor)
            )
        )

    def count(self, *, filter: Mapping[str, Any] | None = None) -> int:
        """Return the number of documents, or of those that match `filter`."""
        return self._perform(docs.CountDocuments(**self._where, filter=filter))

    def facets(
        self, field: str, *, filter: Mapping[str, Any] | None = None, limit: int = DEFAULT_PAGE_LIMIT
    ) -> Facets:
        """Return the most frequent values of a metadata field with their numbers of documents.

        The field is named as in a filter. A document counts once for each of its distinct values, elements of
        lists included; objects and empty lists are not counted. Equal counts are sorted by value.
        """
        return self._perform(docs.GetFacets(**self._where, field=field, filter=filter, limit=limit))

    def update(
        self,
        metadata: Mapping[str, Any],
        *,
        ids: Sequence[str] | None = None,
        filter: Mapping[str, Any] | None = None,
    ) -> int:
        """Merge `metadata` into that of the selected documents; a key set to None is removed (RFC 7396).

        Requires either ids or a non-empty filter. Return the number of selected documents.
        """
        return self._perform(docs.UpdateDocuments(**self._where, metadata=metadata, ids=ids, filter=filter))

    def delete(self, ids: Sequence[str] | None = None, *, filter: Mapping[str, Any] | None = None) -> int:
        """Delete the selected documents and return how many were deleted.

        Requires either ids or a non-empty filter.
        """
        return self._perform(docs.DeleteDocuments(**self._where, ids=ids, filter=filter))

    def clear(self) -> int:
        """Delete all documents and return their number. The collection itself is kept."""
        return self._perform(docs.ClearDocuments(**self._where))

    def changes(
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
        return self._perform(
            changes.GetCollectionChanges(
                **self._where,
                since=since,
                feed=feed,
                limit=limit,
                wait_seconds=wait_seconds,
                include=parts(include),
            )
        )
