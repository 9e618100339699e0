"""Writes to one collection: rows, tombstones, sequences and counters, in one transaction."""

from collections.abc import Callable
from typing import Any

import msgspec
import sqlalchemy as sa

from akidb.documents.reader import SqlDocumentReader, any_of
from akidb.documents.schema import collections, control, documents, tombstones
from akidb.domain.errors import QuotaExceeded
from akidb.ports.documents import CollectionControl, DocumentBatch, Selection
from akidb.sql.prepared import Prepared

TOMBSTONES_KEPT = 100_000
"""Deletions remembered one by one, counted in sequences; a reader that is further behind starts anew."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode

_KNOWN = Prepared(
    sa.select(documents.c.id, documents.c.size_bytes).where(
        documents.c.collection_key == sa.bindparam("collection_key"), any_of(documents.c.id, "wanted")
    )
)
_COLUMNS = ("collection_key", "id", "sequence", "size_bytes", "text", "metadata", "vector")
# The parameters of these are tuples: with dictionaries the driver's share of a batch's time halves.
_UPSERT = (
    f"INSERT INTO documents ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608
    " ON CONFLICT (collection_key, id) DO UPDATE SET sequence = excluded.sequence,"
    " size_bytes = excluded.size_bytes, text = excluded.text, metadata = excluded.metadata,"
    " vector = excluded.vector"
)
_DELETE = "DELETE FROM documents WHERE document_key = ?"
_BURY = "INSERT INTO tombstones (collection_key, sequence, id) VALUES (?, ?, ?)"
_REPLACE = "UPDATE documents SET metadata = ?, size_bytes = ?, sequence = ? WHERE document_key = ?"

_GROW: sa.BindParameter[int] = sa.bindparam("bytes")
_USE_STORAGE = Prepared(
    sa.update(control)
    .where(sa.or_(_GROW <= 0, control.c.storage_used_bytes <= control.c.storage_quota_bytes - _GROW))
    .values(storage_used_bytes=control.c.storage_used_bytes + _GROW)
)
_MORE: sa.BindParameter[int] = sa.bindparam("documents")
_OF_COLLECTION = collections.c.collection_key == sa.bindparam("key")
_USE_COLLECTION = Prepared(
    sa.update(collections)
    .where(
        _OF_COLLECTION,
        sa.or_(_MORE <= 0, collections.c.document_count <= collections.c.max_document_count - _MORE),
    )
    .values(
        document_count=collections.c.document_count + _MORE,
        storage_used_bytes=collections.c.storage_used_bytes + sa.bindparam("bytes"),
        sequence=collections.c.sequence + sa.bindparam("writes"),
    )
)
_STORAGE = sa.select(control.c.storage_quota_bytes, control.c.storage_used_bytes)


class SqlDocumentWriter(SqlDocumentReader):
    """`akidb.ports.documents.DocumentWriter`. The control row is the one before the transaction."""

    def __init__(self, connection: sa.Connection, control_row: CollectionControl) -> None:
        super().__init__(connection, control_row)
        self._sequence = control_row.sequence

    def upsert(self, batch: DocumentBatch) -> None:
        """Write all of them."""
        known: dict[str, int] = {}
        if self._sequence:  # else nothing was ever written, in this transaction or before
            wanted = msgspec.json.encode(batch.ids).decode()
            found = _KNOWN.all(self._connection, **self._key, wanted=wanted)
            known = {row[0]: row[1] for row in found}
        first = self._account(
            documents=len(batch.ids) - len(known),
            size=sum(batch.sizes) - sum(known.values()),
            writes=len(batch.ids),
        )
        key = self.control.collection_key
        blob, width = batch.vectors.tobytes(), self.control.dimension * 4
        vectors = [blob[at : at + width] for at in range(0, len(blob), width)]
        rows = zip(
            (key,) * len(batch.ids),
            batch.ids,
            range(first, first + len(batch.ids)),
            batch.sizes,
            batch.texts,
            batch.metadata,
            vectors,
            strict=True,
        )
        self._connection.exec_driver_sql(_UPSERT, list(rows))

    def delete(self, selection: Selection) -> int:
        """Delete, leaving tombstones."""
        chosen = list(self._chosen(selection))
        if not chosen:
            return 0
        first = self._account(
            documents=-len(chosen), size=-sum(size for _, _, size, _ in chosen), writes=len(chosen)
        )
        key = self.control.collection_key
        self._connection.exec_driver_sql(_DELETE, [(document_key,) for document_key, *_ in chosen])
        self._connection.exec_driver_sql(
            _BURY, [(key, first + place, id) for place, (_, id, *_) in enumerate(chosen)]
        )
        self._forget_old_tombstones()
        return len(chosen)

    def update(self, selection: Selection, change: Callable[[str, dict[str, Any]], str]) -> int:
        """Replace metadata."""
        new: list[tuple[str, int, int]] = []
        growth = 0
        for document_key, id, size, old in self._chosen(selection):
            text = change(id, _decode(old))
            difference = len(text.encode()) - len(old.encode())
            new.append((text, size + difference, document_key))
            growth += difference
        if not new:
            return 0
        first = self._account(documents=0, size=growth, writes=len(new))
        self._connection.exec_driver_sql(
            _REPLACE, [(text, size, first + place, key) for place, (text, size, key) in enumerate(new)]
        )
        return len(new)

    def _account(self, *, documents: int, size: int, writes: int) -> int:
        """Take what a write needs from the quotas and the sequence; gives its first sequence."""
        if _USE_STORAGE.run(self._connection, {"bytes": size}) != 1:
            limit, used = self._connection.execute(_STORAGE).one()
            raise QuotaExceeded("storage_quota_bytes", limit, used, size)
        parameters = {
            "key": self.control.collection_key,
            "documents": documents,
            "bytes": size,
            "writes": writes,
        }
        if _USE_COLLECTION.run(self._connection, parameters) != 1:
            found = self.control
            raise QuotaExceeded(
                "max_document_count", found.max_document_count, found.document_count, documents
            )
        first = self._sequence + 1
        self._sequence += writes
        return first

    def _forget_old_tombstones(self) -> None:
        floor = self._sequence - TOMBSTONES_KEPT
        if floor <= self.control.tombstone_floor:
            return
        key = self.control.collection_key
        self._connection.execute(
            sa.delete(tombstones).where(tombstones.c.collection_key == key, tombstones.c.sequence <= floor)
        )
        self._connection.execute(
            sa.update(collections).where(collections.c.collection_key == key).values(tombstone_floor=floor)
        )
