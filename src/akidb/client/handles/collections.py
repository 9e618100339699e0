"""Handles of collections, with documents and search."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from akidb.client.handles.base import (
    Bound,
    Field,
    IncludeLike,
    every,
    found,
    parts,
    require_same,
    wanted,
)
from akidb.client.results import Matches, Page
from akidb.domain import documents as domain
from akidb.domain.changes import ChangePage, DocumentChange
from akidb.domain.documents import (
    DEFAULT_INCLUDE,
    DEFAULT_PAGE_LIMIT,
    Document,
    DocumentLike,
    UpsertResult,
)
from akidb.domain.entities import Collection, Metric
from akidb.domain.errors import AlreadyExists, InvalidArgument, NotFound
from akidb.domain.fields import CollectionPath, CollectionRef
from akidb.domain.ids import CollectionId, DatabaseId, TenantId
from akidb.domain.lifecycle import CollectionState
from akidb.operations import changes, collections
from akidb.operations import documents as docs
from akidb.operations.declare import Operations

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class NewCollection(TypedDict, total=False):
    """Optional fields of a new collection."""

    dimension: int | None
    metric: Metric
    embedding_model: str | None
    hnsw_m: int | None
    hnsw_ef_construction: int | None
    max_document_count: int | None


class CollectionFields(TypedDict, total=False):
    """The fields of a collection that can be changed; omitted fields keep their values."""

    name: str
    hnsw_m: int
    hnsw_ef_construction: int
    max_document_count: int


class Collections(Bound):
    """The collections of a database. Iterating yields all that are not deleted, sorted by name.

    With `if_version`, a method changes the collection only if it has that version; otherwise it changes
    nothing and raises PreconditionFailed.
    """

    __slots__ = ("_where",)

    def __init__(self, operations: Operations, tenant: TenantId, database: DatabaseId) -> None:
        super().__init__(operations)
        self._where: dict[str, Any] = {"tenant": tenant, "database": database}

    def _key(self) -> Hashable:
        return (self._where["tenant"], self._where["database"])

    def create(self, name: str, **options: Unpack[NewCollection]) -> "CollectionHandle":
        """Create a collection. The default `metric` is cosine.

        Requires either a `dimension` (16-4096) or an `embedding_model`, which determines the dimension.
        Raises AlreadyExists if the name is taken, even by a deleted collection.
        """
        return self._handle(self._perform(collections.CreateCollection(**self._where, name=name, **options)))

    def get(self, collection: CollectionRef) -> "CollectionHandle":
        """Return the collection with this name or ID. Raises NotFound."""
        return self._handle(self._perform(collections.GetCollection(**self._where, collection=collection)))

    def find(self, collection: CollectionRef) -> "CollectionHandle | None":
        """Return the collection with this name or ID, or None."""
        return found("collection", collection, lambda: self.get(collection))

    def exists(self, collection: CollectionRef) -> bool:
        """Return whether a collection with this name or ID exists."""
        return self.find(collection) is not None

    def __contains__(self, collection: object) -> bool:
        """Return whether a collection with this name or ID, or of this handle, exists."""
        return self._contains(collection, CollectionHandle, CollectionId, self.exists)

    def get_or_create(self, name: str, **options: Unpack[NewCollection]) -> "CollectionHandle":
        """Return the collection with this name; create it if it does not exist.

        Raises AlreadyExists, with the `field`, if it differs from a given option, such as the dimension or
        the embedding model, or is deleted.
        """
        same = wanted(collections.CreateCollection, {"name": name, **options})
        if (collection := self.find(name)) is None:
            try:
                return self.create(name, **options)
            except AlreadyExists as error:  # created concurrently, or deleted
                if (collection := self.find(name)) is None:
                    raise error from None
        require_same("collection", name, collection, same)
        return collection

    def list(
        self, *, deleted: bool = False, limit: int = DEFAULT_PAGE_LIMIT, cursor: str | None = None
    ) -> Page["CollectionHandle"]:
        """Return up to `limit` collections, sorted by name; with `deleted`, only deleted ones."""
        page = self._perform(
            collections.ListCollections(**self._where, deleted=deleted, limit=limit, cursor=cursor)
        )
        return Page(map(self._handle, page.items), page.next_cursor, page.damaged)

    def __iter__(self) -> Iterator["CollectionHandle"]:
        return map(self._handle, every(self._page))

    def _page(self, cursor: str | None) -> domain.Page[Collection]:
        return self._perform(collections.ListCollections(**self._where, cursor=cursor))

    def count(self, *, deleted: bool = False) -> int:
        """Return the number of collections; with `deleted`, only of deleted ones."""
        return self._perform(collections.CountCollections(**self._where, deleted=deleted))

    def update(
        self,
        collection: CollectionRef,
        *,
        if_version: int | None = None,
        **changes: Unpack[CollectionFields],
    ) -> "CollectionHandle":
        """Change fields of a collection; omitted fields keep their values."""
        return self._handle(
            self._perform(
                collections.UpdateCollection(
                    **self._where, collection=collection, **changes, if_version=if_version
                )
            )
        )

    def delete(
        self, collection: CollectionRef, *, purge: bool = False, if_version: int | None = None
    ) -> None:
        """Delete a collection and its documents. Undo it with `restore`; make it permanent with `purge`.

        With `purge=True` it is made permanent at once, and its name is free again.
        """
        self._perform(
            collections.DeleteCollection(**self._where, collection=collection, if_version=if_version)
        )
        if purge:
            self.purge(collection)

    def restore(self, collection: CollectionRef, *, if_version: int | None = None) -> "CollectionHandle":
        """Restore a deleted collection and its documents."""
        return self._handle(
            self._perform(
                collections.RestoreCollection(**self._where, collection=collection, if_version=if_version)
            )
        )

    def purge(self, collection: CollectionRef, *, if_version: int | None = None) -> None:
        """Permanently remove a deleted collection and its documents."""
        self._perform(
            collections.PurgeCollection(**self._where, collection=collection, if_version=if_version)
        )

    def _handle(self, entity: Collection) -> "CollectionHandle":
        return CollectionHandle(self._operations, entity)


class CollectionHandle(Bound):
    """A collection: documents whose vectors share a dimension, a metric and a model.

    The methods operate on documents; to change, delete or restore the collection itself, use
    `database.collections`. Vectors are lists or arrays; returned vectors are float32 arrays of shape
    `(dimension,)`. `include` selects which of `text`, `metadata` and `vector` are returned; `metadata.FIELD`
    selects a field of the metadata, named as in filters.
    """

    __slots__ = ("_entity", "_where")
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

    def upsert(self, documents: Sequence[DocumentLike]) -> UpsertResult:
        """Write up to 10,000 documents atomically; a document with an existing id is replaced.

        Each has an `id` (generated if absent), a `text` or a `vector` or both, and `metadata`. Raises
        InvalidArgument with the path of the invalid value, such as `documents[3].vector`, and
        QuotaExceeded if storage or the document count would exceed its limit.

        The result names documents whose text is longer than the embedding model accepts (`truncated`,
        `truncated_ids`): their vectors ignore its end.
        """
        return self._perform(docs.UpsertDocuments(**self._where, documents=documents))

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
        include: IncludeLike = DEFAULT_INCLUDE,
        limit: int = DEFAULT_PAGE_LIMIT,
        cursor: str | None = None,
    ) -> Page[Document]:
        """Return up to `limit` matching documents, sorted by id (by code point)."""
        page = self._perform(
            docs.ScanDocuments(
                **self._where, filter=filter, include=parts(include), limit=limit, cursor=cursor
            )
        )
        return Page(page.items, page.next_cursor, page.damaged)

    def scan_all(
        self,
        *,
        filter: Mapping[str, Any] | None = None,
        include: IncludeLike = DEFAULT_INCLUDE,
    ) -> Iterator[Document]:
        """Yield all matching documents, sorted by id, fetched page by page."""
        return every(
            lambda cursor: self._perform(
                docs.ScanDocuments(**self._where, filter=filter, include=parts(include), cursor=cursor)
            )
        )

    def count(self, *, filter: Mapping[str, Any] | None = None) -> int:
        """Return the number of documents, or of those that match `filter`."""
        return self._perform(docs.CountDocuments(**self._where, filter=filter))

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

    def search(
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
        text = query if isinstance(query, str) else None
        result = self._perform(
            docs.SearchDocuments(
                **self._where,
                text=text,
                vector=None if isinstance(query, str) else query,
                top_k=top_k,
                filter=filter,
                score_threshold=score_threshold,
                ef_search=ef_search,
                include=parts(include),
            )
        )
        return Matches(result.matches, result.statistics)

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
