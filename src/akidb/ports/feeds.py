"""What can be asked of change feeds; a part of `akidb.ports.operations`."""

from collections.abc import Collection as AbstractCollection
from typing import TYPE_CHECKING, Protocol

from akidb.domain.changes import ChangePage, DocumentChange, MetadataChange
from akidb.domain.documents import DEFAULT_INCLUDE, DEFAULT_PAGE_LIMIT, Include

if TYPE_CHECKING:
    from akidb.ports.operations import CollectionPath, TenantRef


class ChangeOperations(Protocol):
    """What changed since a reader looked last.

    A reader starts with `since=0`, which gives all there is, and goes on with the `next_since` and `feed` of
    each answer. PreconditionFailed says that it must start again: deletions that it has not seen are
    forgotten, or the store is another one than it read. With `wait_seconds` (0-60) an answer without a
    change is given only when the time is up.
    """

    def of_collection(
        self,
        path: "CollectionPath",
        *,
        since: int = 0,
        feed: str | None = None,
        limit: int = DEFAULT_PAGE_LIMIT,
        wait_seconds: float = 0,
        include: AbstractCollection[Include] = DEFAULT_INCLUDE,
    ) -> ChangePage[DocumentChange]:
        """Documents written and deleted, each once, with what it holds now; counts towards qps once."""
        ...

    def of_tenant(
        self,
        tenant: "TenantRef",
        *,
        since: int = 0,
        feed: str | None = None,
        limit: int = DEFAULT_PAGE_LIMIT,
        wait_seconds: float = 0,
    ) -> ChangePage[MetadataChange]:
        """The tenant, its databases, collections and users, each once, as it is now or gone for good."""
        ...
