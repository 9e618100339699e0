"""The order of documents by a field of their metadata, then by id."""

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from akidb.domain.errors import InvalidArgument
from akidb.domain.field_values import MISSING_KEY, SortKey

BEYOND: Final = 1_000
"""Documents that are collected beyond those wanted before these are chosen."""


class Ordered(NamedTuple):
    """A document in the order of a field."""

    key: SortKey
    id: str
    position: int
    """What its source finds it by."""


class After(msgspec.Struct, frozen=True, array_like=True):
    """The place of a document in the order, in a cursor."""

    kind: int
    value: int | float | str
    id: str

    @classmethod
    def of(cls, document: Ordered) -> "After":
        """Return the place of a document."""
        return cls(*document.key, document.id)

    def place(self) -> tuple[SortKey, str]:
        """Return the key and the id. Raises InvalidArgument for a cursor that was made up."""
        is_text = isinstance(self.value, str)
        if is_text != (self.kind == TEXT_KIND):
            raise InvalidArgument("cursor", "is not a cursor of this list")
        return SortKey(self.kind, self.value), self.id


TEXT_KIND: Final = 3


class FirstInOrder:
    """Collects the first documents in the order, in bounded memory."""

    def __init__(self, *, descending: bool, limit: int, after: tuple[SortKey, str] | None) -> None:
        self._descending = descending
        self._limit = limit
        self._after = after
        self._found: list[Ordered] = []

    def add(self, document: Ordered) -> None:
        """Add one of all documents."""
        if self._after is None or follows(document, self._after, descending=self._descending):
            self._found.append(document)
            if len(self._found) >= 2 * self._limit + BEYOND:
                self._found = self.first()

    def first(self) -> list[Ordered]:
        """Return the first of those added, in order."""
        return merged([self._found], descending=self._descending, limit=self._limit)


def merged(
    parts: Iterable[list[Ordered]],
    *,
    descending: bool = False,
    limit: int,
    after: tuple[SortKey, str] | None = None,
) -> list[Ordered]:
    """Return the first documents of several parts in the order of a field."""
    every = sorted((one for part in parts for one in part), key=lambda one: one.id)
    if descending:
        every.sort(key=lambda one: one.key, reverse=True)
        every.sort(key=lambda one: one.key == MISSING_KEY)
    else:
        every.sort(key=lambda one: one.key)
    if after is not None:
        every = [one for one in every if follows(one, after, descending=descending)]
    return every[:limit]


def follows(one: Ordered, after: tuple[SortKey, str], *, descending: bool) -> bool:
    """Return whether a document comes after a place in the order."""
    key, id = after
    if one.key == key:
        return one.id > id
    if descending and MISSING_KEY not in (one.key, key):
        return one.key < key
    return one.key > key
