"""Routes of backups, exports, imports and copies. An archive is bytes, of any size."""

import msgspec

from akidb.api.routing import Call, Routes
from akidb.api.streams import BYTES
from akidb.domain import errors
from akidb.domain.entities import Tenant
from akidb.ports.archive import ByteSink, ByteSource
from akidb.ports.archiving import ImportReport

routes = Routes("archives")


class ImportQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How to take an archive in."""

    slug: str | None = None
    dry_run: bool = False


class Copy(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What the copy of a tenant is called; by default it has the name of the original."""

    slug: str
    name: str | None = None


@routes.get("/v1/backup", media_type=BYTES)
def backup(call: Call, target: ByteSink) -> None:
    """Get a backup of all tenants, for `akidb restore`.

    Each tenant's documents are as of one instant, the metadata after them.
    """
    call.operations.archives.backup(target)


@routes.get("/v1/tenants/{tenant}/export", media_type=BYTES)
def export(call: Call, target: ByteSink) -> None:
    """Get a tenant as an archive, with its databases, collections, users and documents."""
    call.operations.archives.export(call.tenant, target)


# Not below /v1/tenants: there it would stand for a tenant whose slug is `import`.
@routes.post("/v1/import", raises=(errors.AlreadyExists, errors.InvalidState))
def import_(call: Call, query: ImportQuery, source: ByteSource) -> ImportReport:
    """Take in an exported tenant, all or nothing.

    The body is the archive, of any size. With `dry_run` the answer says what would be done, and what is in
    its way.
    """
    return call.operations.archives.import_(source, slug=query.slug, dry_run=query.dry_run)


@routes.post("/v1/tenants/{tenant}/copy", status=201, slow=True)
def copy(call: Call, body: Copy) -> Tenant:
    """Make a tenant of its own of what a tenant holds now, with new IDs and without users."""
    return call.operations.archives.copy(call.tenant, body.slug, name=body.name)
