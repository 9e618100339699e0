"""Inputs and outputs of archives, reports of tenant imports, and the error for an invalid archive."""

from typing import Protocol

import msgspec

from akidb.domain.entities import Tenant
from akidb.domain.errors import InvalidArgument
from akidb.domain.ids import TenantId


class ByteSink(Protocol):
    """The output of an archive."""

    def write(self, data: bytes, /) -> object:
        """Write all of the data."""


class ByteSource(Protocol):
    """The input of an archive."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; empty only at the end."""


class ImportConflict(msgspec.Struct, kw_only=True, frozen=True):
    """A value in an archive that conflicts with existing data."""

    field: str
    """`tenant_id`, `slug`, `external_id`, `database_id`, `collection_id` or `user_id`."""
    value: str
    reason: str
    """`taken`, possibly by a deleted entity; or `purged`: a purged ID cannot be reused."""


class ImportReport(msgspec.Struct, kw_only=True, frozen=True):
    """The result of an import, or of a dry run."""

    tenant: Tenant
    dry_run: bool
    conflicts: list[ImportConflict]
    """Conflicts that prevent the import; empty if it was done."""
    databases: int
    collections: int
    users: int
    documents: int


class BackupReport(msgspec.Struct, kw_only=True, frozen=True):
    """What a backup does not contain, because it cannot be read. Usually nothing."""

    tenants_left_out: list[TenantId] = []
    """Tenants whose metadata or stores are damaged; at most the first 100 from a server."""
    tenants_left_out_count: int = 0
    rows_left_out: int = 0
    """Number of other damaged rows, such as audit entries."""

    @property
    def is_complete(self) -> bool:
        """Whether everything is in the backup."""
        return not (self.tenants_left_out_count or self.rows_left_out)


MAX_NAMED = 100
"""Tenants that a report over HTTP names."""


def fault(reason: str, path: str = "") -> InvalidArgument:
    """Return the error for an invalid archive; `path` is the position in it."""
    return InvalidArgument(f"archive{path}", reason)
