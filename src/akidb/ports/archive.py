"""The content of an archive: the parts of a backup or of an exported tenant, in their order.

    Header, then for each tenant store: StoreHead, and for each of its collections: CollectionImage,
    Documents..., Tombstones...; then Rows of the metadata, table by table; then Summary.

The stores come first and the metadata after them, in the order in which they were read. Only types are
checked here: the reader of an archive must check its content.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Protocol

import msgspec

from akidb.domain.archives import ByteSink, ByteSource
from akidb.domain.entities import AuditEntry, Collection, Database, Metric, Tenant, User
from akidb.domain.errors import Damaged
from akidb.domain.ids import CollectionId, DatabaseId, EntityId, TenantId
from akidb.domain.lifecycle import CollectionState, DatabaseState, TenantStatus
from akidb.ports.migration import LegacyManifest
from akidb.ports.rows import Damages

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ArchiveKind = Literal["backup", "tenant"]
Time = Annotated[datetime, msgspec.Meta(tz=True)]


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="header", forbid_unknown_fields=True):
    """The kind and the origin of the archive."""

    kind: ArchiveKind
    akidb: str
    """The version of AkiDB that wrote it."""
    metadata_schema: str
    documents_schema: int
    created_at: Time


class StoreHead(msgspec.Struct, frozen=True, kw_only=True, tag="store", forbid_unknown_fields=True):
    """The start of one tenant's store; its collections follow."""

    tenant_id: TenantId


class CollectionImage(
    msgspec.Struct, frozen=True, kw_only=True, tag="collection", forbid_unknown_fields=True
):
    """The state of a collection in its store; its documents follow, then its tombstones."""

    collection_id: CollectionId
    database_id: DatabaseId
    version: int
    state: CollectionState
    database_state: DatabaseState
    dimension: int | None
    """None before the first vector."""
    metric: Metric
    max_document_count: int
    document_count: int
    storage_used_bytes: int
    sequence: int
    tombstone_floor: int


class Documents(NamedTuple):
    """Documents of a collection: columns of equal length and a matrix, sorted by sequence."""

    sequences: Sequence[int]
    ids: Sequence[str]
    texts: Sequence[str | None]
    metadata: Sequence[str]
    """Each in canonical JSON."""
    vectors: "NDArray[np.float32]"
    """Of the documents that have one. Shape `(m, dimension)`."""
    without_vector: Sequence[int] = ()
    """Places of the documents that have none, ascending."""
    is_verified: bool = False
    """Whether all texts and metadata match checksums of the store: they are what was checked and written."""


class Tombstones(msgspec.Struct, frozen=True, tag="tombstones", forbid_unknown_fields=True):
    """Deletions of a collection, sorted by sequence."""

    sequences: list[int]
    ids: list[str]


