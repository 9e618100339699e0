"""Values of a field as numbers: which values are one, and how they are ordered.

A column numbers its distinct values from FIRST; the numbers below stand for what is not in its table. In the
rows a value is a *code*: twice its number, plus 1 for an element of a list.
"""

from typing import Final, NamedTuple, TypeAlias

from akidb.domain.filters.nodes import Scalar

MISSING: Final = 0
"""No value; it has no other code than 0."""
NULL: Final = 1
FALSE: Final = 2
TRUE: Final = 3
OBJECT: Final = 4
"""An object; in a list, an object or a list."""
EMPTY: Final = 5
"""A list without elements."""
UNREAD: Final = 6
"""A string that is not in memory: the document's text."""
FIRST: Final = 8

MAX_CHARACTERS: Final = 256
"""Longer strings are kept up to here, followed by CUT."""
CUT: Final = "\0"
"""Stored strings never contain it."""

Value: TypeAlias = int | float | str
"""What a table contains: a number, or a string, which may be cut."""


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


class SortKey(NamedTuple):
    """Where a document comes in the order of a field, from smallest to largest; compares with any other.

    Null, booleans, numbers, strings by code point (by the first MAX_CHARACTERS), then objects and empty
    lists. MISSING_KEY comes last in both directions.
    """

    kind: int
    value: Value


MISSING_KEY: Final = SortKey(9, 0)
OTHER_KEY: Final = SortKey(4, 0)
_SPECIAL_KEYS: Final = {
    MISSING: MISSING_KEY,
    NULL: SortKey(0, 0),
    FALSE: SortKey(1, 0),
    TRUE: SortKey(1, 1),
    OBJECT: OTHER_KEY,
    EMPTY: OTHER_KEY,
    UNREAD: OTHER_KEY,
    FIRST - 1: OTHER_KEY,
}
SPECIAL_KEYS: Final = tuple(_SPECIAL_KEYS[number] for number in range(FIRST))


def sort_key(value: Value) -> SortKey:
    """Return the key of a value of a table."""
    return SortKey(3 if type(value) is str else 2, value)


def special(value: Scalar) -> int:
    """Return the number of null or a boolean."""
    return NULL if value is None else TRUE if value else FALSE
