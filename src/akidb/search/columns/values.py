"""Values of a field as numbers.

A column numbers its distinct values from FIRST; the numbers below stand for what is not in its table. In the
rows a value is a *code*: twice its number, plus 1 for an element of a list.
"""

from typing import Final

from akidb.domain.field_values import FALSE_KEY, MISSING_KEY, NULL_KEY, OTHER_KEY, TRUE_KEY
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

_SPECIAL_KEYS: Final = {
    MISSING: MISSING_KEY,
    NULL: NULL_KEY,
    FALSE: FALSE_KEY,
    TRUE: TRUE_KEY,
    OBJECT: OTHER_KEY,
    EMPTY: OTHER_KEY,
    UNREAD: OTHER_KEY,
    FIRST - 1: OTHER_KEY,
}
SPECIAL_KEYS: Final = tuple(_SPECIAL_KEYS[number] for number in range(FIRST))


def special(value: Scalar) -> int:
    """Return the number of null or a boolean."""
    return NULL if value is None else TRUE if value else FALSE
