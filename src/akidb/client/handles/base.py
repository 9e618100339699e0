"""Shared by the handles: attributes of the entity, optional results, iteration over all pages."""

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from typing import Any, Generic, Never, NoReturn, TypeVar

from msgspec import UNSET

from akidb.domain.documents import Include, Page
from akidb.domain.errors import AlreadyExists, InvalidArgument, NotFound
from akidb.domain.errors import shown as shown_in_error
from akidb.domain.ids import EntityId
from akidb.domain.json import canonical
from akidb.domain.parts import check_include
from akidb.operations.declare import OPERATIONS, Operations, Request

T = TypeVar("T")

IncludeLike = Collection[Include | str]
"""The parts of a document to return: `text`, `metadata`, `vector`, or `metadata.FIELD` for a field of it."""


class Field(Generic[T]):
    """A descriptor that reads the attribute of the same name from the handle's entity."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, handle: Any, owner: type) -> T:
        value: T = getattr(handle.entity, self._name)
        return value

    def __set__(self, handle: Any, value: Never) -> NoReturn:
        raise AttributeError(f"{self._name} cannot be assigned: {handle._changed_by}")  # noqa: SLF001


class Bound:
    """A handle of one thing, or of all things in a place, through a connection.

    Two are equal if they have the same connection and refer to the same. Only the documented attributes
    exist: assigning others would change nothing.
    """

    __slots__ = ("_operations", "_perform")

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._perform = operations.perform

    def _key(self) -> Hashable:
        """Return what it refers to, by IDs, since names change."""
        return None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Bound) or type(other) is not type(self):
            return NotImplemented
        return self._operations is other._operations and self._key() == other._key()

    def __hash__(self) -> int:
        return hash((type(self), self._key()))

    def _contains(
        self, thing: object, handle: "type[Bound]", kind: type[EntityId], exists: Callable[[Any], bool]
    ) -> bool:
        """Return whether a handle of this connection, an ID or a name refers to something that exists."""
        if isinstance(thing, Bound):
            same = isinstance(thing, handle) and thing._operations is self._operations  # noqa: SLF001
            return same and exists(thing._key())  # noqa: SLF001
        return isinstance(thing, str | kind) and exists(thing)


def found(entity: str, name: object, get: Callable[[], T]) -> T | None:
    """Return the result of `get`, or None if no `entity` has this name. Its parents must exist.

    Text that cannot be a name is not the name of anything. Raises InvalidArgument for other types.
    """
    try:
        return get()
    except NotFound as error:
        if error.fields["entity"] != entity:
            raise
    except InvalidArgument as error:
        if error.field != entity or not isinstance(name, str):
            raise
    return None


def wanted(request: type[Request[Any]], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that are given, in the form that entities have them.

    Raises InvalidArgument for an invalid value, TypeError for an unknown field.
    """
    rules = OPERATIONS[request].fields
    if unknown := fields.keys() - rules.keys():
        raise TypeError(f"unknown field {min(unknown)}")
    defaults = OPERATIONS[request].defaults
    return {
        name: value if value is None else rules[name].check(value, name)
        for name, value in fields.items()
        if value is not None or defaults.get(name) is UNSET
    }


def require_same(entity: str, shown: str, found: object, fields: Mapping[str, Any]) -> None:
    """Raise AlreadyExists for the first field in which `found` differs from what is wanted."""
    for name, value in fields.items():
        has = getattr(found, name)
        if canonical(has) == canonical(value):  # in Python 1 == True
            continue
        said = f"the {name} {shown_in_error(has)}, not {shown_in_error(value)}"
        raise AlreadyExists(entity, name, value, message=f"{entity} {shown!r} already exists and has {said}")


def every(read: Callable[[str | None], Page[T]]) -> Iterator[T]:
    """Yield all items of a list; `read` returns the page at a cursor."""
    cursor: str | None = None
    while True:
        page = read(cursor)
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return


def parts(include: IncludeLike) -> frozenset[str]:
    """Parse `include`. Raises InvalidArgument for anything but parts of a document."""
    return check_include(include)
