"""The port to the keyword indexes: which documents contain the words of a query, best first.

A keyword index is derived from the rows of a collection, like a vector index (`ports/search.py`): writes do
not update it, and losing it loses nothing.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import NamedTuple, Protocol

from akidb.domain.ids import CollectionId, StoreId, TenantId
from akidb.domain.keywords import Term
from akidb.ports.documents import DocumentReader


class KeywordHit(NamedTuple):
    """A document that contains at least one of the terms."""

    document_key: int
    sequence: int
    id: str
    score: float
    """BM25; higher is better."""


class CollectionKeywords(Protocol):
    """The keyword index of one collection, for one thread at a time."""

    @property
    def sequence(self) -> int:
        """The sequence of the collection up to which it is built; 0 if it is not open."""

    @property
    def damaged(self) -> int:
        """The number of documents left out because they are damaged."""

    def find(
        self, documents: DocumentReader, terms: Sequence[Term], offset: int, limit: int
    ) -> list[KeywordHit]:
        """Return documents that contain a term, by descending score, then by id.

        First all changes up to the reader's sequence are applied, which must not be below `sequence`. A
        damaged index is made anew. Raises Unavailable if there is no place for it, and the errors of rows.
        """


class KeywordIndexes(Protocol):
    """The keyword indexes of all tenants of this process."""

    def locked(
        self, tenant_id: TenantId, store_id: StoreId, collection_id: CollectionId
    ) -> AbstractContextManager[CollectionKeywords]:
        """Lock a collection's index. A reader opened meanwhile sees at least what the index has.

        Raises Unavailable if this process cannot index texts.
        """

    def highlights(self, terms: Sequence[Term], texts: Sequence[str]) -> list[str | None]:
        """Return the best part of each text with the terms marked; None for a text without any."""

    def forget(self, tenant_id: TenantId, collections: Iterable[CollectionId] | None = None) -> bool:
        """Remove all indexes of a tenant, or those of some of its collections; return whether none is left.

        An index in use is removed too, as far as other processes can see.
        """

    def tenants(self) -> list[TenantId]:
        """Return the tenants that have indexes, open or in files."""

    def collections(self, tenant_id: TenantId) -> list[CollectionId]:
        """Return the collections of a tenant that have indexes, open or in files."""

    def close_idle(self) -> None:
        """Close the indexes that were not used since the last call."""

    def remove_unused(self, until: datetime) -> None:
        """Remove the files of indexes that were last used before `until`."""

    def close(self) -> None:
        """Close all indexes. Their files are kept for the next process."""
