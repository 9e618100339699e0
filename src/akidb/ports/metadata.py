"""The port to the metadata store.

A transaction has one small repository per entity. For a missing entity, `get` raises NotFound and `find`
returns None; both find only entities that are not deleted, or with `deleted=True` only deleted ones. Methods
on data of a tenant take the tenant's ID first. An update takes the entity's next version: if the stored one
is not the version before it, PreconditionFailed is raised and nothing is changed.

A row whose values cannot be read is the error Damaged, which names it; lists leave such rows out and count
them. A list ends early, but after at least one item, before it has more than `most_bytes`, about as long as
it is in JSON.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from akidb.domain.changes import FeedSlice, FeedState, MetadataChange
from akidb.domain.documents import Page
from akidb.domain.entities import AuditEntry, Collection, Database, Scope, Tenant, User
from akidb.domain.ids import CollectionId, DatabaseId, TenantId, UserId
from akidb.domain.lifecycle import TenantStatus
from akidb.domain.lists import TenantSort
from akidb.observe.telemetry import StoreFigures
from akidb.ports.answers import Answers
from akidb.ports.archive import MetadataRecords
from akidb.ports.migration import LegacyManifests
from akidb.ports.outbox import Outbox, StoreRegistry
from akidb.ports.rows import Damages


class TenantCatalog(Protocol):
    """Tenants."""

    def create(self, tenant: Tenant) -> None:
        """Add a tenant. Raises AlreadyExists if its slug or external ID is taken."""

    def get(self, tenant: TenantId | str, *, deleted: bool = False) -> Tenant:
        """Return a tenant by ID or slug."""

    def find(self, tenant: TenantId | str, *, deleted: bool = False) -> Tenant | None:
        """Return a tenant by ID or slug, or None."""

    def list(
        self,
        *,
        status: TenantStatus | None,
        external_id: str | None,
        deleted: bool,
        limit: int,
        cursor: str | None,
        name: str | None = None,
        name_contains: str | None = None,
        sort: TenantSort = TenantSort.CREATED_AT,
        most_bytes: int | None = None,
    ) -> Page[Tenant]:
        """List tenants in this order, ties by ID. Raises InvalidArgument(`cursor`) for one of another list.

        `name` is the exact name, `name_contains` is case-insensitive.
        """

    def count(
        self,
        *,
        status: TenantStatus | None = None,
        external_id: str | None = None,
        name: str | None = None,
        name_contains: str | None = None,
        deleted: bool = False,
    ) -> int:
        """Return the number of matching tenants."""

    def update(self, tenant: Tenant) -> None:
        """Store the next version."""

    def delete(self, tenant: Tenant, now: datetime) -> None:
        """Mark as deleted, and store the previous state."""

    def restore(self, tenant: Tenant, now: datetime) -> Tenant:
        """Undo a deletion."""

    def purge(self, tenant_id: TenantId, now: datetime) -> None:
        """Remove the rows of a tenant and of everything in it; record its ID as purged."""

    def last_purge(self) -> datetime | None:
        """Return when a tenant, or anything in a tenant, was last purged."""

    def expired(self, before: datetime, limit: int, damaged: Damages = None) -> Sequence[Tenant]:
        """Return tenants deleted by then, in order of deletion, except those deleted in 1.x.

        In a transaction the rows are locked, and rows locked by other transactions are skipped.
        """


class DatabaseRepository(Protocol):
    """Databases of tenants."""

    def create(self, database: Database) -> None:
        """Add a database. Raises AlreadyExists if its name is taken."""

    def get(self, tenant_id: TenantId, database: DatabaseId | str, *, deleted: bool = False) -> Database:
        """Return a database by ID or name."""

    def find(
        self, tenant_id: TenantId, database: DatabaseId | str, *, deleted: bool = False
    ) -> Database | None:
        """Return a database by ID or name, or None."""

    def list(
        self,
        tenant_id: TenantId,
        *,
        deleted: bool,
        limit: int,
        cursor: str | None,
        most_bytes: int | None = None,
    ) -> Page[Database]:
        """List databases, sorted by name."""

    def count(self, tenant_id: TenantId, *, deleted: bool = False) -> int:
        """Return the number of databases that are not deleted, or of deleted ones."""

    def update(self, database: Database) -> None:
        """Store the next version."""

    def delete(self, database: Database, now: datetime) -> None:
        """Mark as deleted, and store the previous state."""

    def restore(self, database: Database, now: datetime) -> Database:
        """Undo a deletion."""

    def purge(self, tenant_id: TenantId, database_id: DatabaseId, now: datetime) -> None:
        """Remove the rows of a database and its collections; record its ID as purged."""

    def expired(self, before: datetime, limit: int, damaged: Damages = None) -> Sequence[Database]:
        """Return those deleted by then whose tenant permits metadata writes; locked like tenants."""


class CollectionRepository(Protocol):
    """Collections of databases."""

    def create(self, collection: Collection) -> None:
        """Add a collection. Raises AlreadyExists if its name is taken."""

    def get(
        self,
        tenant_id: TenantId,
        database_id: DatabaseId,
        collection: CollectionId | str,
        *,
        deleted: bool = False,
    ) -> Collection:
        """Return a collection by ID or name."""

    def find(
        self,
        tenant_id: TenantId,
        database_id: DatabaseId,
        collection: CollectionId | str,
        *,
        deleted: bool = False,
    ) -> Collection | None:
        """Return a collection by ID or name, or None."""

    def scope(
        self, tenant: TenantId | str, database: DatabaseId | str, collection: CollectionId | str
    ) -> Scope:
        """Return a collection with its parents, in one query. NotFound has the first that is missing."""

    def list(
        self,
        tenant_id: TenantId,
        database_id: DatabaseId,
        *,
        deleted: bool,
        limit: int,
        cursor: str | None,
        most_bytes: int | None = None,
    ) -> Page[Collection]:
        """List collections, sorted by name."""

    def all_of_tenant(self, tenant_id: TenantId) -> Sequence[tuple[Database, Collection]]:
        """Return all collections of a tenant, including deleted ones, with their databases."""

    def states(
        self, tenant_id: TenantId, database_id: DatabaseId | None = None
    ) -> Sequence[tuple[Database, Collection]]:
        """Return all collections of a tenant or database like `all_of_tenant`, without their `metadata`."""

    def ids_in(self, tenant_id: TenantId, database_id: DatabaseId) -> Sequence[CollectionId]:
        """Return the IDs of all collections of a database, including deleted and damaged ones."""

    def number_of_tenant(self, tenant_id: TenantId) -> int:
        """Return the number of a tenant's collections, including deleted ones."""

    def find_with_database(
        self, tenant_id: TenantId, collection_id: CollectionId
    ) -> tuple[Database, Collection] | None:
        """Return a collection, deleted or not, with its database, or None."""

    def count_in(self, tenant_id: TenantId, database_id: DatabaseId, *, deleted: bool = False) -> int:
        """Return the number of collections of a database that are not deleted, or of deleted ones."""

    def count(self, tenant_id: TenantId) -> int:
        """Return the number of collections that are neither deleted nor in a deleted database."""

    def update(self, collection: Collection) -> None:
        """Store the next version."""

    def settle_dimension(
        self, tenant_id: TenantId, collection_id: CollectionId, dimension: int, now: datetime
    ) -> None:
        """Store the next version of a collection, with its dimension, if it has none and is not purged."""

    def delete(self, collection: Collection, now: datetime) -> None:
        """Mark as deleted, and store the previous state."""

    def restore(self, collection: Collection, now: datetime) -> Collection:
        """Undo a deletion."""

    def purge(self, tenant_id: TenantId, collection_id: CollectionId, now: datetime) -> None:
        """Remove the row of a collection; record its ID as purged."""

    def expired(self, before: datetime, limit: int, damaged: Damages = None) -> Sequence[Collection]:
        """Return those deleted by then whose parents permit metadata writes; locked like tenants."""


