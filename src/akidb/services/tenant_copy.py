"""Copies of tenants: the metadata rows under new IDs."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

from msgspec.structs import replace

from akidb.domain.ids import CollectionId, IdGenerator, TenantId
from akidb.ports.archive import CollectionImage, Rows, TenantRecord
from akidb.services.new_ids import NewIds

_COPIED = frozenset({"tenants", "databases", "collections"})


class Branch:
    """Metadata of a copy: the tenant's rows under new IDs, without its users."""

    def __init__(
        self, rows: Sequence[Rows], ids: IdGenerator, slug: str, name: str | None, now: datetime
    ) -> None:
        self._ids = NewIds(ids)
        self.rows: list[Rows] = []
        for table, records in rows:
            if table == "tenants":
                (record,) = cast("Sequence[TenantRecord]", records)
                self.origin_id = record.tenant_id
                records = [replace(record, slug=slug, name=name or record.name, external_id=None)]  # noqa: PLW2901
            if table in _COPIED:
                self.rows.append(Rows(table, [self._copy(row, now) for row in records]))
        self.tenant_id = cast("TenantId", self._ids.of(self.origin_id))

    def renamed(self, images: Sequence[CollectionImage]) -> dict[CollectionId, CollectionImage]:
        """Map the store's collections to their new IDs, without those purged in the meantime."""
        return {
            image.collection_id: self._ids.renewed(image)
            for image in images
            if self._ids.knows(image.collection_id)
        }

    def _copy(self, row: Any, now: datetime) -> Any:
        return self._ids.renewed(row, version=1, created_at=now, updated_at=now)
