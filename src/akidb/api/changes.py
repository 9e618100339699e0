"""Routes of change feeds. A handler gives a reader; `akidb.api.long_poll` has it look, and wait."""

from typing import Annotated

import msgspec

from akidb.api.lists import Limit
from akidb.api.long_poll import Wait
from akidb.api.routing import Call, Routes
from akidb.domain.changes import FEED_PATTERN, MAX_WAIT_SECONDS, DocumentChange, MetadataChange
from akidb.domain.documents import DEFAULT_INCLUDE, DEFAULT_PAGE_LIMIT, Include
from akidb.domain.errors import PreconditionFailed, RateLimited
from akidb.services.changes import check_wait

routes = Routes("changes", raises=(PreconditionFailed,))

_TENANT = "/v1/tenants/{tenant}"
_COLLECTION = _TENANT + "/databases/{database}/collections/{collection}"


class ChangeQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """From where on; `since` and `feed` are those of the answer before, and 0 and nothing at the start."""

    since: Annotated[int, msgspec.Meta(ge=0)] = 0
    feed: Annotated[str, msgspec.Meta(pattern=FEED_PATTERN)] | None = None
    limit: Limit = DEFAULT_PAGE_LIMIT
    wait_seconds: Annotated[float, msgspec.Meta(ge=0, le=MAX_WAIT_SECONDS)] = 0


class DocumentChangeQuery(ChangeQuery, kw_only=True, forbid_unknown_fields=True):
    """From where on, and which parts of the documents."""

    include: list[Include] = msgspec.field(default_factory=lambda: sorted(DEFAULT_INCLUDE))


@routes.watch(_COLLECTION + "/changes", raises=(RateLimited,))
def of_collection(call: Call, query: DocumentChangeQuery) -> Wait[DocumentChange]:
    """Get the documents that were written or deleted after a sequence.

    With `wait_seconds` (0-60) an answer without a change is given only when the time is up. Where the
    reader must start again from 0, as after a restore, it is told so with 412.
    """
    seconds = check_wait(query.wait_seconds)
    watch = call.app.operations.changes.watch_collection(
        call.collection_path,
        since=query.since,
        feed=query.feed,
        limit=query.limit,
        include=frozenset(query.include),
    )
    return Wait(watch, seconds)


@routes.watch(_TENANT + "/changes")
def of_tenant(call: Call, query: ChangeQuery) -> Wait[MetadataChange]:
    """Get what changed of a tenant, its databases, collections and users after a sequence.

    What is deleted and may be restored is there, with its `deleted_at`; `delete` says that it is purged.
    """
    seconds = check_wait(query.wait_seconds)
    watch = call.app.operations.changes.watch_tenant(
        call.tenant, since=query.since, feed=query.feed, limit=query.limit
    )
    return Wait(watch, seconds)
