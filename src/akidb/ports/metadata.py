"""What the services need of the metadata store.

A transaction offers one small repository for each entity. `get` raises NotFound, `find` gives None;
both see what is not deleted, or with `deleted=True` only what is. Whatever belongs to a tenant takes
the tenant's ID first. An update carries the entity's next version: when the stored one is not the
version before it, PreconditionFailed is raised and nothing changed.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Literal, NamedTuple, Protocol

from akidb.domain.changes import FeedSlice, FeedState, MetadataChange
from akidb.domain.documents import Page
from akidb.domain.entities import AuditEntry, Collection, Database, Scope, Tenant, User
from akidb.domain.ids import CollectionId, DatabaseId, EntityId, StoreId, TenantId, UserId
from akidb.domain.lifecycle import TenantStatus
from akidb.domain.lists import TenantSort
from akidb.observe.telemetry import StoreFigures
from akidb.ports.answers import Answers
from akidb.ports.archive import MetadataRecords
from akidb.ports.migration import LegacyManifests

OutboxSubject = Literal["tenant", "database", "collection", "collection_purge", "tenant_purge"]


class TenantCatalog(Protocol):
    """Tenants."""

    def create(self, tenant: Tenant) -> None:
        """Add a tenant. Raises AlreadyExists for its slug or external ID."""
        ...

    def get(self, tenant: TenantId | str, *, deleted: bool = False) -> Tenant:
        """By ID or slug."""
        ...

    def find(self, tenant: TenantId | str, *, deleted: bool = False) -> Tenant | None:
        """By ID or slug."""
        ...

    def list(
        self,
        *,
        status: TenantStatus | None,
        external_id: str | None,
        deleted: bool,
        limit: int,
        cursor: str | None,
        name_contains: str | None = None,
        sort: TenantSort = TenantSort.CREATED_AT,
    ) -> Page[Tenant]:
        """In this order, equal ones by ID. Raises InvalidArgument(`cursor`) for that of another list.

        `name_contains` is looked for without regard to case. A row that cannot be read is left out.
        """
        ...

    def count(
        self,
        *,
        status: TenantStatus | None = None,
        external_id: str | None = None,
        name_contains: str | None = None,
        deleted: bool = False,
    ) -> int:
        """How many there are of these."""
        ...

    def update(self, tenant: Tenant) -> None:
        """Store the next version."""
        ...

    def delete(self, tenant: Tenant, now: datetime) -> None:
        """Mark as deleted, remembering the state that it had."""
        ...

    def restore(self, tenant: Tenant, now: datetime) -> Tenant:
        """Undo a deletion."""
        ...

    def purge(self, tenant_id: TenantId, now: datetime) -> None:
        """Remove the rows of a tenant and of all below it; remember its ID as purged."""
        ...

    def last_purge(self) -> datetime | None:
        """When a tenant, or anything below one, was last purged."""
        ...

    def expired(self, before: datetime, limit: int) -> Sequence[Tenant]:
        """Tenants deleted by then, the longest deleted first; not those that 1.x had deleted.

        In a transaction they are locked against others, and those that others have locked are left out.
        """
        ...


class DatabaseRepository(Protocol):
    """Databases of tenants."""

    def create(self, database: Database) -> None:
        """Add a database. Raises AlreadyExists for its name."""
        ...

    def get(self, tenant_id: TenantId, database: DatabaseId | str, *, deleted: bool = False) -> Database:
        """By ID or name."""
        ...

    def find(
        self, tenant_id: TenantId, database: DatabaseId | str, *, deleted: bool = False
    ) -> Database | None:
        """By ID or name."""
        ...

    def list(self, tenant_id: TenantId, *, deleted: bool, limit: int, cursor: str | None) -> Page[Database]:
        """In the order of names."""
        ...

    def count(self, tenant_id: TenantId, *, deleted: bool = False) -> int:
        """How many are not deleted, or are."""
        ...

    def update(self, database: Database) -> None:
        """Store the next version."""
        ...

    def delete(self, database: Database, now: datetime) -> None:
        """Mark as deleted, remembering the state that it had."""
        ...

    def restore(self, database: Database, now: datetime) -> Database:
        """Undo a deletion."""
        ...

    def purge(self, tenant_id: TenantId, database_id: DatabaseId, now: datetime) -> None:
        """Remove the rows of a database and its collections; remember its ID as purged."""
        ...

    def expired(self, before: datetime, limit: int) -> Sequence[Database]:
        """Those deleted by then whose tenant takes changes of its metadata; locked as tenants are."""
        ...


class CollectionRepository(Protocol):
    """Collections of databases."""

    def create(self, collection: Collection) -> None:
        """Add a collection. Raises AlreadyExists for its name."""
        ...

    def get(
        self,
        tenant_id: TenantId,
        database_id: DatabaseId,
        collection: CollectionId | str,
        *,
        deleted: bool = False,
    ) -> Collection:
        """By ID or name."""
        ...

    def find(
        self,
        tenant_id: TenantId,
        database_id: DatabaseId,
        collection: CollectionId | str,
        *,
        deleted: bool = False,
    ) -> Collection | None:
        """By ID or name."""
        ...

    def scope(
        self, tenant: TenantId | str, database: DatabaseId | str, collection: CollectionId | str
    ) -> Scope:
        """A collection and all above it, in one query. NotFound names the first that is missing."""
        ...

    def list(
        self,
        tenant_id: TenantId,
        database_id: DatabaseId,
        *,
        deleted: bool,
        limit: int,
        cursor: str | None,
    ) -> Page[Collection]:
        """In the order of names."""
        ...

    def all_of_tenant(
        self, tenant_id: TenantId, database_id: DatabaseId | None = None
    ) -> Sequence[tuple[Database, Collection]]:
        """Every collection of a tenant or of one database, deleted ones too, with its database."""
        ...

    def find_with_database(
        self, tenant_id: TenantId, collection_id: CollectionId
    ) -> tuple[Database, Collection] | None:
        """One collection, deleted or not, with its database."""
        ...

    def count_in(self, tenant_id: TenantId, database_id: DatabaseId, *, deleted: bool = False) -> int:
        """How many of a database are not deleted, or are."""
        ...

    def count(self, tenant_id: TenantId) -> int:
        """How many are not deleted, nor in a deleted database."""
        ...

    def update(self, collection: Collection) -> None:
        """Store the next version."""
        ...

    def delete(self, collection: Collection, now: datetime) -> None:
        """Mark as deleted, remembering the state that it had."""
        ...

    def restore(self, collection: Collection, now: datetime) -> Collection:
        """Undo a deletion."""
        ...

    def purge(self, tenant_id: TenantId, collection_id: CollectionId, now: datetime) -> None:
        """Remove the row of a collection; remember its ID as purged."""
        ...

    def expired(self, before: datetime, limit: int) -> Sequence[Collection]:
        """Those deleted by then where all above takes changes of its metadata; locked as tenants are."""
        ...


class UserRepository(Protocol):
    """Users of tenants. A hash of a password is in no entity: it is handed over and asked for by itself."""

    def create(self, user: User, password_hash: str) -> None:
        """Add a user. Raises AlreadyExists for its email, case ignored."""
        ...

    def get(self, tenant_id: TenantId, user: UserId | str) -> User:
        """By ID or email, case ignored."""
        ...

    def find(self, tenant_id: TenantId, user: UserId | str) -> User | None:
        """By ID or email, case ignored."""
        ...

    def list(self, tenant_id: TenantId, *, limit: int, cursor: str | None) -> Page[User]:
        """In the order of emails, case ignored."""
        ...

    def count(self, tenant_id: TenantId) -> int:
        """How many there are."""
        ...

    def find_with_hash(self, tenant_id: TenantId, user: UserId | str) -> tuple[User, str] | None:
        """By ID or email, with the hash of the password; as quick when there is none."""
        ...

    def update(self, user: User, *, password_hash: str | None = None) -> None:
        """Store the next version, and with it the hash of another password."""
        ...

    def delete(self, user: User, now: datetime) -> None:
        """Remove the row for good. Users that it created have no creator then."""
        ...


class AuditLog(Protocol):
    """Audit entries: added, read, nothing else."""

    def add(self, entry: AuditEntry) -> None:
        """Record an entry, in the transaction of what it records."""
        ...

    def list(self, tenant_id: TenantId, *, limit: int, cursor: str | None) -> Page[AuditEntry]:
        """Entries of a tenant, oldest first, also when it is purged."""
        ...

    def knows(self, tenant_id: TenantId) -> bool:
        """Whether there is any entry of that tenant."""
        ...


class StoreRegistry(Protocol):
    """Which tenants have a store, and which one."""

    def find(self, tenant_id: TenantId) -> StoreId | None:
        """The tenant's store, None when none was ever made."""
        ...

    def find_with_pending(self, tenant_id: TenantId) -> tuple[StoreId, bool] | None:
        """The tenant's store, and whether the outbox holds anything for it."""
        ...

    def register(self, tenant_id: TenantId, store_id: StoreId) -> None:
        """Remember that the store was made."""
        ...

    def list(self) -> list[tuple[TenantId, StoreId]]:
        """All of them."""
        ...


