"""Groups the rows of a search by a field of their metadata."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from akidb.domain.documents import GroupValue
from akidb.domain.parts import FIELD_PREFIX
from akidb.observe.right_of_way import give_way
from akidb.ports.documents import DocumentReader
from akidb.ports.search import Hit

ROWS_AT_ONCE = 100
"""Rows with contents, of up to 2 MiB each, that are read at a time."""

_Key = tuple[bool, GroupValue]
"""A value and whether it is a boolean: in Python True equals 1."""


class Grouped(NamedTuple):
    """The rows of the first groups, those of a group after each other."""

    hits: list[Hit]
    values: list[GroupValue]
    """The group of each row."""
    is_full: bool
    """Whether no further rows are needed."""
    is_current: bool
    """Whether the rows were as the index had them."""


class Grouping:
    """Groups ever longer lists of the best rows of one search."""

    def __init__(self, reader: DocumentReader, field: str, groups: int, size: int) -> None:
        self._reader = reader
        self._field = field
        self._groups = groups
        self._size = size
        self._known: dict[int, tuple[int, list[GroupValue]]] = {}
        """The sequence and the values of each row that was read, by its key."""

    def of(self, hits: Sequence[Hit]) -> Grouped:
        """Group rows, which are given best first."""
        found: dict[_Key, list[Hit]] = {}
        values: dict[_Key, GroupValue] = {}
        full = 0
        is_current = True
        for at in range(0, len(hits), ROWS_AT_ONCE):
            some = hits[at : at + ROWS_AT_ONCE]
            self._read(some)
            for hit in some:
                sequence, own = self._known[hit.document_key]
                is_current = is_current and sequence == hit.sequence
                for value in own:
                    key = (type(value) is bool, value)
                    if key not in found:
                        if len(found) == self._groups:
                            continue
                        found[key] = []
                        values[key] = value
                    if len(found[key]) < self._size:
                        found[key].append(hit)
                        full += len(found[key]) == self._size
            if full == self._groups:
                break
        flat = [(hit, values[key]) for key, group in found.items() for hit in group]
        return Grouped(
            [hit for hit, _ in flat], [value for _, value in flat], full == self._groups, is_current
        )

    def _read(self, hits: Sequence[Hit]) -> None:
        unknown = [hit.document_key for hit in hits if hit.document_key not in self._known]
        if not unknown:
            return
        give_way()
        rows = self._reader.fetch(unknown, {FIELD_PREFIX + self._field})
        for key in unknown:
            sequence, document = rows.get(key, (0, None))
            metadata = None if document is None else document.metadata
            self._known[key] = (sequence, list(values_of(metadata or {}, self._field)))


def values_of(metadata: Mapping[str, Any], name: str) -> list[GroupValue]:
    """Return the distinct texts, numbers and booleans of a field, named as in a filter."""
    found = [metadata[name]] if name in metadata else list(_reached(metadata, name.split(".")))
    scalars = [value for each in found for value in (each if type(each) is list else [each])]
    distinct = {(type(value) is bool, value): value for value in scalars if type(value) in _GROUPS}
    return list(distinct.values())


_GROUPS = frozenset({str, int, float, bool})


def _reached(value: Any, path: Sequence[str]) -> Iterator[Any]:
    """Yield the values to which the path leads, through any object of a list."""
    for depth, key in enumerate(path):
        if type(value) is list:
            for item in value:
                if type(item) is dict:
                    yield from _reached(item, path[depth:])
            return
        if type(value) is not dict or key not in value:
            return
        value = value[key]
    yield value
