"""All keyword indexes of this process: a bounded number are open, each used by one thread at a time."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from akidb.domain.ids import CollectionId, StoreId, TenantId
from akidb.domain.keywords import Term
from akidb.ports.disk import Disk
from akidb.search.keywords.database import Owner, require_fts5
from akidb.search.keywords.files import KeywordFile, collections_in, remove_tree, tenants_in
from akidb.search.keywords.index import Files, Index
from akidb.search.keywords.snippets import highlights

MAX_OPEN = 32
"""Open indexes, each with one file descriptor and up to 2 MiB of memory."""
_Key = tuple[TenantId, CollectionId]


class FtsKeywords:
    """`akidb.ports.keywords.KeywordIndexes`."""

    def __init__(
        self, directory: Path | None, disk: Disk, now: Callable[[], datetime], *, max_open: int = MAX_OPEN
    ) -> None:
        """Keep the indexes' files in a directory of this process alone; None for files without names.

        `disk` is that of the directory, `now` tells when a file was last used.
        """
        self._directory = directory
        self._now = now
        self._max_open = max_open
        self._lock = threading.Lock()
        self._files = Files(self._lock, disk)
        self._open: OrderedDict[_Key, Index] = OrderedDict()
        self._is_supported = False

    @contextmanager
    def locked(self, tenant_id: TenantId, store_id: StoreId, collection_id: CollectionId) -> Iterator[Index]:
        """Lock a collection's index; others are closed if too many are open."""
        if not self._is_supported:
            require_fts5()
            self._is_supported = True
        key, owner = (tenant_id, collection_id), Owner(store_id, collection_id)
        while True:
            index = self._entry(key, owner)
            with index.lock:
                if index.is_retired:  # closed, or removed, while this thread waited
                    continue
                if index.owner != owner:
                    index.close(None)
                    self._retire(key, index)
                    continue
                try:
                    yield index
                finally:
                    if index.is_retired:
                        index.close(None)
                break
        self._close_surplus()

    def highlights(self, terms: Sequence[Term], texts: Sequence[str]) -> list[str | None]:
        """Return the best part of each text with the terms marked; None for a text without any."""
        return highlights(terms, texts)

    def forget(self, tenant_id: TenantId, collections: Iterable[CollectionId] | None = None) -> bool:
        """Remove the indexes of a tenant, or of some of its collections; return whether none is left."""
        chosen = None if collections is None else set(collections)
        with self._lock:
            keys = [key for key in self._open if key[0] == tenant_id and (chosen is None or key[1] in chosen)]
            for key in keys:  # a thread that uses one closes it, and makes no file for it
                index = self._open.pop(key)
                index.is_retired = True
                if index.lock.acquire(blocking=False):
                    try:
                        index.close(None)
                    finally:
                        index.lock.release()
        if self._directory is None:
            return True
        tenant = self._directory / str(tenant_id)
        if chosen is None:
            return remove_tree(tenant)
        gone = [remove_tree(tenant / str(collection_id)) for collection_id in chosen]
        with suppress(OSError):
            tenant.rmdir()
        return all(gone)

    def tenants(self) -> list[TenantId]:
        """Return the tenants that have indexes, open or in files."""
        with self._lock:
            found = {tenant_id for tenant_id, _ in self._open}
        if self._directory is not None:
            found.update(tenants_in(self._directory))
        return sorted(found)

    def collections(self, tenant_id: TenantId) -> list[CollectionId]:
        """Return the collections of a tenant that have indexes, open or in files."""
        with self._lock:
            found = {collection_id for tenant, collection_id in self._open if tenant == tenant_id}
        if self._directory is not None:
            found.update(collections_in(self._directory, tenant_id))
        return sorted(found)

    def close_idle(self) -> None:
        """Close the indexes that were not used since the last call."""
        with self._lock:
            indexes = list(self._open.items())
        for key, index in indexes:
            if not index.is_used:
                self._close(key, index)
            index.is_used = False

    def remove_unused(self, until: datetime) -> None:
        """Remove the files of closed indexes that were last used before `until`, and unfinished ones."""
        if self._directory is None:
            return
        for tenant_id in tenants_in(self._directory):
            for collection_id in collections_in(self._directory, tenant_id):
                used_at = self._file((tenant_id, collection_id)).used_at()
                if used_at is not None and used_at >= until:
                    continue
                with self._lock:
                    is_open = (tenant_id, collection_id) in self._open
                if not is_open:
                    self._remove_file(tenant_id, collection_id)

    def _remove_file(self, tenant_id: TenantId, collection_id: CollectionId) -> None:
        """Remove the file of a closed index, and directories that are empty then."""
        assert self._directory is not None
        file = self._file((tenant_id, collection_id))
        with suppress(OSError):
            file.remove()
            file.path.parent.rmdir()
            file.path.parent.parent.rmdir()

    def close(self) -> None:
        """Close all indexes, and wait for those in use."""
        with self._lock:
            indexes = list(self._open.items())
        for key, index in indexes:
            with index.lock:
                if not index.is_retired:
                    index.close(self._now)
                    self._retire(key, index)

    def _entry(self, key: _Key, owner: Owner) -> Index:
        with self._lock:
            index = self._open.get(key)
            if index is None:
                file = None if self._directory is None else self._file(key)
                index = self._open[key] = Index(owner, file, self._files)
            self._open.move_to_end(key)
            index.is_used = True
            return index

    def _file(self, key: _Key) -> KeywordFile:
        assert self._directory is not None
        return KeywordFile(self._directory / str(key[0]) / str(key[1]))

    def _retire(self, key: _Key, index: Index) -> None:
        """Drop an index that is locked by this thread: others that wait for it look for the next one."""
        with self._lock:
            index.is_retired = True
            if self._open.get(key) is index:
                del self._open[key]

    def _close_surplus(self) -> None:
        if len(self._open) <= self._max_open:
            return
        with self._lock:
            indexes = list(self._open.items())
        surplus = len(indexes) - self._max_open
        for key, index in indexes:
            if surplus <= 0:
                break
            surplus -= self._close(key, index)

    def _close(self, key: _Key, index: Index) -> bool:
        """Close an index unless it is in use; return whether it is closed."""
        if not index.lock.acquire(blocking=False):
            return False
        try:
            if not index.is_retired:
                index.close(self._now)
                self._retire(key, index)
        finally:
            index.lock.release()
        return True
