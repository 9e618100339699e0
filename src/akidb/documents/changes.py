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

from akidb.documents.tables import Tables
from akidb.domain.changes import ChangeType, DocumentChange, FeedSlice
from akidb.domain.documents import Include
from akidb.sql.prepared import Prepared

_decode = msgspec.json.Decoder(dict[str, Any]).decode

_KEY = sa.bindparam("collection_key", type_=sa.BigInteger())
_SINCE = sa.bindparam("since", type_=sa.BigInteger())


@cache
def _rows(tables: Tables, include: frozenset[Include]) -> Prepared:
    """Return the statement for rows written after a sequence, with the included parts."""
    documents = tables.documents
    parts = [
        documents.c[part] if part in include else sa.null().label(part)
        for part in (Include.TEXT, Include.METADATA, Include.VECTOR)
    ]
    return Prepared(
        sa.select(documents.c.sequence, documents.c.id, *parts)
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
    *,
    since: int,
    limit: int,
    include: AbstractCollection[Include],
) -> FeedSlice[DocumentChange]:
    """Return up to `limit` changes after a sequence, of the collection given by `key`."""
    where = {**key, "since": since, "rows": limit + 1}
    upserts = (_upsert(row) for row in _rows(tables, frozenset(include)).all(connection, **where))
    deletes = (
        DocumentChange(sequence=sequence, type=ChangeType.DELETE, id=id)
        for sequence, id in _deletions(tables).all(connection, **where)
    )
    found = list(islice(merge(upserts, deletes, key=lambda change: change.sequence), limit + 1))
    more, found = len(found) > limit, found[:limit]
    return FeedSlice(found, found[-1].sequence if more else None)


def _upsert(row: tuple[Any, ...]) -> DocumentChange:
    sequence, id, text, metadata, vector = row
    return DocumentChange(
        sequence=sequence,
        type=ChangeType.UPSERT,
        id=id,
        text=text,
        metadata=None if metadata is None else _decode(metadata),
        vector=None if vector is None else np.frombuffer(vector, dtype="<f4"),
    )
