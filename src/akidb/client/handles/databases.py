"""Databases as handles."""

from collections.abc import Iterator
from datetime import datetime
from typing import TypedDict, Unpack

from akidb.client.handles.base import Field, every, found
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
    """What may be changed of a database; what is left out stays."""

    name: str
    description: str
    state: DatabaseState
    schema_version: int


class Databases:
    """The databases of a tenant. Iterating goes over all that are not deleted, by name."""

    def __init__(self, operations: Operations, tenant: TenantId) -> None:
        self._operations = operations
        self._perform = operations.perform
        self._tenant = tenant

    def create(
        self, name: str, *, description: str = "", state: DatabaseState = DatabaseState.READY
    ) -> "DatabaseHandle":
        """Create a database, `ready` or `provisioning`.

        Raises AlreadyExists for a name that is taken, also by a deleted database.
        """
        return self._handle(
            self._perform(
                databases.CreateDatabase(tenant=self._tenant, name=name, description=description, state=state)
            )
        )

    def get(self, database: DatabaseRef) -> "DatabaseHandle":
        """The database with this name or ID. Raises NotFound."""
        return self._handle(self._perform(databases.GetDatabase(tenant=self._tenant, database=database)))

    def find(self, database: DatabaseRef) -> "DatabaseHandle | None":
        """The database with this name or ID, or None."""
        return found("database", lambda: self.get(database))

    def exists(self, database: DatabaseRef) -> bool:
        """Whether there is a database with this name or ID."""
        return self.find(database) is not None

    def get_or_create(self, name: str, *, description: str = "") -> "DatabaseHandle":
        """The database with this name; created, with the description, when there is none."""
        if (database := self.find(name)) is not None:
            return database
        try:
            return self.create(name, description=description)
        except AlreadyExists as error:  # another was quicker, or it is deleted
            if (database := self.find(name)) is None:
                raise error from None
            return database

    def list(
        self, *, deleted: bool = False, limit: int = DEFAULT_PAGE_LIMIT, cursor: str | None = None
    ) -> Page["DatabaseHandle"]:
        """Up to `limit` databases by name; with `deleted` the deleted ones alone."""
        page = self._perform(
            databases.ListDatabases(tenant=self._tenant, deleted=deleted, limit=limit, cursor=cursor)
        )
        return Page(map(self._handle, page.items), page.next_cursor)

    def __iter__(self) -> Iterator["DatabaseHandle"]:
        return map(self._handle, every(self._page))

    def _page(self, cursor: str | None) -> domain.Page[Database]:
        return self._perform(databases.ListDatabases(tenant=self._tenant, cursor=cursor))

    def count(self, *, deleted: bool = False) -> int:
        """How many databases there are, or deleted ones."""
        return self._perform(databases.CountDatabases(tenant=self._tenant, deleted=deleted))

    def delete(self, database: DatabaseRef, *, if_version: int | None = None) -> None:
        """Delete a database and its collections, until `restore` or `purge`."""
        self._perform(databases.DeleteDatabase(tenant=self._tenant, database=database, if_version=if_version))

    def restore(self, database: DatabaseRef, *, if_version: int | None = None) -> "DatabaseHandle":
        """Bring a deleted database back."""
        return self._handle(
            self._perform(
                databases.RestoreDatabase(tenant=self._tenant, database=database, if_version=if_version)
            )
        )

    def purge(self, database: DatabaseRef, *, if_version: int | None = None) -> None:
        """Remove a deleted database for good, documents and all."""
        self._perform(databases.PurgeDatabase(tenant=self._tenant, database=database, if_version=if_version))

    def _handle(self, entity: Database) -> "DatabaseHandle":
        return DatabaseHandle(self._operations, entity)


class DatabaseHandle:
    """A database: a named group of collections of one tenant.

    With `if_version` a change is made only while the database has that version; otherwise it raises
    PreconditionFailed and changes nothing.
    """

    tenant_id = Field[TenantId]()
    name = Field[str]()
    description = Field[str]()
    state = Field[DatabaseState]()
    schema_version = Field[int]()
    version = Field[int]()
    created_at = Field[datetime]()
    updated_at = Field[datetime]()
    deleted_at = Field[datetime | None]()

    def __init__(self, operations: Operations, entity: Database) -> None:
        self._operations = operations
        self._perform = operations.perform
        self._entity = entity

    def __repr__(self) -> str:
        return f"<database {self.name} {self.id}>"

    @property
    def entity(self) -> Database:
        """The database as it was last read or changed through this handle."""
        return self._entity

    @property
    def id(self) -> DatabaseId:
        """Its ID, which never changes."""
        return self._entity.database_id

    @property
    def collections(self) -> Collections:
        """Its collections."""
        return Collections(self._operations, self.tenant_id, self.id)

    def refresh(self) -> None:
        """Read the database again."""
        self._entity = self._perform(databases.GetDatabase(tenant=self.tenant_id, database=self.id))

    def update(self, *, if_version: int | None = None, **changes: Unpack[DatabaseFields]) -> None:
        """Change fields, or move the database to another state; what is left out stays."""
        self._entity = self._perform(
            databases.UpdateDatabase(
                tenant=self.tenant_id, database=self.id, **changes, if_version=if_version
            )
        )

    def delete(self, *, if_version: int | None = None) -> None:
        """Delete the database and its collections, until `restore` or `purge`."""
        self._perform(
            databases.DeleteDatabase(tenant=self.tenant_id, database=self.id, if_version=if_version)
        )

    def restore(self, *, if_version: int | None = None) -> None:
        """Bring the deleted database back."""
        self._entity = self._perform(
            databases.RestoreDatabase(tenant=self.tenant_id, database=self.id, if_version=if_version)
        )

    def purge(self, *, if_version: int | None = None) -> None:
        """Remove the deleted database for good. Raises InvalidState unless it is deleted."""
        self._perform(databases.PurgeDatabase(tenant=self.tenant_id, database=self.id, if_version=if_version))