class UserRepository(Protocol):
    """Users of tenants. Password hashes are not part of the entity: they are passed separately."""

    def create(self, user: User, password_hash: str) -> None:
        """Add a user. Raises AlreadyExists if the email is taken, ignoring case."""

    def get(self, tenant_id: TenantId, user: UserId | str) -> User:
        """Return a user by ID or email, ignoring case."""

    def find(self, tenant_id: TenantId, user: UserId | str) -> User | None:
        """Return a user by ID or email, ignoring case, or None."""

    def list(
        self, tenant_id: TenantId, *, limit: int, cursor: str | None, most_bytes: int | None = None
    ) -> Page[User]:
        """List users, sorted by email, ignoring case."""

    def count(self, tenant_id: TenantId) -> int:
        """Return the number of users."""

    def find_with_hash(self, tenant_id: TenantId, user: UserId | str) -> tuple[User, str] | None:
        """Return a user by ID or email with the password hash; takes the same time if there is none."""

    def update(self, user: User, *, password_hash: str | None = None) -> None:
        """Store the next version, and the hash of a new password if given."""

    def delete(self, user: User, now: datetime) -> None:
        """Remove the row permanently. Clears `created_by` of users that it created."""

    def remove(self, tenant_id: TenantId, user_id: UserId, now: datetime) -> None:
        """Like `delete`, of any version, for a row that is damaged."""


