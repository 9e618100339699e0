"""What an import of an exported tenant reports, and how an archive is refused."""

import msgspec

from akidb.domain.entities import Tenant
from akidb.domain.errors import InvalidArgument


class ImportConflict(msgspec.Struct, kw_only=True, frozen=True):
    """One thing of an archive that cannot be here beside what is here."""

    field: str
    """`tenant_id`, `slug`, `external_id`, `database_id`, `collection_id` or `user_id`."""
    value: str
    reason: str
    """`taken`, also by something deleted; or `purged`: that ID does not come back."""


class ImportReport(msgspec.Struct, kw_only=True, frozen=True):
    """What an import did, or would do."""

    tenant: Tenant
    dry_run: bool
    conflicts: list[ImportConflict]
    """What keeps it from being done; none after it was."""
    databases: int
    collections: int
    users: int
    documents: int


def fault(reason: str, path: str = "") -> InvalidArgument:
    """The error of an archive that is refused; `path` says where in it."""
    return InvalidArgument(f"archive{path}", reason)
