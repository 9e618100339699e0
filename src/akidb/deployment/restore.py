"""Restore of a backup into an empty directory or database.

The stores are filled first, then one transaction writes the metadata: until it commits, nothing is visible.
A marker file shows that a restore is in progress or was interrupted; such a directory cannot be opened.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

from akidb.archive import FramedArchives
from akidb.deployment.note import LOCK_NAME
from akidb.documents.schema import STEPS
from akidb.domain.archives import fault
from akidb.domain.errors import AlreadyExists, InvalidArgument, Unavailable
from akidb.domain.ids import IdGenerator, StoreId, TenantId
from akidb.metadata import schema
from akidb.observe.logs import logger
from akidb.ports.archive import (
    ArchiveReader,
    CollectionImage,
    Documents,
    Rows,
    StoreHead,
    TenantRecord,
    Tombstones,
)
from akidb.ports.metadata import MetadataStore, MetadataTransaction
from akidb.ports.stores import TenantStores
from akidb.services.archive_checks import Contents, check_archive
from akidb.services.archive_parts import open_archive, require_same
from akidb.services.archive_store_checks import was_purged
from akidb.services.store_access import StoreAccess
from akidb.services.transactions import Change
from akidb.sql.files import create_file, make_directory, sync_directory

_log = logger("akidb.restore")

OPERATION = "backup.restore"
"""Its name in the audit and in metrics. It has no row in the table of operations: it needs an empty store."""
MARKER_NAME = "restore-unfinished"


class Restoring:
    """One restore into open, empty stores."""

    def __init__(
        self,
        metadata: MetadataStore,
        tenant_stores: TenantStores,
        access: StoreAccess,
        ids: IdGenerator,
        now: Callable[[], datetime],
        room_bytes: Callable[[], int],
    ) -> None:
        self._metadata = metadata
        self._tenant_stores = tenant_stores
        self._access = access
        self._ids = ids
        self._now = now
        self._room_bytes = room_bytes
        self._stores: dict[TenantId, StoreId] = {}
        self._collections: dict[TenantId, list[CollectionImage]] = {}
        self._registered: set[TenantId] = set()
        self._tenants: list[TenantId] = []

    def restore(self, archive: IO[bytes]) -> Contents:
        """Check the whole archive, then restore its content.

        Raises InvalidArgument(`archive...`) for an invalid archive, AlreadyExists if the store is not empty.
        """
        with self._metadata.read() as tx:
            if not tx.records.is_empty():
                raise _not_empty("the store")
        start = archive.tell()
        contents = check_archive(self._reader(archive))
        archive.seek(start)
        try:
            self._bring_in(archive, contents)
        except BaseException:
            for tenant_id in self._stores:
                self._access.remove_unused(tenant_id)
            raise
        for tenant_id in self._stores:
            if tenant_id in self._registered:
                self._access.apply_pending(tenant_id)
            else:
                self._access.remove_unused(tenant_id)
        return contents

    def _reader(self, archive: IO[bytes]) -> ArchiveReader:
        schemas = (schema.HEAD, len(STEPS))
        return open_archive(FramedArchives(), archive, "backup", self._room_bytes(), schemas)

    def _bring_in(self, archive: IO[bytes], contents: Contents) -> None:
        reader = self._reader(archive)
        left_out = set(contents.left_out)
        passed_over: set[TenantId] = set()
        tx: MetadataTransaction | None = None
        with ExitStack() as filling, ExitStack() as writing:
            for part in reader:
                if isinstance(part, StoreHead):
                    filling.close()
                    is_whole = part.tenant_id not in left_out
                    if not is_whole:
                        passed_over.add(part.tenant_id)
                        _discount(contents.counts, part)
                        continue
                    store_id = self._stores[part.tenant_id] = self._ids.new(StoreId)
                    filler = filling.enter_context(self._tenant_stores.filling(part.tenant_id, store_id))
                    images = self._collections[part.tenant_id] = []
                elif isinstance(part, CollectionImage | Documents | Tombstones):
                    if not is_whole:
                        _discount(contents.counts, part)
                        continue
                    filler.add(part)
                    if isinstance(part, CollectionImage):
                        images.append(part)
                else:
                    filling.close()
                    tx = tx or writing.enter_context(self._metadata.transaction())
                    if isinstance(part, Rows):
                        tx.records.write(part)
                        self._tenants += [row.tenant_id for row in part.rows if isinstance(row, TenantRecord)]
            require_same(reader, contents)
            assert tx is not None  # for the summary at least
            for tenant_id in self._stores:
                self._reconcile(tx, tenant_id)
            for tenant_id in passed_over:
                if tx.tenants.find(tenant_id) or tx.tenants.find(tenant_id, deleted=True):
                    raise fault("is left out, but in the metadata", f".{tenant_id}")
            change = Change(self._now(), self._ids)
            change.tx = tx
            for tenant_id in self._tenants:
                change.audit(OPERATION, tenant_id, tenant_id, is_subject=False)
        self._collections.clear()
        for tenant_id in contents.left_out:
            _log.warning("tenant %s is not in the backup: it could not be read", tenant_id)

    def _reconcile(self, tx: MetadataTransaction, tenant_id: TenantId) -> None:
        """Register a filled store in the metadata, and add outbox entries for changes after its image.

        Entities that are in the store but not in the metadata must have been purged.
        """
        tenant = tx.tenants.find(tenant_id) or tx.tenants.find(tenant_id, deleted=True)
        if tenant is None:
            if not tx.records.was_purged(tenant_id):
                raise fault("is in the stores but not in the metadata", f".{tenant_id}")
            return
        self._registered.add(tenant_id)
        tx.stores.register(tenant_id, self._stores[tenant_id])
        tx.outbox.add(tenant_id, "tenant", tenant_id)
        for image in self._collections[tenant_id]:
            if was_purged(tx, tenant_id, image):
                tx.outbox.add(tenant_id, "collection_purge", image.collection_id)


def _discount(counts: dict[str, int], part: StoreHead | CollectionImage | Documents | Tombstones) -> None:
    """Take a part that is not restored out of the counts of an archive."""
    if isinstance(part, StoreHead):
        counts["stores"] -= 1
    elif isinstance(part, Documents):
        counts["documents"] -= len(part.ids)
    elif isinstance(part, Tombstones):
        counts["tombstones"] -= len(part.ids)


def _not_empty(place: object) -> AlreadyExists:
    message = f"{place} is not empty: a backup can only be restored into an empty one"
    return AlreadyExists("store", "url", place, message=message)


def require_finished(directory: Path) -> None:
    """Raise Unavailable for a directory with an interrupted restore."""
    if (directory / MARKER_NAME).exists():
        raise Unavailable(
            f"{directory}: a restore into it was interrupted or is in progress;"
            " remove the directory and restore again"
        )


@contextmanager
def empty_directory(directory: Path) -> Iterator[None]:
    """Mark an empty directory as being restored into while the block runs; empty it again if that raises.

    Raises AlreadyExists if it is not empty.
    """
    made = not directory.exists()
    if not made and not directory.is_dir():
        raise InvalidArgument("url", f"{directory} is a file, not a directory")
    if not made and any(path.name != LOCK_NAME for path in directory.iterdir()):
        raise _not_empty(directory)
    make_directory(directory)
    create_file(directory / MARKER_NAME)
    try:
        yield
    except BaseException:
        _clear(directory)
        if made:
            directory.rmdir()
        raise
    (directory / MARKER_NAME).unlink()
    sync_directory(directory)


def _clear(directory: Path) -> None:
    """Remove the files of a restore; remove the marker only once the rest is gone from disk."""
    for path in directory.iterdir():
        if path.name == MARKER_NAME:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    sync_directory(directory)
    (directory / MARKER_NAME).unlink()
