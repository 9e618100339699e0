"""Wires the adapters and services of a deployment together, and owns them until it is closed."""

import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from akidb.archive import FramedArchives
from akidb.deployment.models import local_models
from akidb.deployment.owner import METADATA_NAME, TENANTS_NAME, DirectoryHeld
from akidb.deployment.places import DirectoryPlace, Location, Place, open_place, prepare
from akidb.deployment.repair import OPERATION as REPAIR
from akidb.deployment.repair import Repair, Repairing
from akidb.deployment.restore import OPERATION as RESTORE
from akidb.deployment.restore import Restoring, empty_directory
from akidb.deployment.shared_settings import refuse_other_settings
from akidb.documents.schema import STEPS
from akidb.domain.archives import ByteSource
from akidb.domain.changes import ChangePage
from akidb.domain.errors import InvalidArgument, Unavailable
from akidb.domain.ids import IdGenerator
from akidb.legacy import LegacyFiles
from akidb.metadata import schema
from akidb.observe import telemetry
from akidb.observe.interrupts import Deferred, InterruptibleStream
from akidb.observe.operations import Running, hide, show
from akidb.observe.telemetry import Listener, StoreFigures, StoreKind
from akidb.operations.declare import Request
from akidb.operations.embeddings import EmbedTexts, GetModel
from akidb.operations.upkeep import CheckStores
from akidb.ports.clock import Clock
from akidb.search.exact import ExactIndex
from akidb.services.admission import Admission
from akidb.services.answer_limits import AnswerLimits
from akidb.services.archives import ArchiveScratch, ArchiveService
from akidb.services.audit import AuditService
from akidb.services.changes import ChangeService, Watch
from akidb.services.collections import CollectionService
from akidb.services.databases import DatabaseService
from akidb.services.dispatch import Dispatcher
from akidb.services.documents import DocumentService
from akidb.services.embeddings import EmbeddingService
from akidb.services.maintenance import Maintenance
from akidb.services.migration import MigrationService
from akidb.services.passwords import Passwords
from akidb.services.purging import Purging
from akidb.services.rate import RateLimiter
from akidb.services.retries import read_again
from akidb.services.scope_cache import ScopeCache
from akidb.services.signals import Signals
from akidb.services.store_access import StoreAccess
from akidb.services.tenants import TenantService
from akidb.services.transactions import Change, Transactions
from akidb.services.upkeep import UpkeepService
from akidb.services.users import UserService
from akidb.settings import Settings
from akidb.sql.gate import FairGate

__all__ = ["METADATA_NAME", "TENANTS_NAME", "DirectoryHeld", "LocalOperations", "open_local"]

CLOSED = "the connection is closed"
ARCHIVE_TIMEOUT_SECONDS = 60.0
"""How long an export waits for other exports where they must run one at a time."""

Perform = Callable[..., Any]

A = TypeVar("A")
T = TypeVar("T")


def _clock_of(place: Place) -> Clock:
    return place.clock


def _unix_ms(clock: Clock) -> int:
    return int(clock.now().timestamp() * 1000)


