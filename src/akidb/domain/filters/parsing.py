"""Parses the JSON of a filter to its tree; errors have the path of the invalid part."""

from collections.abc import Callable, Mapping
from typing import Final, cast

from akidb.domain.errors import InvalidArgument
from akidb.domain.filters.nodes import (
    ID,
    TEXT,
    Compare,
    Contains,
    Empty,
    Equal,
    Exists,
    Field,
    In,
    Matches,
    Node,
    Order,
    Scalar,
    all_of,
    any_of,
    negation,
)
from akidb.domain.filters.patterns import MAX_PATTERN_BYTES, MAX_PATTERNS, MAX_PROGRAM_SIZE, program_size
from akidb.domain.json import member_path, scalar_fault, text_fault, type_name

MAX_DEPTH: Final = 32
"""Maximum nesting of filter objects through `$and`, `$or` and `$not`."""
MAX_CONDITIONS: Final = 1000
"""Maximum number of operators in a filter, including equality without an operator."""
MAX_OPERANDS: Final = 10_000
"""Maximum number of values in one `$in` or `$nin`: the maximum number of documents in a batch."""


def parse(value: object, path: str) -> Node:
    """Return the tree of a filter. Raises InvalidArgument with a path that begins with `path`."""
    return _Parser().group(value, path, 1)


