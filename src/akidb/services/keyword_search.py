"""The keyword part of a search: documents with the words of a text that also match the filter."""

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import compress
from typing import NamedTuple

from akidb.domain.documents import Include, SearchStatistics
from akidb.domain.entities import Scope
from akidb.domain.filters import Filter
from akidb.domain.keywords import Term
from akidb.ports.columns import MetadataColumns
from akidb.ports.documents import DocumentReader
from akidb.ports.keywords import KeywordHit, KeywordIndexes
from akidb.ports.limits import Deadline
from akidb.ports.stores import TenantStore
from akidb.services.choosing import Chosen
from akidb.services.filtered import Filtered

FIRST_PAGE, LAST_PAGE = 100, 65_536
"""Documents with the words that are compared with a filter at a time: more of them each time."""
PAGE_GROWTH = 4
FETCHED_ROWS = 32

_PARTS = (Include.TEXT, Include.METADATA)


class KeywordQuery(NamedTuple):
    """A checked query."""

    terms: Sequence[Term]
    top_k: int
    filter: Filter | None = None
    deadline: Deadline | None = None
    """When comparing with the filter must end."""


class KeywordSearch:
    """Asks the keyword index of a collection."""

    def __init__(self, indexes: KeywordIndexes, columns: MetadataColumns) -> None:
        self._indexes = indexes
        self._columns = columns

    def search(
        self, store: TenantStore, scope: Scope, query: KeywordQuery, reading: ExitStack
    ) -> tuple[DocumentReader, Chosen]:
        """Return the best rows, and the reader that sees them as the index did; `reading` closes it.

        The index is locked for one page at a time, not while rows are compared with the filter.
        Raises OperationTimeout if that takes too long.
        """
        refused: set[int] = set()
        chosen: list[KeywordHit] = []
        page, offset = query.top_k if query.filter is None else max(FIRST_PAGE, query.top_k), 0
        reader: DocumentReader | None = None
        while True:
            with self._indexes.locked(
                scope.tenant.tenant_id, store.store_id, scope.collection.collection_id
            ) as index:
                if reader is None or index.sequence > reader.control.sequence:
                    reading.close()
                    reader = reading.enter_context(store.read(scope.collection.collection_id))
                    chosen, offset = [], 0  # others may come before them now
                found = index.find(reader, query.terms, offset, page) if query.terms else []
                damaged = index.damaged
            offset += len(found)
            if query.filter is None:
                chosen = found
            else:
                filtered = Filtered(self._columns, scope, store)
                sequences = [hit.sequence for hit in found]
                passing = filtered.matches(reader, query.filter, query.deadline, sequences)
                if passing is None:
                    self._compare(reader, found, query, refused, chosen)
                else:
                    chosen += compress(found, passing)
            if len(chosen) >= query.top_k or len(found) < page:
                statistics = SearchStatistics(
                    plan="keyword", scanned=offset, allowed=len(chosen), damaged=damaged
                )
                return reader, Chosen(chosen[: query.top_k], statistics)
            page = min(page * PAGE_GROWTH, LAST_PAGE)

    @staticmethod
    def _compare(
        reader: DocumentReader,
        found: Sequence[KeywordHit],
        query: KeywordQuery,
        refused: set[int],
        chosen: list[KeywordHit],
    ) -> None:
        """Add those that match to `chosen`, until it has enough; a sequence names the state of a document."""
        assert query.filter is not None
        asked = [hit for hit in found if hit.sequence not in refused]
        for at in range(0, len(asked), FETCHED_ROWS):
            some = asked[at : at + FETCHED_ROWS]
            rows = reader.fetch([hit.document_key for hit in some], _PARTS)
            for hit in some:
                if query.deadline is not None:
                    query.deadline.check()
                _, document = rows.get(hit.document_key, (0, None))
                if document is not None and query.filter.matches(
                    document.id, document.text, document.metadata or {}
                ):
                    chosen.append(hit)
                else:
                    refused.add(hit.sequence)
            if len(chosen) >= query.top_k:
                return
