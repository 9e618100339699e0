"""Tenants as files, and all of them as one. An archive is bytes, of any size."""

from akidb.domain.archives import ImportReport
from akidb.domain.entities import Tenant
from akidb.domain.errors import AlreadyExists, InvalidState
from akidb.domain.fields import DryRun, Slug, TenantName
from akidb.domain.lifecycle import Access
from akidb.operations import tenants
from akidb.operations.declare import InTenant, Request, operation


@operation("backup.create", "GET", "/v1/backup", gives="bytes")
class CreateBackup(Request[None], kw_only=True, frozen=True):
    """Get a backup of all tenants, for `akidb restore`.

    Each tenant's documents are as of one instant, the metadata as of a later one.
    """


@operation("tenant.export", "GET", tenants.ONE + "/export", gives="bytes", needs=Access.METADATA_READ)
class ExportTenant(InTenant[None], kw_only=True, frozen=True):
    """Get a tenant as an archive, with its databases, collections, users and documents."""


# Not below /v1/tenants: there it would be the tenant whose slug is `import`.
@operation("tenant.import", "POST", "/v1/import", takes="bytes", raises=(AlreadyExists, InvalidState))
class ImportTenant(Request[ImportReport], kw_only=True, frozen=True):
    """Import an exported tenant under its own IDs, all or nothing.

    The body is the archive, of any size. With `dry_run` the report names the conflicts, and nothing is
    written.
    """

    slug: Slug | None = None
    dry_run: DryRun = False


@operation("tenant.copy", "POST", tenants.ONE + "/copy", status=201, slow=True, needs=Access.METADATA_READ)
class CopyTenant(InTenant[Tenant], kw_only=True, frozen=True):
    """Copy a tenant as it is now to a new one, with new IDs and without users."""

    slug: Slug
    name: TenantName | None = None
