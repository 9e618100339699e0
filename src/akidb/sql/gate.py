"""The fair write gate of a store: one writer at a time, first come, first served.

SQLite's own busy handler starves (one of 64 threads made 1 commit, another 4,477), so writers queue
here and SQLite never sees two of them. A holder may leave work open for the next waiter; it is settled
once the queue is empty or the work is full.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Protocol

from akidb.domain.errors import Overloaded
from akidb.observe import telemetry
from akidb.observe.interrupts import Interruptible
from akidb.observe.telemetry import Queue, StoreKind


class LeftOpen(Protocol):
    """Work that a holder of a gate may leave open for the next one."""

    def is_left_open(self) -> bool:
        """Return whether there is anything to settle."""

    def is_full(self) -> bool:
        """Return whether it must be settled before the next holder enters."""

    def settle(self) -> None:
        """Settle the open work. Requires the gate."""


class FairGate:
    """A FIFO mutex, or with `places` a FIFO semaphore. Not reentrant."""

    def __init__(
        self,
        name: str,
        timeout_seconds: float = 60.0,
        *,
        kind: StoreKind = "tenant",
        places: int = 1,
        queue: Queue = "gate",
        left_open: LeftOpen | None = None,
    ) -> None:
        self._left_open = left_open
        self._name = name
        self._kind = kind
        self._queue = queue
        self._free = places
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()

    @contextmanager
    def pass_through(self) -> Iterator[None]:
        """Hold the gate, with any open work settled. Raises Overloaded on timeout."""
        self.enter()
        try:
            if self._left_open is not None:
                self._left_open.settle()
            yield
        finally:
            self.leave()

    @property
    def waiting(self) -> int:
        """The length of the queue."""
        return len(self._waiting)

    def enter(self) -> None:
        """Hold the gate until `leave`. Open work passes to the caller. Raises Overloaded on timeout."""
        started = perf_counter()
        self._acquire()
        try:
            for listener in telemetry.listeners:
                listener.waited(self._queue, self._kind, perf_counter() - started)
        except BaseException:  # an interrupt, as below
            self.leave()
            raise

    def enter_if_free(self) -> bool:
        """Hold the gate until `leave` if nothing else does; return whether it is held."""
        with self._lock:
            if not self._free:
                return False
            self._free -= 1
            return True

    def leave(self) -> None:
        """Pass the gate to the next waiter."""
        interrupt: BaseException | None = None
        while not self._handed_on():
            assert self._left_open is not None
            try:
                self._left_open.settle()  # new arrivals wait
            except BaseException as error:  # noqa: BLE001 - the gate must be released in any case
                interrupt = error
        if interrupt is not None:
            raise interrupt

    def _handed_on(self) -> bool:
        """Pass the gate on, and return True, unless open work must be settled first."""
        left_open = self._left_open
        with self._lock:
            settled = left_open is None or not left_open.is_left_open()
            if self._waiting and (left_open is None or settled or not left_open.is_full()):
                self._waiting.popleft().release()
                return True
            if settled:
                self._free += 1
            return settled

    def _acquire(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        try:
            with Interruptible():
                came = turn.acquire(timeout=self._timeout_seconds)
        except BaseException:  # an interrupt: the turn must not get lost
            self._give_up(turn)
            raise
        if not came and not self._give_up(turn, keep=True):
            telemetry.count(f"{self._queue}_timeouts", self._kind)
            raise Overloaded(self._name)

    def _give_up(self, turn: threading.Lock, *, keep: bool = False) -> bool:
        """Leave the queue. If the turn has just come, keep it or pass it on; return whether it is kept."""
        with self._lock:
            if turn in self._waiting:
                self._waiting.remove(turn)
                return False
        if not keep:
            self.leave()
        return keep
