"""The change feed of a collection: rows and tombstones, merged in sequence order.

A write allocates its sequences in its transaction, with the collection's counter locked: once a reader has
seen a sequence, no lower one appears later. Read-only.
"""

from collections.abc import Collection as AbstractCollection
from collections.abc import Mapping
from contextlib import closing
from functools import cache
from heapq import merge
from operator import itemgetter
from typing import Any

import numpy as np
import sqlalchemy as sa

from akidb.documents.checksums import damaged, damaged_deletion, is_sound, is_sound_deletion
from akidb.documents.tables import Tables
from akidb.domain.changes import ChangeType, DocumentChange, FeedSlice
from akidb.domain.ids import CollectionId
from akidb.domain.parts import Parts
from akidb.sql.prepared import Prepared

_LAST = 2**63

WIDE_ROWS = 50
"""Rows with contents that PostgreSQL sends at a time."""

_KEY = sa.bindparam("collection_key", type_=sa.BigInteger())
_SINCE = sa.bindparam("since", type_=sa.BigInteger())


@cache
def _rows(tables: Tables, *, vectors: bool) -> Prepared:
    """Return the statement for rows written after a sequence, in the order of `checksums.Stored`."""
    documents = tables.documents
    vector = ("vector", "vector_checksum")
    some = [documents.c[part] if vectors else sa.null().label(part) for part in vector]
    return Prepared(
        sa.select(
            *(documents.c.document_key, documents.c.sequence, documents.c.id),
            *(documents.c.text, documents.c.metadata, some[0], documents.c.content_checksum, some[1]),
        )
        .where(*tables.own(documents), documents.c.collection_key == _KEY, documents.c.sequence > _SINCE)
        .order_by(documents.c.sequence)
        .limit(sa.bindparam("rows"))
    )


@cache
def _deletions(tables: Tables) -> Prepared:
    tombstones = tables.tombstones
    return Prepared(
        sa.select(tombstones.c.sequence, tombstones.c.id, tombstones.c.checksum)
        .where(*tables.own(tombstones), tombstones.c.collection_key == _KEY, tombstones.c.sequence > _SINCE)
        .order_by(tombstones.c.sequence)
        .limit(sa.bindparam("rows"))
    )


def read(
    connection: sa.Connection,
    tables: Tables,
    key: Mapping[str, Any],
    collection_id: CollectionId,
    *,
    since: int,
    limit: int,
    include: AbstractCollection[str],
    most_bytes: int,
) -> FeedSlice[DocumentChange]:
    """Return up to `limit` changes after a sequence, of the collection given by `key`.

    They end before `most_bytes`, but after at least one, and before a damaged document. Raises Damaged if
    that is the first.
    """
    where = {**key, "since": since, "rows": limit + 1}
    parts = Parts.of(include)
    deletes = ((_place(row[0]), None, row) for row in _deletions(tables).rows(connection, **where))
    statement = _rows(tables, vectors=parts.vector)
    found: list[DocumentChange] = []
    size = 0
    with closing(statement.stream(connection, at_once=WIDE_ROWS, **where)) as rows:
        upserts = ((_place(row[1]), row, None) for row in rows)
        for sequence, row, deletion in merge(upserts, deletes, key=itemgetter(0)):
            if len(found) == limit:
                return FeedSlice(found, found[-1].sequence)
            sound = is_sound(row) if deletion is None else is_sound_deletion(*deletion)
            if not sound and found:
                return FeedSlice(found, found[-1].sequence)
            if not sound:
                error = damaged(row, collection_id) if row else damaged_deletion(deletion[0], collection_id)
                if sequence < _LAST:
                    error.fields["next_since"] = sequence
                raise error
            if deletion is None:
                change = _upsert(row, parts)
                size += parts.size(*row[2:6])
            else:
                change = DocumentChange(sequence=sequence, type=ChangeType.DELETE, id=deletion[1])
                size += len(deletion[1])
            if found and size > most_bytes:
                return FeedSlice(found, found[-1].sequence)
            found.append(change)
    return FeedSlice(found, None)


def _place(sequence: object) -> int:
    """Return the sequence of a row, or for a damaged one its place: SQLite sorts text after all numbers."""
    return sequence if type(sequence) is int else _LAST


def _upsert(row: tuple[Any, ...], parts: Parts) -> DocumentChange:
    _, sequence, id, text, metadata, vector, _, _ = row
    return DocumentChange(
        sequence=sequence,
        type=ChangeType.UPSERT,
        id=id,
        text=text if parts.text else None,
        metadata=parts.metadata_of(metadata),
        vector=np.frombuffer(vector, dtype="<f4") if vector else None,
    )
