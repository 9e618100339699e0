"""The clock of a store: one for everything that is stored, and for everything that expires."""

from datetime import UTC, datetime, timedelta
from typing import Protocol

EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
"""Before every stored time."""


class Clock(Protocol):
    """Tells the time, and what is old enough to expire.

    The difference of two readings does not prove that so much time has passed: the clock may have been wrong
    at either.
    """

    def now(self) -> datetime:
        """Return the time, in UTC."""

    def before(self, age: timedelta) -> datetime:
        """Return the latest stored time that is certainly of this age; `EARLIEST` if there may be none."""

    def doubt(self) -> str | None:
        """Return why stored times may not be what they say, or None."""

    def keep(self) -> None:
        """Record that the clock was seen now."""
