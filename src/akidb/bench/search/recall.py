"""The share of the nearest documents that an answer contains, against exact search."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from akidb.bench.search.data import DataSet, Floats, Question

TOP = 10
_BLOCK = 128
_MARGIN = 22
"""Candidates beyond the tenth whose scores are computed again in float64."""
_EQUAL = 1e-7
"""Scores that differ by less are equal: many glosses occur twice, and either of the two is right."""


class Truth(NamedTuple):
    """For each question: the least score of a right answer, and the number of documents to be found."""

    least: NDArray[np.float64]
    wanted: NDArray[np.int64]
    kept: NDArray[np.float64]
    """The share of the documents that the question's filter keeps."""
    allowed: Sequence[NDArray[np.bool_]]
    """The documents that each condition keeps, or those that are not deleted."""


def truth(data: DataSet, question: Question, deleted: NDArray[np.bool_] | None = None) -> Truth:
    """Search exactly: in float32, with the best candidates scored again in float64."""
    alive = np.ones(data.count, np.bool_) if deleted is None else ~deleted
    if question.conditions:
        columns = data.columns()
        allowed = [condition.mask(columns) & alive for condition in question.conditions]
        of = question.of
    else:
        allowed, of = [alive], np.zeros(len(question.numbers), np.int64)
    least = np.empty(len(question.numbers))
    for place, mask in enumerate(allowed):
        mine = np.flatnonzero(of == place)
        rows = np.flatnonzero(mask)
        for at in range(0, len(mine), _BLOCK):
            block = mine[at : at + _BLOCK]
            least[block] = _least(data.vectors, rows, data.questions[question.numbers[block]])
    sizes = np.array([int(mask.sum()) for mask in allowed])[of]
    return Truth(least, np.minimum(sizes, TOP), sizes / data.count, allowed)


def recall(data: DataSet, question: Question, right: Truth, found: Sequence[Sequence[int]]) -> float:
    """Return the mean recall@10 of the answers, each a sequence of document numbers.

    A document that the filter excludes, or that occurs twice in an answer, counts once or not at all.
    """
    shares = []
    for place, (number, answer) in enumerate(zip(question.numbers, found, strict=True)):
        if right.wanted[place] == 0:
            continue
        mask = right.allowed[question.of[place] if question.conditions else 0]
        rows = [row for row in dict.fromkeys(answer[:TOP]) if mask[row]]
        scores = data.vectors[rows].astype(np.float64) @ data.questions[number].astype(np.float64)
        good = int((scores >= right.least[place] - _EQUAL).sum())
        shares.append(min(good, right.wanted[place]) / right.wanted[place])
    return float(np.mean(shares)) if shares else 1.0


def _least(vectors: Floats, rows: NDArray[np.int64], questions: Floats) -> NDArray[np.float64]:
    """Return the tenth-best score of each question among these rows, or that of the worst of fewer."""
    if len(rows) == 0:
        return np.full(len(questions), np.inf)
    keep = min(len(rows), TOP + _MARGIN)
    best = np.full((len(questions), keep), -np.inf, np.float32)
    places = np.zeros((len(questions), keep), np.int64)
    for at in range(0, len(rows), 65_536):
        part = rows[at : at + 65_536]
        scores = np.concatenate([best, questions @ vectors[part].T], axis=1)
        numbers = np.concatenate([places, np.broadcast_to(part, (len(questions), len(part)))], axis=1)
        top = np.argpartition(-scores, keep - 1, axis=1)[:, :keep]
        best, places = np.take_along_axis(scores, top, 1), np.take_along_axis(numbers, top, 1)
    exact = np.einsum("qkd,qd->qk", vectors[places].astype(np.float64), questions.astype(np.float64))
    ordered = np.sort(exact, axis=1)[:, ::-1]
    found: NDArray[np.float64] = ordered[:, min(TOP, keep) - 1]
    return found
