"""Worlds to archive, and helpers that create, take apart, put together, import and compare archives."""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from akidb.archive.parts import ArchiveReader, ArchiveWriter
from akidb.domain.archives import ImportReport
from akidb.domain.errors import AkiDBError
from akidb.domain.fields import CollectionPath
from akidb.domain.ids import TenantId
from akidb.operations.archives import CreateBackup, ExportTenant, ImportTenant
from akidb.operations.collections import DeleteCollection
from akidb.operations.documents import DeleteDocuments, SearchDocuments, UpsertDocuments
from akidb.operations.tenants import ListTenants
from akidb.operations.users import CreateUser
from akidb.ports.archive import Header
from akidb.sql.sqlite import SqliteFile

from .worlds import World, notes, opened, vector_of

NOTES = CollectionPath("aki-labs", "kb", "notes")
ROOM_BYTES = 10**9
_COLUMNS = {
    "control": "tenant_id, tenant_status, storage_quota_bytes, storage_used_bytes",
    "collections": "collection_id, database_id, version, state, database_state, dimension, metric,"
    " max_document_count, document_count, storage_used_bytes, sequence, tombstone_floor",
    "documents": "collection_key, id, sequence, size_bytes, text, metadata, vector",
    "tombstones": "collection_key, sequence, id",
}


@contextmanager
def large(directory: Path) -> Iterator[World]:
    """A tenant with two collections, deletions, a deleted collection, a user; and its neighbour."""
    with opened(directory) as made:
        made.tenant(external_id="crm-1", metadata={"plan": ["pro", 1.5, None]}, storage_quota_bytes=10**9)
        made.database()
        made.collection(metric="cosine")
        made.collection(name="empty")
        made.collection(name="deleted", dimension=32)
        made.on(
            NOTES,
            UpsertDocuments,
            documents=notes(*(f"n{at}" for at in range(1500)), metadata={"y": [1, {"z": "\u65e5"}]}),
        )
        made.on(NOTES, UpsertDocuments, documents=[{"id": "no text", "vector": vector_of("x")}])
        made.on(NOTES, DeleteDocuments, ids=["n3", "n4"])
        made.on(NOTES, UpsertDocuments, documents=notes("n4", "n5"))
        made.ops.perform(DeleteCollection(tenant="aki-labs", database="kb", collection="deleted"))
        made.ops.perform(
            CreateUser(tenant="aki-labs", email="Bob@Example.com", password="correct horse battery")
        )
        made.place("Neighbour")
        made.ops.perform(
            UpsertDocuments(
                tenant="neighbour",
                database="kb",
                collection="notes",
                documents=notes("secret of the neighbour"),
            )
        )
        yield made


@contextmanager
def with_neighbour(directory: Path) -> Iterator[World]:
    """An import target, which already has a tenant."""
    with opened(directory) as made:
        made.place("Neighbour")
        yield made


def small_archive(directory: Path) -> bytes:
    """A tenant with ten documents, one deletion and a user."""
    with opened(directory) as world:
        world.place()
        world.on(NOTES, UpsertDocuments, documents=notes(*(f"n{at}" for at in range(10))))
        world.on(NOTES, DeleteDocuments, ids=["n9"])
        world.ops.perform(
            CreateUser(tenant="aki-labs", email="bob@example.com", password="correct horse battery")
        )
        return exported(world)


def exported(world: World, tenant: str = "aki-labs") -> bytes:
    target = io.BytesIO()
    world.ops.perform(ExportTenant(tenant=tenant), sink=target)
    return target.getvalue()


def backed_up(world: World) -> bytes:
    target = io.BytesIO()
    world.ops.perform(CreateBackup(), sink=target)
    return target.getvalue()


def take_in(world: World, archive: bytes, **how: Any) -> ImportReport:
    return world.ops.perform(ImportTenant(**how), source=io.BytesIO(archive))


def refused(world: World, archive: bytes) -> AkiDBError:
    """Try to take an archive in beside the neighbour, dry and for good, and see that nothing changed."""
    before = files_of(world.directory)
    with pytest.raises(AkiDBError) as dry:
        world.ops.perform(ImportTenant(dry_run=True), source=io.BytesIO(archive))
    with pytest.raises(AkiDBError) as caught:
        world.ops.perform(ImportTenant(), source=io.BytesIO(archive))
    assert (type(dry.value), dry.value.message) == (type(caught.value), caught.value.message)
    assert files_of(world.directory) == before
    assert [tenant.slug for tenant in world.ops.perform(ListTenants()).items] == ["neighbour"]
    return caught.value


def parts_of(archive: bytes) -> tuple[Header, list[Any]]:
    """The header and all parts but the summary, which is made anew."""
    reader = ArchiveReader(io.BytesIO(archive), room_bytes=ROOM_BYTES)
    return reader.header, list(reader)[:-1]


def put_together(header: Header, parts: list[Any], left_out: Sequence[TenantId] = ()) -> bytes:
    target = io.BytesIO()
    writer = ArchiveWriter(target, header)
    for part in parts:
        writer.add(part)
    writer.finish(left_out)
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
