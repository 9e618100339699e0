"""Vector scoring: a fast scan selects candidates, then each candidate is scored exactly.

A BLAS product over many rows gives identical rows up to three different scores, depending on their position
in a block. So the scan only selects: every row that could be among the best, given the error bound of a
float32 dot product, gamma = d * 2**-24 times the norms (Higham, Accuracy and Stability, section 3.1),
is scored again separately, always in the same way.
"""

import math
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from akidb.domain.entities import Metric

Floats = NDArray[np.float32]

_UNIT_ROUNDOFF = 2.0**-24
_SMALLEST = 2.0**-149
"""Smallest positive float32; the bound above does not hold for products close to it."""


class Query:
    """A query vector, prepared for scoring."""

    def __init__(self, metric: Metric, given: Floats) -> None:
        self.metric = metric
        self._given = given
        self.wide: NDArray[np.float64] = given.astype(np.float64)
        """The vector in float64."""
        self.square = float(self.wide.dot(self.wide))
        """The squared norm, in float64."""

    @cached_property
    def vector(self) -> Floats:
        """The vector for scans: normalized for cosine. A few rows are scored without it."""
        if self.metric is not Metric.COSINE:
            return self._given
        return (self.wide / math.sqrt(self.square)).astype(np.float32)


def prepare_rows(rows: Floats, metric: Metric) -> Floats:
    """Return the rows for scoring: normalized for cosine, unchanged otherwise.

    Norms are computed in float64, so that very small and very large vectors keep their direction.
    """
    if metric is not Metric.COSINE:
        return rows
    wide = rows.astype(np.float64)
    norms = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    unit: Floats = (wide / norms[:, None]).astype(np.float32)
    return unit


def prepare_query(vector: Floats, metric: Metric) -> Query:
    """Prepare a query vector of shape `(dimension,)`."""
    return Query(metric, vector)


def squared_norms(rows: Floats) -> Floats:
    """Return the squared norm of each row, needed by the l2 scan."""
    squares: Floats = np.einsum("ij,ij->i", rows, rows)
    return squares


def scan(rows: Floats, squares: Floats, query: Query) -> tuple[Floats, float]:
    """Return approximate scores of all rows, and the maximum error of the difference of two.

    For l2 these are the negated squared distances up to a constant, in the same order as the scores.
    """
    # One dot product for each row, on this thread. A matrix product would be twice as fast on two idle
    # cores, but waits for its helper thread: with one core busy its median went from 0.27 to 8.0 ms.
    approximate: Floats = np.vecdot(rows, query.vector)
    gamma, underflow = rows.shape[1] * _UNIT_ROUNDOFF, 8 * rows.shape[1] * _SMALLEST
    if query.metric is Metric.COSINE:  # twice the bound, and what rounding the normalized query changes
        return approximate, 4 * gamma
    largest = float(np.sqrt(squares.max(initial=0.0) + underflow))
    norm = math.sqrt(query.square)
    if query.metric is Metric.DOT:
        return approximate, 4 * gamma * largest * norm + underflow
    approximate *= 2
    approximate -= squares
    return approximate, 4 * gamma * (largest + norm) ** 2 + underflow


def candidates(approximate: Floats, slack: float, top_k: int) -> NDArray[np.intp]:
    """Return the positions of all rows that may be among the best `top_k`."""
    count = len(approximate)
    if top_k >= count:
        return np.arange(count)
    worst = np.partition(approximate, count - top_k)[count - top_k]
    return np.flatnonzero(approximate >= worst - np.float32(slack))


def exact_scores(rows: Floats, query: Query) -> list[float]:
    """Return the final scores; a row's score depends only on the row and the query.

    In float64, since products and squares of lengths below 1e-22 vanish in float32. A cosine is rounded to
    float32, which makes it exactly 1 for a vector in the direction of the query.
    """
    wide = rows.astype(np.float64)
    if query.metric is Metric.L2:
        wide -= query.wide
        distances: list[float] = (0 - np.sqrt(np.vecdot(wide, wide))).tolist()  # 0 - avoids -0.0
        return distances
    products = np.vecdot(wide, query.wide)
    if query.metric is Metric.COSINE:
        # Rows rounded to float32 are not quite of length 1.
        norms = np.vecdot(wide, wide)
        norms *= query.square
        products = (products / np.sqrt(norms, out=norms)).astype(np.float32)
    scores: list[float] = products.tolist()
    return scores
