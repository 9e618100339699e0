"""Reads of one collection within one transaction."""

from collections.abc import Collection as AbstractCollection
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import sqlalchemy as sa

from akidb.documents import changes as feed
from akidb.documents.checksums import damaged, is_sound
from akidb.documents.statements import TenantSql
from akidb.domain.changes import DocumentChange, FeedSlice
from akidb.domain.documents import Document, Include
from akidb.domain.errors import Damaged, NotFound
from akidb.domain.filters import Filter
from akidb.domain.ids import CollectionId, TenantId
from akidb.domain.lifecycle import (
    Access,
    CollectionState,
    DatabaseState,
    TenantStatus,
    require,
)
from akidb.observe.interrupts import checkpoint
from akidb.ports.documents import Changes, CollectionControl, Row, Selection
from akidb.sql.answers import SqlAnswers, limit_bytes

SCAN_ROWS = 1_000
"""Rows read at a time if there is a filter, which may skip many of them."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def read_control(
    connection: sa.Connection,
    sql: TenantSql,
    collection_id: CollectionId,
    operation: Access,
    *,
    writes: bool = False,
) -> CollectionControl:
    """Return the collection's control row. With `writes`, lock out other writers until the transaction ends.

    Raises NotFound if the collection, its database or its tenant is deleted, InvalidState if a state on
    its path forbids the operation.
    """
    statement = sql.statements.control_to_write if writes else sql.statements.control
    found: CollectionControl | None = statement.first(connection, **sql.own, collection_id=collection_id)
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


class SqlDocumentReader:
    """`akidb.ports.documents.DocumentReader`."""

    def __init__(self, connection: sa.Connection, sql: TenantSql, control_row: CollectionControl) -> None:
        self._connection = connection
        self._statements = sql.statements
        self.control = control_row
        self._own = sql.own
        self._key = {"collection_key": control_row.collection_key, **sql.own}
        self.answers = SqlAnswers(
            connection,
            sql.tables.remembered_answers,
            {"collection_key": control_row.collection_key, **sql.columns},
            used=self._answers_used,
        )

    def get(self, ids: Sequence[str], include: AbstractCollection[Include]) -> list[Document]:
        statement = self._statements.by_id[Include.VECTOR in include]
        rows = statement.rows(self._connection, **self._key, wanted=ids)
        for row in rows:
            if not is_sound(row):
                raise self._damaged(row)
        found = {row[2]: self._document(row, include) for row in rows}
        return [found[id] for id in ids if id in found]

    def scan(
        self,
        *,
        after: str | None,
        filter: Filter | None,
        include: AbstractCollection[Include],
        limit: int,
    ) -> tuple[list[Document], bool]:
        found: list[Document] = []
        statement = self._statements.page[Include.VECTOR in include]
        position = after or ""  # no id is empty
        size = limit + 1 if filter is None else SCAN_ROWS
        while True:
            rows = statement.rows(self._connection, **self._key, after=position, rows=size)
            for row in rows:
                if not is_sound(row):
                    if found:
                        return found, True
                    raise self._damaged(row)
                if filter is None or filter.matches(row[2], row[3], _decode(row[4])):
                    if len(found) == limit:
                        return found, True
                    found.append(self._document(row, include))
            if len(rows) < size:
                return found, False
            position = rows[-1][2]
            checkpoint()

    def count(self, filter: Filter | None) -> int:
        if filter is None or filter.is_empty:
            return self.control.document_count
        return sum(1 for _ in self._chosen(Selection(filter=filter)))

    def fetch(
        self, keys: Sequence[int], include: AbstractCollection[Include]
    ) -> dict[int, tuple[int, Document | None]]:
        statement = self._statements.by_key[Include.VECTOR in include]
        rows = statement.rows(self._connection, **self._key, wanted=keys)
        return {row[0]: (row[1], self._document_or_none(row, include)) for row in rows}

    def _document_or_none(self, row: Any, include: AbstractCollection[Include]) -> Document | None:
        try:
            return self._document(row, include) if is_sound(row) else None
        except Damaged:
            return None

    def changes(self, since_sequence: int, *, contents: bool) -> Changes:
        deleted = self._statements.deleted.all(self._connection, **self._key, since=since_sequence)
        keys: list[int] = []
        rows = self._rows(since_sequence, keys, contents=contents)
        return Changes([(row[0], row[1]) for row in deleted], rows, keys)

    def feed(self, since: int, limit: int, include: AbstractCollection[Include]) -> FeedSlice[DocumentChange]:
        return feed.read(
            self._connection,
            self._statements.tables,
            self._key,
            self.control.collection_id,
            since=since,
            limit=limit,
            include=include,
        )

    def _answers_used(self, _tenant_id: TenantId | None) -> tuple[int, int]:
        used, quota = self._statements.answers.first(self._connection, **self._own)
        return used, limit_bytes(quota)

    def _rows(self, since_sequence: int, keys_of_damaged: list[int], *, contents: bool) -> Iterator[Row]:
        rows = self._statements.rows[contents]
        for row in rows.stream(self._connection, **self._key, since=since_sequence):
            if is_sound(row):
                key, sequence, id, text, metadata, vector, _, _ = row
                yield Row(key, sequence, id, vector, text, metadata)
            else:
                keys_of_damaged.append(row[0])

    def _chosen(self, selection: Selection) -> Iterator[tuple[int, str, int, str | None, str]]:
        """Yield key, id, size, text and metadata (JSON) of the selected documents, in id order."""
        if selection.ids is not None:
            wanted = {**self._key, "wanted": selection.ids}
            rows = iter(self._statements.chosen_by_id.rows(self._connection, **wanted))
        else:
            rows = self._statements.chosen.stream(self._connection, **self._key)
        matches = None if selection.filter is None else selection.filter.matches
        for *stored, size in rows:
            if not is_sound(stored):
                raise self._damaged(stored)
            key, _, id, text, metadata, *_ = stored
            if matches is None or matches(id, text, _decode(metadata)):
                yield key, id, size, text, metadata

    def _document(self, row: Any, include: AbstractCollection[Include]) -> Document:
        _key, _sequence, id, text, metadata, vector, _, _ = row
        try:
            return Document(
                id=id,
                text=text if Include.TEXT in include else None,
                metadata=_decode(metadata) if Include.METADATA in include else None,
                vector=None if vector is None else np.frombuffer(vector, dtype="<f4"),
            )
        except (msgspec.MsgspecError, ValueError):  # of a row without checksums
            raise self._damaged(row) from None

    def _damaged(self, row: Any) -> Damaged:
        return damaged(row, self.control.collection_id)
