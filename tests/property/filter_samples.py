"""Random documents, and random filters that often match them."""

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For a machine that does other work too."""

KEYS = st.sampled_from(["a", "b", "a.b", "b.a.b"])
FIELDS = KEYS | st.sampled_from(["$id", "$text"])
NUMBERS = st.sampled_from([0, 1, 1.0, 1.5, -1, 2**53 + 1, float(2**53)])
STRINGS = st.sampled_from(["", "a", "ab", "b", "é", "É", "aB"])
PATTERNS = st.sampled_from(["", "a", "^a$", "(?i)AB", "[^a]", "a|é", "b{2}"])
EMPTY: st.SearchStrategy[list[Any]] = st.just([])
SCALARS = st.none() | st.booleans() | NUMBERS | STRINGS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
METADATA = st.dictionaries(KEYS, VALUES, max_size=4)
DOCUMENTS = st.tuples(STRINGS, st.none() | STRINGS, METADATA)

OPERATORS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "$eq": SCALARS | EMPTY,
        "$ne": SCALARS | EMPTY,
        "$gt": NUMBERS | STRINGS,
        "$gte": NUMBERS | STRINGS,
        "$lt": NUMBERS | STRINGS,
        "$lte": NUMBERS | STRINGS,
        "$in": st.lists(SCALARS | EMPTY, max_size=3),
        "$nin": st.lists(SCALARS | EMPTY, max_size=3),
        "$exists": st.booleans(),
        "$contains": SCALARS,
        "$icontains": STRINGS,
        "$regex": PATTERNS,
    },
).filter(bool)
CONDITIONS = st.dictionaries(FIELDS, SCALARS | OPERATORS, max_size=2)


def _joined(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    several = st.lists(inner, min_size=1, max_size=3)
    return st.fixed_dictionaries({}, optional={"$and": several, "$or": several, "$not": inner, "a": SCALARS})


FILTERS = st.recursive(CONDITIONS, _joined, max_leaves=6)
