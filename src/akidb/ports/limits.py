"""The limits of one operation that reads many rows: its time, and the size of its answer."""

import time
from collections.abc import Callable

from akidb.domain.errors import OperationTimeout
from akidb.observe.right_of_way import give_way


class AnswerTooLarge(Exception):
    """What was asked for does not fit into one answer."""


class Deadline:
    """Call `check` for every row. It also lets short requests go first."""

    __slots__ = ("_end", "_monotonic", "_seconds")

    def __init__(self, seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seconds = seconds
        self._end = monotonic() + seconds

    def check(self) -> None:
        """Raise OperationTimeout when the time is up."""
        if self.is_over():
            raise OperationTimeout("filter", self._seconds)

    def is_over(self) -> bool:
        """Return whether the time is up."""
        give_way()
        return self._monotonic() >= self._end