class TenantRecord(Tenant, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tenant with the other columns of its row."""

    state_before_deletion: TenantStatus | None = None


class DatabaseRecord(Database, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A database with the other columns of its row."""

    state_before_deletion: DatabaseState | None = None


class CollectionRecord(Collection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A collection with the other columns of its row."""

    state_before_deletion: CollectionState | None = None


class UserRecord(User, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user with the other columns of the row."""

    email_key: str
    password_hash: str


class AuditRecord(AuditEntry, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An audit entry."""


class PurgedRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An ID that was purged and must not be reused."""

    entity_id: bytes
    entity: str
    purged_at: Time


class LegacyRecord(LegacyManifest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The manifest of a tenant in AkiDB 1.x."""


Record = (
    TenantRecord | DatabaseRecord | CollectionRecord | UserRecord | LegacyRecord | AuditRecord | PurgedRecord
)

RECORDS: Mapping[str, type[Any]] = {
    "tenants": TenantRecord,
    "databases": DatabaseRecord,
    "collections": CollectionRecord,
    "users": UserRecord,
    "legacy_manifests": LegacyRecord,
    "audit_entries": AuditRecord,
    "purged": PurgedRecord,
}
"""The metadata tables that are archived, ordered so that rows refer only to earlier tables."""

TENANT_TABLES = ("tenants", "databases", "collections", "users")
"""The tables that are included in the export of a single tenant: not the audit log, nor the manifests of 1.x,
which belong to the installation where they were written."""


class Rows(NamedTuple):
    """Rows of one metadata table."""

    table: str
    rows: Sequence[Record]


class Summary(msgspec.Struct, frozen=True, tag="summary", forbid_unknown_fields=True, omit_defaults=True):
    """The counts of stores, documents, tombstones, and rows by table."""

    counts: dict[str, int]
    left_out: list[TenantId] = []
    """The tenants that are not in a backup, because their metadata or their store are damaged."""
    rows_left_out: int = 0
    """Number of other damaged rows that are not in a backup, such as audit entries."""


Part = Header | StoreHead | CollectionImage | Documents | Tombstones | Rows | Summary


class StoreImage(Protocol):
    """A consistent snapshot of a tenant store."""

    def collections(self) -> Sequence[CollectionImage]:
        """Return its collections, including deleted ones."""

    def documents(self, collection_id: CollectionId) -> Iterator[Documents]:
        """Yield the documents of a collection in parts of bounded size."""

    def tombstones(self, collection_id: CollectionId) -> Iterator[Tombstones]:
        """Yield the deletions of a collection in parts of bounded size."""

    def has_duplicates(self, collection_id: CollectionId) -> bool:
        """Return whether two documents of a collection have the same ID."""

    def has_strays(self) -> bool:
        """Return whether there are documents or deletions of no collection."""

    def faults(self) -> list[str]:
        """Return what is wrong with its pages, its counters and its other rows, but for documents."""


class StoreFiller(Protocol):
    """A new tenant store that is being filled and is not registered yet."""

    def add(self, part: CollectionImage | Documents | Tombstones) -> None:
        """Add a collection, or data of the collection that was added last."""


class MetadataRecords(Protocol):
    """The raw rows of the metadata store."""

    def read(self, table: str, tenant_id: TenantId | None = None, damaged: Damages = None) -> Iterator[Rows]:
        """Yield all rows of a table, or those of one tenant, in parts of bounded size. Needs a snapshot.

        Raises Damaged for a row that cannot be read, unless `damaged` takes it.
        """

    def strays(self) -> Iterator[Damaged]:
        """Yield an error for each row that refers to a missing one, and for each tenant that it may be of."""

    def write(self, rows: Rows) -> None:
        """Add rows. Raises AlreadyExists for a conflicting row, InvalidArgument for an invalid one."""

    def mend(self, tenant_id: TenantId, collection_id: CollectionId, field: str, value: Any) -> None:
        """Write one value of a collection whose row cannot be read."""

    def known_ids(self, rows: Rows) -> list[tuple[str, str]]:
        """Return the IDs of these rows that are taken or purged here, each with `taken` or `purged`."""

    def was_purged(self, *ids: EntityId) -> bool:
        """Return whether one of these IDs was purged."""

    def is_empty(self) -> bool:
        """Return whether all of the tables are empty."""


class ArchiveReader(Protocol):
    """An archive being read; checks each part by itself, and that it is allowed at its position."""

    header: Header
    digest: bytes
    """SHA-256 of the whole archive, after it was read completely."""

    def __iter__(self) -> Iterator[Part]:
        """Iterate over the parts. Raises InvalidArgument(`archive...`) for the first invalid one."""


class ArchiveWriter(Protocol):
    """An archive being written."""

    def add(self, part: StoreHead | CollectionImage | Documents | Tombstones | Rows) -> None:
        """Write the next part."""

    def finish(self, left_out: Sequence[TenantId] = (), rows_left_out: int = 0) -> object:
        """Write the end of the archive."""


class ArchiveFormat(Protocol):
    """Reads and writes archives."""

    def reader(self, source: ByteSource, *, room_bytes: int) -> ArchiveReader:
        """Start reading an archive, which may have at most `room_bytes` when unpacked."""

    def writer(self, sink: ByteSink, header: Header) -> ArchiveWriter:
        """Start writing an archive."""

    def require_exportable(self, rows: Sequence[Rows], collections: int) -> None:
        """Raise Unavailable for a tenant whose metadata exceeds the limits of a tenant archive."""
