"""The rate of a client: bytes that moved in the time that was spent waiting for it."""

from math import inf

from akidb.api.limits import Limits


class Pace:
    """One direction of a connection. Time in which the server was the slower side is not counted."""

    __slots__ = ("_begin", "_limits", "_mark", "_waited", "_waited_in_window")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.restart(0)

    def restart(self, moved: int) -> None:
        """Begin a transfer; `moved` is the count of bytes from which it is measured."""
        self._begin = self._mark = moved
        self._waited = self._waited_in_window = 0.0

    def is_kept(self, moved: int, waited_seconds: float) -> bool:
        """Add time spent waiting; return False if a whole window passed below the least rate."""
        self._waited += waited_seconds
        self._waited_in_window += waited_seconds
        if self._waited_in_window < self._limits.window_seconds:
            return True
        kept = moved - self._mark >= self._waited_in_window * self._limits.least_rate
        self._mark, self._waited_in_window = moved, 0.0
        return kept

    def rate(self, moved: int) -> float:
        """Return the bytes per second of the transfer, infinite until the client was waited for."""
        if self._waited < self._limits.crowded_seconds:
            return inf
        return (moved - self._begin) / self._waited
