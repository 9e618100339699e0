"""Puts the adapters and services of a deployment together, and owns them until it is closed."""

import os
import secrets
import threading
import time
import weakref
from contextlib import nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

from akidb.deployment.owner import DirectoryHeld
from akidb.deployment.places import METADATA_NAME, TENANTS_NAME, Location, open_place, prepare
from akidb.deployment.restore import Restoring, empty_directory
from akidb.documents.schema import STEPS
from akidb.domain.errors import InvalidArgument, Unavailable
from akidb.domain.ids import IdGenerator
from akidb.embedding.models import LocalModels
from akidb.metadata import schema
from akidb.observe import telemetry
from akidb.observe.operations import hide, show
from akidb.observe.telemetry import Listener, StoreFigures, StoreKind
from akidb.ports.archive import ByteSource
from akidb.ports.upkeep import Finding, MaintenanceReport
from akidb.search.exact import ExactIndex
from akidb.services.admission import Admission
from akidb.services.archives import ArchiveScratch, ArchiveService
from akidb.services.audit import AuditService
from akidb.services.changes import ChangeService, Signals
from akidb.services.collections import CollectionService
from akidb.services.databases import DatabaseService
from akidb.services.doctor import examine
from akidb.services.documents import DocumentService
from akidb.services.embeddings import EmbeddingService, ModelService
from akidb.services.maintenance import Maintenance
from akidb.services.migration import MigrationService
from akidb.services.passwords import Passwords
from akidb.services.purging import Purging
from akidb.services.rate import RateLimiter
from akidb.services.store_access import StoreAccess
from akidb.services.tenants import TenantService
from akidb.services.transactions import Transactions
from akidb.services.users import UserService
from akidb.settings import Settings

__all__ = ["METADATA_NAME", "TENANTS_NAME", "DirectoryHeld", "LocalOperations", "open_local"]

