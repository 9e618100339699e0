"""Reads of one collection within one transaction."""

from collections.abc import Collection as AbstractCollection
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from akidb.documents import changes as feed
from akidb.documents.checksums import are_intact, damaged, is_sound, is_sound_deletion
from akidb.documents.statements import TenantSql
from akidb.domain.changes import DocumentChange, FeedSlice
from akidb.domain.documents import (
    MAX_ID_BYTES,
    MAX_TEXT_BYTES,
    VECTOR_NUMBER_BYTES,
    Document,
)
from akidb.domain.entities import MAX_DIMENSION
from akidb.domain.errors import Damaged, NotFound
from akidb.domain.facets import FacetCounts
from akidb.domain.field_values import SortKey, row_key, values_of
from akidb.domain.filters import Filter
from akidb.domain.ids import CollectionId, TenantId
from akidb.domain.json import MAX_OBJECT_BYTES
from akidb.domain.lifecycle import (
    Access,
    CollectionState,
    DatabaseState,
    TenantStatus,
    require,
)
from akidb.domain.ordering import FirstInOrder, Ordered
from akidb.domain.parts import Parts
from akidb.observe.right_of_way import giving_way
from akidb.ports.documents import ANY_SIZE, Changes, CollectionControl, Row, Scanned, Selection
from akidb.ports.limits import AnswerTooLarge, Deadline
from akidb.sql.answers import SqlAnswers, limit_bytes
from akidb.sql.prepared import STREAMED_ROWS, Prepared

