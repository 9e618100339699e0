"""The clock of a PostgreSQL server, which all processes that share its database go by."""

import threading
import time
from datetime import UTC, datetime, timedelta

MENTIONED_SECONDS = 60.0
"""A difference between the clocks of this machine and the server that is worth mentioning."""


def elapsed_seconds() -> float:
    """Return a count of seconds that nothing sets, and that goes on while the machine is suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class ServerClock:
    """`akidb.ports.clock.Clock`: the server's time as last heard, and what has passed since."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heard: tuple[datetime, float] | None = None

    def hear(self, time: datetime, asked_at: float) -> None:
        """Take a time that the server told after it was asked, which was at `asked_at` (`elapsed_seconds`).

        What is known is kept if both agree, so that the time does not jitter with the network.
        """
        arrived_at = elapsed_seconds()
        with self._lock:
            if self._heard is not None:
                heard, at = self._heard
                known = heard + timedelta(seconds=arrived_at - at)
                if timedelta(0) <= known - time <= timedelta(seconds=arrived_at - asked_at):
                    return
            self._heard = (time.astimezone(UTC), (asked_at + arrived_at) / 2)

    def now(self) -> datetime:
        """Return the server's time."""
        assert self._heard is not None, "a connection was opened before"
        heard, at = self._heard
        return heard + timedelta(seconds=elapsed_seconds() - at)

    def before(self, age: timedelta) -> datetime:
        """Return the time of this age: the server's clock decides."""
        return self.now() - age

    def doubt(self) -> str | None:
        """Return a difference to this machine's clock, which other programs here may go by."""
        ahead = (datetime.now(UTC) - self.now()).total_seconds()
        if abs(ahead) < MENTIONED_SECONDS:
            return None
        way = "ahead of" if ahead > 0 else "behind"
        difference = timedelta(seconds=round(abs(ahead)))
        return f"this machine's clock is {difference} {way} the database's, which counts"

    def keep(self) -> None:
        """Do nothing: the server keeps its time."""
