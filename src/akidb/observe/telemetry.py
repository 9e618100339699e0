"""Telemetry events for registered listeners: call durations, queue waits and counters.

Nothing is measured without a listener: instrumented code checks `listeners` first, so that disabled telemetry
costs one check of an empty tuple.
"""

import sys
import threading
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

StoreKind = Literal["metadata", "tenant"]
"""The two kinds of store: metadata, and tenant stores."""

Queue = Literal["gate", "pool"]
"""The queues: for writing to a SQLite store, and for a PostgreSQL connection."""

OK = "ok"
"""The code of a successful call; a failed one has the code of its error."""

End = Callable[[float, str], None]
"""Called at the end of an operation with its duration in seconds and its code."""


class Counter(NamedTuple):
    """A monotonic counter."""

    label: str
    """The name of its label."""
    help: str


COUNTERS = {
    "retries": Counter(
        "store",
        "Work retried after a conflict or a lost connection.",
    ),
    "gate_timeouts": Counter("store", "Timeouts of writers waiting at a store's gate."),
    "pool_timeouts": Counter("store", "Timeouts of waits for a PostgreSQL connection."),
    "connections_opened": Counter("store", "Connections opened to a store."),
    "checkpoints": Counter("store", "Checkpoints of a store after a commit (SQLite)."),
    "answers_repeated": Counter("store", "Requests answered with a stored response (idempotency key)."),
    "sweeps": Counter("code", "Maintenance rounds."),
    "segments_built": Counter("code", "Segments of search indexes built in the background."),
    "purges": Counter("entity", "Entities purged by maintenance."),
}
"""All counters, by name. Labels have few values: never an ID, never a name."""


class Call(NamedTuple):
    """A finished call of a repository, or of the transaction around it."""

    store: StoreKind
    repository: str
    operation: str
    system: str
    """The database: `sqlite` or `postgresql`."""


class Listener(Protocol):
    """Receives events in the thread where they occur; it must be fast and never raise."""

    def begin(self, operation: str) -> End:
        """Record the start of an operation of the public API, such as `tenant.create`."""

    def called(self, call: Call, seconds: float, code: str) -> None:
        """Record a call that has just ended."""

    def waited(self, queue: Queue, store: StoreKind, seconds: float) -> None:
        """Record the wait in a queue, close to zero if the queue was empty."""

    def counted(self, counter: str, label: str, amount: int) -> None:
        """Increment a counter of `COUNTERS`."""


class StoreFigures(NamedTuple):
    """Current gauges of the stores of one kind; connections and logs are summed."""

    connections_in_use: int = 0
    connections_idle: int = 0
    gate_waiting: int = 0
    """Writers waiting at the gates (SQLite)."""
    wal_bytes: int = 0
    """Total size of the write-ahead log files (SQLite)."""
    largest_wal_bytes: int = 0
    open_stores: int = 1
    pool_waiting: int = 0
    """Threads waiting for a connection (PostgreSQL)."""

    def __add__(self, other: "StoreFigures") -> "StoreFigures":  # type: ignore[override]
        """Return the sum; `largest_wal_bytes` is the maximum."""
        largest = max(self.largest_wal_bytes, other.largest_wal_bytes)
        summed = (mine + theirs for mine, theirs in zip(self, other, strict=True))
        return StoreFigures(*summed)._replace(largest_wal_bytes=largest)


class IndexFigures(NamedTuple):
    """Current gauges of the search indexes in memory."""

    memory_bytes: int = 0
    """Of vectors, segments, and columns of metadata."""
    limit_bytes: int = 0
    loaded: int = 0
    """Collections whose vectors are in memory."""
    segments: int = 0
    tail: int = 0
    """Documents in memory that are newer than the segments."""
    deleted: int = 0
    """Vectors in memory of documents that were replaced or deleted since."""
    waiting: int = 0
    """Collections of which a segment is being built, or waits for that."""

    def __add__(self, other: "IndexFigures") -> "IndexFigures":  # type: ignore[override]
        """Return the sum."""
        return IndexFigures(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class Trace(NamedTuple):
    """The current OpenTelemetry span, whether or not AkiDB started it."""

    trace_id: str
    span_id: str
    flags: int
    state: str

    @property
    def headers(self) -> dict[str, str]:
        """Headers to send with a request made within the span (W3C Trace Context)."""
        headers = {"traceparent": f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"}
        return headers | {"tracestate": self.state} if self.state else headers


def current_trace() -> Trace | None:
    """Return the current span, or None. Never imports OpenTelemetry itself."""
    loaded = sys.modules.get("opentelemetry.trace")
    if loaded is None:
        return None
    context = loaded.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return Trace(
        f"{context.trace_id:032x}",
        f"{context.span_id:016x}",
        int(context.trace_flags),
        context.trace_state.to_header(),
    )


listeners: tuple[Listener, ...] = ()
"""Current listeners. Read it as `telemetry.listeners`: the tuple is replaced, never mutated."""

_holds: list[Listener] = []
_changing = threading.Lock()


def listen(listener: Listener) -> None:
    """Register a listener until `leave` was called as often; it receives each event once."""
    with _changing:
        _holds.append(listener)
        _replace()


def leave(listener: Listener) -> None:
    """Undo one `listen`."""
    with _changing:
        _holds.remove(listener)
        _replace()


def count(counter: str, label: str, amount: int = 1) -> None:
    """Increment a counter of `COUNTERS` for a label value."""
    for listener in listeners:
        listener.counted(counter, label, amount)


def _replace() -> None:
    global listeners  # noqa: PLW0603 - one cheap lookup for all callers
    listeners = tuple(dict.fromkeys(_holds))
