"""Algebraic laws of the filter language on random inputs, and comparison with a naive evaluator."""

import operator
import re
from collections.abc import Callable
from typing import Any

from filter_samples import DOCUMENTS, FIELDS, FILTERS, SCALARS, UNTIMED
from hypothesis import given
from hypothesis import strategies as st

from akidb.domain.filters import Filter

Document = tuple[str, str | None, dict[str, Any]]


def _matches(value: dict[str, Any], document: Document) -> bool:
    return Filter.parse(value).matches(*document)


def _same(one: Any, other: Any) -> bool:
    return _kind(one) == _kind(other) and bool(one == other)


def _kind(value: Any) -> str:
    return (
        "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
    )


def _found(field: str, document: Document) -> list[Any]:
    """All values that a field reaches in a document."""
    identity, text, metadata = document
    if field == "$id":
        return [identity]
    if field == "$text":
        return [] if text is None else [text]
    if field in metadata:
        return [metadata[field]]
    reached: list[Any] = [metadata]
    for key in field.split("."):
        candidates = [item for one in reached for item in (one if isinstance(one, list) else [one])]
        reached = [item[key] for item in candidates if isinstance(item, dict) and key in item]
    return reached


ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


def _holds(name: str, operand: Any, found: list[Any]) -> bool:
    each = [item for value in found for item in (value if isinstance(value, list) else [value])]
    match name:
        case "$eq" if operand == []:
            return any(value == [] for value in found)
        case "$eq":
            return any(_same(value, operand) for value in each)
        case "$in":
            return any(_holds("$eq", one, found) for one in operand)
        case "$ne" | "$nin":
            return not _holds({"$ne": "$eq", "$nin": "$in"}[name], operand, found)
        case "$exists":
            return bool(found) is operand
        case "$contains":
            lists = [value for value in found if isinstance(value, list)]
            texts = [value for value in found if isinstance(value, str)]
            within = isinstance(operand, str) and any(operand in text for text in texts)
            return within or _holds("$eq", operand, lists)
        case "$icontains":
            elements = [item for value in found if isinstance(value, list) for item in value]
            texts = [value.casefold() for value in found if isinstance(value, str)]
            folded = [item.casefold() for item in elements if isinstance(item, str)]
            return operand.casefold() in folded or any(operand.casefold() in text for text in texts)
        case "$regex":
            return any(isinstance(value, str) and re.search(operand, value) is not None for value in each)
    return any(_kind(value) == _kind(operand) and ORDERS[name](value, operand) for value in each)


def _naive(value: dict[str, Any], document: Document) -> bool:
    outcomes = []
    for key, operand in value.items():
        if key in ("$and", "$or"):
            outcomes.append({"$and": all, "$or": any}[key](_naive(part, document) for part in operand))
        elif key == "$not":
            outcomes.append(not _naive(operand, document))
        else:
            operators = operand if isinstance(operand, dict) else {"$eq": operand}
            found = _found(key, document)
            outcomes.extend(_holds(name, one, found) for name, one in operators.items())
    return all(outcomes)


@UNTIMED
@given(FILTERS, DOCUMENTS)
def test_filter_matches_naive_evaluator(value: dict[str, Any], document: Document) -> None:
    assert _matches(value, document) is _naive(value, document)


@UNTIMED
@given(FIELDS, SCALARS, DOCUMENTS)
def test_ne_is_negation_of_eq(field: str, operand: Any, document: Document) -> None:
    assert _matches({field: {"$ne": operand}}, document) is not _matches({field: operand}, document)


@UNTIMED
@given(FIELDS, st.lists(SCALARS), DOCUMENTS)
def test_nin_is_negation_of_in(field: str, operands: list[Any], document: Document) -> None:
    assert _matches({field: {"$nin": operands}}, document) is not _matches(
        {field: {"$in": operands}}, document
    )


@UNTIMED
@given(FIELDS, st.lists(SCALARS, min_size=1, max_size=4), DOCUMENTS)
def test_in_is_disjunction_of_eq(field: str, operands: list[Any], document: Document) -> None:
    either = {"$or": [{field: operand} for operand in operands]}
    assert _matches({field: {"$in": operands}}, document) is _matches(either, document)


@UNTIMED
@given(st.lists(FILTERS, min_size=1, max_size=3), DOCUMENTS)
def test_not_follows_de_morgan(parts: list[dict[str, Any]], document: Document) -> None:
    negated = [{"$not": part} for part in parts]
    assert _matches({"$not": {"$and": parts}}, document) is _matches({"$or": negated}, document)
    assert _matches({"$not": {"$or": parts}}, document) is _matches({"$and": negated}, document)


@UNTIMED
@given(FILTERS, DOCUMENTS)
def test_empty_filter_matches_everything(value: dict[str, Any], document: Document) -> None:
    assert not Filter.parse(value).is_empty or _matches(value, document)


@UNTIMED
@given(FILTERS)
def test_to_json_round_trips(value: dict[str, Any]) -> None:
    parsed = Filter.parse(value)
    assert parsed.to_json() == value
    assert Filter.parse(parsed.to_json()) == parsed


@UNTIMED
@given(FILTERS)
def test_canonical_form_is_independent_of_key_order(value: dict[str, Any]) -> None:
    assert Filter.parse(_reversed(value)).canonical == Filter.parse(value).canonical


def _reversed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _reversed(item) for key, item in reversed(value.items())}
    return [_reversed(item) for item in value] if isinstance(value, list) else value


@UNTIMED
@given(FILTERS, DOCUMENTS, st.sampled_from(["a", "b", "c"]))
def test_unreferenced_field_does_not_affect_match(
    value: dict[str, Any], document: Document, key: str
) -> None:
    if key not in Filter.parse(value).fields:
        identity, text, metadata = document
        without = {name: item for name, item in metadata.items() if name != key}
        assert _matches(value, document) is _matches(value, (identity, text, without))
