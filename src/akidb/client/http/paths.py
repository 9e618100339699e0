"""Where things are found under `/v1`, and how a page of a list is asked for.

A name that could not be one is refused before it is sent.
"""

from urllib.parse import quote

import msgspec

from akidb.domain.documents import MAX_PAGE_LIMIT
from akidb.domain.ids import CollectionId, DatabaseId, TenantId, UserId
from akidb.domain.names import check_integer, parse_reference
from akidb.ports.operations import CollectionRef, DatabaseRef, TenantRef
from akidb.ports.users import UserRef

TENANTS = "/v1/tenants"
TENANT_COUNT = "/v1/tenant-count"


class Count(msgspec.Struct):
    """How many things there are."""

    count: int


def tenant_path(tenant: TenantRef) -> str:
    """Of a tenant. Raises InvalidArgument for what is neither a slug nor an ID."""
    # Slugs, names and IDs are unreserved characters of RFC 3986 and never start with a dot.
    return f"{TENANTS}/{parse_reference(TenantId, tenant)}"


def databases_path(tenant: TenantRef) -> str:
    """Of the databases of a tenant."""
    return f"{tenant_path(tenant)}/databases"


def database_path(tenant: TenantRef, database: DatabaseRef) -> str:
    """Of a database."""
    return f"{databases_path(tenant)}/{parse_reference(DatabaseId, database)}"


def collections_path(tenant: TenantRef, database: DatabaseRef) -> str:
    """Of the collections of a database."""
    return f"{database_path(tenant, database)}/collections"


def collection_path(tenant: TenantRef, database: DatabaseRef, collection: CollectionRef) -> str:
    """Of a collection."""
    return f"{collections_path(tenant, database)}/{parse_reference(CollectionId, collection)}"


def users_path(tenant: TenantRef) -> str:
    """Of the users of a tenant."""
    return f"{tenant_path(tenant)}/users"


def user_path(tenant: TenantRef, user: UserRef) -> str:
    """Of a user; an email is escaped."""
    return f"{users_path(tenant)}/{quote(str(parse_reference(UserId, user)), safe='')}"


def page_query(limit: int, cursor: str | None, **others: object) -> dict[str, object]:
    """The query of a page of a list; what is None is left out."""
    return {"limit": check_integer(limit, "limit", 1, MAX_PAGE_LIMIT), "cursor": cursor, **others}