WIDE_ROWS = 50
"""Rows with contents, of up to 2 MiB each, that PostgreSQL sends at a time."""
FEW_ROWS = 16
"""Rows that are read at once, however large they are, before what is not asked for is dropped."""
MAX_ROW_BYTES = MAX_ID_BYTES + MAX_TEXT_BYTES + MAX_OBJECT_BYTES + VECTOR_NUMBER_BYTES * MAX_DIMENSION
"""The most that a document takes in an answer."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_key, _sequence = itemgetter(0), itemgetter(1)


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
    require_access(found, operation)
    return found


def require_access(control: CollectionControl, operation: Access) -> None:
    """Raise NotFound if the collection, its database or its tenant is deleted.

    Raises InvalidState if a state on its path forbids the operation.
    """
    if (
        control.state == CollectionState.DELETING
        or control.database_state == DatabaseState.DELETING
        or control.tenant_status == TenantStatus.DECOMMISSIONED
    ):
        raise NotFound("collection", control.collection_id)
    require(operation, control.tenant_status, control.database_state, control.state)


class SqlDocumentReader:
    """`akidb.ports.documents.DocumentReader`."""

    def __init__(self, connection: sa.Connection, sql: TenantSql, control_row: CollectionControl) -> None:
        self._connection = connection
        self._sql = sql
        self._statements = sql.statements
        self.control = control_row
        self._own = sql.own
        self._key = {"collection_key": control_row.collection_key, **sql.own}

    @property
    def answers(self) -> SqlAnswers:
        """The stored responses of the collection."""
        sql = self._sql
        return SqlAnswers(
            self._connection,
            sql.tables.remembered_answers,
            {"collection_key": self.control.collection_key, **sql.columns},
            used=self._answers_used,
        )

    def pin(self) -> None:
        """Do nothing: it reads one snapshot."""

    def get(
        self, ids: Sequence[str], include: AbstractCollection[str], *, most_bytes: int = ANY_SIZE
    ) -> list[Document]:
        parts = Parts.of(include)
        found: dict[str, Document] = {}
        for rows in self._read(self._statements.by_id, ids, parts, most_bytes):
            for row, document in zip(rows, _documents_of(rows, parts), strict=True):
                if document is None:
                    raise self._damaged(row)
                found[document.id] = document
        return [found[id] for id in ids if id in found]

    def scan(
        self,
        *,
        after: str | None,
        filter: Filter | None,
        include: AbstractCollection[str],
        limit: int,
        most_bytes: int = ANY_SIZE,
        deadline: Deadline | None = None,
    ) -> Scanned:
        found: list[Document] = []
        size = 0
        last = after
        parts = Parts.of(include)
        statement = self._statements.page[parts.vector]
        where = {**self._key, "after": after or "", "rows": limit + 1 if filter is None else ANY_SIZE}
        with closing(statement.stream(self._connection, at_once=WIDE_ROWS, **where)) as rows:
            for row in rows:
                if not is_sound(row):
                    if found:
                        return Scanned(found, last)
                    raise self._damaged(row)
                if filter is None or filter.matches(row[2], row[3], _decode(row[4])):
                    size += parts.size(*row[2:6])
                    if len(found) == limit or (found and size > most_bytes):
                        return Scanned(found, last)
                    document = _document_of(row, parts)
                    if document is None:
                        raise self._damaged(row)
                    found.append(document)
                last = row[2]
                if deadline is not None and deadline.is_over():
                    return Scanned(found, last)
        return Scanned(found, None)

    def order(
        self,
        field: str,
        *,
        descending: bool,
        limit: int,
        after: tuple[SortKey, str] | None,
        filter: Filter | None,
        deadline: Deadline | None,
    ) -> list[Ordered]:
        best = FirstInOrder(descending=descending, limit=limit, after=after)
        with closing(self._chosen(Selection(filter=filter, deadline=deadline))) as chosen:
            for key, id, *_, metadata in chosen:
                value = row_key(values_of(field, _decode(metadata)), descending=descending)
                best.add(Ordered(value, id, key))
        return best.first()

    def count(self, filter: Filter | None, deadline: Deadline | None = None) -> int:
        if filter is None or filter.is_empty:
            return self.control.document_count
        with closing(self._chosen(Selection(filter=filter, deadline=deadline))) as chosen:
            return sum(1 for _ in chosen)

    def facets(self, field: str, filter: Filter | None, deadline: Deadline) -> FacetCounts:
        counts = FacetCounts(field)
        with closing(self._chosen(Selection(filter=filter, deadline=deadline))) as chosen:
            for *_, metadata in chosen:
                counts.add_document(_decode(metadata))
        return counts

    def fetch(
        self, keys: Sequence[int], include: AbstractCollection[str], *, most_bytes: int = ANY_SIZE
    ) -> dict[int, tuple[int, Document | None]]:
        parts = Parts.of(include)
        found: dict[int, tuple[int, Document | None]] = {}
        for rows in self._read(self._statements.by_key, keys, parts, most_bytes):
            states = zip(map(_sequence, rows), _documents_of(rows, parts), strict=True)
            found.update(zip(map(_key, rows), states, strict=True))
        return found

    def _read(
        self,
        statements: Mapping[bool, Prepared],
        wanted: Sequence[Any],
        parts: Parts,
        most_bytes: int,
    ) -> Iterator[list[Any]]:
        """Yield the wanted rows in slices: a row is read whole, as its checksum is of all of it.

        Raises AnswerTooLarge before it has read much more than `most_bytes` of what is asked.
        """
        statement = statements[parts.vector]
        if len(wanted) <= FEW_ROWS:
            rows = statement.rows(self._connection, **self._key, wanted=wanted)
            if len(rows) * MAX_ROW_BYTES > most_bytes and _size(rows, parts) > most_bytes:
                raise AnswerTooLarge
            yield rows
            return
        size = 0
        slices = statement.slices(self._connection, at_once=FEW_ROWS, **self._key, wanted=wanted)
        with closing(slices):
            for rows in giving_way(slices):
                size += _size(rows, parts)
                if size > most_bytes:
                    raise AnswerTooLarge
                yield rows

    def contents(self, keys: Sequence[int]) -> dict[int, tuple[str | None, str]]:
        statement = self._statements.by_key[False]
        with closing(statement.stream(self._connection, at_once=WIDE_ROWS, **self._key, wanted=keys)) as rows:
            return {row[0]: (row[3], row[4]) for row in rows if is_sound(row)}

    def page(
        self,
        keys: Sequence[int],
        include: AbstractCollection[str],
        *,
        is_last: bool,
        most_bytes: int = ANY_SIZE,
    ) -> Scanned:
        parts = Parts.of(include)
        statement = self._statements.by_key[parts.vector]
        found: list[Document] = []
        size = 0
        for at in range(0, len(keys), WIDE_ROWS):
            wanted = keys[at : at + WIDE_ROWS]
            streamed = statement.stream(self._connection, at_once=WIDE_ROWS, **self._key, wanted=wanted)
            with closing(streamed) as read:
                rows = {row[0]: row for row in read}
            for key in wanted:
                row = rows.get(key)
                document = None
                if row is not None and is_sound(row):
                    document = _document_of(row, parts)
                    size += parts.size(*row[2:6])
                if found and (document is None or size > most_bytes):
                    return Scanned(found, found[-1].id)
                if document is None:
                    raise self._missing(key) if row is None else self._damaged(row)
                found.append(document)
        return Scanned(found, None if is_last else found[-1].id)

    def changes(self, since_sequence: int, *, contents: bool, vectors: bool = True) -> Changes:
        deleted = self._statements.deleted.rows(self._connection, **self._key, since=since_sequence)
        is_whole = all(is_sound_deletion(*row) for row in deleted)
        keys: list[int] = []
        rows = self._rows(since_sequence, keys, contents=contents, vectors=vectors)
        return Changes([(row[0], row[1]) for row in deleted], rows, keys, deletions_damaged=not is_whole)

    def versions(self) -> NDArray[np.int64]:
        rows = self._statements.versions.rows(self._connection, **self._key)
        try:
            return np.array(rows, dtype=np.int64).reshape(-1, 2)
        except (ValueError, TypeError, OverflowError):  # damaged ones are left out
            whole = [row for row in rows if {type(each) for each in row} == {int}]
            return np.array(whole, dtype=np.int64).reshape(-1, 2)

    def feed(
        self,
        since: int,
        limit: int,
        include: AbstractCollection[str],
        *,
        most_bytes: int = ANY_SIZE,
    ) -> FeedSlice[DocumentChange]:
        return feed.read(
            self._connection,
            self._statements.tables,
            self._key,
            self.control.collection_id,
            since=since,
            limit=limit,
            include=include,
            most_bytes=most_bytes,
        )

    def _answers_used(self, _tenant_id: TenantId | None) -> tuple[int, int]:
        used, quota = self._statements.answers.first(self._connection, **self._own)
        return used, limit_bytes(quota)

    def _rows(
        self, since_sequence: int, keys_of_damaged: list[int], *, contents: bool, vectors: bool
    ) -> Generator[Row, None, None]:
        where = {**self._key, "since": since_sequence}
        at_once = WIDE_ROWS if contents else STREAMED_ROWS
        statement = self._statements.rows[contents, vectors]
        with closing(statement.stream(self._connection, at_once=at_once, **where)) as rows:
            for row in rows:
                if is_sound(row):
                    key, sequence, id, text, metadata, vector, _, _ = row
                    yield Row(key, sequence, id, vector or b"", text, metadata)
                else:
                    keys_of_damaged.append(row[0])

    def _chosen(self, selection: Selection) -> Generator[tuple[int, str, int, str | None, str], None, None]:
        """Yield key, id, size, text and metadata (JSON) of the selected documents, in id order."""
        matches = None if selection.filter is None else selection.filter.matches
        deadline = selection.deadline
        with closing(self._rows_chosen(selection)) as rows:
            for *stored, size in rows:
                if deadline is not None:
                    deadline.check()
                if not is_sound(stored) or type(size) is not int:
                    raise self._damaged(stored)
                key, _, id, text, metadata, *_ = stored
                if matches is None or matches(id, text, _decode(metadata)):
                    yield key, id, size, text, metadata

    def _rows_chosen(self, selection: Selection) -> Generator[Any, None, None]:
        """Yield the rows among which the selection is, in id order."""
        statements, connection = self._statements, self._connection
        if selection.keys is not None:
            for at in range(0, len(selection.keys), WIDE_ROWS):
                wanted = selection.keys[at : at + WIDE_ROWS]
                rows = statements.chosen_by_key.rows(connection, **self._key, wanted=wanted)
                found = {row[0]: row for row in rows}
                for key in wanted:
                    if key not in found:
                        raise self._missing(key)
                    yield found[key]
            return
        if selection.ids is None:
            streamed = statements.chosen.stream(connection, at_once=WIDE_ROWS, **self._key)
        else:
            wanted_ids = {**self._key, "wanted": selection.ids}
            streamed = statements.chosen_by_id.stream(connection, at_once=WIDE_ROWS, **wanted_ids)
        with closing(streamed) as every:
            yield from every

    def _missing(self, document_key: int) -> Damaged:
        return Damaged(None, document_key, self.control.collection_id)

    def _damaged(self, row: Any) -> Damaged:
        return damaged(row, self.control.collection_id)


def _size(rows: Sequence[Any], parts: Parts) -> int:
    """Return about how many bytes rows take in an answer."""
    return sum(parts.size(*row[2:6]) for row in rows)


def _documents_of(rows: Sequence[Any], parts: Parts) -> list[Document | None]:
    """Return the document of each row; None for a damaged one."""
    if are_intact(rows):
        return [*_made(rows, parts)]
    return [_document_of(row, parts) if is_sound(row) else None for row in rows]


def _document_of(row: Any, parts: Parts) -> Document | None:
    """Return the document of a sound row; None for a damaged one, which has no checksums."""
    try:
        return _made([row], parts)[0]
    except (msgspec.MsgspecError, ValueError):
        return None


def _made(rows: Sequence[Any], parts: Parts) -> list[Document]:
    has_text, metadata_of = parts.text, parts.metadata_of
    return [
        Document(
            id=id,
            text=text if has_text else None,
            metadata=metadata_of(metadata),
            vector=np.frombuffer(vector, dtype="<f4") if vector else None,
        )
        for _, _, id, text, metadata, vector, _, _ in rows
    ]
