"""Prometheus metrics of this process: counters and histograms of its work, gauges of its open stores.

They are independent of the server: `akidb.metrics` exposes them for in-process use, and a server exposes
them beside its own. Labels have few values by construction: never an ID, never a name.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from functools import cache
from threading import Thread
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric

from akidb.domain.errors import AkiDBError
from akidb.observe import operations as places
from akidb.observe import telemetry
from akidb.observe.operations import FigureSource
from akidb.observe.telemetry import COUNTERS, Call, End, IndexFigures, Queue, StoreFigures, StoreKind

BUCKETS_SECONDS = (
    *(5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3),
    *(1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""From a read of a cached page to a writer's wait at a busy gate."""

ASKING_SECONDS = 1.0
"""Timeout for a gauge that needs a database query; on timeout the gauge is omitted."""


class ProcessMetrics:
    """Listener that records metrics. One per process: `process_metrics`."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._calls = Histogram(
            "akidb_repository_call_duration_seconds",
            "Duration of a repository call, or of the commit after several.",
            ("store", "repository", "operation", "code"),
            buckets=BUCKETS_SECONDS,
            registry=registry,
        )
        self._operations = Histogram(
            "akidb_operation_duration_seconds",
            "Duration of an operation of the public API, in process.",
            ("operation", "code"),
            buckets=BUCKETS_SECONDS,
            registry=registry,
        )
        self._waits = {
            queue: Histogram(
                f"akidb_{queue}_wait_seconds", text, ("store",), buckets=BUCKETS_SECONDS, registry=registry
            )
            for queue, text in _QUEUES.items()
        }
        self._counters = {
            name: Counter(f"akidb_{name}", counter.help, (counter.label,), registry=registry)
            for name, counter in COUNTERS.items()
        }
        # A lookup of a child takes 0.1 us here, 0.8 us by its labels.
        self._call_children: dict[tuple[Call, str], Any] = {}
        self._operation_children: dict[tuple[str, str], Any] = {}

    def begin(self, operation: str) -> End:
        """Record the start of an operation."""

        def end(seconds: float, code: str) -> None:
            child = self._operation_children.get((operation, code))
            if child is None:
                child = self._operations.labels(operation, code)
                self._operation_children[operation, code] = child
            child.observe(seconds)

        return end

    def called(self, call: Call, seconds: float, code: str) -> None:
        """Record a call that has just ended."""
        child = self._call_children.get((call, code))
        if child is None:
            child = self._calls.labels(call.store, call.repository, call.operation, code)
            self._call_children[call, code] = child
        child.observe(seconds)

    def waited(self, queue: Queue, store: StoreKind, seconds: float) -> None:
        """Record the wait in a queue."""
        self._waits[queue].labels(store).observe(seconds)

    def counted(self, counter: str, label: str, amount: int) -> None:
        """Increment a counter."""
        self._counters[counter].labels(label).inc(amount)

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics, as a `prometheus_client` collector; may be called from any thread."""
        yield from self._registry.collect()
        shown = places.sources
        kinds: dict[StoreKind, StoreFigures] = {}
        for source in shown:
            for kind, figures in source.figures().items():
                kinds[kind] = kinds[kind] + figures if kind in kinds else figures
        yield from _gauges(kinds)
        yield from _index_gauges(shown)
        yield from _outbox(shown)


_QUEUES: dict[Queue, str] = {
    "gate": "Time that a writer waited at the gate of its SQLite store.",
    "pool": "Time waited for a PostgreSQL connection.",
}

_GAUGES: dict[str, tuple[str, Callable[[StoreFigures], int]]] = {
    "akidb_gate_waiting": ("Writers waiting at the gates.", lambda f: f.gate_waiting),
    "akidb_pool_waiting": ("Threads waiting for a PostgreSQL connection.", lambda f: f.pool_waiting),
    "akidb_wal_bytes": ("Total bytes of the write-ahead logs.", lambda f: f.wal_bytes),
    "akidb_wal_largest_bytes": ("Bytes of the largest write-ahead log.", lambda f: f.largest_wal_bytes),
    "akidb_stores_open": ("Open stores.", lambda f: f.open_stores),
}


def _gauges(kinds: dict[StoreKind, StoreFigures]) -> Iterator[Metric]:
    connections = GaugeMetricFamily(
        "akidb_connections", "Connections to the stores' databases.", labels=("store", "state")
    )
    for kind, figures in kinds.items():
        connections.add_metric([kind, "in_use"], figures.connections_in_use)
        connections.add_metric([kind, "idle"], figures.connections_idle)
    yield connections
    for name, (text, figure) in _GAUGES.items():
        gauge = GaugeMetricFamily(name, text, labels=("store",))
        for kind, figures in kinds.items():
            gauge.add_metric([kind], figure(figures))
        yield gauge


_INDEX_GAUGES: dict[str, tuple[str, Callable[[IndexFigures], int]]] = {
    "akidb_index_memory_bytes": ("Bytes of search indexes in memory.", lambda f: f.memory_bytes),
    "akidb_index_memory_limit_bytes": ("Bytes that they may take together.", lambda f: f.limit_bytes),
    "akidb_index_loaded": ("Collections whose vectors are in memory.", lambda f: f.loaded),
    "akidb_index_segments": ("Segments in memory.", lambda f: f.segments),
    "akidb_index_tail": ("Documents in memory that are newer than the segments.", lambda f: f.tail),
    "akidb_index_deleted": ("Vectors in memory of documents replaced or deleted since.", lambda f: f.deleted),
    "akidb_index_builds_waiting": ("Collections that have or wait for a build.", lambda f: f.waiting),
}


def _index_gauges(shown: Iterable[FigureSource]) -> Iterator[Metric]:
    total = sum((source.index_figures() for source in shown), IndexFigures())
    for name, (text, figure) in _INDEX_GAUGES.items():
        gauge = GaugeMetricFamily(name, text)
        gauge.add_metric([], figure(total))
        yield gauge


def _outbox(shown: Iterable[FigureSource]) -> Iterator[Metric]:
    """Yield the gauge that needs a database query. A slow database must not block the other metrics."""
    done, late = wait([_in_thread(source.outbox_depth) for source in shown], ASKING_SECONDS)
    if late or any(isinstance(future.exception(), AkiDBError) for future in done):
        return
    depth = GaugeMetricFamily("akidb_outbox_entries", "Pending outbox entries of the tenant stores.")
    depth.add_metric([], sum(future.result() for future in done))
    yield depth


def _in_thread(ask: Callable[[], int]) -> Future[int]:
    answer: Future[int] = Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:  # noqa: BLE001 - raised where the result is read
            answer.set_exception(error)

    Thread(target=run, name="akidb-metrics", daemon=True).start()
    return answer


@cache
def process_metrics() -> ProcessMetrics:
    """Return the metrics of this process. They record only while registered as a listener."""
    return ProcessMetrics()


@cache
def metrics() -> ProcessMetrics:
    """Return the metrics of AkiDB in this process, recorded from the first call on.

    A Prometheus collector: `prometheus_client.REGISTRY.register(akidb.metrics())` adds them to your own
    metrics, `prometheus_client.generate_latest(akidb.metrics())` returns them as text.
    """
    telemetry.listen(process_metrics())
    return process_metrics()
