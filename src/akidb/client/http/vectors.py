"""Vectors as JSON numbers, with the fewest digits that preserve every float32."""

import math
from collections.abc import Sequence
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from akidb.domain.errors import InvalidArgument
from akidb.domain.vectors import OUT_OF_RANGE, check_numbers, vector_fault

_NUMBERS = frozenset({int, float})


def _scales() -> NDArray[np.float64]:
    """Return, for each float32 exponent, the power of ten that leaves nine digits before the point.

    Nine digits identify every float32 (IEEE 754-2019, 5.12.2). Zero and subnormal numbers share an
    exponent, which has the power for the smallest subnormal.
    """
    lowest = [2.0**-149, *(2.0 ** (exponent - 127) for exponent in range(1, 256))]
    return np.array([10.0 ** (8 - math.floor(math.log10(value))) for value in lowest])


_SCALES = _scales()


def shortened(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Round to doubles that JSON writes with nine digits instead of up to seventeen.

    Any shape, finite values. For 100 x 384, it takes 0.13 ms and saves a third of the bytes on the wire.
    """
    scale = _SCALES[(vectors.view(np.uint32) >> np.uint32(23)) & np.uint32(255)]
    shorter: NDArray[np.float64] = np.rint(vectors * scale) / scale
    return shorter


def sendable(vector: object, name: str) -> Sequence[float]:
    """Return a vector as numbers for JSON; `name` is its path.

    Raises InvalidArgument for anything but a vector, NaN and infinity. The server checks the rest.
    """
    numbers = check_numbers(vector, name)
    try:
        if isinstance(numbers, list) and set(map(type, numbers)) <= _NUMBERS and isfinite(sum(numbers)):
            return numbers
        with np.errstate(over="ignore"):
            single = np.ascontiguousarray(numbers, dtype=np.float32)
    except OverflowError:  # an integer outside the range of a float
        raise InvalidArgument(name, OUT_OF_RANGE) from None
    if not np.isfinite(single).all():
        raise InvalidArgument(name, vector_fault(single))
    shorter: list[float] = shortened(single).tolist()
    return shorter


def sendable_rows(vectors: Sequence[object], names: Sequence[str]) -> Sequence[Sequence[float]]:
    """Return vectors as numbers for JSON. Float32 arrays of equal length are converted in one step."""
    if len({_layout(vector) for vector in vectors}) == 1 and _layout(vectors[0]) is not None:
        matrix: NDArray[np.float32] = np.stack(vectors)  # type: ignore[arg-type]  # arrays, per `_layout`
        if np.isfinite(matrix).all():
            rows: list[list[float]] = shortened(matrix).tolist()
            return rows
    return [sendable(vector, name) for vector, name in zip(vectors, names, strict=True)]


def _layout(vector: object) -> int | None:
    """Return the length of a vector that is a float32 array, otherwise None."""
    if isinstance(vector, np.ndarray) and vector.dtype == np.float32 and vector.ndim == 1:
        return len(vector)
    return None
