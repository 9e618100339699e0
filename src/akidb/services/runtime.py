"""Puts the adapters and services of a data directory together, and owns them until it is closed."""

import os
import secrets
import shutil
import threading
import time
import weakref
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

from akidb.documents.schema import STEPS
from akidb.documents.stores import SqliteTenantStores
from akidb.domain.errors import InvalidArgument, Unavailable
from akidb.domain.ids import IdGenerator
from akidb.embedding.models import LocalModels
from akidb.metadata import schema
from akidb.metadata.store import SqliteMetadataStore
from akidb.ports import telemetry
from akidb.ports.archive import Source
from akidb.ports.operations import Finding, MaintenanceReport
from akidb.ports.telemetry import Listener, StoreFigures, StoreKind
from akidb.search.exact import ExactIndex
from akidb.services.admission import Admission
from akidb.services.archives import ArchiveService, Place
from akidb.services.audit import AuditService
from akidb.services.changes import Changes
from akidb.services.collections import CollectionService
from akidb.services.databases import DatabaseService
from akidb.services.doctor import examine
from akidb.services.documents import DocumentService
from akidb.services.embeddings import EmbeddingService, ModelService
from akidb.services.maintenance import Maintenance
from akidb.services.migration import MigrationService
from akidb.services.owner import DirectoryHeld, OwnerLock
from akidb.services.passwords import Passwords
from akidb.services.purging import Purging
from akidb.services.rate import RateLimiter
from akidb.services.restoring import Restoring, empty_directory, require_finished
from akidb.services.stores import StoreAccess
from akidb.services.telemetry import hide, show
from akidb.services.tenants import TenantService
from akidb.services.users import UserService
from akidb.settings import Settings
from akidb.sql.copies import Copies
from akidb.sql.images import SCRATCH_NAME, clear_scratch
from akidb.sql.sqlite import sync_directory

__all__ = ["DirectoryHeld", "LocalOperations", "open_local"]

METADATA_NAME = "metadata.db"
_SHARED_SETTINGS = (
    *("models_dir", "model_source", "default_model", "synchronous", "max_open_stores"),
    *("slow_operation_seconds", "tracing", "retention_seconds"),
)
TENANTS_NAME = "tenants"
COPIES_NAME = "backups"
SERVICES = (
    "tenants",
    "databases",
    "collections",
    "documents",
    "users",
    "embeddings",
    "models",
    "audit",
    "archives",
    "migration",
)
CLOSED = "the connection is closed"


def _now() -> datetime:
    return datetime.now(UTC)


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000


