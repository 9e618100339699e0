"""Checks of vectors that need NumPy; imported only by modules that process vectors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from akidb.domain.errors import InvalidArgument

MAX_NORM = 1e18
"""Maximum norm of a vector; the product of two longer vectors may exceed the range of float32."""
OUT_OF_RANGE = "must not contain infinity or numbers outside the range of float32"

_NUMBERS = frozenset({int, float})


def check_numbers(vector: object, name: str) -> Sequence[float] | NDArray[Any]:
    """Return the vector if it is one-dimensional and of real numbers; `name` is its path in errors."""
    if isinstance(vector, np.ndarray):
        if vector.dtype.kind not in "fiu":
            raise InvalidArgument(name, f"must contain numbers, not {vector.dtype}")
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
    """Return what is wrong with a refused vector of shape `(dimension,)`."""
    if np.isnan(row).any():
        return "must not contain NaN"
    if np.isinf(row).any():
        return OUT_OF_RANGE
    if not row.any():
        return "must not be zero with the metric cosine"
    return f"must have a norm of at most {MAX_NORM:g}"


def fits_float(numbers: Sequence[float] | NDArray[Any]) -> bool:
    """Return whether each number is within the range of a float."""
    try:
        np.array(numbers, dtype=np.float32)
    except OverflowError:
        return False
    return True


def vector_blobs(vectors: NDArray[np.float32], count: int, without: Sequence[int]) -> list[bytes]:
    """Return little-endian bytes for each of `count` documents, empty at the places `without` a vector."""
    blob, width = vectors.astype("<f4", copy=False).tobytes(), vectors.shape[1] * 4
    found = [blob[at : at + width] for at in range(0, len(blob), width or 1)]
    if not without:
        return found
    blobs = [b""] * count
    for place, vector in zip(other_places(count, without), found, strict=True):
        blobs[place] = vector
    return blobs


def other_places(count: int, places: Sequence[int]) -> list[int]:
    """Return the other places of `count`."""
    known = frozenset(places)
    return [place for place in range(count) if place not in known]
