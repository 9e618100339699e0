"""Vectors as JSON numbers: as few digits as keep every float32 what it is."""

import math
from collections.abc import Sequence
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from akidb.domain.errors import InvalidArgument
from akidb.domain.vectors import check_numbers, vector_fault

_NUMBERS = frozenset({int, float})


def _scales() -> NDArray[np.float64]:
    """For each exponent of a float32, the power of ten that leaves nine digits before the point.

    Nine digits name every float32 (IEEE 754-2019, 5.12.2). Zero and numbers below the normal ones
    share an exponent, which has the power for the smallest of them.
    """
    lowest = [2.0**-149, *(2.0 ** (exponent - 127) for exponent in range(1, 256))]
    return np.array([10.0 ** (8 - math.floor(math.log10(value))) for value in lowest])


_SCALES = _scales()


def shortened(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """The same numbers, as the doubles that are written with nine digits instead of up to seventeen.

    Any shape, finite values. 100 x 384 take 0.13 ms more than they are, and a third less on the wire.
    """
    scale = _SCALES[(vectors.view(np.uint32) >> np.uint32(23)) & np.uint32(255)]
    shorter: NDArray[np.float64] = np.rint(vectors * scale) / scale
    return shorter


def sendable(vector: object, name: str) -> Sequence[float]:
    """A vector as JSON can carry it; `name` is its path.

    Raises InvalidArgument for what is no vector, NaN and infinity, as the server would for the rest.
    """
    numbers = check_numbers(vector, name)
    try:
        if isinstance(numbers, list) and set(map(type, numbers)) <= _NUMBERS and isfinite(sum(numbers)):
            return numbers
        with np.errstate(over="ignore"):
            single = np.ascontiguousarray(numbers, dtype=np.float32)
    except OverflowError:  # of an integer that no float holds
        raise InvalidArgument(name, "must not hold numbers that a float32 does not hold") from None
    if not np.isfinite(single).all():
        raise InvalidArgument(name, vector_fault(single))
    shorter: list[float] = shortened(single).tolist()
    return shorter


def sendable_rows(vectors: Sequence[object], names: Sequence[str]) -> Sequence[Sequence[float]]:
    """Several vectors as JSON can carry them; float32 arrays of one length are done all at once."""
    if len({_layout(vector) for vector in vectors}) == 1 and _layout(vectors[0]) is not None:
        matrix: NDArray[np.float32] = np.stack(vectors)  # type: ignore[arg-type]  # arrays, says their layout
        if np.isfinite(matrix).all():
            rows: list[list[float]] = shortened(matrix).tolist()
            return rows
    return [sendable(vector, name) for vector, name in zip(vectors, names, strict=True)]


def _layout(vector: object) -> int | None:
    """The length of a vector that is a float32 array."""
    if isinstance(vector, np.ndarray) and vector.dtype == np.float32 and vector.ndim == 1:
        return len(vector)
    return None
