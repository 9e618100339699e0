"""Checks of vectors that need NumPy, which is loaded by those who work with vectors alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akidb.domain.errors import InvalidArgument

MAX_NORM = 1e18
"""Of a vector; the product of two longer ones would not fit a float32."""

_NUMBERS = frozenset({int, float})


def check_numbers(vector: object, name: str) -> Sequence[float] | NDArray[Any]:
    """The vector itself, if it is one-dimensional and of real numbers; `name` is its path."""
    if isinstance(vector, np.ndarray):
        if vector.dtype.kind not in "fiu":
            raise InvalidArgument(name, f"must hold numbers, not {vector.dtype}")
        if vector.ndim != 1:
            raise InvalidArgument(name, f"must have one dimension, not {vector.ndim}")
        return vector
    if isinstance(vector, str | bytes) or not isinstance(vector, Sequence):
        raise InvalidArgument(name, "must be a list of numbers")
    if not set(map(type, vector)) <= _NUMBERS:
        for at, value in enumerate(vector):
            if type(value) not in _NUMBERS and not isinstance(value, np.floating | np.integer):
                raise InvalidArgument(f"{name}[{at}]", "must be a number")
    return vector


def vector_fault(row: NDArray[np.float32]) -> str:
    """What is wrong with a vector of shape `(dimension,)` that was refused."""
    if np.isnan(row).any():
        return "must not hold NaN"
    if np.isinf(row).any():
        return "must not hold infinity, or numbers that a float32 does not hold"
    if not row.any():
        return "must not be zero with the metric cosine"
    return f"must not be longer than {MAX_NORM:g}"


def fits_float(numbers: Sequence[float] | NDArray[Any]) -> bool:
    """Whether each of the numbers is within the range of a float."""
    try:
        np.array(numbers, dtype=np.float32)
    except OverflowError:
        return False
    return True
