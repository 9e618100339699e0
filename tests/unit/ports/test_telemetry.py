"""Who listens hears what happens, once; who does not costs nothing."""

import subprocess
import sys

from akidb.observe import telemetry
from akidb.observe.telemetry import Call, End, StoreFigures


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.counts: list[tuple[str, str, int]] = []

    def begin(self, operation: str) -> End:
        raise AssertionError(operation)

    def called(self, call: Call, seconds: float, code: str) -> None:
        raise AssertionError(call)

    def waited(self, queue: telemetry.Queue, store: telemetry.StoreKind, seconds: float) -> None:
        raise AssertionError(queue)

    def counted(self, counter: str, label: str, amount: int) -> None:
        self.counts.append((counter, label, amount))


def test_a_listener_hears_once_however_often_it_was_asked_to_until_it_left_as_often() -> None:
    heard = Heard()
    telemetry.listen(heard)
    telemetry.listen(heard)
    telemetry.count("retries", "metadata")
    telemetry.leave(heard)
    telemetry.count("retries", "tenant", 3)
    telemetry.leave(heard)
    telemetry.count("retries", "metadata")
    assert heard.counts == [("retries", "metadata", 1), ("retries", "tenant", 3)]
    assert heard not in telemetry.listeners


def test_several_listeners_hear_the_same() -> None:
    first, second = Heard(), Heard()
    for listener in (first, second):
        telemetry.listen(listener)
    telemetry.count("checkpoints", "tenant")
    for listener in (first, second):
        telemetry.leave(listener)
    assert first.counts == second.counts == [("checkpoints", "tenant", 1)]


def test_figures_of_several_stores_are_summed_up_but_for_the_largest() -> None:
    one = StoreFigures(1, 2, 3, wal_bytes=400, largest_wal_bytes=400)
    other = StoreFigures(10, 20, 30, wal_bytes=100, largest_wal_bytes=100)
    assert sum((one, other), StoreFigures(open_stores=0)) == StoreFigures(11, 22, 33, 500, 400, 2)


def test_without_opentelemetry_there_is_no_trace_and_it_stays_unloaded() -> None:
    program = (
        "import sys; from akidb.observe.telemetry import current_trace; assert current_trace() is None;"
        " assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