class _Runtime:
    """One open data directory. Shared by all connections of this process to it."""

    def __init__(self, directory: Path, settings: Settings, *, restoring: bool = False) -> None:
        self.directory = directory
        self.settings = settings
        self.connections = 0
        self.abandoned = False
        """Whether this is the copy in a forked child, where all of it belongs to the parent."""
        self._tracing = _tracing(settings)
        self.lock = OwnerLock(directory)
        try:
            if not restoring:
                require_finished(directory)
            for each in (directory, directory / TENANTS_NAME):
                clear_scratch(each)
            self._open(settings)
        except BaseException:
            self.lock.release()
            raise
        show(self)
        if self._tracing is not None:
            telemetry.listen(self._tracing)
        if not restoring:
            self.maintenance.start()

    def figures(self) -> dict[StoreKind, StoreFigures]:
        """How it stands with the stores."""
        return {"metadata": self.metadata.figures(), "tenant": self.tenant_stores.figures()}

    def outbox_depth(self) -> int:
        """How many changes wait for a tenant's store."""
        with self.admission, self.metadata.read() as tx:
            return tx.outbox.depth()

    def _open(self, settings: Settings) -> None:
        tenants = self.directory / TENANTS_NAME
        tenants.mkdir(mode=0o700, exist_ok=True)
        was_killed = (self.directory / f"{METADATA_NAME}-wal").exists()
        self.metadata = SqliteMetadataStore(
            self.directory / METADATA_NAME,
            synchronous=settings.synchronous,
            expected=any(tenants.glob("*.db")),  # no metadata beside stores is a loss, not a beginning
        )
        self.tenant_stores = SqliteTenantStores(
            tenants, max_open=settings.max_open_stores, synchronous=settings.synchronous
        )
        try:
            self._put_together(settings)
            self.purging.unfinished = was_killed  # perhaps after a purge, before its traces were gone
            with suppress(Unavailable):  # one file that cannot be removed keeps no other tenant out
                self.stores.finish_purges()
        except BaseException:
            self.tenant_stores.close()
            self.metadata.close()
            raise

    def _put_together(self, settings: Settings) -> None:
        self.admission = Admission(slow_operation_seconds=settings.slow_operation_seconds)
        ids = IdGenerator(_unix_ms, secrets.randbits)
        index = ExactIndex()
        limiter = RateLimiter(time.monotonic)
        source = None if settings.model_source is None else Path(settings.model_source)
        models = LocalModels(settings.models_path, source=source)
        self.stores = StoreAccess(self.metadata, self.tenant_stores, index, ids)
        changes = Changes(self.metadata, self.stores, ids, _now)
        copies = Copies(self.directory / COPIES_NAME, _now)
        self.purging = Purging(self.metadata, self.stores, limiter, copies)
        self.maintenance = Maintenance(
            admission=self.admission,
            metadata=self.metadata,
            stores=self.stores,
            purging=self.purging,
            copies=copies,
            ids=ids,
            now=_now,
            retention=timedelta(seconds=settings.retention_seconds),
        )
        self.embeddings = EmbeddingService(self.admission, models, settings.default_model)
        self.models = ModelService(self.admission, models)
        self.tenants = TenantService(
            admission=self.admission,
            metadata=self.metadata,
            changes=changes,
            stores=self.stores,
            index=index,
            purging=self.purging,
            ids=ids,
        )
        self.databases = DatabaseService(self.admission, self.metadata, changes, self.purging, ids)
        self.collections = CollectionService(
            self.admission, self.metadata, changes, self.purging, models, ids
        )
        self.documents = DocumentService(
            admission=self.admission,
            metadata=self.metadata,
            stores=self.stores,
            index=index,
            embeddings=self.embeddings,
            limiter=limiter,
            ids=ids,
            now=_now,
        )
        self.users = UserService(self.admission, self.metadata, changes, Passwords(), ids)
        self.audit = AuditService(self.admission, self.metadata)
        self.place = Place(self.directory / SCRATCH_NAME, self.room_bytes)
        self.archives = ArchiveService(
            admission=self.admission,
            metadata=self.metadata,
            changes=changes,
            stores=self.stores,
            tenant_stores=self.tenant_stores,
            ids=ids,
            now=_now,
            place=self.place,
            schemas=(schema.HEAD, len(STEPS)),
        )
        self.migration = MigrationService(self.admission, self.metadata, self.stores, ids, _now)
        self.ids = ids
        self.default_model = settings.default_model

    def room_bytes(self) -> int:
        """What an archive may take when it is unpacked."""
        return shutil.disk_usage(self.directory).free

    def close(self) -> None:
        hide(self)
        self.maintenance.stop()
        self.admission.drain(CLOSED)
        if self.purging.unfinished:  # nobody reads any more
            with suppress(Unavailable):
                self.purging.finish()
        self.tenant_stores.close()
        self.metadata.close()
        self.lock.release()
        _all.discard(self)
        if self._tracing is not None:
            telemetry.leave(self._tracing)


def _tracing(settings: Settings) -> Listener | None:
    """What makes spans, if that is wanted. Raises InvalidArgument where OpenTelemetry is not installed."""
    if settings.tracing == "off":
        return None
    from akidb.services.tracing import tracing

    return tracing()


class _Closed:
    """Stands where a service was when its connection is closed, which others may still share."""

    def __getattr__(self, name: str) -> NoReturn:
        raise Unavailable(CLOSED)


