"""The quiet tenant: a few requests a second on connections of their own, timed from when they were due.

A request that has to wait for the one before it is timed from its own start, so that a long stall counts once
for each request that it delays, not only once.
"""

import threading
import time
from contextlib import closing
from functools import partial
from itertools import count
from math import inf
from typing import NamedTuple

import msgspec

from akidb.bench.fixtures import vectors
from akidb.client.http.transport import Transport
from akidb.domain.errors import Unavailable

TENANT = "/v1/tenants/quiet"
NOTES = f"{TENANT}/databases/kb/collections/notes"
TIMEOUT_SECONDS = 20.0
JOIN_SECONDS = 3.0
JSON = {"Content-Type": "application/json"}


class Kind(NamedTuple):
    """A kind of request, and how often it is sent."""

    method: str
    path: str
    per_second: float
    bodies: tuple[bytes, ...] = ()


def kinds() -> dict[str, Kind]:
    """Return the requests of the quiet tenant, and the probe of the server."""
    rows = vectors(64, seed=11).tolist()
    searches = tuple(msgspec.json.encode({"vector": row}) for row in rows)
    upserts = tuple(
        msgspec.json.encode({"documents": [{"id": f"new-{i}", "text": "A new note.", "vector": row}]})
        for i, row in enumerate(rows)
    )
    return {
        "get": Kind("GET", TENANT, 40),
        "search": Kind("POST", f"{NOTES}/search", 20, searches),
        "upsert": Kind("POST", f"{NOTES}/documents", 8, upserts),
        "live": Kind("GET", "/health/live", 20),
    }


class Observed(NamedTuple):
    """The times of requests of one kind, in seconds; a failed request counts as endless."""

    seconds: list[float]
    errors: int

    def at(self, share: float) -> float:
        """Return a percentile."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else inf


def observe(url: str, seconds: float) -> dict[str, Observed]:
    """Send the quiet tenant's requests for a while."""
    clients = {name: _Client(url, kind, seconds) for name, kind in kinds().items()}
    for client in clients.values():
        client.start()
    time.sleep(seconds)
    return {name: client.finish() for name, client in clients.items()}


class _Client(threading.Thread):
    """Sends one kind of request at its rate, on one connection."""

    def __init__(self, url: str, kind: Kind, seconds: float) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._kind = kind
        self._began = time.perf_counter()
        self._ends = self._began + seconds
        self._taken: list[float] = []
        self._errors = 0

    def _due(self, number: int) -> float:
        return self._began + number / self._kind.per_second

    def run(self) -> None:
        with closing(Transport(self._url, timeout_seconds=TIMEOUT_SECONDS)) as http:
            for number in count():
                due = self._due(number)
                if due >= self._ends:
                    return
                time.sleep(max(0.0, due - time.perf_counter()))
                failed = not self._succeeds(http, number)
                self._taken.append(inf if failed else time.perf_counter() - due)
                self._errors += failed

    def _succeeds(self, http: Transport, number: int) -> bool:
        kind = self._kind
        body = kind.bodies[number % len(kind.bodies)] if kind.bodies else None
        send = partial(http.send, kind.method, kind.path, body, JSON if kind.bodies else {})
        try:
            return send(safe=True).status == 200
        except Unavailable:
            return False

    def finish(self) -> Observed:
        """Wait for the request in progress. Those that were not sent or answered in time count up to now."""
        self.join(JOIN_SECONDS)
        taken, now = list(self._taken), time.perf_counter()
        number = len(taken)
        while self._due(number) < self._ends:
            taken.append(now - self._due(number))
            number += 1
        return Observed(taken, self._errors)
