"""Copies of tenants: the metadata rows under new IDs."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from msgspec.structs import replace

from akidb.domain.ids import CollectionId, DatabaseId, IdGenerator, TenantId
from akidb.ports.archive import CollectionImage, Rows, TenantRecord


class Branch:
    """Metadata of a copy: the tenant's rows under new IDs, without its users."""

    def __init__(
        self, rows: Sequence[Rows], ids: IdGenerator, slug: str, name: str | None, now: datetime
    ) -> None:
        self.rows: list[Rows] = []
        self.tenant_id = ids.new(TenantId)
        self._databases: dict[DatabaseId, DatabaseId] = {}
        self._collections: dict[CollectionId, CollectionId] = {}
        for table, records in rows:
            if table == "tenants":
                (record,) = cast("Sequence[TenantRecord]", records)
                self.origin_id = record.tenant_id
                new = {"slug": slug, "name": name or record.name, "external_id": None}
                self.rows.append(Rows(table, [self._new(record, now, **new)]))
            elif table == "databases":
                self._databases |= {row.database_id: ids.new(DatabaseId) for row in records}  # type: ignore[union-attr]
                self.rows.append(Rows(table, [self._new(row, now) for row in records]))
            elif table == "collections":
                self._collections |= {row.collection_id: ids.new(CollectionId) for row in records}  # type: ignore[union-attr]
                self.rows.append(Rows(table, [self._new(row, now) for row in records]))

    def renamed(self, images: Sequence[CollectionImage]) -> dict[CollectionId, CollectionImage]:
        """Map the store's collections to their new IDs, without those purged in the meantime."""
        return {
            image.collection_id: replace(image, **self._new_ids(image))
            for image in images
            if image.collection_id in self._collections
        }

    def _new(self, row: Any, now: datetime, **fields: object) -> Any:
        return replace(
            row,
            tenant_id=self.tenant_id,
            version=1,
            created_at=now,
            updated_at=now,
            **self._new_ids(row),
            **fields,
        )

    def _new_ids(self, row: Any) -> Mapping[str, object]:
        new: dict[str, object] = {}
        if hasattr(row, "database_id"):
            new["database_id"] = self._databases[row.database_id]
        if hasattr(row, "collection_id"):
            new["collection_id"] = self._collections[row.collection_id]
        return new
