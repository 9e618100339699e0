"""What the handles share: attributes of their entity, optional results, lists over all pages."""

from collections.abc import Callable, Collection, Iterator
from typing import Any, Generic, Literal, TypeVar

from akidb.domain.documents import Include, Page
from akidb.domain.errors import InvalidArgument, NotFound

T = TypeVar("T")

IncludeLike = Collection[Include | Literal["text", "metadata", "vector"]]
"""The parts that an answer should have, as members of `Include` or by name."""


class Field(Generic[T]):
    """An attribute of a handle that shows the one of its entity."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, handle: Any, owner: type) -> T:
        value: T = getattr(handle.entity, self._name)
        return value


def found(entity: str, get: Callable[[], T]) -> T | None:
    """What `get` gives, or None when there is no such `entity`; what lies above it must exist."""
    try:
        return get()
    except NotFound as error:
        if error.fields["entity"] != entity:
            raise
        return None


def every(read: Callable[[str | None], Page[T]]) -> Iterator[T]:
    """All items of a list; `read` gives the page at a cursor."""
    cursor: str | None = None
    while True:
        page = read(cursor)
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return


def parts(include: IncludeLike) -> frozenset[Include]:
    """Read what a caller wants included. Raises InvalidArgument for what is no part of a document."""
    try:
        return frozenset(map(Include, include))
    except (ValueError, TypeError):
        raise InvalidArgument("include", "must be a list of text, metadata and vector") from None
