"""Inputs and outputs of archives, reports of tenant imports, and the error for an invalid archive."""

from typing import Protocol

import msgspec

from akidb.domain.entities import Tenant
from akidb.domain.errors import InvalidArgument


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


def fault(reason: str, path: str = "") -> InvalidArgument:
    """Return the error for an invalid archive; `path` is the position in it."""
    return InvalidArgument(f"archive{path}", reason)
