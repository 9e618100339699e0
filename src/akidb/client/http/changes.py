"""Change feeds over HTTP."""

# ruff: noqa: D102 - the port says what each method does

from collections.abc import Collection as AbstractCollection

import msgspec
import numpy as np

from akidb.client.http.caller import Caller
from akidb.client.http.paths import collection_path, page_query, tenant_path
from akidb.domain.changes import ChangePage, DocumentChange, MetadataChange, check_token
from akidb.domain.documents import DEFAULT_INCLUDE, DEFAULT_PAGE_LIMIT, Include
from akidb.domain.names import check_integer
from akidb.ports.operations import CollectionPath, TenantRef
from akidb.services.changes import check_wait


class HttpChanges:
    """`akidb.ports.operations.ChangeOperations` of a server, which waits for whoever asks."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def of_collection(
        self,
        path: CollectionPath,
        *,
        since: int = 0,
        feed: str | None = None,
        limit: int = DEFAULT_PAGE_LIMIT,
        wait_seconds: float = 0,
        include: AbstractCollection[Include] = DEFAULT_INCLUDE,
    ) -> ChangePage[DocumentChange]:
        query = _query(since, feed, limit, wait_seconds, include=",".join(sorted(include)))
        page = self._caller.get(ChangePage[DocumentChange], f"{collection_path(*path)}/changes", query)
        if Include.VECTOR not in include:
            return page
        return msgspec.structs.replace(page, changes=[_with_array(change) for change in page.changes])

    def of_tenant(
        self,
        tenant: TenantRef,
        *,
        since: int = 0,
        feed: str | None = None,
        limit: int = DEFAULT_PAGE_LIMIT,
        wait_seconds: float = 0,
    ) -> ChangePage[MetadataChange]:
        query = _query(since, feed, limit, wait_seconds)
        return self._caller.get(ChangePage[MetadataChange], f"{tenant_path(tenant)}/changes", query)


def _query(
    since: int, feed: str | None, limit: int, wait_seconds: float, **others: object
) -> dict[str, object]:
    seconds = check_wait(wait_seconds)
    return {
        "since": check_integer(since, "since"),
        "feed": None if feed is None else check_token(feed),
        "wait_seconds": f"{seconds:.3f}" if seconds else None,
        **page_query(limit, None, **others),
    }


def _with_array(change: DocumentChange) -> DocumentChange:
    """The same change, its vector an array instead of a list."""
    vector = None if change.vector is None else np.array(change.vector, np.float32)
    return msgspec.structs.replace(change, vector=vector)
