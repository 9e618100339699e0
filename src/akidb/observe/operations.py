"""Every operation as it is seen from outside: begun, ended, slow, and about which tenant.

What has figures to show at any moment, an open data directory, is known here too. Who listens is not.
"""

from collections.abc import Mapping, Sequence
from time import perf_counter
from types import TracebackType
from typing import Protocol, Self

from akidb.domain.errors import AkiDBError
from akidb.observe import telemetry
from akidb.observe.context import WorkSubject
from akidb.observe.logs import logger
from akidb.observe.telemetry import OK, End, StoreFigures, StoreKind

_logger = logger("akidb.services")


class Running(WorkSubject):
    """One operation while it runs: use it as a context manager, once."""

    __slots__ = ("_ends", "_name", "_slow_seconds", "_started")

    def __init__(self, name: str, slow_seconds: float) -> None:
        """Take its name and how long it may take without a word in the log; 0: for ever."""
        self.tenant_id = None
        self._name = name
        self._slow_seconds = slow_seconds
        self._ends: Sequence[End] = ()

    def __enter__(self) -> Self:
        super().__enter__()
        if telemetry.listeners:
            self._ends = [listener.begin(self._name) for listener in telemetry.listeners]
        self._started = perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seconds = perf_counter() - self._started
        code = OK if error is None else error.code if isinstance(error, AkiDBError) else "internal"
        if seconds >= self._slow_seconds > 0:
            fields = {"operation": self._name, "duration_ms": round(seconds * 1000, 3), "code": code}
            _logger.warning("slow operation", extra={"fields": fields})
        if self._ends:
            for end in reversed(self._ends):
                end(seconds, code)
        super().__exit__(kind, error, trace)


class FigureSource(Protocol):
    """An open place of data, which has figures to show."""

    def figures(self) -> Mapping[StoreKind, StoreFigures]:
        """How it stands with its stores; asks no database."""
        ...

    def outbox_depth(self) -> int:
        """How many changes wait for a tenant's store. Raises AkiDBError when the metadata cannot be read."""
        ...


sources: tuple[FigureSource, ...] = ()
"""All that is open in this process. It is replaced, never changed."""


def show(source: FigureSource) -> None:
    """Have the figures of this place shown, until `hide`."""
    global sources  # noqa: PLW0603
    sources = (*sources, source)


def hide(source: FigureSource) -> None:
    """Undo `show`; fine when it was never shown."""
    global sources  # noqa: PLW0603
    sources = tuple(each for each in sources if each is not source)
