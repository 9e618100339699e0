"""Reads and fills whole tenant stores, for archives.

A store being filled keeps tenant version 0, so that it counts as unused after a crash.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from akidb.documents import control_rows
from akidb.documents.checksums import (
    content_checksum,
    damaged,
    damaged_deletion,
    deletion_checksum,
    is_sound,
    is_sound_deletion,
    vector_checksum,
)
from akidb.documents.statements import IN_FILE, TenantSql
from akidb.documents.store_checks import MAX_NAMED, check_rows
from akidb.documents.tables import Tables
from akidb.domain.documents import stored_size
from akidb.domain.ids import CollectionId
from akidb.domain.vectors import vector_blobs
from akidb.ports.archive import CollectionImage, Documents, Tombstones
from akidb.sql.damage import decoded
from akidb.sql.database import SqlDatabase, driver_of
from akidb.sql.errors import translated
from akidb.sql.files import sync_directory
from akidb.sql.integrity import check_integrity
from akidb.sql.room import Room
from akidb.sql.sqlite import SqliteFile

PART_ROWS = 1_000
PART_BYTES = 2 * 2**20
"""Size limit of a part, in characters and bytes of vectors; a single document may exceed it."""
FETCHED_ROWS = 50
"""Rows in memory at a time in addition to a part, each of up to 2 MiB."""


def _statements(tables: Tables) -> tuple[sa.Select[Any], sa.Select[Any], sa.Select[Any]]:
    """Return the statements that read all collections, and the documents and tombstones of one."""
    collections, documents, tombstones = tables.collections, tables.documents, tables.tombstones
    key = sa.bindparam("collection_key", type_=sa.BigInteger())
    return (
        sa.select(
            collections.c.collection_key, *(collections.c[name] for name in CollectionImage.__struct_fields__)
        )
        .where(*tables.own(collections))
        .order_by(collections.c.collection_key),
        sa.select(
            documents.c.document_key,
            documents.c.sequence,
            documents.c.id,
            documents.c.text,
            documents.c.metadata,
            documents.c.vector,
            documents.c.content_checksum,
            documents.c.vector_checksum,
        )
        .where(*tables.own(documents), documents.c.collection_key == key)
        .order_by(documents.c.sequence),
        sa.select(tombstones.c.sequence, tombstones.c.id, tombstones.c.checksum)
        .where(*tables.own(tombstones), tombstones.c.collection_key == key)
        .order_by(tombstones.c.sequence),
    )


_STRAYS = tuple(
    f"SELECT 1 FROM {table} WHERE collection_key IS NULL"  # noqa: S608
    " OR collection_key NOT IN (SELECT collection_key FROM collections)"
    for table in ("documents", "tombstones")
)


# Not by the index, from which damaged rows differ.
_DUPLICATES = (
    "SELECT 1 FROM documents NOT INDEXED WHERE collection_key = ? GROUP BY id HAVING count(*) > 1 LIMIT 1"
)


class SqlStoreImage:
    """`akidb.ports.archive.StoreImage`, on a connection with a consistent snapshot."""

    def __init__(self, connection: sa.Connection, sql: TenantSql = IN_FILE) -> None:
        self.connection = connection
        if connection.dialect.name == "sqlite":  # a copy, or a snapshot: nothing else reads through it
            driver_of(connection).text_factory = decoded
        self._sql = sql
        self._own = sql.own
        every, self._documents, self._tombstones = _statements(sql.tables)
        self._collections: dict[CollectionId, tuple[int, CollectionImage]] = {}
        for key, *fields in connection.execute(every, self._own):
            image = CollectionImage(**dict(zip(CollectionImage.__struct_fields__, fields, strict=True)))
            self._collections[image.collection_id] = (key, image)

    def collections(self) -> Sequence[CollectionImage]:
        return [image for _, image in self._collections.values()]

    def documents(self, collection_id: CollectionId) -> Iterator[Documents]:
        dimension = self._collections[collection_id][1].dimension or 0
        width = 4 * dimension
        rows: list[Any] = []
        size = 0
        row: Any
        with self._rows(self._documents, collection_id) as found:
            for row in found:
                if not is_sound(row):
                    raise damaged(row, collection_id)
                _, sequence, id, text, metadata, vector, _, _ = row
                if type(sequence) is not int or type(vector) is not bytes or len(vector) not in (0, width):
                    raise damaged(row, collection_id)
                taken = len(vector) + len(id) + len(metadata) + (0 if text is None else len(text))
                if rows and (len(rows) == PART_ROWS or size + taken > PART_BYTES):
                    yield _documents(rows, dimension)
                    rows, size = [], 0
                rows.append(row)
                size += taken
        if rows:
            yield _documents(rows, dimension)

    def tombstones(self, collection_id: CollectionId) -> Iterator[Tombstones]:
        with self._rows(self._tombstones, collection_id) as found:
            for rows in found.partitions(PART_ROWS):
                for row in rows:
                    if not is_sound_deletion(row.sequence, row.id, row.checksum):
                        raise damaged_deletion(row.sequence, collection_id)
                yield Tombstones([row.sequence for row in rows], [row.id for row in rows])

    def has_duplicates(self, collection_id: CollectionId) -> bool:
        if self.connection.dialect.name != "sqlite":  # its rows cannot differ from its indexes
            return False
        key = self._collections[collection_id][0]
        return driver_of(self.connection).execute(_DUPLICATES, (key,)).fetchone() is not None

    def has_strays(self) -> bool:
        if self.connection.dialect.name != "sqlite":  # nothing switches references off there
            return False
        run = driver_of(self.connection).execute
        return any(run(f"{statement} LIMIT 1").fetchone() for statement in _STRAYS)

    def faults(self) -> list[str]:
        return check_integrity(self.connection) or [
            *control_rows.faults(self.connection),
            *islice(check_rows(self.connection, self._sql), MAX_NAMED),
        ]

    def _rows(self, statement: sa.Select[Any], collection_id: CollectionId) -> sa.CursorResult[Any]:
        return self.connection.execute(
            statement,
            {**self._own, "collection_key": self._collections[collection_id][0]},
            execution_options={"yield_per": FETCHED_ROWS},
        )


def _documents(rows: Sequence[Any], dimension: int) -> Documents:
    _, sequences, ids, texts, metadata, vectors, checksums, _ = zip(*rows, strict=True)
    without_vector = [at for at, vector in enumerate(vectors) if not vector]
    matrix = np.frombuffer(b"".join(vectors), "<f4").reshape(len(rows) - len(without_vector), dimension)
    return Documents(sequences, ids, texts, metadata, matrix, without_vector, None not in checksums)


class SqlStoreFiller:
    """`akidb.ports.archive.StoreFiller`: writes each part in its own transaction, into an empty store."""

    def __init__(self, database: SqlDatabase, sql: TenantSql = IN_FILE) -> None:
        self._database = database
        self._sql = sql
        self._key = 0

    def add(self, part: CollectionImage | Documents | Tombstones) -> None:
        tables = self._sql.tables
        with self._database.write() as connection:
            if isinstance(part, CollectionImage):
                self._add_collection(connection, part)
            elif isinstance(part, Documents):
                rows = self._document_rows(part)
                self._database.require_room(connection, sum(row["size_bytes"] for row in rows))
                connection.execute(sa.insert(tables.documents), rows)
            else:
                self._database.require_room(connection, sum(map(len, part.ids)))
                connection.execute(
                    sa.insert(tables.tombstones),
                    [
                        {
                            **self._sql.columns,
                            "collection_key": self._key,
                            "sequence": sequence,
                            "id": id,
                            "checksum": deletion_checksum(id, sequence),
                        }
                        for sequence, id in zip(part.sequences, part.ids, strict=True)
                    ],
                )

    def _add_collection(self, connection: sa.Connection, part: CollectionImage) -> None:
        tables = self._sql.tables
        collections, control = tables.collections, tables.control
        values = {name: getattr(part, name) for name in part.__struct_fields__}
        connection.execute(sa.insert(collections).values(**self._sql.columns, **values))
        self._key = connection.execute(
            sa.select(collections.c.collection_key).where(
                *tables.own(collections), collections.c.collection_id == part.collection_id
            ),
            self._sql.own,
        ).scalar_one()
        connection.execute(
            sa.update(control)
            .where(*tables.own(control))
            .values(storage_used_bytes=control.c.storage_used_bytes + part.storage_used_bytes),
            self._sql.own,
        )

    def _document_rows(self, part: Documents) -> list[dict[str, Any]]:
        vectors = vector_blobs(part.vectors, len(part.ids), part.without_vector)
        return [
            {
                **self._sql.columns,
                "collection_key": self._key,
                "id": id,
                "sequence": sequence,
                "size_bytes": stored_size(id, text, metadata, len(vector)),
                "text": text,
                "metadata": metadata,
                "vector": vector,
                "content_checksum": content_checksum(id, sequence, text, metadata),
                "vector_checksum": vector_checksum(vector),
            }
            for id, sequence, text, metadata, vector in zip(
                part.ids, part.sequences, part.texts, part.metadata, vectors, strict=True
            )
        ]


@contextmanager
def filled(path: Path, room: Room | None = None) -> Iterator[SqlStoreFiller]:
    """Fill the new, empty store in a file; durable when the block ends."""
    with durable(path, room) as file:
        yield SqlStoreFiller(file)


@contextmanager
def durable(path: Path, room: Room | None = None) -> Iterator[SqliteFile]:
    """Open an unregistered store for writing; durable when the block ends.

    Nothing is synced earlier: a crash loses the whole store, which is not registered yet.
    """
    file = SqliteFile(path, synchronous="off", room=room)
    try:
        yield file
    finally:
        file.close()
    with translated(path.name):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # SQLite has closed the file: no lock to lose
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_directory(path.parent)
