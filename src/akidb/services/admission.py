"""Who may start an operation: all until the runtime closes, and then none."""

import threading

from akidb.domain.errors import Unavailable


class Admission:
    """Counts what runs, so that closing can wait for it."""

    def __init__(self, *, slow_operation_seconds: float = 0.0) -> None:
        """Have what takes as long logged; 0: nothing is."""
        self.slow_operation_seconds = slow_operation_seconds
        self._changed = threading.Condition(threading.Lock())
        self._running = 0
        self._refusal: str | None = None

    def __enter__(self) -> None:
        with self._changed:
            if self._refusal is not None:
                raise Unavailable(self._refusal)
            self._running += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._running -= 1
            if self._running == 0:
                self._changed.notify_all()

    def refuse(self, reason: str) -> None:
        """Let nothing new begin."""
        self._refusal = self._refusal or reason

    def abandon(self, reason: str) -> None:
        """Let nothing new begin in a forked child, whatever its parent's threads held."""
        self._changed = threading.Condition(threading.Lock())
        self._refusal = reason

    def drain(self, reason: str) -> None:
        """Let nothing new begin, and wait until what runs has ended."""
        with self._changed:
            self.refuse(reason)
            self._changed.wait_for(lambda: self._running == 0)