class LocalOperations:
    """`akidb.ports.operations.Operations` in this process: one connection to a data directory."""

    def __init__(self, runtime: _Runtime) -> None:
        self._runtime = runtime
        self._closed = False
        self.directory = runtime.directory
        self.tenants = runtime.tenants
        self.databases = runtime.databases
        self.collections = runtime.collections
        self.documents = runtime.documents
        self.embeddings = runtime.embeddings
        self.models = runtime.models
        self.users = runtime.users
        self.audit = runtime.audit
        self.archives = runtime.archives
        self.migration = runtime.migration

    def doctor(self) -> list[Finding]:
        """Look at every store, also while others work."""
        with self._door():
            return list(examine(self._runtime.metadata, self._runtime.stores, self.directory / TENANTS_NAME))

    def restore(self, archive: Source) -> dict[str, int]:
        """Bring a backup back into an empty store, and look at every store then; gives what there was.

        Raises AlreadyExists for a store that is not empty, InvalidArgument(`archive...`) for a backup that is
        refused, Unavailable when what was restored is not sound.
        """
        runtime = self._runtime
        with self._door(), runtime.place.seekable(archive) as seekable:
            restoring = Restoring(
                runtime.metadata, runtime.tenant_stores, runtime.stores, runtime.ids, runtime.room_bytes
            )
            counts = restoring.restore(seekable).counts
        for finding in self.doctor():
            if not finding.ok:
                raise Unavailable(f"{finding.store}: {finding.check}: {finding.detail}")
        return counts

    def maintain(self) -> MaintenanceReport:
        """Run a round of maintenance now."""
        with self._door():
            pass
        return self._runtime.maintenance.run()

    def ready(self) -> None:
        """Raise Unavailable when the metadata cannot be read, or the default model is there but fails."""
        with self._door():
            with self._runtime.metadata.read() as tx:
                tx.outbox.depth()
            if self.models.info(self._runtime.default_model).installed:
                self.embeddings.embed(["Is the model ready?"])

    def publish_socket(self, path: Path) -> None:
        """Tell other processes where this one serves the directory."""
        with self._door():
            self._runtime.lock.publish(path)

    def begin_shutdown(self) -> None:
        """Refuse new operations, and wait for those that run."""
        self._runtime.admission.drain("the server is shutting down")

    def close(self) -> None:
        """Close this connection; the last one lets go of the directory."""
        with _open_lock:
            runtime = self._runtime
            if self._closed or runtime.abandoned:
                return
            self._closed = True
            for name in SERVICES:
                setattr(self, name, _Closed())
            runtime.connections -= 1
            if runtime.connections == 0:
                _open.pop(runtime.directory, None)
                runtime.close()

    def _door(self) -> Admission:
        if self._closed:
            raise Unavailable(CLOSED)
        return self._runtime.admission


_open: dict[Path, _Runtime] = {}
_open_lock = threading.Lock()
_all: "weakref.WeakSet[_Runtime]" = weakref.WeakSet()


def open_local(directory: Path, settings: Settings, *, restoring: bool = False) -> LocalOperations:
    """Open a data directory in this process, making it if it is not there.

    Connections of one process share it, and its settings. Raises DirectoryHeld when another process has
    it, Unavailable when a store is damaged, newer than this program, or cannot be written,
    InvalidArgument for a setting other than that of a connection which is open.
    """
    with _open_lock:
        path = _make_directory(directory)
        runtime = _open.get(path)
        if runtime is None:
            try:
                runtime = _open[path] = _Runtime(path, settings, restoring=restoring)
            except OSError as error:
                raise Unavailable(f"{directory}: {error.strerror}") from error
            _all.add(runtime)
        else:
            _refuse_other_settings(runtime.settings, settings)
        runtime.connections += 1
        return LocalOperations(runtime)


def restore_local(directory: Path, settings: Settings, archive: Source) -> dict[str, int]:
    """Restore a backup into a directory that is empty or not there; it is left so when that fails.

    Raises as `LocalOperations.restore` does.
    """
    with empty_directory(directory):
        operations = open_local(directory, settings, restoring=True)
        try:
            return operations.restore(archive)
        finally:
            operations.close()


def _refuse_other_settings(held: Settings, wanted: Settings) -> None:
    """What a connection asks for must be what the directory is open with."""
    for name in _SHARED_SETTINGS:
        if getattr(held, name) != getattr(wanted, name):
            raise InvalidArgument(
                name, f"is {getattr(held, name)!r} in the connection that this process has open already"
            )


def schema_versions(directory: Path) -> tuple[str | None, str]:
    """The schema of the metadata store in a directory, None when there is none, and the newest known.

    Raises DirectoryHeld as `open_local` does; changes nothing.
    """
    from akidb.sql.sqlite import SqliteFile

    path = directory / METADATA_NAME
    if not path.exists():
        return None, schema.HEAD
    lock = OwnerLock(directory)
    file = SqliteFile(path)
    try:
        with file.read() as connection:
            return schema.version(connection), schema.HEAD
    finally:
        file.close()
        lock.release()


def _make_directory(directory: Path) -> Path:
    try:
        made = [path for path in (directory, *directory.parents) if not path.exists()]
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in made:
            with suppress(PermissionError):  # not every directory that may be written may be read
                sync_directory(path.parent)
    except FileExistsError:
        raise Unavailable(f"{directory} is not a directory") from None
    except OSError as error:
        raise Unavailable(f"{directory}: {error.strerror}") from error
    return directory.resolve()


def _after_fork_in_child() -> None:
    """Connections and locks belong to the parent: a child must connect for itself."""
    for runtime in list(_all):
        runtime.admission.abandon("the connection was opened before a fork: connect again")
        runtime.lock.abandon()
        hide(runtime)
        runtime.abandoned = True
    _open.clear()
    global _open_lock  # noqa: PLW0603 - another thread of the parent may hold it
    _open_lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)
