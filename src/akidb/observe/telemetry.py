"""What happens inside AkiDB, told to whoever listens: how long calls take, what waits, what is counted.

Nothing here knows who listens; nothing is measured while nobody does. Whoever reports looks at `listeners`
first, so that a report nobody wants costs the look at an empty tuple.
"""

import sys
import threading
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

StoreKind = Literal["metadata", "tenant"]
"""The two kinds of store: the one of the metadata, and those of the tenants."""

Queue = Literal["gate", "pool"]
"""Where one waits: to write to a SQLite store, or for a connection to PostgreSQL."""

OK = "ok"
"""The code of a call that raised nothing; otherwise it is the error's."""

End = Callable[[float, str], None]
"""Called with the seconds that it took and the code when what was begun is over."""


class Counter(NamedTuple):
    """A figure that only grows."""

    label: str
    """What its parts are told apart by."""
    help: str


COUNTERS = {
    "retries": Counter("store", "Transactions run again after a deadlock or a serialization failure."),
    "gate_timeouts": Counter("store", "Writers whose turn at a store's gate did not come in time."),
    "pool_timeouts": Counter("store", "Waits for a connection to PostgreSQL that were given up."),
    "connections_opened": Counter("store", "Connections opened to a store."),
    "checkpoints": Counter("store", "Times a commit was followed by a checkpoint of its store (SQLite)."),
    "answers_repeated": Counter("store", "Requests answered with what their idempotency key had got before."),
    "sweeps": Counter("code", "Rounds of the sweeper."),
    "purges": Counter("entity", "What the sweeper removed for good."),
}
"""What is counted, by name. A counter's label takes few values: never an ID, never a name."""


class Call(NamedTuple):
    """A call of a repository, or of the transaction around it, which is over."""

    store: StoreKind
    repository: str
    operation: str
    system: str
    """The database: `sqlite` or `postgresql`."""


class Listener(Protocol):
    """Takes what is reported, in the thread that it happens in; it must be quick and raise nothing."""

    def begin(self, operation: str) -> End:
        """Note that an operation of the public interface begins, such as `tenant.create`."""
        ...

    def called(self, call: Call, seconds: float, code: str) -> None:
        """Note a call that has just ended."""
        ...

    def waited(self, queue: Queue, store: StoreKind, seconds: float) -> None:
        """Note how long it took to pass a queue, next to nothing when nobody was before."""
        ...

    def counted(self, counter: str, label: str, amount: int) -> None:
        """Note that something of `COUNTERS` happened."""
        ...


class StoreFigures(NamedTuple):
    """How it stands with the stores of one kind at this moment; connections and logs are summed up."""

    connections_in_use: int = 0
    connections_idle: int = 0
    gate_waiting: int = 0
    """Writers in the queues of the gates (SQLite)."""
    wal_bytes: int = 0
    """The sizes of the write-ahead logs' files (SQLite)."""
    largest_wal_bytes: int = 0
    open_stores: int = 1
    pool_waiting: int = 0
    """Who waits for a connection (PostgreSQL)."""

    def __add__(self, other: "StoreFigures") -> "StoreFigures":  # type: ignore[override]
        """Both together."""
        largest = max(self.largest_wal_bytes, other.largest_wal_bytes)
        summed = (mine + theirs for mine, theirs in zip(self, other, strict=True))
        return StoreFigures(*summed)._replace(largest_wal_bytes=largest)


class Trace(NamedTuple):
    """The span of OpenTelemetry that is current, whoever began it."""

    trace_id: str
    span_id: str
    flags: int
    state: str

    @property
    def headers(self) -> dict[str, str]:
        """What to send with a request made within it (W3C Trace Context)."""
        headers = {"traceparent": f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"}
        return headers | {"tracestate": self.state} if self.state else headers


def current_trace() -> Trace | None:
    """The current span, None where there is none. Where nobody loaded OpenTelemetry it stays unloaded."""
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
"""Who listens now. Read it as `telemetry.listeners`: it is replaced, never changed."""

_holds: list[Listener] = []
_changing = threading.Lock()


def listen(listener: Listener) -> None:
    """Report to this listener until `leave` was called as often as this; it hears everything once."""
    with _changing:
        _holds.append(listener)
        _replace()


def leave(listener: Listener) -> None:
    """Undo one `listen`."""
    with _changing:
        _holds.remove(listener)
        _replace()


def count(counter: str, label: str, amount: int = 1) -> None:
    """Count something of `COUNTERS`, under the value of its label."""
    for listener in listeners:
        listener.counted(counter, label, amount)


def _replace() -> None:
    global listeners  # noqa: PLW0603 - one cheap look for all who report
    listeners = tuple(dict.fromkeys(_holds))
