"""Helpers shared by the search index suites: queries and expected results."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from samples import Floats, Shelf

from akidb.domain.documents import Document
from akidb.domain.entities import Collection, Metric
from akidb.domain.filters import Filter
from akidb.domain.ids import StoreId
from akidb.ports.documents import DocumentReader
from akidb.ports.search import Hits, VectorIndex, VectorQuery
from akidb.search.index import LocalIndex

INDEXES: list[Callable[[], VectorIndex]] = [LocalIndex]
"""Every suite of search runs on each of these."""
PLENTY = 2**30


class Spy:
    """A reader that notes from which sequences an index asked for changes."""

    def __init__(self, reader: DocumentReader) -> None:
        self._reader = reader
        self.asked: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def changes(self, since_sequence: int, *, contents: bool, vectors: bool = True) -> Any:
        self.asked.append(since_sequence)
        return self._reader.changes(since_sequence, contents=contents, vectors=vectors)


class Librarian:
    """Asks an index about the collections of a shelf."""

    def __init__(self, shelf: Shelf, index: VectorIndex) -> None:
        self.shelf = shelf
        self.index = index
        self.asked: list[int] = []
        """From which sequences the last search read changes; empty when memory sufficed."""

    def ask(
        self,
        vector: Floats,
        top_k: int = 10,
        filter: dict[str, Any] | None = None,
        *,
        quota: int = PLENTY,
        threshold: float | None = None,
        collection: Collection | None = None,
        index: VectorIndex | None = None,
        store_id: StoreId | None = None,
    ) -> Hits:
        parsed = None if filter is None else Filter.parse(filter)
        query = VectorQuery(np.asarray(vector, np.float32), top_k, parsed, threshold)
        with self.shelf.reading(collection) as reader:
            spy: Any = Spy(reader)
            answer = (index or self.index).search(
                self.shelf.tenant.tenant_id, store_id or self.shelf.store_id, quota, spy, query
            )
        self.asked = spy.asked
        return answer

    @property
    def memory_bytes(self) -> int:
        return self.index.memory_bytes(self.shelf.tenant.tenant_id)

    def new_collection(self, name: str, metric: Metric = Metric.COSINE, dimension: int = 16) -> Collection:
        """A collection that the store knows."""
        made = self.shelf.new_collection(name, metric, dimension)
        self.shelf.apply(made)
        return made


def true_scores(documents: Iterable[Document], question: Floats, metric: Metric) -> dict[str, float]:
    """By brute force in float64."""
    wide = question.astype(np.float64)
    return {each.id: true_score(np.asarray(each.vector, np.float64), wide, metric) for each in documents}


def true_score(row: NDArray[np.float64], question: NDArray[np.float64], metric: Metric) -> float:
    if metric is Metric.L2:
        return -float(np.linalg.norm(row - question))
    product = float(row @ question)
    if metric is Metric.COSINE:
        product /= float(np.linalg.norm(row)) * float(np.linalg.norm(question))
    return product


def assert_best(answer: Hits, expected: dict[str, float], top_k: int, tolerance: float = 1e-5) -> None:
    """The answer has the best ids, in order, with scores that are right to the tolerance."""
    found = [(hit.id, hit.score) for hit in answer.hits]
    assert found == sorted(found, key=lambda each: (-each[1], each[0]))
    assert len(found) == min(top_k, len(expected))
    assert len({id for id, _ in found}) == len(found)
    for id, score in found:
        assert abs(score - expected[id]) <= tolerance
    left_out = expected.keys() - {id for id, _ in found}
    if found and left_out:
        assert max(expected[id] for id in left_out) <= min(expected[id] for id, _ in found) + 2 * tolerance


def scored(answer: Hits) -> list[tuple[str, float]]:
    """Ids and scores, to be compared bit for bit."""
    return [(hit.id, hit.score) for hit in answer.hits]
