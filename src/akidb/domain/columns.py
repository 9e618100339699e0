"""Documents as columns: ids, vectors, texts and metadata, each a list or an array."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, overload

from akidb.domain.documents import MAX_BATCH_DOCUMENTS, DocumentLike
from akidb.domain.errors import InvalidArgument

FIELD_OF = {"ids": "id", "vectors": "vector", "texts": "text", "metadatas": "metadata"}
"""The columns, and the field of a document that each contains."""
COLUMN_OF = {field: column for column, field in FIELD_OF.items()}
_PLACE = re.compile(r"documents\[(\d+)\]")
_IN_DOCUMENT = re.compile(r"(?s)documents\[(?P<place>\d+)\](?:\.(?P<field>\w+))?(?P<rest>.*)")


class DocumentColumns(Sequence[DocumentLike]):
    """Columns of equal length, which are also a sequence of the documents as mappings.

    A value of None in a column is absent. `columns` has those that are given, by name: lists or tuples, or
    for `vectors` an array of shape `(n, dimension)`.
    """

    __slots__ = ("_length", "columns")

    def __init__(self, columns: Mapping[str, Any]) -> None:
        """Take columns as `column` returns them. Raises InvalidArgument if their lengths differ."""
        lengths = {name: len(values) for name, values in columns.items()}
        first, self._length = next(iter(lengths.items()))
        for name, length in lengths.items():
            if length != self._length:
                raise InvalidArgument(name, f"has {length} items, but {first} has {self._length}")
        self.columns = columns

    def __repr__(self) -> str:
        return f"<{len(self)} documents as columns: {', '.join(self.columns)}>"

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, place: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, place: slice) -> "DocumentColumns": ...

    def __getitem__(self, place: int | slice) -> "dict[str, Any] | DocumentColumns":
        if isinstance(place, slice):
            return DocumentColumns({name: values[place] for name, values in self.columns.items()})
        found = ((FIELD_OF[name], values[place]) for name, values in self.columns.items())
        return {field: value for field, value in found if value is not None}


def column(name: str, values: Any, *, most: int | None = MAX_BATCH_DOCUMENTS + 1) -> Any:
    """Return a column as a list or tuple, or for `vectors` as an array of shape `(n, dimension)`.

    Takes lists, arrays, columns of data frames, and any other iterable, of which `most` items are read.
    Raises InvalidArgument for anything else.
    """
    if isinstance(values, list | tuple):
        return values
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InvalidArgument(name, f"must be a list of {name}")
    if not hasattr(values, "__array__"):
        return list(islice(values, most))
    import numpy as np

    array = np.asarray(values)
    if name != "vectors" or (array.ndim == 1 and array.dtype == object):
        return array.tolist()
    if array.ndim != 2:
        raise InvalidArgument(name, f"must have the shape (n, dimension), not {array.shape}")
    return array


def placed(error: InvalidArgument, first: int = 0, columns: Sequence[str] = ()) -> InvalidArgument:
    """Return the error of a batch that begins at document `first` of the input, with paths in the input.

    With `columns`, the names of those that were given, `documents[3].text` is `texts[3]`.
    """
    path = _PLACE.sub(lambda found: f"documents[{first + int(found[1])}]", error.field, count=1)
    if columns:
        path = _in_columns(path, columns)
    moved = InvalidArgument(
        path, _PLACE.sub(lambda found: f"documents[{first + int(found[1])}]", error.reason)
    )
    moved.fields |= {name: value for name, value in error.fields.items() if name not in moved.fields}
    return moved


def _in_columns(path: str, columns: Sequence[str]) -> str:
    found = _IN_DOCUMENT.fullmatch(path)
    if found is None:
        return columns[0] if path == "documents" else path
    contents = [name for name in columns if name != "ids"]
    name = COLUMN_OF.get(
        found["field"] or "", (contents or columns)[0]
    )  # without a field: it has no contents
    return f"{name}[{found['place']}]{found['rest']}"
