"""Chooses the rows that answer one question, from one snapshot of a collection."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from akidb.domain.documents import (
    MAX_CANDIDATES,
    Document,
    GroupValue,
    Include,
    Match,
    SearchResult,
    SearchStatistics,
)
from akidb.domain.entities import Collection
from akidb.domain.errors import InvalidArgument, NotFound
from akidb.domain.filters import Filter
from akidb.domain.ids import StoreId, TenantId
from akidb.domain.search_fields import DEFAULT_RECALL
from akidb.ports.documents import DocumentReader
from akidb.ports.keywords import KeywordHit
from akidb.ports.limits import Deadline
from akidb.ports.search import GraphSettings, Hit, Hits, VectorIndex, VectorQuery
from akidb.services.batches import wrong_length
from akidb.services.grouping import Grouping

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


FIRST_ROWS = 100
"""Rows that are looked at first for groups."""
WIDER = 4
"""How many times as many are looked at if these are too few."""


class Question(msgspec.Struct, frozen=True):
    """What to search for: a vector, or the one of a document, which is read in the snapshot."""

    vector: "NDArray[np.float32] | None" = None
    """Shape `(dimension,)`."""
    id: str | None = None
    field: str = "id"
    """The path of the vector or id in the request."""
    truncated: bool = False
    """Whether its text is longer than the embedding model accepts."""


class Look(msgspec.Struct, frozen=True):
    """A collection at one moment and its index, and how to search it."""

    index: VectorIndex
    tenant_id: TenantId
    store_id: StoreId
    memory_quota_bytes: int
    reader: DocumentReader
    graph: GraphSettings
    """How graphs of the collection are to be built."""
    filter: Filter | None
    score_threshold: float | None
    ef_search: int | None
    deadline: Deadline | None
    recall: float | None = None
    explain: bool = False

    def best(self, vector: "NDArray[np.float32]", number: int) -> Hits:
        """Return up to `number` rows, best first."""
        recall = DEFAULT_RECALL if self.recall is None else self.recall
        query = VectorQuery(
            vector,
            number,
            self.filter,
            self.score_threshold,
            self.ef_search,
            self.deadline,
            recall,
            self.graph,
            self.explain,
        )
        return self.index.search(self.tenant_id, self.store_id, self.memory_quota_bytes, self.reader, query)


Rows = Mapping[int, tuple[int, Document | None]]
"""The sequence and the document by document key; None for a damaged document."""


class Position(msgspec.Struct, frozen=True, array_like=True):
    """The last match of a page."""

    score: float
    id: str
    seen: int
    """The number of matches up to here."""


class Wanted(msgspec.Struct, frozen=True):
    """Which of the best rows are wanted."""

    top_k: int
    """The number of rows, or of groups."""
    group_by: str | None = None
    group_size: int = 1
    after: Position | None = None
    most: int = MAX_CANDIDATES
    """How many rows may be looked at."""


class Chosen(msgspec.Struct, frozen=True):
    """The rows that answer a question, best first."""

    hits: Sequence[Hit | KeywordHit]
    statistics: SearchStatistics
    groups: list[GroupValue] | None = None
    """The group of each row."""
    last: Position | None = None
    """The position after which there are more rows; None after the last one."""
    is_current: bool = True
    """Whether the rows that were read are as the index has them."""


def graph_settings(collection: Collection) -> GraphSettings:
    """Return how graphs of a collection are to be built."""
    return GraphSettings(m=collection.hnsw_m, ef_construction=collection.hnsw_ef_construction)


def choose(look: Look, question: Question, wanted: Wanted) -> Chosen:
    """Return the best rows. Raises NotFound for the id of an unknown document."""
    vector = question.vector
    if vector is None:
        assert question.id is not None
        vector = _vector_of(look.reader, question.id, question.field)
    dimension = look.reader.control.dimension
    if dimension is not None and len(vector) != dimension:  # settled since it was checked
        raise wrong_length(question.field, dimension, len(vector))
    if wanted.group_by is None:
        found = _page(look, vector, question.id, wanted)
    else:
        grouping = Grouping(look.reader, wanted.group_by, wanted.top_k, wanted.group_size)
        found = _groups(look, vector, question.id, wanted, grouping)
    if question.truncated:
        found = replace(found, statistics=replace(found.statistics, query_truncated=True))
    return found


def _page(look: Look, vector: "NDArray[np.float32]", without: str | None, wanted: Wanted) -> Chosen:
    top_k, after = wanted.top_k, wanted.after
    seen = 0 if after is None else max(after.seen, 0)
    number = seen + top_k + (1 if without is None else 2)
    while True:
        number = min(number, wanted.most)
        hits, statistics = look.best(vector, number)
        is_all = len(hits) < number
        if without is not None:
            hits = [hit for hit in hits if hit.id != without]
        if after is not None:
            last = (-after.score, after.id)
            hits = [hit for hit in hits if (-hit.score, hit.id) > last]
        if len(hits) > top_k:
            hits = hits[:top_k]
            return Chosen(hits, statistics, last=Position(hits[-1].score, hits[-1].id, seen + top_k))
        if is_all:
            return Chosen(hits, statistics)
        if number == wanted.most:
            return Chosen(hits, replace(statistics, limited=True))
        number *= WIDER


def _groups(
    look: Look, vector: "NDArray[np.float32]", without: str | None, wanted: Wanted, grouping: Grouping
) -> Chosen:
    """Widen the search until the groups are full, or all rows were looked at."""
    number = max(FIRST_ROWS, 2 * wanted.top_k * wanted.group_size)
    while True:
        number = min(number, wanted.most)
        hits, statistics = look.best(vector, number)
        found = grouping.of([hit for hit in hits if hit.id != without])
        if found.is_full or len(hits) < number or not found.is_current:
            return Chosen(found.hits, statistics, found.values, is_current=found.is_current)
        if number == wanted.most:
            return Chosen(found.hits, replace(statistics, limited=True), found.values)
        number *= WIDER


def nothing(question: Question) -> SearchResult:
    """Return the answer of a tenant without documents. Raises NotFound for the id of a document."""
    if question.id is not None:
        raise NotFound("document", question.id)
    statistics = SearchStatistics(plan="exact", scanned=0, allowed=0, query_truncated=question.truncated)
    return SearchResult(matches=[], statistics=statistics)


def result_of(found: Chosen, rows: Rows, next_cursor: str | None = None) -> tuple[SearchResult, bool]:
    """Return the answer with the documents of the rows that are current and whole.

    And whether no row has changed since the index saw it.
    """
    matches: list[Match] = []
    damaged, is_current, groups = 0, found.is_current, found.groups
    for place, hit in enumerate(found.hits):
        row = rows.get(hit.document_key)
        if row is None or row[0] != hit.sequence:
            is_current = False
            continue
        document = row[1]
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
                group=None if groups is None else groups[place],
            )
        )
    statistics = found.statistics
    if damaged:
        statistics = replace(statistics, damaged=statistics.damaged + damaged)
    return SearchResult(matches=matches, statistics=statistics, next_cursor=next_cursor), is_current


def _vector_of(reader: DocumentReader, id: str, field: str) -> "NDArray[np.float32]":
    """Return the vector of a document, shape `(dimension,)`."""
    found = reader.get([id], {Include.VECTOR})
    if not found:
        raise NotFound("document", id)
    vector = found[0].vector
    if vector is None or not len(vector):
        raise InvalidArgument(field, f"the document {id!r} has no vector to search with")
    return vector
