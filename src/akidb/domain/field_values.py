"""The values of a field of metadata, as filters read it: which it reaches, which are one, their order."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from akidb.domain.errors import InvalidArgument
from akidb.domain.names import check_text

MAX_NAME_BYTES: Final = 512
MAX_CHARACTERS: Final = 256
"""In an order longer strings are kept up to here, followed by CUT."""
CUT: Final = "\0"
"""Stored strings never contain it."""

Value: TypeAlias = int | float | str
"""A number, or a string, which may be cut."""


class SortKey(NamedTuple):
    """A value in the order of a field, from smallest to largest; compares with any other.

    Null, booleans, numbers, strings by code point, then objects and empty lists. MISSING_KEY comes last in
    both directions.
    """

    kind: int
    value: Value


NULL_KEY: Final = SortKey(0, 0)
FALSE_KEY: Final = SortKey(1, 0)
TRUE_KEY: Final = SortKey(1, 1)
OTHER_KEY: Final = SortKey(4, 0)
MISSING_KEY: Final = SortKey(9, 0)


def check_field(value: object, field: str) -> str:
    """Check the name of a field as in a filter, without `$text` and `$id`."""
    name = check_text(value, field, maximum_bytes=MAX_NAME_BYTES)
    if not name:
        raise InvalidArgument(field, "must not be empty")
    if name.startswith("$"):
        raise InvalidArgument(field, "must be a field of the metadata, which does not begin with $")
    return name


def values_of(field: str, metadata: Mapping[str, Any]) -> list[Any]:
    """Return the values that a field reaches."""
    if field in metadata:
        return [metadata[field]]
    first, *rest = field.split(".")
    if not rest or first not in metadata:
        return []
    reached: list[Any] = [metadata[first]]
    for key in rest:
        items = [item for value in reached for item in (value if type(value) is list else (value,))]
        reached = [item[key] for item in items if type(item) is dict and key in item]
    return reached


def as_value(value: float | str) -> Value:
    """Return the one form of equal values: an integral float as an integer, a long string cut.

    `value` is not a boolean.
    """
    if type(value) is str:
        return value if len(value) <= MAX_CHARACTERS else value[:MAX_CHARACTERS] + CUT
    if type(value) is float and value.is_integer() and -(2**63) <= value < 2**63:
        return int(value)
    return value


def is_cut(value: object) -> bool:
    """Return whether it stands for all strings that begin like it."""
    return type(value) is str and len(value) > MAX_CHARACTERS


def sort_key(value: Value) -> SortKey:
    """Return the key of a number, in the form of `as_value`, or of a string."""
    return SortKey(3 if type(value) is str else 2, value)


def key_of(value: Any) -> SortKey:
    """Return the key of any value, of a string uncut."""
    kind = type(value)
    if kind is str:
        return SortKey(3, value)
    if kind is int or kind is float:
        return SortKey(2, as_value(value))
    if value is None:
        return NULL_KEY
    if kind is bool:
        return TRUE_KEY if value else FALSE_KEY
    return OTHER_KEY


def scalar_of(key: SortKey) -> bool | int | float | str | None:
    """Return the value of a key other than OTHER_KEY and MISSING_KEY."""
    return None if key == NULL_KEY else bool(key.value) if key.kind == FALSE_KEY.kind else key.value


def row_key(values: list[Any], *, descending: bool) -> SortKey:
    """Return the key of the values that a field reaches in a document: the smallest, descending the largest.

    The elements of lists count as values.
    """
    items = [item for value in values for item in (value if type(value) is list and value else (value,))]
    keys = [key_of(as_value(item) if type(item) is str else item) for item in items]
    return (max(keys) if descending else min(keys)) if keys else MISSING_KEY


def distinct(values: list[Any]) -> Iterable[SortKey]:
    """Return the keys of the distinct scalars among values and the elements of lists."""
    items = [item for value in values for item in (value if type(value) is list else (value,))]
    return {key_of(item) for item in items if type(item) is not list and type(item) is not dict}
