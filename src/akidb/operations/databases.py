"""Databases of a tenant."""

from msgspec import UNSET, UnsetType

from akidb.domain.documents import DEFAULT_PAGE_LIMIT, Page
from akidb.domain.entities import Database
from akidb.domain.fields import (
    Cursor,
    Deleted,
    Description,
    FirstState,
    Limit,
    Name,
    SchemaVersion,
    SmallObject,
    State,
    Version,
)
from akidb.domain.lifecycle import Access, DatabaseState
from akidb.operations import tenants
from akidb.operations.declare import MANY, InDatabase, InTenant, Work, operation

ALL = tenants.ONE + "/databases"
ONE = ALL + "/{database}"


@operation("database.create", "POST", ALL, status=201, needs=Access.METADATA_WRITE)
class CreateDatabase(InTenant[Database], kw_only=True, frozen=True):
    """Create a database in state `ready` or `provisioning`."""

    name: Name
    description: Description = ""
    state: FirstState = DatabaseState.READY
    metadata: SmallObject | None = None


@operation("database.list", "GET", ALL, needs=Access.METADATA_READ, more_with={"limit": (MANY, Work.HEAVY)})
class ListDatabases(InTenant[Page[Database]], kw_only=True, frozen=True):
    """List the databases of a tenant, sorted by name; with `deleted`, only deleted ones."""

    deleted: Deleted = False
    limit: Limit = DEFAULT_PAGE_LIMIT
    cursor: Cursor | None = None


@operation(
    "database.count", "GET", tenants.ONE + "/database-count", needs=Access.METADATA_READ, member="count"
)
class CountDatabases(InTenant[int], kw_only=True, frozen=True):
    """Count the databases of a tenant; with `deleted`, only deleted ones."""

    deleted: Deleted = False


@operation("database.get", "GET", ONE, needs=Access.METADATA_READ)
class GetDatabase(InDatabase[Database], kw_only=True, frozen=True):
    """Get a database by its ID or name."""


@operation("database.update", "PATCH", ONE, needs=Access.METADATA_WRITE)
class UpdateDatabase(InDatabase[Database], kw_only=True, frozen=True):
    """Update fields of a database, or change its state; `metadata` is replaced as a whole."""

    name: Name | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    state: State | UnsetType = UNSET
    schema_version: SchemaVersion | UnsetType = UNSET
    metadata: SmallObject | UnsetType = UNSET
    if_version: Version | None = None


@operation("database.delete", "DELETE", ONE, status=204, needs=Access.METADATA_WRITE, grows=False)
class DeleteDatabase(InDatabase[None], kw_only=True, frozen=True):
    """Delete a database and its collections; it can be restored until it is purged."""

    if_version: Version | None = None


@operation("database.restore", "POST", ONE + "/restore", needs=Access.METADATA_WRITE, grows=False)
class RestoreDatabase(InDatabase[Database], kw_only=True, frozen=True):
    """Restore a deleted database with its collections."""

    if_version: Version | None = None


@operation("database.purge", "POST", ONE + "/purge", status=204, needs=Access.METADATA_WRITE, grows=False)
class PurgeDatabase(InDatabase[None], kw_only=True, frozen=True):
    """Permanently remove a deleted database and its documents."""

    if_version: Version | None = None
