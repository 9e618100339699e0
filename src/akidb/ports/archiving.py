"""What can be asked about archives: backup, export, import, copy; a part of `akidb.ports.operations`."""

from typing import TYPE_CHECKING, Protocol

import msgspec

from akidb.domain.entities import Tenant
from akidb.ports.archive import ByteSink, ByteSource

if TYPE_CHECKING:
    from akidb.ports.operations import TenantRef


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


class ArchiveOperations(Protocol):
    """Tenants as files, and all of them as one."""

    def backup(self, target: ByteSink) -> None:
        """Write all there is: each tenant's store as of one instant, the metadata after them."""
        ...

    def export(self, tenant: "TenantRef", target: ByteSink) -> None:
        """Write one tenant with its databases, collections, users and documents."""
        ...

    def import_(self, source: ByteSource, *, slug: str | None = None, dry_run: bool = False) -> ImportReport:
        """Take in an exported tenant, under its own IDs, with its slug or another one; all or nothing.

        Raises InvalidArgument(`archive...`) for an archive that is damaged or breaks a rule, AlreadyExists
        for what is taken, InvalidState for what was purged. With `dry_run` conflicts are reported, and
        nothing is written.
        """
        ...

    def copy(self, tenant: "TenantRef", slug: str, *, name: str | None = None) -> Tenant:
        """Make a tenant of its own of what a tenant holds now, with new IDs; its users do not come along.

        Raises AlreadyExists for a slug that is taken.
        """
        ...
