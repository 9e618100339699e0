"""Reads of one collection within one transaction."""

from collections.abc import Collection as AbstractCollection
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import sqlalchemy as sa

from akidb.documents.schema import collections, control, documents, remembered_answers, tombstones
from akidb.domain.documents import Document, Include
from akidb.domain.errors import NotFound
from akidb.domain.filters import Filter
from akidb.domain.ids import CollectionId
from akidb.domain.lifecycle import (
    CollectionState,
    DatabaseState,
    Operation,
    TenantStatus,
    require,
)
from akidb.ports.documents import Changes, CollectionControl, Row, Selection
from akidb.sql.answers import SqlAnswers
from akidb.sql.prepared import Prepared

SCAN_ROWS = 1_000
"""Rows read at a time where a filter may leave out many of them."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode

_CONTROLS = sa.select(
    *(
        (control if name == "tenant_status" else collections).c[name]
        for name in CollectionControl.__struct_fields__
    )
).select_from(collections.join(control, sa.true()))
_CONTROL = Prepared(
    _CONTROLS.where(collections.c.collection_id == sa.bindparam("collection_id")), CollectionControl
)
_ALL_CONTROLS = Prepared(_CONTROLS, CollectionControl)


def any_of(column: sa.Column[Any], parameter: str) -> sa.ColumnElement[bool]:
    """Whether the column is among the values of a JSON array; one statement for any number of them."""
    values = sa.func.json_each(sa.bindparam(parameter)).table_valued("value")
    return column.in_(sa.select(values.c.value))


_OWNED = documents.c.collection_key == sa.bindparam("collection_key")
_HEAD = (documents.c.document_key, documents.c.sequence, documents.c.id)
_CONTENT = (documents.c.text, documents.c.metadata)
_PARTS = {
    True: sa.select(*_HEAD, *_CONTENT, documents.c.vector).where(_OWNED),
    False: sa.select(*_HEAD, *_CONTENT, sa.null().label("vector")).where(_OWNED),
}
# The `+ 0` keeps SQLite from choosing the index on the collection, which would read all of its rows.
_BY_KEY = {
    v: Prepared(
        sa.select(*s.selected_columns).where(
            any_of(documents.c.document_key, "wanted"),
            documents.c.collection_key + 0 == sa.bindparam("collection_key"),
        )
    )
    for v, s in _PARTS.items()
}
_BY_ID = {v: s.where(any_of(documents.c.id, "wanted")) for v, s in _PARTS.items()}
_PAGE = {
    v: s.where(documents.c.id > sa.bindparam("after")).order_by(documents.c.id).limit(sa.bindparam("rows"))
    for v, s in _PARTS.items()
}
_ROWS = {
    contents: sa.select(
        *_HEAD,
        documents.c.vector,
        *(_CONTENT if contents else (sa.null().label("text"), sa.literal("{}").label("metadata"))),
    )
    .where(_OWNED, documents.c.sequence > sa.bindparam("since"))
    .order_by(documents.c.sequence)
    for contents in (True, False)
}
_DELETED = (
    sa.select(tombstones.c.sequence, tombstones.c.id)
    .where(
        tombstones.c.collection_key == sa.bindparam("collection_key"),
        tombstones.c.sequence > sa.bindparam("since"),
    )
    .order_by(tombstones.c.sequence)
)
_CHOSEN = sa.select(documents.c.document_key, documents.c.id, documents.c.size_bytes, *_CONTENT).where(_OWNED)
_CHOSEN_BY_ID = _CHOSEN.where(any_of(documents.c.id, "wanted")).order_by(documents.c.id)
_CHOSEN_ALL = _CHOSEN.order_by(documents.c.id)


def read_control(
    connection: sa.Connection, collection_id: CollectionId, operation: Operation
) -> CollectionControl:
    """The collection's control row.

    Raises NotFound when the collection or what it stands in is deleted, InvalidState when a state on
    its path forbids the operation.
    """
    found: CollectionControl | None = _CONTROL.first(connection, collection_id=collection_id)
    if found is None:
        raise NotFound("collection", collection_id)
    if (
        found.state == CollectionState.DELETING
        or found.database_state == DatabaseState.DELETING
        or found.tenant_status == TenantStatus.DECOMMISSIONED
    ):
        raise NotFound("collection", collection_id)
    require(operation, found.tenant_status, found.database_state, found.state)
    return found


def read_controls(connection: sa.Connection) -> list[CollectionControl]:
    """The control rows of all collections, deleted ones too."""
    return _ALL_CONTROLS.all(connection)


class SqlDocumentReader:
    """`akidb.ports.documents.DocumentReader`."""

    def __init__(self, connection: sa.Connection, control_row: CollectionControl) -> None:
        self._connection = connection
        self.control = control_row
        self._key = {"collection_key": control_row.collection_key}
        self.answers = SqlAnswers(connection, remembered_answers, self._key)

    def get(self, ids: Sequence[str], include: AbstractCollection[Include]) -> list[Document]:
        """In the order of `ids`, unknown ones left out."""
        statement = _BY_ID[Include.VECTOR in include]
        rows = self._connection.execute(statement, {**self._key, "wanted": _json_array(ids)})
        found = {row[2]: _document(row, include) for row in rows}
        return [found[id] for id in ids if id in found]

    def scan(
        self,
        *,
        after: str | None,
        filter: Filter | None,
        include: AbstractCollection[Include],
        limit: int,
    ) -> tuple[list[Document], bool]:
        """Documents in the order of their ids, and whether there are more."""
        found: list[Document] = []
        statement = _PAGE[Include.VECTOR in include]
        position = after or ""  # no id is empty
        size = limit + 1 if filter is None else SCAN_ROWS
        while True:
            parameters = {**self._key, "after": position, "rows": size}
            rows = self._connection.execute(statement, parameters).all()
            for row in rows:
                if filter is None or filter.matches(row[2], row[3], _decode(row[4])):
                    if len(found) == limit:
                        return found, True
                    found.append(_document(row, include))
            if len(rows) < size:
                return found, False
            position = rows[-1][2]

    def count(self, filter: Filter | None) -> int:
        """How many there are, or match."""
        if filter is None or filter.is_empty:
            return self.control.document_count
        return sum(1 for _ in self._chosen(Selection(filter=filter)))

    def fetch(
        self, keys: Sequence[int], include: AbstractCollection[Include]
    ) -> dict[int, tuple[int, Document]]:
        """By document key: the row's sequence and the document."""
        statement = _BY_KEY[Include.VECTOR in include]
        rows = statement.all(self._connection, **self._key, wanted=_json_array(keys))
        return {row[0]: (row[1], _document(row, include)) for row in rows}

    def changes(self, since_sequence: int, *, contents: bool) -> Changes:
        """All that happened after a sequence."""
        parameters = {**self._key, "since": since_sequence}
        deleted = [(row[0], row[1]) for row in self._connection.execute(_DELETED, parameters)]
        return Changes(deleted, self._rows(parameters, contents=contents))

    def _rows(self, parameters: dict[str, Any], *, contents: bool) -> Iterator[Row]:
        for row in self._connection.execute(_ROWS[contents], parameters):
            key, sequence, id, vector, text, metadata = row
            yield Row(key, sequence, id, vector, text, metadata)

    def _chosen(self, selection: Selection) -> Iterator[tuple[int, str, int, str]]:
        """Key, id, size and metadata (JSON) of the selected documents, by id."""
        if selection.ids is not None:
            parameters = {**self._key, "wanted": _json_array(selection.ids)}
            rows = self._connection.execute(_CHOSEN_BY_ID, parameters)
        else:
            rows = self._connection.execute(_CHOSEN_ALL, self._key)
        matches = None if selection.filter is None else selection.filter.matches
        for key, id, size, text, metadata in rows:
            if matches is None or matches(id, text, _decode(metadata)):
                yield key, id, size, metadata


def _json_array(values: Sequence[str] | Sequence[int]) -> str:
    return msgspec.json.encode(values).decode()


def _document(row: Any, include: AbstractCollection[Include]) -> Document:
    _key, _sequence, id, text, metadata, vector = row
    return Document(
        id=id,
        text=text if Include.TEXT in include else None,
        metadata=_decode(metadata) if Include.METADATA in include else None,
        vector=None if vector is None else np.frombuffer(vector, dtype="<f4"),
    )
