"""Scores at the edge of their range: directions of the query, and vectors close to zero."""

import numpy as np
import pytest
from samples import Shelf, document, vector_of
from search_samples import PLENTY, Librarian, true_scores

from akidb.domain.entities import Metric
from akidb.search.index import LocalIndex

NO_MEMORY = 0
ROWS = 300
METRICS = pytest.mark.parametrize("metric", list(Metric))


@pytest.fixture
def librarian(shelf: Shelf) -> Librarian:
    return Librarian(shelf, LocalIndex())


@pytest.mark.parametrize("quota", [PLENTY, NO_MEMORY], ids=["from memory", "from disk"])
@pytest.mark.parametrize("factor", [1, 3, -0.1, 1e-30])
def test_cosine_is_exactly_1_in_the_direction_of_the_query(
    librarian: Librarian, quota: int, factor: float
) -> None:
    """With float32 sums, 38 of 300 vectors scored less than 1 against themselves, and others more."""
    librarian.shelf.upsert(*(document(f"d{at:03}", vector=vector_of(f"d{at}")) for at in range(ROWS)))
    for at in range(0, ROWS, 5):
        hits = librarian.ask(vector_of(f"d{at}") * np.float32(factor), ROWS, quota=quota).hits
        own = hits[0] if factor > 0 else hits[-1]
        assert (own.id, own.score) == (f"d{at:03}", 1 if factor > 0 else -1)
        assert all(-1 <= hit.score <= 1 for hit in hits)
    found = librarian.ask(vector_of("d7") * np.float32(abs(factor)), ROWS, quota=quota, threshold=1.0).hits
    assert [hit.id for hit in found] == ["d007"]


@METRICS
@pytest.mark.parametrize("quota", [PLENTY, NO_MEMORY], ids=["from memory", "from disk"])
@pytest.mark.parametrize("scale", [1e-22, 1e-25, 1e-30, 1e-38])
def test_tiny_vectors_keep_their_order(
    librarian: Librarian, metric: Metric, quota: int, scale: float
) -> None:
    """Their products and squares are below the least number of float32."""
    tiny = np.float32(scale)
    collection = librarian.new_collection("tiny", metric)
    made = [document(f"d{at:03}", vector=vector_of(f"d{at}") * tiny * (1 + at % 7)) for at in range(ROWS)]
    librarian.shelf.upsert(*made, collection=collection)
    for number in range(5):
        question = vector_of(f"q{number}") * tiny
        expected = true_scores(made, question, metric)
        best = sorted(expected, key=lambda each: (-expected[each], each))[:20]
        hits = librarian.ask(question, 20, collection=collection, quota=quota).hits
        assert [hit.id for hit in hits] == best
        relative = 1e-6 if metric is Metric.COSINE else 1e-12
        assert [hit.score for hit in hits] == [pytest.approx(expected[id], rel=relative) for id in best]


@pytest.mark.parametrize("quota", [PLENTY, NO_MEMORY], ids=["from memory", "from disk"])
def test_dot_and_l2_scores_are_not_clamped(librarian: Librarian, quota: int) -> None:
    long = np.float32(3) * vector_of("long")
    dot = librarian.new_collection("dot", Metric.DOT)
    far = librarian.new_collection("far", Metric.L2)
    for collection in (dot, far):
        librarian.shelf.upsert(
            document("same", vector=long), document("opposite", vector=-long), collection=collection
        )
    scores = {hit.id: hit.score for hit in librarian.ask(long, collection=dot, quota=quota).hits}
    assert scores == {"same": pytest.approx(9, rel=1e-5), "opposite": pytest.approx(-9, rel=1e-5)}
    distances = {hit.id: hit.score for hit in librarian.ask(long, collection=far, quota=quota).hits}
    assert distances == {"same": 0, "opposite": pytest.approx(-6, rel=1e-5)}
