"""The fair gate before a store: one writer at a time, first come, first served.

SQLite's own busy handler starves (one of 64 threads made 1 commit, another 4,477), so writers queue
here and SQLite never sees two of them.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from akidb.domain.errors import Overloaded
from akidb.ports import telemetry
from akidb.ports.telemetry import StoreKind


class FairGate:
    """A mutex that is handed on in the order of arrival. Not reentrant."""

    def __init__(self, name: str, timeout_seconds: float = 60.0, *, kind: StoreKind = "tenant") -> None:
        self._name = name
        self._kind = kind
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._held = False

    @contextmanager
    def pass_through(self) -> Iterator[None]:
        """Hold the gate. Raises Overloaded when the turn does not come in time."""
        started = perf_counter()
        self._acquire()
        try:
            for listener in telemetry.listeners:
                listener.waited("gate", self._kind, perf_counter() - started)
            yield
        finally:
            self._release()

    @property
    def waiting(self) -> int:
        """How many are in the queue."""
        return len(self._waiting)

    def _acquire(self) -> None:
        with self._lock:
            if not self._held:
                self._held = True
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        try:
            came = turn.acquire(timeout=self._timeout_seconds)
        except BaseException:  # an interrupt: the turn must not be left to nobody
            self._leave(turn)
            raise
        if not came and not self._leave(turn, keep=True):
            telemetry.count("gate_timeouts", self._kind)
            raise Overloaded(self._name)

    def _leave(self, turn: threading.Lock, *, keep: bool = False) -> bool:
        """Give up a place in the queue. The turn may have come just now: tells whether it is kept."""
        with self._lock:
            if turn in self._waiting:
                self._waiting.remove(turn)
                return False
        if not keep:
            self._release()
        return keep

    def _release(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()  # stays held: handed to the next in line
            else:
                self._held = False
