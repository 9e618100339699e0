"""Instrumentation of operations: start, end, slow-operation warnings, and their tenant.

Also the registry of gauge sources, such as open data directories. It does not know the listeners.
"""

from collections.abc import Mapping, Sequence
from time import perf_counter
from types import TracebackType
from typing import Protocol, Self

from akidb.domain.errors import AkiDBError
from akidb.observe import telemetry
from akidb.observe.context import WorkSubject
from akidb.observe.logs import logger
from akidb.observe.telemetry import OK, End, IndexFigures, StoreFigures, StoreKind

_logger = logger("akidb.services")


class Running(WorkSubject):
    """One running operation. Use it once, as a context manager."""

    __slots__ = ("_ends", "_name", "_slow_seconds", "_started")

    def __init__(self, name: str, slow_seconds: float) -> None:
        """Take the operation's name and the duration from which it is logged as slow; 0 disables."""
        self.tenant_id = None
        self._name = name
        self._slow_seconds = slow_seconds
        self._ends: Sequence[End] = ()

    def __enter__(self) -> Self:
        self._enter()
        if telemetry.listeners:
            self._ends = [listener.begin(self._name) for listener in telemetry.listeners]
        self._started = perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seconds = perf_counter() - self._started
        if seconds >= self._slow_seconds > 0 or self._ends:
            self._report(seconds, error)
        self._leave()

    def _report(self, seconds: float, error: BaseException | None) -> None:
        code = OK if error is None else error.code if isinstance(error, AkiDBError) else "internal"
        if seconds >= self._slow_seconds > 0:
            fields = {"operation": self._name, "duration_ms": round(seconds * 1000, 3), "code": code}
            _logger.warning("slow operation", extra={"fields": fields})
        for end in reversed(self._ends):
            end(seconds, code)


class FigureSource(Protocol):
    """An open data directory or database that provides gauges."""

    def figures(self) -> Mapping[StoreKind, StoreFigures]:
        """Return the current gauges of its stores, without a database query."""

    def index_figures(self) -> IndexFigures:
        """Return the current gauges of its search indexes."""

    def outbox_depth(self) -> int:
        """Return the number of pending outbox entries. Raises AkiDBError if the metadata cannot be read."""


sources: tuple[FigureSource, ...] = ()
"""All open sources of this process. The tuple is replaced, never mutated."""


def show(source: FigureSource) -> None:
    """Expose the gauges of this source, until `hide`."""
    global sources  # noqa: PLW0603
    sources = (*sources, source)


def hide(source: FigureSource) -> None:
    """Undo `show`; a no-op if it was never shown."""
    global sources  # noqa: PLW0603
    sources = tuple(each for each in sources if each is not source)