class _Runtime:
    """One open deployment. Shared by all connections of this process to it."""

    def __init__(self, target: Location, settings: Settings, *, restoring: bool = False) -> None:
        self.target = target
        self.settings = settings
        self.connections = 0
        self.abandoned = False
        """Whether this is the copy in a forked child, whose resources belong to the parent."""
        self._tracing = _tracing(settings)
        self.place = open_place(target, settings, restoring=restoring)
        self.metadata, self.tenant_stores = self.place.metadata, self.place.tenant_stores
        try:
            self._put_together(settings)
            self.purging.unfinished = self.place.was_killed  # possibly in the middle of a purge
            with suppress(Unavailable):  # a file that cannot be removed must not block other tenants
                self.stores.finish_purges()
        except BaseException:
            self.place.close()
            raise
        show(self)
        if self._tracing is not None:
            telemetry.listen(self._tracing)
        if not restoring:
            self.maintenance.start()

    def figures(self) -> dict[StoreKind, StoreFigures]:
        """Return the current gauges of the stores."""
        return {"metadata": self.metadata.figures(), "tenant": self.tenant_stores.figures()}

    def outbox_depth(self) -> int:
        """Return the number of pending outbox entries."""
        with self.admission:
            return read_again(self._outbox_depth, "metadata")

    def _outbox_depth(self) -> int:
        with self.metadata.read() as tx:
            return tx.outbox.depth()

    def _put_together(self, settings: Settings) -> None:
        self.admission = Admission(slow_operation_seconds=settings.slow_operation_seconds)
        clock = _clock_of(self.place)
        ids = IdGenerator(partial(_unix_ms, clock), secrets.randbits)
        index = ExactIndex()
        limiter = RateLimiter(time.monotonic)
        models = local_models(settings)
        self.stores = StoreAccess(self.metadata, self.tenant_stores, index, ids)
        signals = Signals()
        transactions = Transactions(self.metadata, self.stores, ids, clock, signals)
        copies = self.place.copies
        self.purging = Purging(self.metadata, self.stores, limiter, copies)
        self.maintenance = Maintenance(
            admission=self.admission,
            metadata=self.metadata,
            stores=self.stores,
            purging=self.purging,
            copies=copies,
            ids=ids,
            clock=clock,
            retention=timedelta(seconds=settings.retention_seconds),
            disk=self.place.disk,
            keep_place=self.place.keep,
        )
        self.default_model = settings.default_model
        self.ids = ids
        self.scratch = ArchiveScratch(self.place.scratch, self.place.scratch_disk)
        embeddings = EmbeddingService(models, settings.default_model)
        limits = AnswerLimits(settings.max_answer_bytes, settings.filter_timeout_seconds)
        self.dispatcher = Dispatcher(
            self.admission,
            self.metadata,
            transactions,
            ScopeCache(self.metadata),
            limiter,
            self.place.disk,
        )
        for service in (
            TenantService(self.metadata, transactions, self.stores, index, self.purging, ids),
            DatabaseService(self.purging, ids),
            CollectionService(self.purging, models, ids),
            DocumentService(
                stores=self.stores,
                index=index,
                embeddings=embeddings,
                ids=ids,
                clock=clock,
                signals=signals,
                limits=limits,
            ),
            self._change_service(signals, limits),
            UserService(self.metadata, transactions, Passwords(), ids),
            AuditService(),
            embeddings,
            ArchiveService(
                metadata=self.metadata,
                transactions=transactions,
                stores=self.stores,
                tenant_stores=self.tenant_stores,
                ids=ids,
                clock=clock,
                scratch=self.scratch,
                format=FramedArchives(),
                turn=FairGate("archive", ARCHIVE_TIMEOUT_SECONDS),
                schemas=(schema.HEAD, len(STEPS)),
            ),
            MigrationService(self.metadata, self.stores, LegacyFiles(), ids, clock.now),
            UpkeepService(self.metadata, self.stores, self.tenant_stores, self.maintenance, clock),
        ):
            self.dispatcher.add(service)

    def _change_service(self, signals: Signals, limits: AnswerLimits) -> ChangeService:
        return ChangeService(
            admission=self.admission,
            metadata=self.metadata,
            stores=self.stores,
            signals=signals,
            limits=limits,
        )

    def close(self) -> None:
        hide(self)
        self.maintenance.stop()
        self.admission.drain(CLOSED)
        if self.purging.unfinished:  # no reader is left
            with suppress(Unavailable):
                self.purging.finish()
        self.place.close()
        _all.discard(self)
        if self._tracing is not None:
            telemetry.leave(self._tracing)


def _tracing(settings: Settings) -> Listener | None:
    """Return the tracing listener, or None if off. Raises InvalidArgument without OpenTelemetry installed."""
    if settings.tracing == "off":
        return None
    from akidb.observe.tracing import tracing

    return tracing()


class LocalOperations:
    """`akidb.operations.Operations` in this process: one connection to a data directory or database."""

    def __init__(self, runtime: _Runtime) -> None:
        self._runtime = runtime
        self._closed = False
        self.directory = runtime.place.directory
        """The data directory, None on PostgreSQL."""
        self._perform: Perform = runtime.dispatcher.perform

    def perform(self, request: Request[A], **ends: Any) -> A:
        """Execute a request, as specified by `akidb.operations.Operations`."""
        with Deferred():
            if ends:
                ends = {name: _interruptible(end) for name, end in ends.items()}
            answer: A = self._perform(request, **ends)
            return answer

    def watch(self, request: Request[ChangePage[T]]) -> Watch[T]:
        """Return the reader of a change feed; it may be read repeatedly."""
        self._require_open()
        with Deferred():
            watch: Watch[T] = self._runtime.dispatcher.watch(request)
            return watch

    def restore(self, archive: ByteSource) -> dict[str, int]:
        """Restore a backup into an empty store, then check every store; return counts by kind of entity.

        Raises AlreadyExists if the store is not empty, InvalidArgument(`archive...`) for an invalid backup,
        Unavailable if a check of the restored stores fails.
        """
        runtime = self._runtime
        archive = _interruptible(archive)
        with self.admitted(RESTORE), runtime.scratch.seekable(archive) as seekable:
            restoring = Restoring(
                runtime.metadata,
                runtime.tenant_stores,
                runtime.stores,
                runtime.ids,
                runtime.place.clock.now,
                runtime.scratch.room_bytes,
            )
            counts = restoring.restore(seekable).counts
        for finding in self.perform(CheckStores()).items:
            if not finding.ok:
                raise Unavailable(f"{finding.store}: {finding.check}: {finding.detail}")
        return counts

    @contextmanager
    def admitted(self, name: str) -> Iterator[None]:
        """Admit and measure an operation that has no row in the table, as `perform` does for the others."""
        running = Running(name, self._runtime.settings.slow_operation_seconds)
        with Deferred(), self._door(), running:
            yield

    def repairing(self) -> Repairing:
        """Return the repairs of the directory's stores. Raises InvalidArgument for a database."""
        self._require_open()
        place = self._runtime.place
        if not isinstance(place, DirectoryPlace):
            raise InvalidArgument("url", "must be a data directory here, not a database")
        tenants, ids, clock = place.directory / TENANTS_NAME, self._runtime.ids, place.clock
        return Repairing(
            place.metadata, place.tenant_stores, tenants, place.copies, lambda: Change(clock.now(), ids)
        )

    def ready(self) -> None:
        """Raise Unavailable if the metadata cannot be used, or the default model is installed but fails."""
        with Deferred(), self._door():
            self._runtime.outbox_depth()
            problem = self._runtime.metadata.displacement()
            if problem is not None:
                raise Unavailable(problem)
            if self.perform(GetModel(model=self._runtime.default_model)).installed:
                self.perform(EmbedTexts(texts=["Is the model ready?"]))

    def publish_socket(self, path: Path) -> None:
        """Publish the path of this server's socket to other processes."""
        with self._door():
            self._runtime.place.publish(path)

    def keep_published(self) -> None:
        """Publish it again if the note that names it was removed."""
        if not self._closed:
            self._runtime.place.keep()

    def begin_shutdown(self) -> None:
        """Refuse new operations, and wait for the running ones."""
        self._runtime.admission.drain("the server is shutting down")

    def close(self) -> None:
        """Close this connection; the last one releases the directory."""
        with Deferred(), _open_lock:
            runtime = self._runtime
            if self._closed or runtime.abandoned:
                return
            self._closed = True
            self._perform = _refuse
            runtime.connections -= 1
            if runtime.connections == 0:
                if _open.get(runtime.target) is runtime:
                    del _open[runtime.target]
                runtime.close()

    def _door(self) -> Admission:
        self._require_open()
        return self._runtime.admission

    def _require_open(self) -> None:
        if self._closed:
            raise Unavailable(CLOSED)


