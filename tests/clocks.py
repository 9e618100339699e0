"""A clock that tests set, in place of that of a directory or a database."""

from datetime import UTC, datetime, timedelta

import pytest


class SetClock:
    """`akidb.ports.clock.Clock` that is always believed: an age is the difference of two times."""

    def __init__(self, time: datetime | None = None) -> None:
        self.time = datetime(2026, 1, 31, 9, 15, tzinfo=UTC) if time is None else time

    def now(self) -> datetime:
        return self.time

    def before(self, age: timedelta) -> datetime:
        return self.now() - age

    def doubt(self) -> str | None:
        return None

    def keep(self) -> None:
        """There is nothing to record."""

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Have every directory and database that is opened from now on go by this clock."""
        patch.setattr("akidb.deployment.composition._clock_of", lambda _place: self)
