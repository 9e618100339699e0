"""Shared by the handles: attributes of the entity, optional results, iteration over all pages."""

from collections.abc import Callable, Collection, Iterator
from typing import Any, Generic, Literal, TypeVar

from akidb.domain.documents import Include, Page
from akidb.domain.errors import InvalidArgument, NotFound

T = TypeVar("T")

IncludeLike = Collection[Include | Literal["text", "metadata", "vector"]]
"""The document fields to return, as members of `Include` or by name."""


class Field(Generic[T]):
    """A descriptor that reads the attribute of the same name from the handle's entity."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, handle: Any, owner: type) -> T:
        value: T = getattr(handle.entity, self._name)
        return value


def found(entity: str, get: Callable[[], T]) -> T | None:
    """Return the result of `get`, or None if the `entity` does not exist. Its parents must exist."""
    try:
        return get()
    except NotFound as error:
        if error.fields["entity"] != entity:
            raise
        return None


def every(read: Callable[[str | None], Page[T]]) -> Iterator[T]:
    """Yield all items of a list; `read` returns the page at a cursor."""
    cursor: str | None = None
    while True:
        page = read(cursor)
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return


def parts(include: IncludeLike) -> frozenset[Include]:
    """Parse `include`. Raises InvalidArgument for anything but fields of a document."""
    try:
        return frozenset(map(Include, include))
    except (ValueError, TypeError):
        raise InvalidArgument("include", "must be a list of text, metadata and vector") from None