class AuditLog(Protocol):
    """Audit entries; they can only be added and read."""

    def add(self, entry: AuditEntry) -> None:
        """Record an entry, in the transaction of what it records."""

    def list(
        self, tenant_id: TenantId, *, limit: int, cursor: str | None, most_bytes: int | None = None
    ) -> Page[AuditEntry]:
        """List the entries of a tenant, even a purged one, oldest first."""

    def knows(self, tenant_id: TenantId) -> bool:
        """Return whether there is any entry of that tenant."""


class MetadataFeed(Protocol):
    """Changes of a tenant and of everything in it."""

    def state(self, tenant_id: TenantId) -> FeedState | None:
        """Return the state of the feed, None for an unknown tenant."""

    def read(
        self, tenant_id: TenantId, since: int, limit: int, most_bytes: int | None = None
    ) -> FeedSlice[MetadataChange]:
        """Return up to `limit` changes after a sequence.

        They end before a damaged one. Raises Damaged, with `next_since` to go on after it, if it is the
        first.
        """


class MetadataTransaction(Protocol):
    """The repositories, bound to one transaction, or to single reads."""

    @property
    def tenants(self) -> TenantCatalog:
        """`tenants` of this transaction."""

    @property
    def databases(self) -> DatabaseRepository:
        """`databases` of this transaction."""

    @property
    def collections(self) -> CollectionRepository:
        """`collections` of this transaction."""

    @property
    def users(self) -> UserRepository:
        """`users` of this transaction."""

    @property
    def audit(self) -> AuditLog:
        """`audit` of this transaction."""

    @property
    def stores(self) -> StoreRegistry:
        """`stores` of this transaction."""

    @property
    def outbox(self) -> Outbox:
        """`outbox` of this transaction."""

    @property
    def feed(self) -> MetadataFeed:
        """`feed` of this transaction."""

    @property
    def answers(self) -> Answers:
        """`answers` of this transaction."""

    @property
    def legacy_manifests(self) -> LegacyManifests:
        """`legacy_manifests` of this transaction."""

    @property
    def records(self) -> MetadataRecords:
        """`records` of this transaction."""


class MetadataStore(Protocol):
    """The one metadata store."""

    @property
    def generation(self) -> int | None:
        """A number that changes with every transaction; data that was read can be cached until it changes.

        None if other processes may write to the store.
        """

    def read(self) -> AbstractContextManager[MetadataTransaction]:
        """Open for reading: each call sees the newest committed state."""

    def snapshot(self) -> AbstractContextManager[MetadataTransaction]:
        """Open a consistent snapshot for several reads."""

    def image(self) -> AbstractContextManager[MetadataTransaction]:
        """Open a consistent snapshot of the whole store, for reads of any duration that block nothing."""

    def transaction(self) -> AbstractContextManager[MetadataTransaction]:
        """Open a transaction: committed durably when the block ends; rolled back when it raises."""

    def checkpoint_idle(self) -> bool:
        """Move the log into the file if nothing was written since the last call; return whether it did."""

    def erase(self) -> bool:
        """Erase deleted data from the store's files; return whether that was possible now.

        It is not possible while a reader has an older snapshot. PostgreSQL manages its files itself.
        """

    def figures(self) -> StoreFigures:
        """Return the current gauges of its connections, queue and log."""

    def check(self) -> list[str]:
        """Return the problems of the store; none if it is sound."""

    def displacement(self) -> str | None:
        """Return whether its files were removed, moved or replaced while open, in words; None if not."""

    def require_unaltered(self) -> None:
        """Raise Unavailable if another program has written to its files; cheap, so it looks now and then."""

    def close(self) -> None:
        """Close all connections."""
