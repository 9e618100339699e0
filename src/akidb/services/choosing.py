"""Chooses the rows that answer one question, from one snapshot of a collection."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from akidb.domain.documents import Document, Include, Match, SearchResult, SearchStatistics
from akidb.domain.errors import InvalidArgument, NotFound
from akidb.domain.filters import Filter
from akidb.domain.ids import StoreId, TenantId
from akidb.ports.documents import DocumentReader
from akidb.ports.keywords import KeywordHit
from akidb.ports.limits import Deadline
from akidb.ports.search import Hit, Hits, VectorIndex, VectorQuery
from akidb.services.batches import wrong_length

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Question(NamedTuple):
    """What to search for: a vector, or the one of a document, which is read in the snapshot."""

    vector: "NDArray[np.float32] | None" = None
    """Shape `(dimension,)`."""
    id: str | None = None
    field: str = "id"
    """The path of the vector or id in the request."""
    truncated: bool = False
    """Whether its text is longer than the embedding model accepts."""


class Snapshot(NamedTuple):
    """A collection at one moment, and its index."""

    vectors: VectorIndex
    tenant_id: TenantId
    store_id: StoreId
    memory_quota_bytes: int
    reader: DocumentReader


class Look(NamedTuple):
    """How to search a snapshot."""

    snapshot: Snapshot
    filter: Filter | None
    score_threshold: float | None
    ef_search: int | None
    deadline: Deadline | None

    def best(self, vector: "NDArray[np.float32]", number: int) -> Hits:
        """Return up to `number` rows, best first."""
        query = VectorQuery(vector, number, self.filter, self.score_threshold, self.ef_search, self.deadline)
        vectors, tenant_id, store_id, quota, reader = self.snapshot
        return vectors.search(tenant_id, store_id, quota, reader, query)


Rows = Mapping[int, tuple[int, Document | None]]
"""The sequence and the document by document key; None for a damaged document."""
NO_ROW = (0, None)


class Chosen(NamedTuple):
    """The rows that answer a question, best first."""

    hits: Sequence[Hit | KeywordHit]
    statistics: SearchStatistics


def choose(look: Look, question: Question, top_k: int) -> Chosen:
    """Return up to `top_k` rows. Raises NotFound for the id of an unknown document."""
    if question.id is None:
        assert question.vector is not None
        dimension = look.snapshot.reader.control.dimension
        if dimension is not None and len(question.vector) != dimension:  # settled since it was checked
            raise wrong_length(question.field, dimension, len(question.vector))
        found = look.best(question.vector, top_k)
        hits = found.hits
    else:
        found = look.best(_vector_of(look.snapshot.reader, question.id, question.field), top_k + 1)
        hits = [hit for hit in found.hits if hit.id != question.id][:top_k]
    statistics = found.statistics
    if question.truncated:
        statistics = replace(statistics, query_truncated=True)
    return Chosen(hits, statistics)


def nothing(question: Question) -> SearchResult:
    """Return the answer of a tenant without documents. Raises NotFound for the id of a document."""
    if question.id is not None:
        raise NotFound("document", question.id)
    statistics = SearchStatistics(plan="exact", scanned=0, allowed=0, query_truncated=question.truncated)
    return SearchResult(matches=[], statistics=statistics)


def result_of(found: Chosen, rows: Rows) -> SearchResult:
    """Return the answer with the documents of the rows that are current and whole."""
    matches: list[Match] = []
    damaged = 0
    for hit in found.hits:
        sequence, document = rows.get(hit.document_key, NO_ROW)
        if sequence != hit.sequence:
            continue
        if document is None:
            damaged += 1
            continue
        matches.append(
            Match(
                id=hit.id,
                score=hit.score,
                text=document.text,
                vector=document.vector,
                metadata=document.metadata,
            )
        )
    statistics = found.statistics
    if damaged:
        statistics = replace(statistics, damaged=statistics.damaged + damaged)
    return SearchResult(matches=matches, statistics=statistics)


def is_current(hit: Hit | KeywordHit, rows: Rows) -> bool:
    """Return whether the row has not changed since the index saw it."""
    row = rows.get(hit.document_key)
    return row is not None and row[0] == hit.sequence


def _vector_of(reader: DocumentReader, id: str, field: str) -> "NDArray[np.float32]":
    """Return the vector of a document, shape `(dimension,)`."""
    found = reader.get([id], {Include.VECTOR})
    if not found:
        raise NotFound("document", id)
    vector = found[0].vector
    if vector is None or not len(vector):
        raise InvalidArgument(field, f"the document {id!r} has no vector to search with")
    return vector
