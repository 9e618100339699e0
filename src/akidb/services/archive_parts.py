"""Opens archives, writes stores into them, and reports what a backup leaves out."""

from collections.abc import Iterator, Sequence
from typing import IO

from akidb.domain.archives import MAX_NAMED, BackupReport, ByteSink, fault
from akidb.domain.errors import Damaged, NotFound, Unavailable
from akidb.domain.ids import CollectionId, TenantId
from akidb.ports.archive import (
    ArchiveFormat,
    ArchiveKind,
    ArchiveReader,
    ArchiveWriter,
    CollectionImage,
    CollectionRecord,
    Documents,
    Rows,
    StoreHead,
    StoreImage,
    Tombstones,
)
from akidb.ports.metadata import MetadataStore, MetadataTransaction
from akidb.services.archive_checks import Contents, check_schemas
from akidb.services.archive_damage import Survey
from akidb.services.archive_store_checks import parts_of, sound_parts, was_purged


def report_on(left_out: Sequence[TenantId], survey: Survey) -> BackupReport:
    """Return the report of a backup; it names these tenants."""
    return BackupReport(
        tenants_left_out=list(left_out),
        tenants_left_out_count=len(survey.left_out),
        rows_left_out=survey.rows_left_out,
    )


def announce(sink: ByteSink, survey: Survey) -> None:
    """Tell a sink that reports before the first byte what is left out, as far as it is known."""
    told = getattr(sink, "announce", None)
    if told is not None:
        told(report_on(survey.named()[:MAX_NAMED], survey))


def exists(tx: MetadataTransaction, tenant_id: TenantId) -> bool:
    """Return whether a tenant was not purged; it may be damaged."""
    try:
        return (tx.tenants.find(tenant_id) or tx.tenants.find(tenant_id, deleted=True)) is not None
    except Damaged:
        return True


def collections_of(rows: Sequence[Rows]) -> dict[CollectionId, CollectionRecord]:
    """Return the collections among the rows of a tenant."""
    return {row.collection_id: row for part in rows for row in part.rows if isinstance(row, CollectionRecord)}


def open_archive(
    format: ArchiveFormat, archive: IO[bytes], kind: ArchiveKind, room_bytes: int, schemas: tuple[str, int]
) -> ArchiveReader:
    """Open an archive. Raises InvalidArgument if it is of another kind, or newer than `schemas`."""
    reader = format.reader(archive, room_bytes=room_bytes)
    if reader.header.kind != kind:
        advice = "use `akidb restore`" if kind == "tenant" else "use `akidb tenant import`"
        raise fault(f"is an archive of the kind {reader.header.kind}, not {kind}: {advice}")
    check_schemas(reader.header, *schemas)
    return reader


def require_same(reader: ArchiveReader, contents: Contents) -> None:
    """Raise Unavailable if the archive changed between the check and this read."""
    if reader.digest != contents.digest:
        raise Unavailable("the archive was changed while it was read")


def sound_parts_of(
    metadata: MetadataStore, tenant_id: TenantId, image: StoreImage
) -> Iterator[StoreHead | CollectionImage | Documents | Tombstones]:
    """Yield the parts of a store that agrees with the metadata. Raises the errors of `sound_parts`."""
    collections = image.collections()

    def compare() -> None:
        with metadata.snapshot() as tx:
            if not exists(tx, tenant_id):
                raise NotFound("tenant", tenant_id)
            for each in collections:
                was_purged(tx, tenant_id, each)

    return sound_parts(tenant_id, image, collections, compare)


def write_store(
    writer: ArchiveWriter, tenant_id: TenantId, image: StoreImage, collections: Sequence[CollectionImage]
) -> None:
    """Write these collections of a tenant's store, which is known to be sound."""
    writer.add(StoreHead(tenant_id=tenant_id))
    for part in parts_of(image, collections):
        writer.add(part)