class OutboxEntry(NamedTuple):
    """A committed change that a tenant store must learn of."""

    sequence: int
    tenant_id: TenantId
    subject: OutboxSubject
    subject_id: bytes


class Outbox(Protocol):
    """Changes on their way from the metadata store to the tenant stores."""

    def add(self, tenant_id: TenantId, subject: OutboxSubject, subject_id: EntityId) -> None:
        """Note that this subject changed. What it changed to is read when the entry is applied."""
        ...

    def pending(self, tenant_id: TenantId) -> list[OutboxEntry]:
        """What the tenant's store has not been told, oldest first."""
        ...

    def purges(self) -> list[OutboxEntry]:
        """Stores that are still to be removed."""
        ...

    def remove(self, tenant_id: TenantId, up_to_sequence: int) -> None:
        """Forget entries that were applied."""
        ...

    def waiting(self) -> Sequence[tuple[TenantId, int]]:
        """The tenants whose stores were not told something, and the first of these entries of each."""
        ...

    def depth(self) -> int:
        """How many entries wait."""
        ...


class MetadataFeed(Protocol):
    """What changed below a tenant, the tenant itself included."""

    def state(self, tenant_id: TenantId) -> FeedState | None:
        """How far the feed is, None for a tenant that there is not."""
        ...

    def read(self, tenant_id: TenantId, since: int, limit: int) -> FeedSlice[MetadataChange]:
        """Up to `limit` changes after a sequence. One that cannot be read is left out."""
        ...


