"""Change feeds.

Readers start with `since=0`, which returns everything, and continue with the `next_since` and `feed` of the
previous response. On PreconditionFailed, for example after a restore, they must start again from 0.
"""

from akidb.domain.changes import ChangePage, DocumentChange, MetadataChange
from akidb.domain.documents import DEFAULT_INCLUDE, DEFAULT_PAGE_LIMIT
from akidb.domain.errors import PreconditionFailed, RateLimited
from akidb.domain.fields import Feed, Limit, Parts, Since, WaitSeconds
from akidb.domain.lifecycle import Access
from akidb.operations import collections, tenants
from akidb.operations.declare import MANY, InCollection, InTenant, Work, operation


@operation(
    "collection.changes",
    "GET",
    collections.ONE + "/changes",
    needs=Access.DOCUMENT_READ,
    waits=True,
    more_with={"limit": (MANY, Work.HEAVY)},
    raises=(PreconditionFailed, RateLimited),
)
class GetCollectionChanges(InCollection[ChangePage[DocumentChange]], kw_only=True, frozen=True):
    """Get the documents written or deleted after a sequence number, each in its current state.

    With `wait_seconds` (0-60), the request waits until there is a change or the time is up. After a 412
    response, for example because of a restore, start again from 0.
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
    more_with={"limit": (MANY, Work.HEAVY)},
    raises=(PreconditionFailed,),
)
class GetTenantChanges(InTenant[ChangePage[MetadataChange]], kw_only=True, frozen=True):
    """Get changes of a tenant's metadata after a sequence number: tenant, databases, collections, users.

    Deleted entities that can be restored have `deleted_at` set; type `delete` means permanently removed.
    """

    since: Since = 0
    feed: Feed | None = None
    limit: Limit = DEFAULT_PAGE_LIMIT
    wait_seconds: WaitSeconds = 0