class _Parser:
    """Parses one filter, counting its conditions."""

    def __init__(self) -> None:
        self._conditions = 0
        self._patterns = 0
        self._program_size = 0

    def group(self, value: object, path: str, depth: int) -> Node:
        """Return the tree of a filter object, whose members must all match."""
        if type(value) is not dict:
            raise InvalidArgument(path, f"must be an object, not {type_name(value)}")
        if depth > MAX_DEPTH:
            raise InvalidArgument(path, f"must be nested at most {MAX_DEPTH} levels deep")
        if not value:
            self._count(path)
        parts = []
        for key, operand in value.items():
            at = _member(path, key)
            if key in _JUNCTIONS:
                parts.append(_JUNCTIONS[key](self._groups(operand, at, depth)))
            elif key == "$not":
                parts.append(negation(self.group(operand, at, depth + 1)))
            elif key.startswith("$") and key not in (TEXT, ID):
                raise InvalidArgument(at, _misplaced(key))
            else:
                parts.append(self._field(Field(key), operand, at))
        return all_of(parts)

    def _groups(self, value: object, path: str, depth: int) -> list[Node]:
        if type(value) is not list:
            raise InvalidArgument(path, f"must be a list of filters, not {type_name(value)}")
        if not value:
            raise InvalidArgument(path, "must have at least one filter")
        return [self.group(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]

    def _field(self, field: Field, value: object, path: str) -> Node:
        if type(value) is not dict:
            self._count(path)
            return _equal(field, value, path)
        if not value:
            raise InvalidArgument(path, "must have an operator")
        parts = []
        for key, operand in value.items():
            at = _member(path, key)
            operator = _OPERATORS.get(key)
            if operator is None:
                raise InvalidArgument(at, _no_operator(key, field))
            self._count(at)
            parts.append(operator(field, operand, at))
            if key == "$regex":
                self._count_pattern(operand, at)
        return all_of(parts)

    def _count_pattern(self, pattern: str, path: str) -> None:
        self._patterns += 1
        if self._patterns > MAX_PATTERNS:
            raise InvalidArgument(path, f"must be one of at most {MAX_PATTERNS} regular expressions in all")
        self._program_size += program_size(pattern, path)
        if self._program_size > MAX_PROGRAM_SIZE:
            raise InvalidArgument(
                path, "is too large a regular expression, alone or with the others of the filter"
            )

    def _count(self, path: str) -> None:
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            raise InvalidArgument(path, f"must have at most {MAX_CONDITIONS} conditions in all")


def _member(path: str, key: object) -> str:
    """Return the path of a member, after checking that metadata could have its key."""
    if type(key) is not str:
        raise InvalidArgument(path, f"keys must be strings, not {type_name(key)}")
    at = member_path(path, key)
    if not key:
        raise InvalidArgument(path, "a field name must not be empty")
    if fault := text_fault(key):
        raise InvalidArgument(at, fault)
    return at


def _misplaced(key: str) -> str:
    if key in _OPERATORS:
        return 'an operator must be inside a field, as in {"year": {"$gte": 2020}}'
    return "unknown operator"


def _no_operator(key: str, field: Field) -> str:
    if key == "$not" or key in _JUNCTIONS:
        return f'{key} must contain fields, as in {{"{key}": ...}}, and cannot be inside one'
    if not key.startswith("$"):
        return f'unknown operator; a nested field is written with a dot, as in "{field.name}.{key}"'
    return "unknown operator"


def _scalar(value: object, path: str) -> Scalar:
    if type(value) in (list, dict):
        raise InvalidArgument(path, f"must be null, a boolean, a number or a string, not {type_name(value)}")
    if fault := scalar_fault(value):
        raise InvalidArgument(path, fault)
    return cast("Scalar", value)


def _equal(field: Field, operand: object, path: str) -> Node:
    return Empty(field) if _is_empty_list(operand) else Equal(field, _scalar(operand, path))


def _is_empty_list(operand: object) -> bool:
    return type(operand) is list and not operand


def _in(field: Field, operand: object, path: str) -> Node:
    if type(operand) is not list:
        raise InvalidArgument(path, f"must be a list, not {type_name(operand)}")
    if len(operand) > MAX_OPERANDS:
        raise InvalidArgument(path, f"must have at most {MAX_OPERANDS} values")
    known = tuple(_scalar(item, f"{path}[{i}]") for i, item in enumerate(operand) if not _is_empty_list(item))
    among = In(field, known)
    return among if len(known) == len(operand) else any_of([among, Empty(field)])


def _compare(order: Order) -> Callable[[Field, object, str], Node]:
    def node(field: Field, operand: object, path: str) -> Node:
        known = _scalar(operand, path)
        if known is None or isinstance(known, bool):
            raise InvalidArgument(path, f"must be a number or a string, not {type_name(known)}")
        return Compare(field, order, known)

    return node


def _contains(field: Field, operand: object, path: str) -> Node:
    return Contains(field, _scalar(operand, path))


def _icontains(field: Field, operand: object, path: str) -> Node:
    return Contains(field, _string(operand, path), ignore_case=True)


def _regex(field: Field, operand: object, path: str) -> Node:
    pattern = _string(operand, path)
    if len(pattern.encode()) > MAX_PATTERN_BYTES:
        raise InvalidArgument(path, f"must be at most {MAX_PATTERN_BYTES} bytes of UTF-8")
    return Matches(field, pattern)


def _string(operand: object, path: str) -> str:
    known = _scalar(operand, path)
    if not isinstance(known, str):
        raise InvalidArgument(path, f"must be a string, not {type_name(known)}")
    return known


def _exists(field: Field, operand: object, path: str) -> Node:
    if type(operand) is not bool:
        raise InvalidArgument(path, f"must be true or false, not {type_name(operand)}")
    return Exists(field) if operand else negation(Exists(field))


_JUNCTIONS: Final[Mapping[str, Callable[[list[Node]], Node]]] = {"$and": all_of, "$or": any_of}
_OPERATORS: Final[Mapping[str, Callable[[Field, object, str], Node]]] = {
    "$eq": _equal,
    "$ne": lambda field, operand, path: negation(_equal(field, operand, path)),
    "$gt": _compare("$gt"),
    "$gte": _compare("$gte"),
    "$lt": _compare("$lt"),
    "$lte": _compare("$lte"),
    "$in": _in,
    "$nin": lambda field, operand, path: negation(_in(field, operand, path)),
    "$exists": _exists,
    "$contains": _contains,
    "$icontains": _icontains,
    "$regex": _regex,
}
