"""Bulk writes to one collection, with statements specific to each database.

They are passed to the driver directly, since they dominate the time of a batch.
"""

from collections.abc import Iterator, Sequence
from itertools import count, repeat
from typing import NamedTuple, Protocol

import sqlalchemy as sa

from akidb.documents.checksums import content_checksum, deletion_checksum, vector_checksum
from akidb.documents.statements import TenantSql
from akidb.domain.vectors import vector_blobs
from akidb.observe.right_of_way import giving_way
from akidb.ports.documents import DocumentBatch
from akidb.sql.database import driver_of


class Rows(Protocol):
    """Writes of rows; sequences start at `first` and increase by one."""

    def upsert(self, batch: DocumentBatch, first: int) -> None:
        """Insert the documents, or replace those with the same id."""

    def delete(self, keys: Sequence[int], ids: Sequence[str], first: int) -> None:
        """Delete documents by their keys and leave a tombstone for each of the ids."""

    def replace_metadata(self, new: "Sequence[NewMetadata]") -> None:
        """Replace metadata of documents, and what follows from them."""


class NewMetadata(NamedTuple):
    """New metadata of a document, with its new size, sequence and checksum."""

    metadata: str
    size_bytes: int
    sequence: int
    content_checksum: int
    document_key: int


def rows_of(connection: sa.Connection, sql: TenantSql, collection_key: int) -> Rows:
    """Return the bulk writer of a collection for the database in use."""
    if sql.tables.shared:
        return _PostgresRows(connection, sql.columns["tenant_id"].raw.hex(), collection_key)
    return _SqliteRows(connection, collection_key)


def _vectors(batch: DocumentBatch) -> list[bytes]:
    return vector_blobs(batch.vectors, len(batch.ids), batch.without_vector)


def _checksums(batch: DocumentBatch, first: int) -> Iterator[int]:
    return map(content_checksum, batch.ids, count(first), batch.texts, batch.metadata)


class _SqliteRows:
    """Uses tuples for parameters: dictionaries double the driver's share of a batch's time."""

    _COLUMNS = (
        *("collection_key", "id", "sequence", "size_bytes", "text", "metadata", "vector"),
        *("content_checksum", "vector_checksum"),
    )
    _UPSERT = (
        f"INSERT INTO documents ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608
        " ON CONFLICT (collection_key, id) DO UPDATE SET sequence = excluded.sequence,"
        " size_bytes = excluded.size_bytes, text = excluded.text, metadata = excluded.metadata,"
        " vector = excluded.vector, content_checksum = excluded.content_checksum,"
        " vector_checksum = excluded.vector_checksum"
    )
    _DELETE = "DELETE FROM documents WHERE document_key = ?"
    _BURY = "INSERT INTO tombstones (collection_key, sequence, id, checksum) VALUES (?, ?, ?, ?)"
    _REPLACE = (
        "UPDATE documents SET metadata = ?, size_bytes = ?, sequence = ?, content_checksum = ?"
        " WHERE document_key = ?"
    )

    def __init__(self, connection: sa.Connection, collection_key: int) -> None:
        self._driver = driver_of(connection)
        self._key = collection_key

    def upsert(self, batch: DocumentBatch, first: int) -> None:
        number, vectors = len(batch.ids), _vectors(batch)
        rows = zip(
            (self._key,) * number,
            batch.ids,
            range(first, first + number),
            batch.sizes,
            batch.texts,
            batch.metadata,
            vectors,
            _checksums(batch, first),
            map(vector_checksum, vectors),
            strict=True,
        )
        self._driver.executemany(self._UPSERT, giving_way(rows))

    def delete(self, keys: Sequence[int], ids: Sequence[str], first: int) -> None:
        self._driver.executemany(self._DELETE, [(key,) for key in giving_way(keys)])
        self._driver.executemany(
            self._BURY,
            zip(repeat(self._key), count(first), giving_way(ids), map(deletion_checksum, ids, count(first))),
        )

    def replace_metadata(self, new: Sequence[NewMetadata]) -> None:
        self._driver.executemany(self._REPLACE, giving_way(new))


class _PostgresRows:
    """Uses one statement per batch, with the columns as arrays."""

    _UPSERT = """
        INSERT INTO documents
            (tenant_id, collection_key, id, sequence, size_bytes, text, metadata, vector,
            content_checksum, vector_checksum)
        SELECT %s, %s, new.* FROM unnest(
            %s::text[], %s::bigint[], %s::bigint[], %s::text[], %s::text[], %b::bytea[],
            %s::bigint[], %s::bigint[]) AS new
        ON CONFLICT (tenant_id, collection_key, id) DO UPDATE SET sequence = excluded.sequence,
            size_bytes = excluded.size_bytes, text = excluded.text, metadata = excluded.metadata,
            vector = excluded.vector, content_checksum = excluded.content_checksum,
            vector_checksum = excluded.vector_checksum"""
    _DELETE = "DELETE FROM documents WHERE tenant_id = %s AND document_key = ANY(%s)"
    _BURY = """
        INSERT INTO tombstones (tenant_id, collection_key, sequence, id, checksum)
        SELECT %s, %s, new.* FROM unnest(%s::bigint[], %s::text[], %s::bigint[]) AS new"""
    _REPLACE = """
        UPDATE documents SET metadata = new.metadata, size_bytes = new.size_bytes, sequence = new.sequence,
            content_checksum = new.content_checksum
        FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
            AS new (metadata, size_bytes, sequence, content_checksum, key)
        WHERE documents.tenant_id = %s AND documents.document_key = new.key"""

    def __init__(self, connection: sa.Connection, tenant_id: str, collection_key: int) -> None:
        self._driver = driver_of(connection)
        self._tenant_id = tenant_id
        self._key = collection_key

    def upsert(self, batch: DocumentBatch, first: int) -> None:
        sequences = list(range(first, first + len(batch.ids)))
        columns = (list(batch.ids), sequences, list(batch.sizes), list(batch.texts), list(batch.metadata))
        vectors = _vectors(batch)
        checksums = (list(_checksums(batch, first)), list(map(vector_checksum, vectors)))
        self._driver.execute(self._UPSERT, (self._tenant_id, self._key, *columns, vectors, *checksums))

    def delete(self, keys: Sequence[int], ids: Sequence[str], first: int) -> None:
        self._driver.execute(self._DELETE, (self._tenant_id, list(keys)))
        sequences = list(range(first, first + len(ids)))
        checksums = list(map(deletion_checksum, ids, sequences))
        self._driver.execute(self._BURY, (self._tenant_id, self._key, sequences, list(ids), checksums))

    def replace_metadata(self, new: Sequence[NewMetadata]) -> None:
        columns = (list(column) for column in zip(*new, strict=True))
        self._driver.execute(self._REPLACE, (*columns, self._tenant_id))
