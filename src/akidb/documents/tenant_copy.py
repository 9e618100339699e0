"""Copies a store for another tenant: a snapshot of the file, with new IDs in its control rows."""

from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa

from akidb.documents.archive_image import SqlStoreImage, durable
from akidb.documents.base import purge_collection
from akidb.documents.statements import IN_FILE
from akidb.documents.tables import FILE
from akidb.domain.ids import CollectionId, StoreId, TenantId
from akidb.domain.lifecycle import TenantStatus
from akidb.ports.archive import CollectionImage, StoreFiller, StoreImage
from akidb.sql.archive_image import copy_connection, remove_scratch, scratch_path
from akidb.sql.files import sync_directory
from akidb.sql.room import Room

Renamed = Mapping[CollectionId, CollectionImage]
"""New collections by the old collection IDs; others are not copied."""


def branch_file(
    image: StoreImage,
    path: Path,
    tenant_id: TenantId,
    store_id: StoreId,
    renamed: Renamed,
    room: Room | None = None,
) -> None:
    """Create the store of another tenant in a new file, atomically and durably."""
    assert isinstance(image, SqlStoreImage)
    made = scratch_path(path)
    try:
        copy_connection(image.connection, made, room=room)
        with durable(made) as file, file.write() as connection:
            _rename(connection, tenant_id, store_id, renamed)
        made.rename(path)
        sync_directory(path.parent)
    finally:
        remove_scratch(made)


def _rename(connection: sa.Connection, tenant_id: TenantId, store_id: StoreId, renamed: Renamed) -> None:
    """Write the new IDs into a store that has no tenant state applied yet."""
    collections = FILE.collections
    connection.execute(
        sa.update(FILE.control).values(
            store_id=store_id,
            tenant_id=tenant_id,
            tenant_version=0,
            tenant_status=TenantStatus.PROVISIONING,
        )
    )
    connection.execute(sa.delete(FILE.remembered_answers))  # they belong to the original
    for collection_id in connection.execute(sa.select(collections.c.collection_id)).scalars().all():
        new = renamed.get(collection_id)
        if new is None:
            purge_collection(connection, IN_FILE, collection_id)
            continue
        connection.execute(
            sa.update(collections)
            .where(collections.c.collection_id == collection_id)
            .values(collection_id=new.collection_id, database_id=new.database_id)
        )


def refill(filler: StoreFiller, image: StoreImage, renamed: Renamed) -> None:
    """Write the rows of an image into a new store with the same tables."""
    for collection_id, new in renamed.items():
        filler.add(new)
        for documents in image.documents(collection_id):
            filler.add(documents)
        for tombstones in image.tombstones(collection_id):
            filler.add(tombstones)
