"""The clock of a directory counts time only as far as it was seen to pass."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from akidb.deployment import clock
from akidb.deployment.clock import CLOCK_NAME, INTERRUPTION_SECONDS, DirectoryClock
from akidb.ports.clock import EARLIEST

WEEK = timedelta(days=7)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NINETEEN_SEVENTY = datetime(1970, 1, 1, 0, 10, tzinfo=UTC)


class Machine:
    """A machine whose two clocks go on together, unless one is set or it is switched off."""

    def __init__(self, patch: pytest.MonkeyPatch, directory: Path, wall: datetime = NOW) -> None:
        self.wall = wall
        self.up_seconds = 1000.0
        self.boots = 1
        self.directory = directory
        patch.setattr(clock, "wall_seconds", self.wall_seconds)
        patch.setattr(clock, "elapsed_seconds", lambda: self.up_seconds)
        patch.setattr(clock, "boot_id", lambda: f"boot {self.boots}")

    def wall_seconds(self) -> float:
        return self.wall.timestamp()

    def open(self) -> DirectoryClock:
        return DirectoryClock(self.directory)

    def run(self, time: timedelta) -> None:
        self.wall += time
        self.up_seconds += time.total_seconds()

    def boot(self, off: timedelta) -> None:
        """Be switched off for so long, by the clock that it starts with."""
        self.wall += off
        self.boots += 1
        self.up_seconds = 10.0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return Machine(monkeypatch, tmp_path)


def test_age_counts_from_first_sight(machine: Machine) -> None:
    watched = machine.open()
    machine.run(WEEK - MINUTE)
    assert watched.before(WEEK) == EARLIEST
    machine.run(MINUTE)
    assert watched.before(WEEK) == NOW
    machine.run(DAY)
    assert watched.before(WEEK) == NOW + DAY
    assert watched.before(timedelta(0)) == watched.now() == machine.wall
    assert watched.doubt() is None


def test_time_between_processes_of_one_boot_counts(machine: Machine) -> None:
    machine.open().keep()
    machine.run(WEEK + DAY)
    assert machine.open().before(WEEK) == NOW + DAY


@pytest.mark.parametrize("jump", [timedelta(days=8), timedelta(days=20_000), -timedelta(days=8), 10 * MINUTE])
def test_jump_makes_nothing_older(machine: Machine, jump: timedelta) -> None:
    watched = machine.open()
    machine.run(DAY)
    watched.keep()
    machine.wall += jump
    assert watched.before(WEEK) == EARLIEST
    assert "jumped" in (watched.doubt() or "")
    machine.run(WEEK - DAY - MINUTE)
    assert watched.before(WEEK) == EARLIEST
    machine.run(2 * MINUTE)
    assert watched.before(WEEK) <= NOW + MINUTE  # what was deleted within the first minute
    assert watched.before(WEEK) > EARLIEST
    machine.run(WEEK)
    assert watched.before(WEEK) == machine.wall - WEEK


def test_jump_between_processes_makes_nothing_older(machine: Machine) -> None:
    machine.wall = NINETEEN_SEVENTY
    machine.open().keep()
    machine.wall = NOW  # NTP has set the clock
    machine.run(MINUTE)
    assert machine.open().before(WEEK) == EARLIEST
    machine.run(WEEK)
    watched = machine.open()
    assert watched.before(WEEK) > NINETEEN_SEVENTY
    assert "jumped forward by 20" in (watched.doubt() or "")


def test_small_steps_add_up_to_a_jump(machine: Machine) -> None:
    watched = machine.open()
    for _ in range(60):
        machine.run(MINUTE)
        machine.wall += timedelta(seconds=59)
        watched.keep()
    assert watched.before(timedelta(minutes=61)) == EARLIEST


def test_drift_is_no_jump(machine: Machine) -> None:
    watched = machine.open()
    for _ in range(10):
        machine.run(DAY)
        machine.wall += timedelta(seconds=9)  # 100 ppm
        watched.keep()
    assert watched.doubt() is None
    assert watched.before(WEEK) > EARLIEST


def test_restart_of_the_machine_counts_only_if_short(machine: Machine) -> None:
    machine.open().keep()
    machine.run(3 * DAY)
    machine.open().keep()
    machine.boot(timedelta(seconds=INTERRUPTION_SECONDS))
    assert machine.open().doubt() is None
    machine.run(DAY)
    machine.open().keep()
    machine.boot(8 * DAY)
    watched = machine.open()
    assert "or the machine was off" in (watched.doubt() or "")
    assert watched.before(WEEK) == EARLIEST
    machine.run(3 * DAY)
    assert NOW < watched.before(WEEK) <= NOW + timedelta(hours=1, minutes=1)  # four days before, three after


def test_time_in_which_the_clock_was_set_back_is_not_counted_twice(machine: Machine) -> None:
    """A time of the earlier period may be one of the later: it is as young as it can be."""
    watched = machine.open()
    machine.run(4 * DAY)
    watched.keep()
    machine.wall -= 3 * DAY
    machine.run(5 * DAY)
    assert watched.before(WEEK) <= NOW + DAY


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"boot_id":"boot 1","up_seconds":1,"anchor":[0,0],"periods":[]}']
)
def test_lost_record_means_that_nothing_was_seen(machine: Machine, content: bytes) -> None:
    machine.open().keep()
    machine.run(2 * WEEK)
    (machine.directory / CLOCK_NAME).write_bytes(content)
    watched = machine.open()
    assert watched.before(WEEK) == EARLIEST
    machine.run(WEEK)
    assert watched.before(WEEK) == NOW + 2 * WEEK


def test_record_that_cannot_be_written_is_no_error(machine: Machine) -> None:
    (machine.directory / CLOCK_NAME).mkdir()
    machine.open().keep()
    (machine.directory / CLOCK_NAME).rmdir()
    target = machine.directory / "elsewhere"
    (machine.directory / CLOCK_NAME).symlink_to(target)
    machine.open().keep()
    assert not target.exists()


STEPS = st.one_of(
    st.tuples(st.just("run"), st.integers(1, 5 * 86_400)),
    st.tuples(st.just("set"), st.integers(-30 * 86_400, 30 * 86_400).filter(lambda step: abs(step) > 600)),
    st.tuples(st.just("off"), st.integers(0, 30 * 86_400)),
    st.tuples(st.just("reopen"), st.just(0)),
)


@given(st.lists(STEPS, max_size=12), st.integers(0, 11))
@example([("run", 10 * 3600), ("set", -11 * 3600), ("run", 14 * 3600)], 2)  # stored as a period begins
def test_nothing_is_believed_older_than_it_was_watched(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]], marked_at: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        machine = Machine(patch, tmp_path_factory.mktemp("clock"))
        watched = machine.open()
        seconds, restarts, mark = 0.0, 0, None
        for number, (kind, length) in enumerate(steps):
            if number == marked_at:
                mark, seconds, restarts = machine.wall, 0.0, 0
            if kind == "run":
                machine.run(timedelta(seconds=length))
                seconds += length
            elif kind == "set":
                watched.keep()
                machine.wall += timedelta(seconds=length)
            elif kind == "off":
                watched.keep()
                machine.boot(timedelta(seconds=length))
                restarts += 1
                watched = machine.open()
            else:
                watched.keep()
                watched = machine.open()
            for age in (DAY, WEEK):
                if mark is not None and mark <= watched.before(age):
                    tolerated = (INTERRUPTION_SECONDS + 120) * restarts + 120 + 0.002 * seconds
                    assert seconds + tolerated >= age.total_seconds()
        machine.run(WEEK + timedelta(hours=1))
        assert watched.before(WEEK) >= machine.wall - WEEK - timedelta(hours=1)
