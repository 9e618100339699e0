"""The limits of one operation that reads many rows: its time, and the size of its answer."""

import time
from collections.abc import Callable

from akidb.domain.errors import OperationTimeout

PAUSE_SECONDS = 0.002
"""How long an operation keeps the interpreter before it offers it to other threads."""


class AnswerTooLarge(Exception):
    """What was asked for does not fit into one answer."""


class Deadline:
    """Call `check` for every row.

    It also lets other threads run: those that only need the interpreter for a moment would otherwise wait for
    the whole switch interval, each time that they need it.
    """

    __slots__ = ("_end", "_monotonic", "_next_pause", "_seconds")

    def __init__(self, seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seconds = seconds
        now = monotonic()
        self._end = now + seconds
        self._next_pause = min(now + PAUSE_SECONDS, self._end)

    def check(self) -> None:
        """Raise OperationTimeout when the time is up."""
        if self.is_over():
            raise OperationTimeout("filter", self._seconds)

    def is_over(self) -> bool:
        """Return whether the time is up."""
        now = self._monotonic()
        if now < self._next_pause:
            return False
        if now >= self._end:
            return True
        time.sleep(0)
        self._next_pause = min(now + PAUSE_SECONDS, self._end)
        return False
