"""Admission of operations: all are admitted until the runtime closes, then all are refused."""

import threading

from akidb.domain.errors import Unavailable


class Admission:
    """Counts running operations, so that closing can wait for them."""

    def __init__(self, *, slow_operation_seconds: float = 0.0) -> None:
        """Log operations that take at least `slow_operation_seconds`; 0 disables."""
        self.slow_operation_seconds = slow_operation_seconds
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._running = 0
        self._refusal: str | None = None

    def __enter__(self) -> None:
        with self._lock:  # entered in a fifth of the time of a condition
            if self._refusal is not None:
                raise Unavailable(self._refusal)
            self._running += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._running -= 1
            if self._refusal is not None and self._running == 0:
                self._idle.notify_all()

    def refuse(self, reason: str) -> None:
        """Refuse new operations."""
        self._refusal = self._refusal or reason

    def abandon(self, reason: str) -> None:
        """Refuse new operations in a forked child, regardless of locks held by the parent's threads."""
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._refusal = reason

    def drain(self, reason: str) -> None:
        """Refuse new operations, and wait for the running ones."""
        with self._lock:
            self.refuse(reason)
            self._idle.wait_for(lambda: self._running == 0)
