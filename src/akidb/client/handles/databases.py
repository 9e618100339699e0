"""Handles of databases."""

from collections.abc import Hashable, Iterator, Mapping
from datetime import datetime
from typing import Any, TypedDict, Unpack

from akidb.client.handles.base import Bound, Field, every, found, require_same, wanted
from akidb.client.handles.collections import Collections
from akidb.client.results import Page
from akidb.domain import documents as domain
from akidb.domain.documents import DEFAULT_PAGE_LIMIT
from akidb.domain.entities import Database
from akidb.domain.errors import AlreadyExists
from akidb.domain.fields import DatabaseRef
from akidb.domain.ids import DatabaseId, TenantId
from akidb.domain.lifecycle import DatabaseState
from akidb.operations import databases
from akidb.operations.declare import Operations


class DatabaseFields(TypedDict, total=False):
    """The fields of a database that can be changed; omitted fields keep their values."""

    name: str
    description: str
    state: DatabaseState
    schema_version: int
    metadata: Mapping[str, Any]


class Databases(Bound):
    """The databases of a tenant. Iterating yields all that are not deleted, sorted by name."""

    __slots__ = ("_tenant",)

    def __init__(self, operations: Operations, tenant: TenantId) -> None:
        super().__init__(operations)
        self._tenant = tenant

    def _key(self) -> Hashable:
        return self._tenant

    def create(
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
        return self._handle(
            self._perform(
                databases.CreateDatabase(
                    tenant=self._tenant,
                    name=name,
                    description=description,
                    state=state,
                    metadata=metadata,
                )
            )
        )

    def get(self, database: DatabaseRef) -> "DatabaseHandle":
        """Return the database with this name or ID. Raises NotFound."""
        return self._handle(self._perform(databases.GetDatabase(tenant=self._tenant, database=database)))

    def find(self, database: DatabaseRef) -> "DatabaseHandle | None":
        """Return the database with this name or ID, or None."""
        return found("database", database, lambda: self.get(database))

    def exists(self, database: DatabaseRef) -> bool:
        """Return whether a database with this name or ID exists."""
        return self.find(database) is not None

    def __contains__(self, database: object) -> bool:
        """Return whether a database with this name or ID, or of this handle, exists."""
        return self._contains(database, DatabaseHandle, DatabaseId, self.exists)

    def get_or_create(
        self, name: str, *, description: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> "DatabaseHandle":
        """Return the database with this name; create it if it does not exist.

        Raises AlreadyExists, with the `field`, if it has another description or other metadata than given, or
        is deleted.
        """
        given = {"name": name, "description": description, "metadata": metadata}
        same = wanted(databases.CreateDatabase, given)
        if (database := self.find(name)) is None:
            try:
                return self.create(name, description=description or "", metadata=metadata)
            except AlreadyExists as error:  # created concurrently, or deleted
                if (database := self.find(name)) is None:
                    raise error from None
        require_same("database", name, database, same)
        return database

    def list(
        self, *, deleted: bool = False, limit: int = DEFAULT_PAGE_LIMIT, cursor: str | None = None
    ) -> Page["DatabaseHandle"]:
        """Return up to `limit` databases, sorted by name; with `deleted`, only deleted ones."""
        page = self._perform(
            databases.ListDatabases(tenant=self._tenant, deleted=deleted, limit=limit, cursor=cursor)
        )
        return Page(map(self._handle, page.items), page.next_cursor, page.damaged)

    def __iter__(self) -> Iterator["DatabaseHandle"]:
        return map(self._handle, every(self._page))

    def _page(self, cursor: str | None) -> domain.Page[Database]:
        return self._perform(databases.ListDatabases(tenant=self._tenant, cursor=cursor))

    def count(self, *, deleted: bool = False) -> int:
        """Return the number of databases; with `deleted`, only of deleted ones."""
        return self._perform(databases.CountDatabases(tenant=self._tenant, deleted=deleted))

    def delete(self, database: DatabaseRef, *, purge: bool = False, if_version: int | None = None) -> None:
        """Delete a database and its collections. Undo it with `restore`; make it permanent with `purge`.

        With `purge=True` it is made permanent at once, and its name is free again.
        """
        self._perform(databases.DeleteDatabase(tenant=self._tenant, database=database, if_version=if_version))
        if purge:
            self.purge(database)

    def restore(self, database: DatabaseRef, *, if_version: int | None = None) -> "DatabaseHandle":
        """Restore a deleted database."""
        return self._handle(
            self._perform(
                databases.RestoreDatabase(tenant=self._tenant, database=database, if_version=if_version)
            )
        )

    def purge(self, database: DatabaseRef, *, if_version: int | None = None) -> None:
        """Permanently remove a deleted database and its documents."""
        self._perform(databases.PurgeDatabase(tenant=self._tenant, database=database, if_version=if_version))

    def _handle(self, entity: Database) -> "DatabaseHandle":
        return DatabaseHandle(self._operations, entity)


class DatabaseHandle(Bound):
    """A database: a named group of collections of one tenant.

    With `if_version`, a method changes the database only if it has that version; otherwise it changes
    nothing and raises PreconditionFailed.
    """

    __slots__ = ("_entity",)
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

    def __init__(self, operations: Operations, entity: Database) -> None:
        super().__init__(operations)
        self._entity = entity

    def _key(self) -> Hashable:
        return self.id

    def __repr__(self) -> str:
        return f"<database {self.name} {self.id}>"

    @property
    def entity(self) -> Database:
        """The database as last read or changed through this handle."""
        return self._entity

    @property
    def id(self) -> DatabaseId:
        """The ID of the database; it never changes."""
        return self._entity.database_id

    @property
    def collections(self) -> Collections:
        """The collections of the database."""
        return Collections(self._operations, self.tenant_id, self.id)

    def refresh(self) -> None:
        """Reload the database."""
        self._entity = self._perform(databases.GetDatabase(tenant=self.tenant_id, database=self.id))

    def update(self, *, if_version: int | None = None, **changes: Unpack[DatabaseFields]) -> None:
        """Change fields or the state of the database; omitted fields keep their values."""
        self._entity = self._perform(
            databases.UpdateDatabase(
                tenant=self.tenant_id, database=self.id, **changes, if_version=if_version
            )
        )

    def delete(self, *, purge: bool = False, if_version: int | None = None) -> None:
        """Delete the database and its collections. Undo it with `restore`; make it permanent with `purge`.

        With `purge=True` it is made permanent at once, and its name is free again.
        """
        self._perform(
            databases.DeleteDatabase(tenant=self.tenant_id, database=self.id, if_version=if_version)
        )
        if purge:
            self.purge()

    def restore(self, *, if_version: int | None = None) -> None:
        """Restore the deleted database."""
        self._entity = self._perform(
            databases.RestoreDatabase(tenant=self.tenant_id, database=self.id, if_version=if_version)
        )

    def purge(self, *, if_version: int | None = None) -> None:
        """Permanently remove the deleted database. Raises InvalidState unless it is deleted."""
        self._perform(databases.PurgeDatabase(tenant=self.tenant_id, database=self.id, if_version=if_version))