_SHARED_SETTINGS = (
    *("models_dir", "model_source", "default_model", "synchronous", "max_open_stores"),
    *("postgresql_pool_size", "slow_operation_seconds", "tracing", "retention_seconds"),
)
SERVICES = (
    "tenants",
    "databases",
    "collections",
    "documents",
    "changes",
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
    """One open deployment. Shared by all connections of this process to it."""

    def __init__(self, target: Location, settings: Settings, *, restoring: bool = False) -> None:
        self.target = target
        self.settings = settings
        self.connections = 0
        self.abandoned = False
        """Whether this is the copy in a forked child, where all of it belongs to the parent."""
        self._tracing = _tracing(settings)
        self.deployment = open_place(target, settings, restoring=restoring)
        self.metadata, self.tenant_stores = self.deployment.metadata, self.deployment.tenant_stores
        try:
            self._put_together(settings)
            self.purging.unfinished = self.deployment.was_killed  # perhaps before a purge's traces were gone
            with suppress(Unavailable):  # one file that cannot be removed keeps no other tenant out
                self.stores.finish_purges()
        except BaseException:
            self.deployment.close()
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

    def _put_together(self, settings: Settings) -> None:
        self.admission = Admission(slow_operation_seconds=settings.slow_operation_seconds)
        ids = IdGenerator(_unix_ms, secrets.randbits)
        index = ExactIndex()
        limiter = RateLimiter(time.monotonic)
        source = None if settings.model_source is None else Path(settings.model_source)
        models = LocalModels(settings.models_path, source=source)
        self.stores = StoreAccess(self.metadata, self.tenant_stores, index, ids)
        signals = Signals()
        changes = Transactions(self.metadata, self.stores, ids, _now, signals)
        copies = self.deployment.copies
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
            signals=signals,
        )
        self.changes = ChangeService(
            admission=self.admission,
            metadata=self.metadata,
            stores=self.stores,
            limiter=limiter,
            signals=signals,
        )
        self.users = UserService(self.admission, self.metadata, changes, Passwords(), ids)
        self.audit = AuditService(self.admission, self.metadata)
        self.archives = self._archives(changes, ids)
        self.migration = MigrationService(self.admission, self.metadata, self.stores, ids, _now)
        self.ids = ids
        self.default_model = settings.default_model

    def _archives(self, changes: Transactions, ids: IdGenerator) -> ArchiveService:
        self.place = ArchiveScratch(self.deployment.scratch, self.deployment.room_bytes)
        return ArchiveService(
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

    def close(self) -> None:
        hide(self)
        self.maintenance.stop()
        self.admission.drain(CLOSED)
        if self.purging.unfinished:  # nobody reads any more
            with suppress(Unavailable):
                self.purging.finish()
        self.deployment.close()
        _all.discard(self)
        if self._tracing is not None:
            telemetry.leave(self._tracing)


def _tracing(settings: Settings) -> Listener | None:
    """What makes spans, if that is wanted. Raises InvalidArgument where OpenTelemetry is not installed."""
    if settings.tracing == "off":
        return None
    from akidb.observe.tracing import tracing

    return tracing()


class _Closed:
    """Stands where a service was when its connection is closed, which others may still share."""

    def __getattr__(self, name: str) -> NoReturn:
        raise Unavailable(CLOSED)


class LocalOperations:
    """`akidb.ports.operations.Operations` in this process: one connection to a deployment."""

    def __init__(self, runtime: _Runtime) -> None:
        self._runtime = runtime
        self._closed = False
        self.directory = runtime.deployment.directory
        """The data directory, None on PostgreSQL."""
        self.tenants = runtime.tenants
        self.databases = runtime.databases
        self.collections = runtime.collections
        self.documents = runtime.documents
        self.changes = runtime.changes
        self.embeddings = runtime.embeddings
        self.models = runtime.models
        self.users = runtime.users
        self.audit = runtime.audit
        self.archives = runtime.archives
        self.migration = runtime.migration

    def doctor(self) -> list[Finding]:
        """Look at every store, also while others work."""
        with self._door():
            runtime = self._runtime
            return list(examine(runtime.metadata, runtime.stores, runtime.tenant_stores))

    def restore(self, archive: ByteSource) -> dict[str, int]:
        """Bring a backup back into an empty store, and look at every store then; gives what there was.

        Raises AlreadyExists for a store that is not empty, InvalidArgument(`archive...`) for a backup that is
        refused, Unavailable when what was restored is not sound.
        """
        runtime = self._runtime
        with self._door(), runtime.place.seekable(archive) as seekable:
            restoring = Restoring(
                runtime.metadata, runtime.tenant_stores, runtime.stores, runtime.ids, runtime.place.room_bytes
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
            self._runtime.deployment.publish(path)

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
                _open.pop(runtime.target, None)
                runtime.close()

    def _door(self) -> Admission:
        if self._closed:
            raise Unavailable(CLOSED)
        return self._runtime.admission


_open: dict[Location, _Runtime] = {}
_open_lock = threading.Lock()
_all: "weakref.WeakSet[_Runtime]" = weakref.WeakSet()


def open_local(target: Location, settings: Settings, *, restoring: bool = False) -> LocalOperations:
    """Open a data directory, making it if it is not there, or a PostgreSQL database, in this process.

    Connections of one process share it, and its settings. Raises DirectoryHeld when another process has
    the directory, Unavailable when a store is damaged, newer than this program, cannot be reached or
    written, InvalidArgument for a setting other than that of a connection which is open.
    """
    with _open_lock:
        place = prepare(target)
        runtime = _open.get(place)
        if runtime is None:
            try:
                runtime = _open[place] = _Runtime(place, settings, restoring=restoring)
            except OSError as error:
                raise Unavailable(f"{target}: {error.strerror}") from error
            _all.add(runtime)
        else:
            _refuse_other_settings(runtime.settings, settings)
        runtime.connections += 1
        return LocalOperations(runtime)


def restore_local(target: Location, settings: Settings, archive: ByteSource) -> dict[str, int]:
    """Restore a backup into a place that is empty or not there; it is left so when that fails.

    Raises as `LocalOperations.restore` does.
    """
    with nullcontext() if isinstance(target, str) else empty_directory(target):
        operations = open_local(target, settings, restoring=True)
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


def _after_fork_in_child() -> None:
    """Connections and locks belong to the parent: a child must connect for itself."""
    for runtime in list(_all):
        runtime.admission.abandon("the connection was opened before a fork: connect again")
        runtime.deployment.abandon()
        hide(runtime)
        runtime.abandoned = True
    _open.clear()
    global _open_lock  # noqa: PLW0603 - another thread of the parent may hold it
    _open_lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)
