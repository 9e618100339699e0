"""What an archive holds, as values: the parts of a backup or of an exported tenant, in their order.

    Header, then for each tenant store: StoreHead, and for each of its collections: CollectionImage,
    Documents..., Tombstones...; then Rows of the metadata, table by table; then Summary.

The stores come first and the metadata after them, as they were taken. Nothing here is checked beyond its
types: whoever takes an archive in checks what it says.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Protocol

import msgspec

from akidb.domain.entities import AuditEntry, Collection, Database, Metric, Tenant, User
from akidb.domain.ids import CollectionId, DatabaseId, EntityId, TenantId
from akidb.domain.lifecycle import CollectionState, DatabaseState, TenantStatus
from akidb.ports.migration import LegacyManifest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ArchiveKind = Literal["backup", "tenant"]
Time = Annotated[datetime, msgspec.Meta(tz=True)]


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="header", forbid_unknown_fields=True):
    """What kind of archive it is, and where it comes from."""

    kind: ArchiveKind
    akidb: str
    """The version of AkiDB that wrote it."""
    metadata_schema: str
    documents_schema: int
    created_at: Time


class StoreHead(msgspec.Struct, frozen=True, kw_only=True, tag="store", forbid_unknown_fields=True):
    """The store of one tenant begins; its collections follow."""

    tenant_id: TenantId


class CollectionImage(
    msgspec.Struct, frozen=True, kw_only=True, tag="collection", forbid_unknown_fields=True
):
    """A collection as its store knows it; its documents follow, then its tombstones."""

    collection_id: CollectionId
    database_id: DatabaseId
    version: int
    state: CollectionState
    database_state: DatabaseState
    dimension: int
    metric: Metric
    max_document_count: int
    document_count: int
    storage_used_bytes: int
    sequence: int
    tombstone_floor: int


class Documents(NamedTuple):
    """Documents of a collection: columns of one length, in the order of their sequences, and a matrix."""

    sequences: Sequence[int]
    ids: Sequence[str]
    texts: Sequence[str | None]
    metadata: Sequence[str]
    """Each in canonical JSON."""
    vectors: "NDArray[np.float32]"
    """Shape `(n, dimension)`."""


class Tombstones(msgspec.Struct, frozen=True, tag="tombstones", forbid_unknown_fields=True):
    """Deletions of a collection, in the order of their sequences."""

    sequences: list[int]
    ids: list[str]


class TenantRecord(Tenant, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tenant with what its row holds besides."""

    state_before_deletion: TenantStatus | None = None


class DatabaseRecord(Database, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A database with what its row holds besides."""

    state_before_deletion: DatabaseState | None = None


class CollectionRecord(Collection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A collection with what its row holds besides."""

    state_before_deletion: CollectionState | None = None


class UserRecord(User, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user with what the row holds besides."""

    email_key: str
    password_hash: str


class AuditRecord(AuditEntry, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An audit entry."""


class PurgedRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An ID that was purged and is not to come back."""

    entity_id: bytes
    entity: str
    purged_at: Time


class LegacyRecord(LegacyManifest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The manifest that a tenant had in AkiDB 1.x."""


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
"""The tables of the metadata that are archived, in the order in which one may refer to another."""

TENANT_TABLES = ("tenants", "databases", "collections", "users")
"""Those that go with a tenant which is exported by itself: not the audit, nor the way back to 1.x, which are
of the place where they were written."""


class Rows(NamedTuple):
    """Rows of one table of the metadata."""

    table: str
    rows: Sequence[Record]


class Summary(msgspec.Struct, frozen=True, tag="summary", forbid_unknown_fields=True):
    """How many of each there were: stores, documents, tombstones, and rows by table."""

    counts: dict[str, int]


Part = Header | StoreHead | CollectionImage | Documents | Tombstones | Rows | Summary


class ByteSink(Protocol):
    """Where an archive is written."""

    def write(self, data: bytes, /) -> object:
        """Take all of it."""
        ...


class ByteSource(Protocol):
    """Where an archive is read from."""

    def read(self, size: int, /) -> bytes:
        """Up to so many bytes; none at the end alone."""
        ...


class StoreImage(Protocol):
    """A tenant store as of one instant."""

    def collections(self) -> Sequence[CollectionImage]:
        """Its collections, deleted ones too."""
        ...

    def documents(self, collection_id: CollectionId) -> Iterator[Documents]:
        """Documents of a collection in parts of bounded size."""
        ...

    def tombstones(self, collection_id: CollectionId) -> Iterator[Tombstones]:
        """Deletions of a collection in parts of bounded size."""
        ...


class StoreFiller(Protocol):
    """A new tenant store that is being filled, and that nobody knows of yet."""

    def add(self, part: CollectionImage | Documents | Tombstones) -> None:
        """Take a collection, or what belongs to the one that was taken last."""
        ...


class MetadataRecords(Protocol):
    """The rows of the metadata store, as they are."""

    def read(self, table: str, tenant_id: TenantId | None = None) -> Iterator[Rows]:
        """All rows of a table, or those of one tenant, in parts of bounded size."""
        ...

    def write(self, rows: Rows) -> None:
        """Add rows. Raises AlreadyExists for one that clashes, InvalidArgument for one that is refused."""
        ...

    def known_ids(self, rows: Rows) -> list[tuple[str, str]]:
        """Which of these rows' IDs are taken or purged here: the ID and `taken` or `purged`."""
        ...

    def was_purged(self, *ids: EntityId) -> bool:
        """Whether one of these IDs was purged."""
        ...

    def is_empty(self) -> bool:
        """Whether there is no row of any of the tables."""
        ...


class ArchiveReader(Protocol):
    """An archive being read; every part is checked by itself, and that it may come where it does."""

    header: Header
    digest: bytes
    """SHA-256 of all of it, once all was read."""

    def __iter__(self) -> Iterator[Part]:
        """The parts. Raises InvalidArgument(`archive...`) for the first that is wrong."""
        ...


class ArchiveWriter(Protocol):
    """An archive being written."""

    def add(self, part: StoreHead | CollectionImage | Documents | Tombstones | Rows) -> None:
        """Write the next part."""
        ...

    def finish(self) -> object:
        """Write the end."""
        ...


class ArchiveFormat(Protocol):
    """How archives are read and written."""

    def reader(self, source: ByteSource, *, room_bytes: int) -> ArchiveReader:
        """Begin to read an archive, which may take so many bytes when it is unpacked."""
        ...

    def writer(self, sink: ByteSink, header: Header) -> ArchiveWriter:
        """Begin to write one."""
        ...

    def require_exportable(self, rows: Sequence[Rows], collections: int) -> None:
        """Raise Unavailable for a tenant with more metadata than an archive of one tenant may have."""
        ...
