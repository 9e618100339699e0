"""Metrics in the Prometheus text format: requests and durations by route, the process, and the stores.

Labels have low cardinality by construction: route templates instead of paths, and known methods only.
"""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import generate_latest

from akidb.observe.metrics import process_metrics

MEDIA_TYPE = "text/plain; version=0.0.4"
NO_ROUTE = "none"
"""The label of a path without a route."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)


class Metrics:
    """The metrics of one server, in a separate registry."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._registry.register(process_metrics())
        self._requests = Counter(
            "akidb_http_requests",
            "Completed requests.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._durations = Histogram(
            "akidb_http_request_duration_seconds",
            "Time from the beginning of the request to the end of the response.",
            ("method", "route"),
            buckets=_BUCKETS_SECONDS,
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "akidb_http_requests_in_flight",
            "Requests that have begun and are not yet answered.",
            registry=self._registry,
        )

        self._cut = Counter(
            "akidb_http_clients_cut",
            "Clients that were refused or cut off because of what they held.",
            ("reason",),
            registry=self._registry,
        )

    def count_cut(self, reason: str) -> None:
        """Count a client that was cut off."""
        self._cut.labels(reason).inc()

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one completed request."""
        label = method if method in _METHODS else "other"
        self._requests.labels(label, route, str(status)).inc()
        self._durations.labels(label, route).observe(seconds)

    def render(self) -> bytes:
        """Return all metrics as text."""
        return generate_latest(self._registry)
