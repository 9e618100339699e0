"""Sample contents of a tenant's store: a collection with documents and a deletion."""

import numpy as np

from akidb.domain.documents import stored_size
from akidb.domain.entities import Metric
from akidb.domain.ids import CollectionId, DatabaseId, StoreId, TenantId
from akidb.domain.lifecycle import CollectionState, DatabaseState
from akidb.ports.archive import CollectionImage, Documents, Tombstones

DIMENSION = 16
COUNT = 40
TENANT_ID = TenantId(b"tenant 123456789")
STORE_ID = StoreId(b"store 1234567890")

_IDS = [f"d{number}" for number in range(COUNT)]
PARTS: tuple[CollectionImage | Documents | Tombstones, ...] = (
    CollectionImage(
        collection_id=CollectionId(b"collection 12345"),
        database_id=DatabaseId(b"database 1234567"),
        version=1,
        state=next(iter(CollectionState)),
        database_state=next(iter(DatabaseState)),
        dimension=DIMENSION,
        metric=Metric.COSINE,
        max_document_count=10**6,
        document_count=COUNT,
        storage_used_bytes=sum(stored_size(id, "text", "{}", 4 * DIMENSION) for id in _IDS),
        sequence=COUNT + 1,
        tombstone_floor=0,
    ),
    Documents(
        range(1, COUNT + 1),
        _IDS,
        ["text"] * COUNT,
        ["{}"] * COUNT,
        np.ones((COUNT, DIMENSION), np.float32),
    ),
    Tombstones([COUNT + 1], ["gone"]),
)
