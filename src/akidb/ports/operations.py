"""Everything a user can ask of AkiDB, in one interface.

The services implement it in process, the client over HTTP; handles, the command line and the routes are
written against it alone. A thing is named by its typed ID or by text: the ID's text, a tenant's slug, a name.
Any call may raise InvalidArgument, NotFound, InvalidState for a state that stops it, and Unavailable.
"""

from collections.abc import Collection as AbstractCollection
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from akidb.domain.documents import (
    DEFAULT_INCLUDE,
    DEFAULT_PAGE_LIMIT,
    Document,
    DocumentLike,
    Include,
    Page,
    SearchResult,
    UpsertResult,
    Vector,
)
from akidb.domain.entities import AuditEntry, Collection, Database, Metric, Tenant, Usage
from akidb.domain.ids import CollectionId, DatabaseId, TenantId
from akidb.domain.lifecycle import DatabaseState, TenantStatus
from akidb.domain.lists import TenantSort
from akidb.ports.archiving import ArchiveOperations
from akidb.ports.feeds import ChangeOperations
from akidb.ports.migration import MigrationOperations
from akidb.ports.upkeep import UpkeepOperations
from akidb.ports.users import UserOperations

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from akidb.ports.embedding import ModelInfo, Progress

TenantRef = TenantId | str
DatabaseRef = DatabaseId | str
CollectionRef = CollectionId | str


class CollectionPath(NamedTuple):
    """Where a collection is found."""

    tenant: TenantRef
    database: DatabaseRef
    collection: CollectionRef