def _interruptible(end: Any) -> Any:
    return InterruptibleStream(end) if hasattr(end, "read") or hasattr(end, "write") else end


def _refuse(_: Request[Any], **_ends: Any) -> NoReturn:
    """Raise Unavailable: replaces `perform` of a closed connection; others may still share its runtime."""
    raise Unavailable(CLOSED)


_open: dict[Location, _Runtime] = {}
_open_lock = threading.Lock()
_all: "weakref.WeakSet[_Runtime]" = weakref.WeakSet()


def open_local(target: Location, settings: Settings, *, restoring: bool = False) -> LocalOperations:
    """Open a data directory, created if missing, or a PostgreSQL database in this process.

    Connections of one process share it and its settings. Raises DirectoryHeld if another process has
    the directory open, Unavailable if a store is damaged, newer than this program, unreachable or not
    writable, InvalidArgument for a setting that differs from that of an open connection.
    """
    with Deferred(), _open_lock:
        place = prepare(target)
        runtime = _usable(_open.get(place))
        if runtime is None:
            try:
                runtime = _open[place] = _Runtime(place, settings, restoring=restoring)
            except OSError as error:
                raise Unavailable(f"{target}: {error.strerror}") from error
            _all.add(runtime)
        else:
            refuse_other_settings(runtime.settings, settings)
        runtime.connections += 1
        return LocalOperations(runtime)


def _usable(runtime: _Runtime | None) -> _Runtime | None:
    """Return an open runtime; None if its directory is no longer the one at its path, which is opened then.

    Raises Unavailable if its metadata file was removed or replaced: the directory is locked by it.
    """
    if runtime is None or runtime.place.is_displaced():
        return None
    problem = runtime.metadata.displacement()
    if problem is not None:
        raise Unavailable(f"{problem}; close the other connections of this process first")
    return runtime


def restore_local(target: Location, settings: Settings, archive: ByteSource) -> dict[str, int]:
    """Restore a backup into an empty or missing directory or database; on failure leave it empty.

    Raises like `LocalOperations.restore`.
    """
    with nullcontext() if isinstance(target, str) else empty_directory(target):
        operations = open_local(target, settings, restoring=True)
        try:
            return operations.restore(archive)
        finally:
            operations.close()


def repair_local(
    directory: Path, settings: Settings, agree: Callable[[Sequence[Repair]], bool]
) -> list[Repair]:
    """Repair the stores of a directory that cannot be opened, if `agree` returns True for the plan.

    Return the plan. Raises DirectoryHeld if another process owns the directory.
    """
    operations = open_local(directory, settings)
    try:
        repairing = operations.repairing()
        plan = repairing.plan()
        if plan and agree(plan):
            with operations.admitted(REPAIR):
                repairing.carry_out(plan)
        return plan
    finally:
        operations.close()


def _after_fork_in_child() -> None:
    """Abandon all runtimes: connections and locks belong to the parent, a child must open its own."""
    for runtime in list(_all):
        runtime.admission.abandon("the connection was opened before a fork: connect again")
        runtime.place.abandon()
        hide(runtime)
        runtime.abandoned = True
    _open.clear()
    global _open_lock  # noqa: PLW0603 - another thread of the parent may hold it
    _open_lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)
