"""The clock of a data directory: the machine's, believed only as far as time was seen to pass.

The machine's time may be set: by an operator, by NTP after a board without a clock has started in 1970, by a
virtual machine that is resumed. So the directory records when its clock was seen, and compares it with the
kernel's count of seconds since the boot, which nothing sets. A period is a time in which both advanced alike,
across processes and short interruptions. An age counts only what lies in periods: what was stored before a
jump gets older from the jump on, not by it.
"""

import os
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from akidb.observe.logs import logger
from akidb.ports.clock import EARLIEST
from akidb.sql.server_clock import elapsed_seconds

CLOCK_NAME = "clock.json"
TOLERATED_SECONDS = 60.0
"""By which the two clocks may drift apart, and 0.1 % of the time since they were first compared."""
TOLERATED_SHARE = 0.001
INTERRUPTION_SECONDS = 3600.0
"""A machine that was switched off for at most this long is taken at its clock's word."""
MAX_PERIODS = 500

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_log = logger("akidb.clock")


class Period(msgspec.Struct):
    """A time in which the clock advanced as it should. The first two are in seconds since 1970."""

    start: float
    end: float
    seconds: float = 0.0
    """How much time passed in it, by the count since the boot."""
    jump: float = 0.0
    """By how much the clock was ahead of what was expected when the period began."""
    is_gap: bool = False
    """Whether that may have been real time, with the machine switched off."""


class Seen(msgspec.Struct):
    """What is recorded of a clock."""

    boot_id: str
    up_seconds: float
    """When the clock was last seen, by the count since the boot."""
    anchor: tuple[float, float]
    """Both clocks when they were first compared in this period and boot: a drift is measured from there."""
    periods: list[Period]


def boot_id() -> str:
    """Return the name of this run of the machine; elsewhere than on Linux, of this process."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return f"process {os.getpid()} {time.clock_gettime(time.CLOCK_MONOTONIC)}"


def wall_seconds() -> float:
    """Return the machine's time."""
    return time.time()


TICK_SECONDS = 2e-6
"""Less than this is not told apart: stored times have microseconds."""


class DirectoryClock:
    """`akidb.ports.clock.Clock` of a data directory, used by its owner alone."""

    def __init__(self, directory: Path) -> None:
        """Read what was recorded. Without a record nothing was seen before now."""
        self._path = directory / CLOCK_NAME
        self._boot_id = boot_id()
        self._lock = threading.Lock()
        found = self._read()
        if found is None:
            wall, up = wall_seconds(), elapsed_seconds()
            found = Seen(self._boot_id, up, (wall, up), [Period(wall, wall)])
        self._seen = found
        self.keep()

    def now(self) -> datetime:
        """Return the machine's time."""
        return datetime.fromtimestamp(wall_seconds(), UTC)

    def before(self, age: timedelta) -> datetime:
        """Return the time after which this much lies in periods."""
        with self._lock:
            self._look()
            left = age.total_seconds()
            limit = float("inf")
            for period in reversed(self._seen.periods):
                if period.seconds >= left:
                    # A later period may have begun earlier, where the clock was set back.
                    return datetime.fromtimestamp(min(period.end - left, limit), UTC)
                left -= period.seconds
                limit = min(limit, period.start - TICK_SECONDS)  # what was stored at its start belongs to it
            return EARLIEST

    def doubt(self) -> str | None:
        """Return since when the clock is believed, if there was another period before."""
        with self._lock:
            self._look()
            first, last = self._seen.periods[0], self._seen.periods[-1]
        since = datetime.fromtimestamp(last.start, UTC).isoformat(" ", "seconds").replace("+00:00", "Z")
        if first is last:
            return None
        way = "forward" if last.jump > 0 else "back"
        length = timedelta(seconds=round(abs(last.jump)))
        cause = " (or the machine was off)" if last.is_gap and last.jump > 0 else ""
        return f"the clock jumped {way} by {length}{cause}; time counts again since {since}"

    def keep(self) -> None:
        """Record that the clock was seen now. A failure loses the record, and delays what expires."""
        with self._lock, suppress(OSError):
            self._look()
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self._path, flags, 0o600)
            try:
                os.write(descriptor, msgspec.json.encode(self._seen))
            finally:
                os.close(descriptor)

    def _read(self) -> Seen | None:
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=Seen)
        except (OSError, msgspec.MsgspecError):
            return None
        return found if found.periods else None

    def _look(self) -> None:
        """Extend the last period to now, or begin another one. Requires the lock.

        Another one begins with the time that has certainly passed since the clock was last seen: nothing was
        stored later than one round of maintenance after that.
        """
        seen, wall, up = self._seen, wall_seconds(), elapsed_seconds()
        last = seen.periods[-1]
        passed = up
        if seen.boot_id == self._boot_id:
            passed = up - seen.up_seconds
            compared = up - seen.anchor[1]
            ahead = wall - seen.anchor[0] - compared
            is_gap, counts = False, abs(ahead) <= TOLERATED_SECONDS + TOLERATED_SHARE * compared
        else:
            ahead = wall - up - last.end
            is_gap, counts = True, -TOLERATED_SECONDS <= ahead <= INTERRUPTION_SECONDS
            seen.boot_id, seen.anchor = self._boot_id, (wall, up)
        seen.up_seconds = up
        if counts:
            last.seconds += passed + (max(ahead, 0.0) if is_gap else 0.0)
            last.end = max(last.end, wall)
            return
        seen.anchor = (wall, up)
        begun = Period(wall - passed, wall, passed, ahead, is_gap)
        seen.periods = [*seen.periods[-MAX_PERIODS + 1 :], begun]
        _log.warning("the clock jumped by %.0f seconds: what expires waits", ahead)