class TenantChanges(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What to change of a tenant; what is UNSET stays."""

    name: str | UnsetType = UNSET
    slug: str | UnsetType = UNSET
    external_id: str | UnsetType | None = UNSET
    memory_quota_bytes: int | UnsetType = UNSET
    storage_quota_bytes: int | UnsetType = UNSET
    qps_quota: int | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET


class DatabaseChanges(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What to change of a database; what is UNSET stays."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    state: DatabaseState | UnsetType = UNSET
    schema_version: int | UnsetType = UNSET


class CollectionChanges(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What to change of a collection; what is UNSET stays. Dimension, metric and model cannot change."""

    name: str | UnsetType = UNSET
    hnsw_m: int | UnsetType = UNSET
    hnsw_ef_construction: int | UnsetType = UNSET
    max_document_count: int | UnsetType = UNSET


class TenantOperations(Protocol):
    """Tenants. `if_version` names the version that was read; another raises PreconditionFailed."""

    def create(
        self,
        name: str,
        *,
        slug: str | None = None,
        external_id: str | None = None,
        status: TenantStatus = TenantStatus.ACTIVE,
        memory_quota_bytes: int | None = None,
        storage_quota_bytes: int | None = None,
        qps_quota: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Tenant:
        """Create a tenant, `active` or `provisioning`; without a slug it is made from the name.

        Raises AlreadyExists for a slug or external ID that is taken.
        """
        ...

    def get(self, tenant: TenantRef) -> Tenant:
        """One tenant that is not deleted."""
        ...

    def list(
        self,
        *,
        status: TenantStatus | None = None,
        external_id: str | None = None,
        name_contains: str | None = None,
        sort: TenantSort = TenantSort.CREATED_AT,
        deleted: bool = False,
        limit: int = DEFAULT_PAGE_LIMIT,
        cursor: str | None = None,
    ) -> Page[Tenant]:
        """Tenants in this order, by creation if not said; with `deleted` the deleted ones alone.

        `name_contains` is looked for in the name without regard to case or to how letters are composed.
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
        """How many tenants such a list has."""
        ...

    def update(self, tenant: TenantRef, changes: TenantChanges, *, if_version: int | None = None) -> Tenant:
        """Change fields of a tenant."""
        ...

    def activate(self, tenant: TenantRef, *, if_version: int | None = None) -> Tenant:
        """Let a provisioning or suspended tenant work."""
        ...

    def suspend(
        self, tenant: TenantRef, *, reason: str | None = None, if_version: int | None = None
    ) -> Tenant:
        """Stop all but reads of metadata and audit. No write commits after this returns."""
        ...

    def delete(self, tenant: TenantRef, *, if_version: int | None = None) -> None:
        """Delete a tenant and all below it, until `restore` or `purge`."""
        ...

    def restore(self, tenant: TenantRef, *, if_version: int | None = None) -> Tenant:
        """Bring a deleted tenant back in the state that it had."""
        ...

    def purge(self, tenant: TenantRef, *, if_version: int | None = None) -> None:
        """Remove a deleted tenant for good. InvalidState unless it is deleted."""
        ...

    def usage(self, tenant: TenantRef) -> Usage:
        """Each quota with its limit and exact use."""
        ...


class DatabaseOperations(Protocol):
    """Databases of a tenant."""

    def create(
        self,
        tenant: TenantRef,
        name: str,
        *,
        description: str = "",
        state: DatabaseState = DatabaseState.READY,
    ) -> Database:
        """Create a database, `ready` or `provisioning`. Raises AlreadyExists for a name that is taken."""
        ...

    def get(self, tenant: TenantRef, database: DatabaseRef) -> Database:
        """One database that is not deleted."""
        ...

    def list(
        self,
        tenant: TenantRef,
        *,
        deleted: bool = False,
        limit: int = DEFAULT_PAGE_LIMIT,
        cursor: str | None = None,
    ) -> Page[Database]:
        """Databases by name."""
        ...

    def count(self, tenant: TenantRef, *, deleted: bool = False) -> int:
        """How many databases there are, or deleted ones."""
        ...

    def update(
        self,
        tenant: TenantRef,
        database: DatabaseRef,
        changes: DatabaseChanges,
        *,
        if_version: int | None = None,
    ) -> Database:
        """Change fields of a database, or move it to another state."""
        ...

    def delete(self, tenant: TenantRef, database: DatabaseRef, *, if_version: int | None = None) -> None:
        """Delete a database and its collections, until `restore` or `purge`."""
        ...

    def restore(self, tenant: TenantRef, database: DatabaseRef, *, if_version: int | None = None) -> Database:
        """Bring a deleted database back."""
        ...

    def purge(self, tenant: TenantRef, database: DatabaseRef, *, if_version: int | None = None) -> None:
        """Remove a deleted database for good."""
        ...


class CollectionOperations(Protocol):
    """Collections of a database."""

    def create(
        self,
        tenant: TenantRef,
        database: DatabaseRef,
        name: str,
        *,
        dimension: int | None = None,
        metric: Metric = Metric.COSINE,
        embedding_model: str | None = None,
        hnsw_m: int | None = None,
        hnsw_ef_construction: int | None = None,
        max_document_count: int | None = None,
    ) -> Collection:
        """Create a collection; with an embedding model it has the model's dimension."""
        ...

    def get(self, tenant: TenantRef, database: DatabaseRef, collection: CollectionRef) -> Collection:
        """One collection that is not deleted."""
        ...

    def list(
        self,
        tenant: TenantRef,
        database: DatabaseRef,
        *,
        deleted: bool = False,
        limit: int = DEFAULT_PAGE_LIMIT,
        cursor: str | None = None,
    ) -> Page[Collection]:
        """Collections by name."""
        ...

    def count(self, tenant: TenantRef, database: DatabaseRef, *, deleted: bool = False) -> int:
        """How many collections there are, or deleted ones."""
        ...

    def update(
        self,
        tenant: TenantRef,
        database: DatabaseRef,
        collection: CollectionRef,
        changes: CollectionChanges,
        *,
        if_version: int | None = None,
    ) -> Collection:
        """Change fields of a collection."""
        ...

    def delete(
        self,
        tenant: TenantRef,
        database: DatabaseRef,
        collection: CollectionRef,
        *,
        if_version: int | None = None,
    ) -> None:
        """Delete a collection, until `restore` or `purge`."""
        ...

    def restore(
        self,
        tenant: TenantRef,
        database: DatabaseRef,
        collection: CollectionRef,
        *,
        if_version: int | None = None,
    ) -> Collection:
        """Bring a deleted collection back, documents and all."""
        ...

    def purge(
        self,
        tenant: TenantRef,
        database: DatabaseRef,
        collection: CollectionRef,
        *,
        if_version: int | None = None,
    ) -> None:
        """Remove a deleted collection and its documents for good."""
        ...


class DocumentOperations(Protocol):
    """Documents of a collection, and search among them. All of these count towards the tenant's qps."""

    def upsert(self, path: CollectionPath, documents: Sequence[DocumentLike]) -> UpsertResult:
        """Write up to 10,000 documents, all or none; a document with a known id is replaced.

        Raises QuotaExceeded when storage or the document count would pass its limit.
        """
        ...

    def get(
        self,
        path: CollectionPath,
        ids: Sequence[str],
        *,
        include: AbstractCollection[Include] = DEFAULT_INCLUDE,
    ) -> list[Document]:
        """The documents with these ids, in their order; unknown ids are left out."""
        ...

    def scan(
        self,
        path: CollectionPath,
        *,
        filter: Mapping[str, Any] | None = None,
        include: AbstractCollection[Include] = DEFAULT_INCLUDE,
        limit: int = DEFAULT_PAGE_LIMIT,
        cursor: str | None = None,
    ) -> Page[Document]:
        """Documents in the order of their ids (by code point)."""
        ...

    def count(self, path: CollectionPath, *, filter: Mapping[str, Any] | None = None) -> int:
        """How many documents there are, or match."""
        ...

    def update(
        self,
        path: CollectionPath,
        metadata: Mapping[str, Any],
        *,
        ids: Sequence[str] | None = None,
        filter: Mapping[str, Any] | None = None,
    ) -> int:
        """Merge `metadata` into that of the chosen documents; a key set to None is removed (RFC 7396).

        Needs either ids or a filter that is not empty; gives how many documents were chosen.
        """
        ...

    def delete(
        self,
        path: CollectionPath,
        *,
        ids: Sequence[str] | None = None,
        filter: Mapping[str, Any] | None = None,
    ) -> int:
        """Delete the chosen documents; gives how many there were."""
        ...

    def search(
        self,
        path: CollectionPath,
        *,
        text: str | None = None,
        vector: "Sequence[float] | NDArray[np.float32] | None" = None,
        top_k: int = 10,
        filter: Mapping[str, Any] | None = None,
        score_threshold: float | None = None,
        ef_search: int | None = None,
        include: AbstractCollection[Include] = DEFAULT_INCLUDE,
    ) -> SearchResult:
        """The `top_k` documents that score highest against a text or a vector of shape `(dimension,)`.

        Matches below `score_threshold` are left out. `ef_search` widens the search of an approximate index.
        """
        ...


class EmbeddingResult(msgspec.Struct, kw_only=True, frozen=True, eq=False):
    """Vectors of texts, in their order."""

    model: str
    vectors: Vector
    """Shape `(n, dimension)`."""
    token_counts: list[int]
    truncated: list[bool]


class EmbeddingOperations(Protocol):
    """Texts to vectors, without storing anything."""

    def embed(self, texts: Sequence[str], *, model: str | None = None) -> EmbeddingResult:
        """Embed up to 2,048 texts with a model, or with the default one."""
        ...


class ModelOperations(Protocol):
    """The embedding models of the machine that runs AkiDB."""

    def list(self) -> "list[ModelInfo]":
        """All known models."""
        ...

    def info(self, name: str) -> "ModelInfo":
        """One model."""
        ...

    def pull(self, name: str, progress: "Progress | None" = None) -> "ModelInfo":
        """Fetch a model, unless it is there."""
        ...


class AuditOperations(Protocol):
    """The record of what was done; it outlives its tenant."""

    def list(
        self, tenant: TenantRef, *, limit: int = DEFAULT_PAGE_LIMIT, cursor: str | None = None
    ) -> Page[AuditEntry]:
        """Entries of a tenant, oldest first. A purged tenant is named by its ID."""
        ...


class Operations(UpkeepOperations, Protocol):
    """All of them together."""

    @property
    def tenants(self) -> TenantOperations:
        """Tenants."""
        ...

    @property
    def databases(self) -> DatabaseOperations:
        """Databases."""
        ...

    @property
    def collections(self) -> CollectionOperations:
        """Collections."""
        ...

    @property
    def documents(self) -> DocumentOperations:
        """Documents and search."""
        ...

    @property
    def changes(self) -> ChangeOperations:
        """Change feeds."""
        ...

    @property
    def embeddings(self) -> EmbeddingOperations:
        """Embedding of texts."""
        ...

    @property
    def models(self) -> ModelOperations:
        """Embedding models."""
        ...

    @property
    def users(self) -> UserOperations:
        """Users."""
        ...

    @property
    def audit(self) -> AuditOperations:
        """Audit entries."""
        ...

    @property
    def archives(self) -> ArchiveOperations:
        """Backups, exports, imports, copies."""
        ...

    @property
    def migration(self) -> MigrationOperations:
        """From AkiDB 1.x and back."""
        ...

    def close(self) -> None:
        """Let go of files and connections. Nothing may be called afterwards."""
        ...
