"""Cosine scores are clamped to [-1, 1] despite rounding errors."""

import numpy as np
import pytest
from samples import Floats, Shelf, document, vector_of
from search_samples import PLENTY, Librarian

from akidb.domain.entities import Metric
from akidb.search.exact import ExactIndex
from akidb.search.scoring import prepare_query, prepare_rows

NO_MEMORY = 0
ROWS = 300


def products(vectors: list[Floats]) -> Floats:
    """The products of each vector, as it is scored, with itself."""
    rows = prepare_rows(np.stack(vectors), Metric.COSINE)
    found: Floats = np.stack(
        [
            (row[None, :] * prepare_query(v, Metric.COSINE).vector).sum(axis=1)[0]
            for row, v in zip(rows, vectors, strict=True)
        ]
    )
    return found


@pytest.fixture
def librarian(shelf: Shelf) -> Librarian:
    return Librarian(shelf, ExactIndex())


@pytest.mark.parametrize("quota", [PLENTY, NO_MEMORY], ids=["from memory", "from disk"])
@pytest.mark.parametrize("sign", [1, -1])
def test_cosine_score_is_between_minus_1_and_1(librarian: Librarian, quota: int, sign: int) -> None:
    vectors = [vector_of(f"d{number}") for number in range(ROWS)]
    beyond = [at for at, product in enumerate(products(vectors)) if product > 1]
    assert beyond, "no product is beyond 1: this test would prove nothing"
    librarian.shelf.upsert(*(document(f"d{at}", vector=sign * vectors[at]) for at in beyond))
    for at in beyond:
        hits = librarian.ask(vectors[at], len(beyond), quota=quota).hits
        (own,) = [hit for hit in hits if hit.id == f"d{at}"]
        assert own.score == sign
        assert all(-1 <= hit.score <= 1 for hit in hits)
        if sign == 1:
            found = librarian.ask(vectors[at], len(beyond), quota=quota, threshold=1.0).hits
            assert own.id in [hit.id for hit in found]


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