class MetadataTransaction(Protocol):
    """The repositories, bound to one transaction, or to single reads."""

    @property
    def tenants(self) -> TenantCatalog:
        """`tenants` of this transaction."""
        ...

    @property
    def databases(self) -> DatabaseRepository:
        """`databases` of this transaction."""
        ...

    @property
    def collections(self) -> CollectionRepository:
        """`collections` of this transaction."""
        ...

    @property
    def users(self) -> UserRepository:
        """`users` of this transaction."""
        ...

    @property
    def audit(self) -> AuditLog:
        """`audit` of this transaction."""
        ...

    @property
    def stores(self) -> StoreRegistry:
        """`stores` of this transaction."""
        ...

    @property
    def outbox(self) -> Outbox:
        """`outbox` of this transaction."""
        ...

    @property
    def feed(self) -> MetadataFeed:
        """`feed` of this transaction."""
        ...

    @property
    def answers(self) -> Answers:
        """`answers` of this transaction."""
        ...

    @property
    def legacy_manifests(self) -> LegacyManifests:
        """`legacy_manifests` of this transaction."""
        ...

    @property
    def records(self) -> MetadataRecords:
        """`records` of this transaction."""
        ...


class MetadataStore(Protocol):
    """The one metadata store."""

    @property
    def generation(self) -> int | None:
        """Changes with every transaction, so that what was read before it may be kept until then.

        None when other processes may write to the store.
        """
        ...

    def read(self) -> AbstractContextManager[MetadataTransaction]:
        """For reading: each call sees the newest committed state."""
        ...

    def snapshot(self) -> AbstractContextManager[MetadataTransaction]:
        """For reading several things as of one instant."""
        ...

    def image(self) -> AbstractContextManager[MetadataTransaction]:
        """For reading all of it as of one instant, for as long as it takes, in nobody's way."""
        ...

    def transaction(self) -> AbstractContextManager[MetadataTransaction]:
        """All or nothing: committed, durably, when the block ends; rolled back when it raises."""
        ...

    def erase(self) -> bool:
        """Leave no trace of what was deleted in the store's files; tells whether that could be done now.

        It cannot while somebody reads what was there before. PostgreSQL's files are its own affair.
        """
        ...

    def figures(self) -> StoreFigures:
        """How it stands with its connections, its queue and its log."""
        ...

    def check(self) -> list[str]:
        """What is wrong with the store: nothing, in a sound one."""
        ...

    def close(self) -> None:
        """Close its connections."""
        ...
