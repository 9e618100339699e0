"""Routes of databases."""

import msgspec

from akidb.api.lists import ChildQuery, Count, CountQuery
from akidb.api.routing import Call, Routes
from akidb.domain.documents import Page
from akidb.domain.entities import Database
from akidb.domain.lifecycle import DatabaseState
from akidb.ports.operations import DatabaseChanges

routes = Routes("databases")

_ALL = "/v1/tenants/{tenant}/databases"
_ONE = _ALL + "/{database}"


class DatabaseCreation(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A database to be made."""

    name: str
    description: str = ""
    state: DatabaseState = DatabaseState.READY


@routes.post(_ALL, status=201)
def create(call: Call, body: DatabaseCreation) -> Database:
    """Create a database, `ready` or `provisioning`."""
    return call.operations.databases.create(
        call.tenant, body.name, description=body.description, state=body.state
    )


@routes.get(_ALL)
def list_(call: Call, query: ChildQuery) -> Page[Database]:
    """List the databases of a tenant by name; with `deleted`, the deleted ones alone."""
    return call.operations.databases.list(
        call.tenant, deleted=query.deleted, limit=query.limit, cursor=query.cursor
    )


@routes.get("/v1/tenants/{tenant}/database-count")
def count(call: Call, query: CountQuery) -> Count:
    """Count the databases of a tenant."""
    return Count(call.operations.databases.count(call.tenant, deleted=query.deleted))


@routes.get(_ONE)
def get(call: Call) -> Database:
    """Get a database by its ID or name."""
    return call.operations.databases.get(call.tenant, call.database)


@routes.patch(_ONE)
def update(call: Call, body: DatabaseChanges, if_version: int | None) -> Database:
    """Change fields of a database, or move it to another state."""
    return call.operations.databases.update(call.tenant, call.database, body, if_version=if_version)


@routes.delete(_ONE)
def delete(call: Call, if_version: int | None) -> None:
    """Delete a database and its collections, until it is restored or purged."""
    call.operations.databases.delete(call.tenant, call.database, if_version=if_version)


@routes.post(_ONE + "/restore")
def restore(call: Call, if_version: int | None) -> Database:
    """Bring a deleted database back."""
    return call.operations.databases.restore(call.tenant, call.database, if_version=if_version)


@routes.post(_ONE + "/purge", status=204)
def purge(call: Call, if_version: int | None) -> None:
    """Remove a deleted database for good."""
    call.operations.databases.purge(call.tenant, call.database, if_version=if_version)
