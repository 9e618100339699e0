"""Handles of collections."""

from collections.abc import Hashable, Iterator, Mapping
from typing import Any, TypedDict, Unpack

from akidb.client.handles.base import Bound, every, found, require_same, wanted
from akidb.client.handles.documents import CollectionHandle
from akidb.client.results import Page
from akidb.domain import documents as domain
from akidb.domain.documents import DEFAULT_PAGE_LIMIT
from akidb.domain.entities import Collection, Metric
from akidb.domain.errors import AlreadyExists
from akidb.domain.fields import CollectionRef
from akidb.domain.ids import CollectionId, DatabaseId, TenantId
from akidb.operations import collections
from akidb.operations.declare import Operations


class NewCollection(TypedDict, total=False):
    """Optional fields of a new collection."""

    dimension: int | None
    metric: Metric
    embedding_model: str | None
    hnsw_m: int | None
    hnsw_ef_construction: int | None
    max_document_count: int | None
    metadata: Mapping[str, Any] | None


class CollectionFields(TypedDict, total=False):
    """The fields of a collection that can be changed; omitted fields keep their values."""

    name: str
    hnsw_m: int
    hnsw_ef_construction: int
    max_document_count: int
    metadata: Mapping[str, Any]


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

        The `dimension` (1-4096) is by default that of the `embedding_model`; without either it is None until
        the first vector is written, and then the length of that vector.
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
