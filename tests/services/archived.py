"""Helpers that create, take apart, reassemble and compare archives of a world's tenants."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from akidb.archive.parts import ArchiveReader, ArchiveWriter
from akidb.domain.fields import CollectionPath
from akidb.operations.archives import CreateBackup, ExportTenant
from akidb.operations.documents import SearchDocuments
from akidb.ports.archive import Header
from akidb.sql.sqlite import SqliteFile

from .worlds import World

ROOM_BYTES = 10**9
_COLUMNS = {
    "control": "tenant_id, tenant_status, storage_quota_bytes, storage_used_bytes",
    "collections": "collection_id, database_id, version, state, database_state, dimension, metric,"
    " max_document_count, document_count, storage_used_bytes, sequence, tombstone_floor",
    "documents": "collection_key, id, sequence, size_bytes, text, metadata, vector",
    "tombstones": "collection_key, sequence, id",
}


def exported(world: World, tenant: str = "aki-labs") -> bytes:
    target = io.BytesIO()
    world.ops.perform(ExportTenant(tenant=tenant), sink=target)
    return target.getvalue()


def backed_up(world: World) -> bytes:
    target = io.BytesIO()
    world.ops.perform(CreateBackup(), sink=target)
    return target.getvalue()


def parts_of(archive: bytes) -> tuple[Header, list[Any]]:
    """The header and all parts but the summary, which is made anew."""
    reader = ArchiveReader(io.BytesIO(archive), room_bytes=ROOM_BYTES)
    return reader.header, list(reader)[:-1]


def put_together(header: Header, parts: list[Any]) -> bytes:
    target = io.BytesIO()
    writer = ArchiveWriter(target, header)
    for part in parts:
        writer.add(part)
    writer.finish()
    return target.getvalue()


def changed(archive: bytes, kind: type, change: Callable[[Any], Any]) -> bytes:
    """The archive whose parts of a kind were changed; the counts and the checksum are right again."""
    header, parts = parts_of(archive)
    return put_together(header, [change(part) if isinstance(part, kind) else part for part in parts])


def rows_of(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of a tenant store but its identity and the numbers that it gives its rows itself."""
    file = SqliteFile(path)
    select = "SELECT {} FROM {} ORDER BY 1, 2"
    with file.read() as connection:
        found = {
            table: [tuple(row) for row in connection.exec_driver_sql(select.format(columns, table))]
            for table, columns in _COLUMNS.items()
        }
    file.close()
    return found


def files_of(directory: Path) -> dict[str, bytes]:
    """Every file below a directory but those that hold nothing durable."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.suffix not in {".lock", ".db-shm"}
    }


def best(world: World, path: CollectionPath, question: Any, top_k: int = 5) -> list[tuple[str, float]]:
    found = world.on(path, SearchDocuments, vector=question, top_k=top_k)
    return [(match.id, round(match.score, 5)) for match in found.matches]


def brute_force(vectors: dict[str, Any], question: Any, top_k: int = 5) -> list[tuple[str, float]]:
    """Cosine similarities, the long way."""
    ids = sorted(vectors)
    matrix = np.stack([vectors[id] for id in ids]).astype(np.float64)
    scores = matrix @ question / np.linalg.norm(matrix, axis=1) / np.linalg.norm(question)
    order = np.lexsort((np.arange(len(ids)), -scores))[:top_k]
    return [(ids[at], round(float(scores[at]), 5)) for at in order]
