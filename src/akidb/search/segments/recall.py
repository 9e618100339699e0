"""How far a search must look in a graph to reach a recall: measured when the graph is built.

The queries are vectors of the segment, searched for before they are added to the graph: the neighbours of
those that are in it already are found with less effort.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from akidb.domain.entities import Metric
from akidb.search.scoring import Floats, prepare_query
from akidb.search.segments.graph import Graph, scaled
from akidb.search.segments.header import Recall

SAMPLES: Final = 200
TOP_KS: Final = (10, 100)
EFS: Final = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
ENOUGH: Final = 0.995
"""The recall at which a series of measurements ends."""
LARGEST_EF: Final = 2048
_MOST_NEAR: Final = 0.6
_WIDENING: Final = 0.75
"""At 0.5 the recall for a deleted topic was 0.87; at 1 a search with a random filter took a third longer."""
_ROUNDING: Final = 2e-6


def candidates_for(top_k: int) -> int:
    """Return how many results to take from a graph and score exactly, as its own scores are inexact.

    Of 10 results 0.4 % were missed without any more, 0.02 % with one more, and none with three more.
    """
    return top_k + max(3, top_k // 8)


def ef_for(recalls: Sequence[Recall], recall: float, top_k: int) -> int | None:
    """Return the least `ef` that reaches this recall, as measured; None if none does: a scan is needed.

    For a `top_k` that was not measured it is between those of its neighbours, or in proportion to that of the
    largest one.
    """
    reached: dict[int, int] = {}
    for each in recalls:
        if each.recall >= recall:
            reached[each.top_k] = min(each.ef, reached.get(each.top_k, each.ef))
    measured = sorted({each.top_k for each in recalls})
    after = next((each for each in measured if each >= top_k), None)
    before = next((each for each in reversed(measured) if each < top_k), None)
    if not measured or any(each is not None and each not in reached for each in (before, after)):
        return None
    if before is None:
        ef = float(reached[measured[0]])
    elif after is None:
        ef = reached[before] * top_k / before
    else:
        share = (top_k - before) / (after - before)
        ef = reached[before] + share * (reached[after] - reached[before])
    return max(candidates_for(top_k), math.ceil(ef))


def ef_among(ef: int, near: int, allowed: int, wanted: int) -> int | None:
    """Return the `ef` for a search of allowed rows only; None if those that are near suffice.

    `near` rows came from a search of all rows with this `ef`, and `allowed` of them may be found. So a filter
    that has nothing to do with the question, and a topic that was deleted, are noticed where they matter: for
    questions about deleted 13 % of the rows the recall was 0.57 with the usual `ef`, and 0.96 with this one.
    """
    if allowed >= max(wanted, _MOST_NEAR * near):
        return None
    share = max(allowed, 1) / max(near, 1)
    return min(LARGEST_EF, math.ceil(max(ef, wanted) / math.pow(share, _WIDENING)))


class Truth:
    """The best exact scores of some queries, over rows that arrive in chunks."""

    def __init__(self, vectors: Floats, metric: Metric, scale: float, top_k: int) -> None:
        """`vectors` are those of the queries; all scores are computed at this scale."""
        self.queries = [prepare_query(vector, metric) for vector in vectors]
        self._vectors = scaled(vectors, scale)
        self._metric = metric
        self._scale = scale
        self._best: Floats = np.full((len(vectors), top_k), -np.inf, dtype=np.float32)

    def add(self, rows: Floats) -> None:
        """Compare the next rows."""
        moved = scaled(rows, self._scale)
        scores: Floats = self._vectors @ moved.T
        if self._metric is Metric.L2:
            scores *= 2
            scores -= np.einsum("ij,ij->i", moved, moved)
        top_k = self._best.shape[1]
        both = np.concatenate([self._best, scores], axis=1)
        self._best = np.partition(both, both.shape[1] - top_k, axis=1)[:, -top_k:]

    def least(self, top_k: int) -> Floats:
        """Return for each query the score of its best row number `top_k`."""
        return np.sort(self._best, axis=1)[:, -top_k]

    def count(self, query: int, rows: Floats, least: np.float32) -> int:
        """Return how many of these rows have at least this score for a query, but for rounding."""
        vector, moved = self._vectors[query], scaled(rows, self._scale)
        scores = moved @ vector
        squares = np.einsum("ij,ij->i", moved, moved)
        if self._metric is Metric.L2:
            scores = scores * 2 - squares
            slack = _ROUNDING * (squares + vector @ vector)
        else:
            slack = _ROUNDING * np.sqrt(squares * (vector @ vector))
        return int(np.count_nonzero(scores >= least - slack))


def measure(graph: Graph, truth: Truth, rows: Floats) -> list[Recall]:
    """Measure the recall for a series of `ef`; `rows` are the graph's vectors, which may be mapped.

    A result counts if its score is as good as that of the exact one. A recall is entered as its mean less one
    standard error, for the sample is small.
    """
    found = []
    for top_k in TOP_KS:
        wanted = candidates_for(top_k)
        if wanted > graph.count:
            break
        least = truth.least(top_k)
        for ef in EFS:
            if ef < wanted:
                continue
            labels = graph.search_many(truth.queries, wanted, ef)
            counts = [
                min(top_k, truth.count(at, rows[np.sort(near[near >= 0])], least[at]))
                for at, near in enumerate(labels)
            ]
            shares = np.array(counts) / top_k
            error = float(shares.std()) / math.sqrt(len(shares))
            found.append(Recall(top_k, ef, round(float(shares.mean()) - error, 4)))
            if found[-1].recall >= ENOUGH:
                break
    return found
