"""Hybrid search: one ranking from that of the vectors and that of the words."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from akidb.domain.batches import check_number
from akidb.domain.documents import SearchMode
from akidb.domain.errors import InvalidArgument
from akidb.domain.plain import plain

RANK_CONSTANT: Final = 60
"""How little the first ranks differ: the constant of Cormack, Clarke and Buettcher (SIGIR 2009)."""
MIN_CANDIDATES: Final = 100
CANDIDATES_PER_MATCH: Final = 2
"""How far down the two rankings are read for each match."""
MAX_WEIGHT: Final = 1_000_000
SIDES: Final = (SearchMode.VECTOR, SearchMode.KEYWORD)


class FusionWeights(msgspec.Struct, frozen=True):
    """The weights of the two rankings of a hybrid search, 1 where one is not given."""

    vector: float | msgspec.UnsetType = msgspec.UNSET
    keyword: float | msgspec.UnsetType = msgspec.UNSET


def check_weights(value: object, field: str = "weights") -> dict[str, float]:
    """Check the weights of the two rankings, 1 where one is not given, and return both."""
    given = plain(value)
    if not isinstance(given, Mapping):
        raise InvalidArgument(field, "must be an object with vector, keyword, or both")
    for name in given:
        if name not in SIDES:
            raise InvalidArgument(field, "must have no other members than vector and keyword")
    weights = {str(side): _weight(given.get(side, 1), f"{field}.{side}") for side in SIDES}
    if not any(weights.values()):
        raise InvalidArgument(field, "must not both be 0")
    return weights


def _weight(value: Any, field: str) -> float:
    number = check_number(value, field)
    if not 0 <= number <= MAX_WEIGHT:
        raise InvalidArgument(field, f"must be 0-{MAX_WEIGHT}")
    return number


def candidates(top_k: int) -> int:
    """Return how many documents of each ranking are considered."""
    return max(MIN_CANDIDATES, CANDIDATES_PER_MATCH * top_k)


def fused(rankings: Iterable[tuple[float, Sequence[str]]]) -> list[tuple[str, float]]:
    """Return ids and scores of several rankings, each with its weight: by descending score, then by id.

    The score is the sum of `weight / (60 + rank)`, ranks beginning at 1 (reciprocal rank fusion). A ranking
    with weight 0 adds no documents.
    """
    scores: dict[str, float] = {}
    for weight, ids in rankings:
        if weight:
            for rank, id in enumerate(ids, 1):
                scores[id] = scores.get(id, 0.0) + weight / (RANK_CONSTANT + rank)
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))
