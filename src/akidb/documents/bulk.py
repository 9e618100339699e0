"""Bulk writes to one collection, with statements specific to each database.

They are passed to the driver directly, since they dominate the time of a batch.
"""

from collections.abc import Sequence
from typing import Protocol

import sqlalchemy as sa

from akidb.documents.statements import TenantSql
from akidb.ports.documents import DocumentBatch
from akidb.sql.database import driver_of


class Rows(Protocol):
    """Writes of rows; sequences start at `first` and increase by one."""

    def upsert(self, batch: DocumentBatch, first: int) -> None:
        """Insert the documents, or replace those with the same id."""

    def delete(self, keys: Sequence[int], ids: Sequence[str], first: int) -> None:
        """Delete documents by their keys and leave a tombstone for each of the ids."""

    def replace_metadata(self, new: Sequence[tuple[str, int, int]], first: int) -> None:
        """Replace metadata and size of documents, given as (metadata, size, key)."""


def rows_of(connection: sa.Connection, sql: TenantSql, collection_key: int) -> Rows:
    """Return the bulk writer of a collection for the database in use."""
    if sql.tables.shared:
        return _PostgresRows(connection, sql.columns["tenant_id"].raw.hex(), collection_key)
    return _SqliteRows(connection, collection_key)


def _vectors(batch: DocumentBatch) -> list[bytes]:
    blob, width = batch.vectors.tobytes(), batch.vectors.shape[1] * 4
    return [blob[at : at + width] for at in range(0, len(blob), width)]


class _SqliteRows:
    """Uses tuples for parameters: dictionaries double the driver's share of a batch's time."""

    _COLUMNS = ("collection_key", "id", "sequence", "size_bytes", "text", "metadata", "vector")
    _UPSERT = (
        f"INSERT INTO documents ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608
        " ON CONFLICT (collection_key, id) DO UPDATE SET sequence = excluded.sequence,"
        " size_bytes = excluded.size_bytes, text = excluded.text, metadata = excluded.metadata,"
        " vector = excluded.vector"
    )
    _DELETE = "DELETE FROM documents WHERE document_key = ?"
    _BURY = "INSERT INTO tombstones (collection_key, sequence, id) VALUES (?, ?, ?)"
    _REPLACE = "UPDATE documents SET metadata = ?, size_bytes = ?, sequence = ? WHERE document_key = ?"

    def __init__(self, connection: sa.Connection, collection_key: int) -> None:
        self._connection = connection
        self._key = collection_key

    def upsert(self, batch: DocumentBatch, first: int) -> None:
        count = len(batch.ids)
        rows = zip(
            (self._key,) * count,
            batch.ids,
            range(first, first + count),
            batch.sizes,
            batch.texts,
            batch.metadata,
            _vectors(batch),
            strict=True,
        )
        self._connection.exec_driver_sql(self._UPSERT, list(rows))

    def delete(self, keys: Sequence[int], ids: Sequence[str], first: int) -> None:
        self._connection.exec_driver_sql(self._DELETE, [(key,) for key in keys])
        self._connection.exec_driver_sql(
            self._BURY, [(self._key, sequence, id) for sequence, id in enumerate(ids, first)]
        )

    def replace_metadata(self, new: Sequence[tuple[str, int, int]], first: int) -> None:
        self._connection.exec_driver_sql(
            self._REPLACE,
            [(text, size, sequence, key) for sequence, (text, size, key) in enumerate(new, first)],
        )


class _PostgresRows:
    """Uses one statement per batch, with the columns as arrays."""

    _UPSERT = """
        INSERT INTO documents
            (tenant_id, collection_key, id, sequence, size_bytes, text, metadata, vector)
        SELECT %s, %s, new.* FROM unnest(
            %s::text[], %s::bigint[], %s::bigint[], %s::text[], %s::text[], %b::bytea[]) AS new
        ON CONFLICT (tenant_id, collection_key, id) DO UPDATE SET sequence = excluded.sequence,
            size_bytes = excluded.size_bytes, text = excluded.text, metadata = excluded.metadata,
            vector = excluded.vector"""
    _DELETE = "DELETE FROM documents WHERE tenant_id = %s AND document_key = ANY(%s)"
    _BURY = """
        INSERT INTO tombstones (tenant_id, collection_key, sequence, id)
        SELECT %s, %s, new.* FROM unnest(%s::bigint[], %s::text[]) AS new"""
    _REPLACE = """
        UPDATE documents SET metadata = new.metadata, size_bytes = new.size_bytes, sequence = new.sequence
        FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::bigint[])
            AS new (metadata, size_bytes, key, sequence)
        WHERE documents.tenant_id = %s AND documents.document_key = new.key"""

    def __init__(self, connection: sa.Connection, tenant_id: str, collection_key: int) -> None:
        self._driver = driver_of(connection)
        self._tenant_id = tenant_id
        self._key = collection_key

    def upsert(self, batch: DocumentBatch, first: int) -> None:
        sequences = list(range(first, first + len(batch.ids)))
        columns = (list(batch.ids), sequences, list(batch.sizes), list(batch.texts), list(batch.metadata))
        self._driver.execute(self._UPSERT, (self._tenant_id, self._key, *columns, _vectors(batch)))

    def delete(self, keys: Sequence[int], ids: Sequence[str], first: int) -> None:
        self._driver.execute(self._DELETE, (self._tenant_id, list(keys)))
        sequences = list(range(first, first + len(ids)))
        self._driver.execute(self._BURY, (self._tenant_id, self._key, sequences, list(ids)))

    def replace_metadata(self, new: Sequence[tuple[str, int, int]], first: int) -> None:
        texts, sizes, keys = (list(column) for column in zip(*new, strict=True))
        sequences = list(range(first, first + len(new)))
        self._driver.execute(self._REPLACE, (texts, sizes, keys, sequences, self._tenant_id))
