"""Values of Python and NumPy as those of JSON: what a notebook or a data frame gives in place of them."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from akidb.domain.errors import InvalidArgument

MAX_ARRAY_BYTES = 2**20
"""Larger arrays are refused where a JSON value is expected, rather than converted."""
_TOO_DEEP = 200
_NUMPY = "numpy"


def plain(value: Any, depth: int = 0) -> Any:
    """Return a value with exact JSON types; what has no equivalent among them, or is too deep, is kept.

    Tuples and arrays become lists, mappings objects, scalars of NumPy and subclasses of `str`, `int` and
    `float` their plain value. Integers and floats of NumPy keep their value, also as 32-bit ones.
    """
    kind = type(value)
    if kind in {str, int, float, bool} or value is None or depth > _TOO_DEEP:
        return value
    if kind.__module__ == _NUMPY:
        return _of_numpy(value, depth)
    if isinstance(value, Mapping):
        return {plain(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, depth + 1) for item in value]
    for base in (str, int, float):
        if isinstance(value, base):
            return base.__str__(value) if base is str else base(value)
    return value


def listed(value: object, field: str, what: str, maximum: int) -> Sequence[Any]:
    """Return the items of any iterable, one more than `maximum` at most: a list or tuple as it is.

    Raises InvalidArgument for text, a mapping and what is not iterable. `what` is a word for the items.
    """
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise InvalidArgument(field, f"must be a list of {what}")
    return list(islice(value, maximum + 1))


def _of_numpy(value: Any, depth: int) -> Any:
    if not hasattr(value, "tolist") or getattr(value, "nbytes", 0) > MAX_ARRAY_BYTES:
        return value
    converted = value.tolist()
    return value if type(converted) is type(value) else plain(converted, depth + 1)
