"""Compiles a filter tree to a function that decides whether a document matches, made of closures.

A scan calls that function for each document, so each closure does only what its operand needs.
"""

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from akidb.domain.filters.nodes import (
    ID,
    TEXT,
    And,
    Compare,
    Contains,
    Empty,
    Equal,
    Exists,
    Field,
    Leaf,
    Matches,
    Node,
    Not,
    Or,
    Order,
    Scalar,
)
from akidb.domain.filters.patterns import compiled

Matcher: TypeAlias = Callable[[str, str | None, Mapping[str, Any]], bool]
"""Takes a document's id, text and metadata."""
Test: TypeAlias = Callable[[object], bool]
"""Takes a value of a field: of metadata, or the text or the id."""

_MISSING: Final = object()
_NUMBERS: Final = frozenset((int, float))
ORDERS: Final[Mapping[Order, Callable[[Any, Any], bool]]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}


def matcher(node: Node) -> Matcher:
    """Return the function that decides whether a document matches the tree."""
    if isinstance(node, And):
        return _all(tuple(matcher(part) for part in node.parts))
    if isinstance(node, Or):
        return _any(tuple(matcher(part) for part in node.parts))
    if isinstance(node, Not):
        inner = matcher(node.part)
        return lambda document_id, text, metadata: not inner(document_id, text, metadata)
    return _on_field(node.field, leaf_test(node))


def _all(parts: tuple[Matcher, ...]) -> Matcher:
    def matches(document_id: str, text: str | None, metadata: Mapping[str, Any]) -> bool:
        for part in parts:  # noqa: SIM110 - a generator costs as much as two parts
            if not part(document_id, text, metadata):
                return False
        return True

    return matches


def _any(parts: tuple[Matcher, ...]) -> Matcher:
    def matches(document_id: str, text: str | None, metadata: Mapping[str, Any]) -> bool:
        for part in parts:  # noqa: SIM110 - a generator costs as much as two parts
            if part(document_id, text, metadata):
                return True
        return False

    return matches


def _on_field(field: Field, test: Test) -> Matcher:
    """Return the function that applies `test`, which is false for _MISSING, to a field's value."""
    name, path = field.name, field.path
    if name == ID:
        return lambda document_id, _text, _metadata: test(document_id)
    if name == TEXT:
        return lambda _id, text, _metadata: text is not None and test(text)
    if len(path) == 1:
        return lambda _id, _text, metadata: test(metadata.get(name, _MISSING))

    first, rest = path[0], path[1:]

    def matches(_id: str, _text: str | None, metadata: Mapping[str, Any]) -> bool:
        if name in metadata:
            return test(metadata[name])
        return _reaches(metadata.get(first, _MISSING), rest, test)

    return matches


def _reaches(value: object, path: tuple[str, ...], test: Test) -> bool:
    """Return whether the path leads from `value`, through any object of a list, to a value that passes."""
    for depth, key in enumerate(path):
        if type(value) is list:
            rest = path[depth:]
            return any(type(item) is dict and _reaches(item, rest, test) for item in value)
        if type(value) is not dict:
            return False
        value = value.get(key, _MISSING)
    return test(value)


def leaf_test(leaf: Leaf) -> Test:
    """Return the test of a leaf, to apply to each value that its field reaches; one that passes is enough."""
    if isinstance(leaf, Exists):
        return lambda value: value is not _MISSING
    if isinstance(leaf, Empty):
        return lambda value: type(value) is list and not value
    if isinstance(leaf, Contains):
        return _contains_folded(str(leaf.operand)) if leaf.ignore_case else _contains(leaf.operand)
    if isinstance(leaf, Matches):
        return _self_or_element(_found_in(leaf.pattern))
    if isinstance(leaf, Compare):
        return _self_or_element(_ordered(ORDERS[leaf.order], leaf.operand))
    return _self_or_element(_equal(leaf.operand) if isinstance(leaf, Equal) else _among(leaf.operands))


def _self_or_element(test: Test) -> Test:
    def passes(value: object) -> bool:
        return any(map(test, value)) if type(value) is list else test(value)

    return passes


def _comparable(operand: Scalar) -> frozenset[type]:
    """Return the types that are comparable with the operand; Python itself treats True as 1."""
    return _NUMBERS if type(operand) in _NUMBERS else frozenset((type(operand),))


def _equal(operand: Scalar) -> Test:
    types = _comparable(operand)
    return lambda value: value == operand and type(value) in types


def _ordered(order: Callable[[Any, Any], bool], operand: float | str) -> Test:
    types = _comparable(operand)
    return lambda value: type(value) in types and order(value, operand)


def _among(operands: tuple[Scalar, ...]) -> Test:
    by_type: dict[type, set[Scalar]] = {}
    for operand in operands:
        for kind in _comparable(operand):
            by_type.setdefault(kind, set()).add(operand)

    def passes(value: Any) -> bool:
        values = by_type.get(type(value))  # None for an object, which is not hashable
        return values is not None and value in values

    return passes


def _contains(operand: Scalar) -> Test:
    element = _equal(operand)

    def passes(value: object) -> bool:
        if type(value) is list:
            return any(map(element, value))
        return isinstance(operand, str) and isinstance(value, str) and operand in value

    return passes


def _contains_folded(operand: str) -> Test:
    folded = operand.casefold()

    def passes(value: object) -> bool:
        if type(value) is list:
            return any(type(item) is str and item.casefold() == folded for item in value)
        return isinstance(value, str) and folded in value.casefold()

    return passes


def _found_in(pattern: str) -> Test:
    search = compiled(pattern).search
    return lambda value: type(value) is str and search(value) is not None
