"""Handles of databases.

The awaitable twin of `akidb.client.handles.databases`, generated from it by `tools/generate_aio.py`.
"""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any, Unpack

from akidb.aio.base import Twin
from akidb.aio.collections import Collections
from akidb.client.handles import databases as sync
from akidb.client.handles.base import Field
from akidb.client.handles.databases import DatabaseFields
from akidb.client.results import Page
from akidb.domain.documents import DEFAULT_PAGE_LIMIT
from akidb.domain.entities import Database
from akidb.domain.fields import DatabaseRef
from akidb.domain.ids import DatabaseId, TenantId
from akidb.domain.lifecycle import DatabaseState


class Databases(Twin[sync.Databases]):
    """The databases of a tenant. Iterating yields all that are not deleted, sorted by name."""

    __slots__ = ()

    async def create(
        self,
        name: str,
        *,
        description: str = "",
        state: DatabaseState = DatabaseState.READY,
        metadata: Mapping[str, Any] | None = None,
    ) -> "DatabaseHandle":
        """Create a database, in the state `ready` or `provisioning`.

        Raises AlreadyExists if the name is taken, even by a deleted database.
        """
        return DatabaseHandle(
            await self._threads(
                self._sync.create, name, description=description, state=state, metadata=metadata
            ),
            self._threads,
        )

    async def get(self, database: DatabaseRef) -> "DatabaseHandle":
        """Return the database with this name or ID. Raises NotFound."""
        return DatabaseHandle(await self._threads(self._sync.get, database), self._threads)

    async def find(self, database: DatabaseRef) -> "DatabaseHandle | None":
        """Return the database with this name or ID, or None."""
        found = await self._threads(self._sync.find, database)
        return None if found is None else DatabaseHandle(found, self._threads)

    async def exists(self, database: DatabaseRef) -> bool:
        """Return whether a database with this name or ID exists."""
        return await self._threads(self._sync.exists, database)

    async def get_or_create(
        self, name: str, *, description: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> "DatabaseHandle":
        """Return the database with this name; create it if it does not exist.

        Raises AlreadyExists, with the `field`, if it has another description or other metadata than given, or
        is deleted.
        """
        return DatabaseHandle(
            await self._threads(self._sync.get_or_create, name, description=description, metadata=metadata),
            self._threads,
        )

    async def list(
        self, *, deleted: bool = False, limit: int = DEFAULT_PAGE_LIMIT, cursor: str | None = None
    ) -> Page["DatabaseHandle"]:
        """Return up to `limit` databases, sorted by name; with `deleted`, only deleted ones."""
        page = await self._threads(self._sync.list, deleted=deleted, limit=limit, cursor=cursor)
        return Page((DatabaseHandle(item, self._threads) for item in page), page.next_cursor, page.damaged)

    async def __aiter__(self) -> AsyncIterator["DatabaseHandle"]:
        async for item in self._threads.iterate(self._sync):
            yield DatabaseHandle(item, self._threads)

    async def count(self, *, deleted: bool = False) -> int:
        """Return the number of databases; with `deleted`, only of deleted ones."""
        return await self._threads(self._sync.count, deleted=deleted)

    async def delete(
        self, database: DatabaseRef, *, purge: bool = False, if_version: int | None = None
    ) -> None:
        """Delete a database and its collections. Undo it with `restore`; make it permanent with `purge`.

        With `purge=True` it is made permanent at once, and its name is free again.
        """
        await self._threads(self._sync.delete, database, purge=purge, if_version=if_version)

    async def restore(self, database: DatabaseRef, *, if_version: int | None = None) -> "DatabaseHandle":
        """Restore a deleted database."""
        return DatabaseHandle(
            await self._threads(self._sync.restore, database, if_version=if_version), self._threads
        )

    async def purge(self, database: DatabaseRef, *, if_version: int | None = None) -> None:
        """Permanently remove a deleted database and its documents."""
        await self._threads(self._sync.purge, database, if_version=if_version)


class DatabaseHandle(Twin[sync.DatabaseHandle]):
    """A database: a named group of collections of one tenant.

    With `if_version`, a method changes the database only if it has that version; otherwise it changes
    nothing and raises PreconditionFailed.
    """

    __slots__ = ()
    _changed_by = "use update()"
    tenant_id = Field[TenantId]()
    name = Field[str]()
    description = Field[str]()
    state = Field[DatabaseState]()
    schema_version = Field[int]()
    metadata = Field[dict[str, Any]]()
    version = Field[int]()
    created_at = Field[datetime]()
    updated_at = Field[datetime]()
    deleted_at = Field[datetime | None]()

    def __repr__(self) -> str:
        return repr(self._sync)

    @property
    def entity(self) -> Database:
        """The database as last read or changed through this handle."""
        return self._sync.entity

    @property
    def id(self) -> DatabaseId:
        """The ID of the database; it never changes."""
        return self._sync.id

    @property
    def collections(self) -> Collections:
        """The collections of the database."""
        return Collections(self._sync.collections, self._threads)

    async def refresh(self) -> None:
        """Reload the database."""
        await self._threads(self._sync.refresh)

    async def update(self, *, if_version: int | None = None, **changes: Unpack[DatabaseFields]) -> None:
        """Change fields or the state of the database; omitted fields keep their values."""
        await self._threads(self._sync.update, if_version=if_version, **changes)

    async def delete(self, *, purge: bool = False, if_version: int | None = None) -> None:
        """Delete the database and its collections. Undo it with `restore`; make it permanent with `purge`.

        With `purge=True` it is made permanent at once, and its name is free again.
        """
        await self._threads(self._sync.delete, purge=purge, if_version=if_version)

    async def restore(self, *, if_version: int | None = None) -> None:
        """Restore the deleted database."""
        await self._threads(self._sync.restore, if_version=if_version)

    async def purge(self, *, if_version: int | None = None) -> None:
        """Permanently remove the deleted database. Raises InvalidState unless it is deleted."""
        await self._threads(self._sync.purge, if_version=if_version)
