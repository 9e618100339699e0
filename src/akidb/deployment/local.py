"""A deployment in this process: the operations of a directory or a database, and its opening and closing."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from akidb.deployment.composition import CLOSED, Runtime, every_runtime
from akidb.deployment.note import METADATA_NAME
from akidb.deployment.owner import TENANTS_NAME, DirectoryHeld, patiently
from akidb.deployment.places import DirectoryPlace, Location, prepare
from akidb.deployment.repair import OPERATION as REPAIR
from akidb.deployment.repair import Repair, Repairing
from akidb.deployment.restore import OPERATION as RESTORE
from akidb.deployment.restore import Restoring, empty_directory
from akidb.deployment.shared_settings import refuse_other_settings
from akidb.domain.archives import ByteSource
from akidb.domain.changes import ChangePage
from akidb.domain.errors import InvalidArgument, Unavailable
from akidb.observe.interrupts import Deferred, InterruptibleStream
from akidb.observe.operations import Running, hide
from akidb.operations.declare import Request
from akidb.operations.embeddings import EmbedTexts, GetModel
from akidb.operations.upkeep import CheckStores
from akidb.services.admission import Admission
from akidb.services.changes import Watch
from akidb.services.transactions import Change
from akidb.settings import Settings

__all__ = ["METADATA_NAME", "TENANTS_NAME", "DirectoryHeld", "LocalOperations", "open_local"]

Perform = Callable[..., Any]

A = TypeVar("A")
T = TypeVar("T")


class LocalOperations:
    """`akidb.operations.Operations` in this process: one connection to a data directory or database."""

    def __init__(self, runtime: Runtime) -> None:
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
            contents = restoring.restore(seekable)
        counts = dict(contents.counts)
        if contents.left_out:
            counts["tenants_left_out"] = len(contents.left_out)
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


_open: dict[Location, Runtime] = {}
_open_lock = threading.Lock()


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
                runtime = _open[place] = Runtime(place, settings, restoring=restoring)
            except OSError as error:
                raise Unavailable(f"{target}: {error.strerror}") from error
            every_runtime.add(runtime)
        else:
            refuse_other_settings(runtime.settings, settings)
        runtime.connections += 1
        return LocalOperations(runtime)


def _usable(runtime: Runtime | None) -> Runtime | None:
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
        operations = patiently(
            lambda: open_local(target, settings, restoring=True), settings.open_wait_seconds
        )
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
    operations = patiently(lambda: open_local(directory, settings), settings.open_wait_seconds)
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
    for runtime in list(every_runtime):
        runtime.admission.abandon("the connection was opened before a fork: connect again")
        runtime.place.abandon()
        hide(runtime)
        runtime.abandoned = True
    _open.clear()
    global _open_lock  # noqa: PLW0603 - another thread of the parent may hold it
    _open_lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)
