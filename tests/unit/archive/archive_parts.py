"""A small archive with every kind of part, and helpers to write and read archives."""

import io
from datetime import UTC, datetime
from random import Random
from typing import Any

import numpy as np

from akidb.archive.parts import ArchiveReader, ArchiveWriter
from akidb.domain.entities import Metric
from akidb.domain.ids import CollectionId, DatabaseId, IdGenerator, TenantId
from akidb.domain.lifecycle import CollectionState, DatabaseState
from akidb.ports.archive import (
    CollectionImage,
    CollectionRecord,
    DatabaseRecord,
    Documents,
    Header,
    Part,
    Rows,
    StoreHead,
    TenantRecord,
    Tombstones,
)

NOW = datetime(2026, 1, 31, 9, 15, tzinfo=UTC)
DIMENSION = 16
ROOM_BYTES = 10**9
_ids = IdGenerator(lambda: 1_769_850_900_000, Random(1).getrandbits)
TENANT_ID, DATABASE_ID, COLLECTION_ID = _ids.new(TenantId), _ids.new(DatabaseId), _ids.new(CollectionId)
HEADER = Header(kind="tenant", akidb="2.0.0", metadata_schema="0001", documents_schema=1, created_at=NOW)


def documents(count: int = 3, first: int = 1, **fields: Any) -> Documents:
    vectors = np.random.default_rng(first).standard_normal((count, DIMENSION)).astype(np.float32)
    made = Documents(
        sequences=list(range(first, first + count)),
        ids=[f"d{first + n}" for n in range(count)],
        texts=["Ünï 日本", None, "text"][:count] + ["more"] * (count - 3),
        metadata=['{"n":1}'] * count,
        vectors=vectors,
    )
    return made._replace(**fields)


def collection(**fields: Any) -> CollectionImage:
    values = {
        "collection_id": COLLECTION_ID,
        "database_id": DATABASE_ID,
        "version": 1,
        "state": CollectionState.READY,
        "database_state": DatabaseState.READY,
        "dimension": DIMENSION,
        "metric": Metric.COSINE,
        "max_document_count": 50,
        "document_count": 3,
        "storage_used_bytes": 1000,
        "sequence": 9,
        "tombstone_floor": 0,
    }
    return CollectionImage(**{**values, **fields})


def parts() -> list[Any]:
    """An archive of one tenant with one collection."""
    times: dict[str, Any] = {"created_at": NOW, "updated_at": NOW}
    tenant = TenantRecord(tenant_id=TENANT_ID, name="Aki Labs", slug="aki-labs", **times)
    database = DatabaseRecord(database_id=DATABASE_ID, tenant_id=TENANT_ID, name="kb", **times)
    record = CollectionRecord(
        collection_id=COLLECTION_ID,
        tenant_id=TENANT_ID,
        database_id=DATABASE_ID,
        name="notes",
        dimension=DIMENSION,
        **times,
    )
    return [
        StoreHead(tenant_id=TENANT_ID),
        collection(),
        documents(),
        Tombstones([7, 8], ["gone", "d1"]),
        Rows("tenants", [tenant]),
        Rows("databases", [database]),
        Rows("collections", [record]),
    ]


def written(given: list[Any], header: Header = HEADER) -> bytes:
    target = io.BytesIO()
    writer = ArchiveWriter(target, header)
    for part in given:
        writer.add(part)
    writer.finish()
    return target.getvalue()


def read(archive: bytes, room_bytes: int = ROOM_BYTES) -> list[Part]:
    return list(ArchiveReader(io.BytesIO(archive), room_bytes=room_bytes))
