"""The syntax tree of a filter: small immutable nodes that adapters translate.

The tree has fewer nodes than the language has operators: `$ne`, `$nin` and `$exists: false` are negations,
several fields or operators in one object are an `And`. A missing field makes every leaf false.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

TEXT: Final = "$text"
ID: Final = "$id"

Scalar: TypeAlias = bool | int | float | str | None
Order: TypeAlias = Literal["$gt", "$gte", "$lt", "$lte"]


@dataclass(frozen=True, slots=True)
class Field:
    """A metadata field, or the document's text or id if the name is TEXT or ID."""

    name: str

    @property
    def path(self) -> tuple[str, ...]:
        """The keys to follow if the metadata has no key equal to the whole name."""
        return tuple(self.name.split("."))

    @property
    def top_level(self) -> frozenset[str]:
        """The top-level metadata keys that it reads."""
        return frozenset() if self.name in (TEXT, ID) else frozenset((self.name, self.path[0]))


@dataclass(frozen=True, slots=True)
class Equal:
    """The value, or an element of the list, is `operand`; `$ne` is its negation."""

    field: Field
    operand: Scalar


@dataclass(frozen=True, slots=True)
class Compare:
    """The value, or an element of the list, has the operand's type and this order to it."""

    field: Field
    order: Order
    operand: int | float | str


@dataclass(frozen=True, slots=True)
class In:
    """The value, or an element of the list, is one of `operands`; `$nin` is its negation."""

    field: Field
    operands: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Contains:
    """The value is a string that contains `operand`, or a list with `operand` as an element."""

    field: Field
    operand: Scalar
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class Matches:
    """The value, or an element of the list, is a string in which a regular expression matches somewhere."""

    field: Field
    pattern: str


@dataclass(frozen=True, slots=True)
class Empty:
    """The value is a list without elements."""

    field: Field


@dataclass(frozen=True, slots=True)
class Exists:
    """The document has the field, even if it is null."""

    field: Field


@dataclass(frozen=True, slots=True)
class And:
    """All parts match; without parts it is EVERYTHING."""

    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one part matches."""

    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not match."""

    part: "Node"


Leaf: TypeAlias = Equal | Compare | In | Contains | Matches | Empty | Exists
Node: TypeAlias = Leaf | And | Or | Not

EVERYTHING: Final = And(())


def all_of(parts: Sequence[Node]) -> Node:
    """Return the simplest node that matches when all parts match."""
    kept = tuple(part for part in parts if part != EVERYTHING)
    return kept[0] if len(kept) == 1 else And(kept)


def any_of(parts: Sequence[Node]) -> Node:
    """Return the simplest node that matches when any part matches; `parts` must not be empty."""
    if EVERYTHING in parts:
        return EVERYTHING
    return parts[0] if len(parts) == 1 else Or(tuple(parts))


def negation(part: Node) -> Node:
    """Return the node that matches when the part does not."""
    return part.part if isinstance(part, Not) else Not(part)


def has_patterns(node: Node) -> bool:
    """Return whether a tree has a regular expression."""
    if isinstance(node, And | Or):
        return any(has_patterns(part) for part in node.parts)
    return has_patterns(node.part) if isinstance(node, Not) else isinstance(node, Matches)


def fields_read(node: Node) -> frozenset[str]:
    """Return the top-level metadata keys that a tree reads."""
    if isinstance(node, And | Or):
        return frozenset().union(*(fields_read(part) for part in node.parts))
    if isinstance(node, Not):
        return fields_read(node.part)
    return node.field.top_level
