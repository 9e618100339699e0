"""Writes to one collection: rows, tombstones, sequences and counters, in one transaction."""

from collections.abc import Callable
from contextlib import closing
from typing import Any

import msgspec
import sqlalchemy as sa

from akidb.documents.bulk import NewMetadata, rows_of
from akidb.documents.checksums import content_checksum
from akidb.documents.deletions import discard_old
from akidb.documents.reader import SqlDocumentReader
from akidb.documents.statements import TenantSql
from akidb.domain.errors import QuotaExceeded
from akidb.ports.documents import CollectionControl, DocumentBatch, Selection

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class SqlDocumentWriter(SqlDocumentReader):
    """`akidb.ports.documents.DocumentWriter`. `control` is the row before the transaction."""

    def __init__(
        self,
        connection: sa.Connection,
        sql: TenantSql,
        control_row: CollectionControl,
        require_room: Callable[[sa.Connection, int], None],
    ) -> None:
        """Take, as `require_room`, the check that the disk has room for rows of so many bytes."""
        super().__init__(connection, sql, control_row)
        self._sql = sql
        self._require_room = require_room
        self._sequence = control_row.sequence
        self._rows_written = rows_of(connection, sql, control_row.collection_key)

    def upsert(self, batch: DocumentBatch) -> None:
        known: dict[str, int] = {}
        if self._sequence:  # 0: nothing was ever written, in this transaction or before
            found = self._statements.sizes.all(self._connection, **self._key, wanted=batch.ids)
            known = {row[0]: _charged(row[1]) for row in found}
        size = sum(batch.sizes)
        first = self._account(
            documents=len(batch.ids) - len(known),
            size=size - sum(known.values()),
            writes=len(batch.ids),
        )
        self._require_room(self._connection, size)
        self._rows_written.upsert(batch, first)

    def delete(self, selection: Selection) -> int:
        """Delete documents, leaving tombstones; return their number."""
        if selection.ids is None:
            with closing(self._chosen(selection)) as found:
                chosen = [(id, size, key) for key, id, size, *_ in found]
        else:  # not their contents, so that a damaged document can be deleted
            known = self._statements.sizes.all(self._connection, **self._key, wanted=selection.ids)
            chosen = [(id, _charged(size), key) for id, size, key in known]
        if not chosen:
            return 0
        first = self._account(
            documents=-len(chosen), size=-sum(size for _, size, _ in chosen), writes=len(chosen)
        )
        self._rows_written.delete([key for *_, key in chosen], [id for id, *_ in chosen], first)
        discard_old(self._connection, self._sql, self.control, self._sequence)
        return len(chosen)

    def update(self, selection: Selection, change: Callable[[str, dict[str, Any]], str]) -> int:
        """Replace metadata of documents; return their number."""
        new: list[tuple[str, int, int, str, str | None]] = []
        growth = 0
        with closing(self._chosen(selection)) as chosen:
            for document_key, id, size, text, old in chosen:
                metadata = change(id, _decode(old))
                difference = len(metadata.encode()) - len(old.encode())
                new.append((metadata, size + difference, document_key, id, text))
                growth += difference
        if not new:
            return 0
        first = self._account(documents=0, size=growth, writes=len(new))
        self._require_room(self._connection, sum(size for _, size, *_ in new))
        rows = [
            NewMetadata(metadata, size, sequence, content_checksum(id, sequence, text, metadata), key)
            for sequence, (metadata, size, key, id, text) in enumerate(new, first)
        ]
        self._rows_written.replace_metadata(rows)
        return len(new)

    def _account(self, *, documents: int, size: int, writes: int) -> int:
        """Charge a write to the quotas and allocate its sequences; return the first one."""
        if self._statements.use_storage.run(self._connection, {**self._own, "bytes": size}) != 1:
            limit, used = self._statements.storage.first(self._connection, **self._own)
            raise QuotaExceeded("storage_quota_bytes", limit, used, size)
        parameters = {
            **self._own,
            "key": self.control.collection_key,
            "documents": documents,
            "bytes": size,
            "writes": writes,
        }
        if self._statements.use_collection.run(self._connection, parameters) != 1:
            found = self.control
            raise QuotaExceeded(
                "max_document_count", found.max_document_count, found.document_count, documents
            )
        first = self._sequence + 1
        self._sequence += writes
        return first


def _charged(size: object) -> int:
    """Return the stored size of a document; 0 if it is damaged, which `akidb doctor` finds."""
    return size if type(size) is int and size >= 0 else 0
