"""Handles of collections.

The awaitable twin of `akidb.client.handles.collections`, generated from it by `tools/generate_aio.py`.
"""

from collections.abc import AsyncIterator
from typing import Unpack

from akidb.aio.base import Twin
from akidb.aio.documents import CollectionHandle
from akidb.client.handles import collections as sync
from akidb.client.handles.collections import CollectionFields, NewCollection
from akidb.client.results import Page
from akidb.domain.documents import DEFAULT_PAGE_LIMIT
from akidb.domain.fields import CollectionRef


class Collections(Twin[sync.Collections]):
    """The collections of a database. Iterating yields all that are not deleted, sorted by name.

    With `if_version`, a method changes the collection only if it has that version; otherwise it changes
    nothing and raises PreconditionFailed.
    """

    __slots__ = ()

    async def create(self, name: str, **options: Unpack[NewCollection]) -> "CollectionHandle":
        """Create a collection. The default `metric` is cosine.

        The `dimension` (1-4096) is by default that of the `embedding_model`; without either it is None until
        the first vector is written, and then the length of that vector.
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
