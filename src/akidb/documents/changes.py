"""The change feed of a collection: rows and tombstones, merged in sequence order.

A write allocates its sequences in its transaction, with the collection's counter locked: once a reader has
seen a sequence, no lower one appears later. Read-only.
"""

from collections.abc import Collection as AbstractCollection
from collections.abc import Mapping
from functools import cache
from heapq import merge
from itertools import islice
from typing import Any

import msgspec
import numpy as np
import sqlalchemy as sa

from akidb.documents.checksums import damaged, is_sound
from akidb.documents.tables import Tables
from akidb.domain.changes import ChangeType, DocumentChange, FeedSlice
from akidb.domain.documents import Include
from akidb.domain.ids import CollectionId
from akidb.sql.prepared import Prepared

_decode = msgspec.json.Decoder(dict[str, Any]).decode

_KEY = sa.bindparam("collection_key", type_=sa.BigInteger())
_SINCE = sa.bindparam("since", type_=sa.BigInteger())


@cache
def _rows(tables: Tables, include: frozenset[Include]) -> Prepared:
    """Return the statement for rows written after a sequence, in the order of `checksums.Stored`."""
    documents = tables.documents
    vector = (Include.VECTOR, "vector_checksum")
    some = [documents.c[part] if Include.VECTOR in include else sa.null().label(part) for part in vector]
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
        sa.select(tombstones.c.sequence, tombstones.c.id)
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
    include: AbstractCollection[Include],
) -> FeedSlice[DocumentChange]:
    """Return up to `limit` changes after a sequence, of the collection given by `key`.

    Ends before a damaged document. Raises Damaged if that is the first.
    """
    where = {**key, "since": since, "rows": limit + 1}
    parts = frozenset(include)
    rows = _rows(tables, parts & {Include.VECTOR}).rows(connection, **where)
    unsound = {row[1]: row for row in rows if not is_sound(row)}
    upserts = (_upsert(row, parts) for row in rows if row[1] not in unsound)
    first = min(unsound, default=None)
    deletes = (
        DocumentChange(sequence=sequence, type=ChangeType.DELETE, id=id)
        for sequence, id in _deletions(tables).all(connection, **where)
    )
    found = list(islice(merge(upserts, deletes, key=lambda change: change.sequence), limit + 1))
    more, found = len(found) > limit, found[:limit]
    if first is not None:
        sound = [change for change in found if change.sequence < first]
        if not sound:
            error = damaged(unsound[first], collection_id)
            error.fields["next_since"] = first
            raise error
        more, found = more or len(sound) < len(found) or len(found) < limit, sound
    return FeedSlice(found, found[-1].sequence if more else None)


def _upsert(row: tuple[Any, ...], include: AbstractCollection[Include]) -> DocumentChange:
    _, sequence, id, text, metadata, vector, _, _ = row
    return DocumentChange(
        sequence=sequence,
        type=ChangeType.UPSERT,
        id=id,
        text=text if Include.TEXT in include else None,
        metadata=_decode(metadata) if Include.METADATA in include else None,
        vector=None if vector is None else np.frombuffer(vector, dtype="<f4"),
    )
