"""Change feeds.

A reader starts with `since=0`, which returns everything there is, and continues with the `next_since` and
`feed` of each answer. PreconditionFailed says that it must start again from 0, as after a restore.
"""

from akidb.domain.changes import ChangePage, DocumentChange, MetadataChange
from akidb.domain.documents import DEFAULT_INCLUDE, DEFAULT_PAGE_LIMIT
from akidb.domain.errors import PreconditionFailed, RateLimited
from akidb.domain.fields import Feed, Limit, Parts, Since, WaitSeconds
from akidb.domain.lifecycle import Access
from akidb.operations import collections, tenants
from akidb.operations.declare import InCollection, InTenant, operation


@operation(
    "collection.changes",
    "GET",
    collections.ONE + "/changes",
    needs=Access.DOCUMENT_READ,
    waits=True,
    raises=(PreconditionFailed, RateLimited),
)
class GetCollectionChanges(InCollection[ChangePage[DocumentChange]], kw_only=True, frozen=True):
    """Get the documents that were written or deleted after a sequence, each as it is now.

    With `wait_seconds` (0-60) a response without a change is sent only when the time is up. 412 says that the
    reader must start again from 0, as after a restore.
    """

    since: Since = 0
    feed: Feed | None = None
    limit: Limit = DEFAULT_PAGE_LIMIT
    wait_seconds: WaitSeconds = 0
    include: Parts = DEFAULT_INCLUDE


@operation(
    "tenant.changes",
    "GET",
    tenants.ONE + "/changes",
    needs=Access.METADATA_READ,
    waits=True,
    raises=(PreconditionFailed,),
)
class GetTenantChanges(InTenant[ChangePage[MetadataChange]], kw_only=True, frozen=True):
    """Get what changed in a tenant's metadata after a sequence: tenant, databases, collections, users.

    Deleted things that can be restored are listed with their `deleted_at`; `delete` says that one is purged.
    """

    since: Since = 0
    feed: Feed | None = None
    limit: Limit = DEFAULT_PAGE_LIMIT
    wait_seconds: WaitSeconds = 0
