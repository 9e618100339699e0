"""Export, import and copies of tenants, and backups of all tenants. Archives may have any size."""

from akidb.domain.archives import BackupReport, ImportReport
from akidb.domain.entities import Tenant
from akidb.domain.errors import AlreadyExists, InvalidState
from akidb.domain.fields import DryRun, NewIds, Slug, TenantName
from akidb.domain.lifecycle import Access
from akidb.operations import tenants
from akidb.operations.declare import InTenant, Request, Work, operation


@operation("backup.create", "GET", "/v1/backup", gives="bytes", audited=True, work=Work.HEAVY)
class CreateBackup(Request[BackupReport], kw_only=True, frozen=True):
    """Download a backup of all tenants, to be restored with `akidb restore`.

    The documents of each tenant are a consistent snapshot; the metadata is a later snapshot. A tenant whose
    metadata or store is damaged is left out. The header `AkiDB-Report`, which is only sent then, names it if
    that is known before the first byte; the tenant's audit, the log and the end of the archive always do.
    """


@operation(
    "tenant.export",
    "GET",
    tenants.ONE + "/export",
    gives="bytes",
    audited=True,
    work=Work.HEAVY,
    needs=Access.METADATA_READ,
)
class ExportTenant(InTenant[None], kw_only=True, frozen=True):
    """Export a tenant as an archive, with its databases, collections, users and documents."""


# Not under /v1/tenants, where `import` would be taken for a tenant's slug.
@operation(
    "tenant.import",
    "POST",
    "/v1/import",
    takes="bytes",
    work=Work.HEAVY,
    raises=(AlreadyExists, InvalidState),
)
class ImportTenant(Request[ImportReport], kw_only=True, frozen=True):
    """Import an exported tenant atomically, keeping its IDs, or with `new_ids` under new ones.

    The request body is the archive, of any size. With `dry_run`, conflicts are reported, nothing is written.
    """

    slug: Slug | None = None
    new_ids: NewIds = False
    dry_run: DryRun = False


@operation(
    "tenant.copy",
    "POST",
    tenants.ONE + "/copy",
    status=201,
    work=Work.HEAVY,
    needs=Access.METADATA_READ,
)
class CopyTenant(InTenant[Tenant], kw_only=True, frozen=True):
    """Copy the current state of a tenant to a new tenant, with new IDs and without users."""

    slug: Slug
    name: TenantName | None = None
