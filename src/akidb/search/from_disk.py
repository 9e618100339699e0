"""Search of a collection that is not in memory: reads every row, in chunks."""

from collections.abc import Iterator
from contextlib import closing

from akidb.domain.filters import Filter
from akidb.ports.documents import DocumentReader, Row
from akidb.ports.limits import Deadline
from akidb.ports.search import Hit, VectorQuery
from akidb.search.collection import chunks
from akidb.search.filters import matches
from akidb.search.scoring import Query, exact_scores, prepare_rows
from akidb.search.searching import Found
from akidb.search.tail import as_matrix


def search_rows(documents: DocumentReader, prepared: Query, query: VectorQuery) -> Found:
    """Return the best rows of the reader's snapshot."""
    best: list[Hit] = []
    allowed = 0
    filter = query.filter
    changes = documents.changes(0, contents=filter is not None)
    with closing(changes.rows) as read:
        rows = _WithVectors(read)
        for chunk in chunks(rows if filter is None else _matching(rows, filter, query.deadline)):
            allowed += len(chunk)
            scores = exact_scores(prepare_rows(as_matrix(chunk), prepared.metric), prepared)
            best += [
                Hit(row.document_key, row.sequence, row.id, score)
                for row, score in zip(chunk, scores, strict=True)
            ]
            best = sorted(best, key=lambda hit: (-hit.score, hit.id))[: query.top_k]
    return Found(best, rows.count, allowed, len(changes.damaged))


class _WithVectors(Iterator[Row]):
    """Skips the rows without a vector, and counts the others."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self.count = 0

    def __next__(self) -> Row:
        for row in self._rows:
            if row.vector:
                self.count += 1
                return row
        raise StopIteration


def _matching(rows: Iterator[Row], filter: Filter, deadline: Deadline | None) -> Iterator[Row]:
    for row in rows:
        if deadline is not None:
            deadline.check()
        if matches(filter, row):
            yield row
