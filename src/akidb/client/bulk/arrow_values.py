"""Columns of Arrow as values of documents."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from akidb.client.bulk.formats import pyarrow
from akidb.client.bulk.parts import FIELDS, Columns, id_of_row
from akidb.domain.columns import COLUMN_OF, DocumentColumns
from akidb.domain.errors import InvalidArgument
from akidb.domain.json_batch import decode_metadata

INDEX_COLUMNS = "__index_level_"
"""What the columns begin with in which pandas stores the index of a data frame."""
_MAX_NAMED = 20

Convert = Callable[[Any], Any] | None
"""Makes a JSON value of one of `to_pylist`; None if it is one."""


class Reading:
    """How the columns of a schema become documents."""

    def __init__(self, schema: Any, columns: Columns) -> None:
        """Choose the columns. Raises InvalidArgument for one that is missing or has another type."""
        self._pa = pa = pyarrow()
        self._id_prefix = columns.id_prefix
        there = list(schema.names)
        if len(set(there)) != len(there):
            raise InvalidArgument("file", "has two columns of one name")
        for field in FIELDS:
            if field in columns.given and columns.names[field] not in there:
                raise InvalidArgument(
                    f"columns.{field}", f"no column {columns.names[field]!r}; {_those(there)}"
                )
        for name in columns.metadata or ():
            if name not in there:
                raise InvalidArgument("metadata_columns", f"no column {name!r}; {_those(there)}")
        self.fields = {field: name for field, name in columns.names.items() if name in there}
        others = columns.metadata
        if others is None and "metadata" not in self.fields:
            taken = set(self.fields.values())
            others = tuple(n for n in there if n not in taken and not n.startswith(INDEX_COLUMNS))
        self.others = tuple(others or ())
        if not self.fields.keys() & {"text", "vector", "metadata"} and not self.others:
            raise InvalidArgument("columns", f"no column for text, vector or metadata; {_those(there)}")
        kinds = {name: _plain_type(pa, schema.field(name).type) for name in there}
        if columns.metadata is None:
            for name in self.others:
                if _is_list(pa, kinds[name]) and pa.types.is_floating(kinds[name].value_type):
                    reason = "has lists of floats: name it as the vector, or name metadata_columns"
                    raise InvalidArgument("columns", f"column {name!r} {reason}")
        self._check_types({field: kinds[name] for field, name in self.fields.items()})
        self._converts = {name: _convert(pa, kinds[name], name) for name in self.others}
        metadata = self.fields.get("metadata")
        if metadata is not None and not _is_text(pa, kinds[metadata]):
            self._converts[metadata] = _convert(pa, kinds[metadata], metadata)

    @property
    def names(self) -> list[str]:
        """The columns to read."""
        return [*self.fields.values(), *(name for name in self.others if name not in self.fields.values())]

    def documents(self, batch: Any, first_row: int) -> DocumentColumns:
        """Return the documents of a record batch. Raises InvalidArgument with paths in this batch."""
        columns: dict[str, Any] = {}
        for field, name in self.fields.items():
            array = self._plain(batch.column(name))
            columns[COLUMN_OF[field]] = self._values(field, name, array)
        if self.others:
            self._add_metadata(columns, batch)
        if self._id_prefix is not None:
            ids = columns.get("ids", [None] * batch.num_rows)
            columns["ids"] = [
                id_of_row(self._id_prefix, first_row + at) if id is None else id for at, id in enumerate(ids)
            ]
        return DocumentColumns(columns)

    def _values(self, field: str, name: str, array: Any) -> Any:
        pa = self._pa
        if pa.types.is_null(array.type):
            return [None] * len(array)
        if field == "vector":
            return _vectors(array)
        values = array.to_pylist()
        if field == "id" and pa.types.is_integer(array.type):
            return [None if value is None else str(value) for value in values]
        if field != "metadata":
            return values
        if name in self._converts:
            convert = self._converts[name]
            return values if convert is None else [None if v is None else convert(v) for v in values]
        return [
            None if value is None else decode_metadata(value.encode(), at) for at, value in enumerate(values)
        ]

    def _add_metadata(self, columns: dict[str, Any], batch: Any) -> None:
        objects = [
            dict(value) if value else {} for value in columns.get("metadatas", [None] * batch.num_rows)
        ]
        for name in self.others:
            convert = self._converts[name]
            for place, value in zip(objects, _pylist(self._pa, self._plain(batch.column(name))), strict=True):
                if value is not None:
                    place[name] = value if convert is None else convert(value)
        columns["metadatas"] = objects

    def _plain(self, array: Any) -> Any:
        """Return a column without a dictionary and without an extension type."""
        if isinstance(array, self._pa.ExtensionArray):
            array = array.storage
        return array.dictionary_decode() if self._pa.types.is_dictionary(array.type) else array

    def _check_types(self, kinds: Mapping[str, Any]) -> None:
        pa = self._pa
        for field, kind in kinds.items():
            name = self.fields[field]
            if pa.types.is_null(kind):
                continue
            if field == "vector":
                fits = _is_list(pa, kind) and _is_number(pa, kind.value_type)
                wanted = "lists of numbers"
            elif field == "metadata":
                fits = _is_text(pa, kind) or pa.types.is_struct(kind) or pa.types.is_map(kind)
                wanted = "structs, maps or JSON"
            else:
                fits = _is_text(pa, kind) or (field == "id" and pa.types.is_integer(kind))
                wanted = "text or integers" if field == "id" else "text"
            if not fits:
                raise InvalidArgument(f"columns.{field}", f"column {name!r} must have {wanted}, not {kind}")


def _those(names: list[str]) -> str:
    more = ", ..." if len(names) > _MAX_NAMED else ""
    return f"there are {', '.join(map(repr, names[:_MAX_NAMED]))}{more}"


def _plain_type(pa: Any, kind: Any) -> Any:
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_text(pa: Any, kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_list(pa: Any, kind: Any) -> bool:
    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _is_number(pa: Any, kind: Any) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _vectors(array: Any) -> Any:
    """Return vectors as an array of shape `(n, dimension)`, or as a list of arrays and None."""
    flat = array.flatten()
    lengths = array.value_lengths().to_pylist()
    if flat.null_count:
        _refuse_null(flat, lengths)
    numbers = flat.to_numpy(zero_copy_only=False)
    width = lengths[0] if lengths else 0
    if width and all(length == width for length in lengths):
        return numbers.reshape(len(lengths), width)
    found, at = [], 0
    for length in lengths:
        found.append(None if length is None else numbers[at : at + length])
        at += length or 0
    return found


def _refuse_null(flat: Any, lengths: list[int | None]) -> None:
    first = int(np.argmax(flat.is_null().to_numpy(zero_copy_only=False)))
    at = 0
    for place, length in enumerate(lengths):
        if at <= first < at + (length or 0):
            raise InvalidArgument(f"documents[{place}].vector[{first - at}]", "must be a number, not null")
        at += length or 0


def _pylist(pa: Any, array: Any) -> Any:
    """Return the values; times with nanoseconds, which Python does not have, are cut to microseconds."""
    if pa.types.is_timestamp(array.type) and array.type.unit == "ns":
        array = array.cast(pa.timestamp("us", array.type.tz), safe=False)
    if pa.types.is_time64(array.type) and array.type.unit == "ns":
        array = array.cast(pa.time64("us"), safe=False)
    return array.to_pylist()


def _convert(pa: Any, kind: Any, name: str) -> Convert:
    """Return what makes JSON of the values of a type. Raises InvalidArgument if they have no JSON form."""
    types = pa.types
    if _is_text(pa, kind) or _is_number(pa, kind) or types.is_boolean(kind) or types.is_null(kind):
        return None
    if types.is_date(kind) or types.is_timestamp(kind) or types.is_time(kind):
        return _iso
    if _is_list(pa, kind):
        return _of_items(_convert(pa, kind.value_type, name))
    if types.is_struct(kind):
        inner = {
            kind.field(at).name: _convert(pa, kind.field(at).type, name) for at in range(kind.num_fields)
        }
        return _of_members(inner)
    if types.is_map(kind) and _is_text(pa, kind.key_type):
        return _of_pairs(_convert(pa, kind.item_type, name))
    raise InvalidArgument(
        "metadata_columns", f"column {name!r} has the type {kind}, which metadata cannot have"
    )


def _iso(value: Any) -> str:
    text: str = value.isoformat()
    return text


def _of_items(convert: Convert) -> Convert:
    if convert is None:
        return None
    return lambda items: [None if item is None else convert(item) for item in items]


def _of_members(inner: Mapping[str, Convert]) -> Convert:
    """A struct has all its members in each row: those that are null are absent."""

    def made(value: dict[str, Any]) -> dict[str, Any]:
        found = {}
        for name, item in value.items():
            if item is not None:
                convert = inner[name]
                found[name] = item if convert is None else convert(item)
        return found

    return made


def _of_pairs(convert: Convert) -> Convert:
    return lambda pairs: {
        key: item if convert is None or item is None else convert(item) for key, item in pairs
    }
