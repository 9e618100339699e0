"""Telemetry listeners: each event is delivered once; without listeners there is no overhead."""

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


def test_listener_registered_twice_is_called_once_until_removed_twice() -> None:
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


def test_all_listeners_receive_same_counts() -> None:
    first, second = Heard(), Heard()
    for listener in (first, second):
        telemetry.listen(listener)
    telemetry.count("checkpoints", "tenant")
    for listener in (first, second):
        telemetry.leave(listener)
    assert first.counts == second.counts == [("checkpoints", "tenant", 1)]


def test_store_figures_are_summed_except_largest_wal() -> None:
    one = StoreFigures(1, 2, 3, wal_bytes=400, largest_wal_bytes=400)
    other = StoreFigures(10, 20, 30, wal_bytes=100, largest_wal_bytes=100)
    assert sum((one, other), StoreFigures(open_stores=0)) == StoreFigures(11, 22, 33, 500, 400, 2)


def test_current_trace_is_none_and_does_not_import_opentelemetry() -> None:
    program = (
        "import sys; from akidb.observe.telemetry import current_trace; assert current_trace() is None;"
        " assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
