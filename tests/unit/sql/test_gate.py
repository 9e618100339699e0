"""The fair gate: one thread at a time, in arrival order, with a timeout."""

import threading
import time

import pytest

from akidb.domain.errors import Overloaded
from akidb.sql.gate import FairGate


@pytest.fixture
def gate() -> FairGate:
    return FairGate("kb.db", timeout_seconds=30)


def wait_until_waiting(gate: FairGate, count: int) -> None:
    deadline = time.monotonic() + 10
    while gate.waiting < count:
        assert time.monotonic() < deadline
        time.sleep(0.0005)


def test_threads_pass_in_arrival_order(gate: FairGate) -> None:
    passed: list[int] = []

    def pass_gate(number: int) -> None:
        with gate.pass_through():
            passed.append(number)

    threads = []
    with gate.pass_through():
        for number in range(20):
            threads.append(threading.Thread(target=pass_gate, args=(number,)))
            threads[-1].start()
            wait_until_waiting(gate, number + 1)
    for thread in threads:
        thread.join()
    assert passed == list(range(20))
    assert gate.waiting == 0


def test_gate_admits_single_thread(gate: FairGate) -> None:
    inside, most = 0, 0
    start = threading.Barrier(16)

    def work() -> None:
        nonlocal inside, most
        start.wait()
        for _ in range(50):
            with gate.pass_through():
                inside += 1
                most = max(most, inside)
                time.sleep(0)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (inside, most) == (0, 1)


def test_no_thread_starves(gate: FairGate) -> None:
    """64 threads for half a second: the busiest passes at most 3 times as often as the slowest."""
    turns = [0] * 64
    start, stop = threading.Barrier(len(turns)), threading.Event()

    def work(number: int) -> None:
        start.wait()
        while not stop.is_set():
            with gate.pass_through():
                turns[number] += 1
                time.sleep(0.0001)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(turns))]
    for thread in threads:
        thread.start()
    time.sleep(1)
    stop.set()
    for thread in threads:
        thread.join()
    assert min(turns) >= 5
    assert max(turns) <= 3 * min(turns)


def test_wait_timeout_raises_overloaded() -> None:
    gate = FairGate("kb.db", timeout_seconds=0.02)
    with gate.pass_through(), pytest.raises(Overloaded) as caught, gate.pass_through():
        pytest.fail("the gate was held")
    assert caught.value.fields == {"queue": "kb.db"}
    assert gate.waiting == 0
    with gate.pass_through():  # who gave up is not handed the gate
        pass


def test_timed_out_waiter_does_not_block_later_waiters() -> None:
    gate = FairGate("kb.db", timeout_seconds=0.3)
    outcome: list[str] = []

    def pass_gate() -> None:
        try:
            with gate.pass_through():
                outcome.append("passed")
        except Overloaded:
            outcome.append("overloaded")

    first, second = threading.Thread(target=pass_gate), threading.Thread(target=pass_gate)
    with gate.pass_through():
        first.start()
        time.sleep(0.2)
        second.start()
        wait_until_waiting(gate, 2)
        first.join()
    second.join()
    assert outcome == ["overloaded", "passed"]


def test_exception_inside_releases_gate(gate: FairGate) -> None:
    with pytest.raises(KeyError), gate.pass_through():
        raise KeyError
    with gate.pass_through():
        pass


def test_interrupted_wait_does_not_lose_wakeup(gate: FairGate, monkeypatch: pytest.MonkeyPatch) -> None:
    real = threading.Lock

    class Interrupted:
        """A turn whose waiting is broken off, before or just after it came."""

        def __init__(self, *, late: bool) -> None:
            self._turn, self._late = real(), late

        def acquire(self, timeout: float | None = None) -> bool:
            if timeout is None:
                return self._turn.acquire()
            if self._late:
                leave.set()
                self._turn.acquire(timeout=10)
            raise KeyboardInterrupt

        def release(self) -> None:
            self._turn.release()

    for late in (False, True):
        inside, leave = threading.Event(), threading.Event()

        def hold(inside: threading.Event = inside, leave: threading.Event = leave) -> None:
            with gate.pass_through():
                inside.set()
                leave.wait(10)

        holder = threading.Thread(target=hold)
        holder.start()
        inside.wait(10)
        monkeypatch.setattr("akidb.sql.gate.threading.Lock", lambda late=late: Interrupted(late=late))
        with pytest.raises(KeyboardInterrupt), gate.pass_through():
            pass
        monkeypatch.setattr("akidb.sql.gate.threading.Lock", real)
        leave.set()
        holder.join()
        assert gate.waiting == 0
        with gate.pass_through():
            pass


def test_gate_with_several_places_admits_rest_in_arrival_order() -> None:
    gate = FairGate("kb.db", timeout_seconds=30, places=2)
    came: list[int] = []

    def come(number: int) -> None:
        gate.enter()
        came.append(number)

    gate.enter()
    gate.enter()
    threads = []
    for number in range(10):
        threads.append(threading.Thread(target=come, args=(number,)))
        threads[-1].start()
        wait_until_waiting(gate, number + 1)
    for number in range(10):
        gate.leave()
        threads[number].join()
    assert came == list(range(10))
    gate.leave()
    with gate.pass_through():
        assert gate.waiting == 0


def test_reentering_thread_queues_last() -> None:
    gate = FairGate("kb.db", timeout_seconds=30)
    came: list[str] = []

    def come() -> None:
        with gate.pass_through():
            came.append("who waited")

    gate.enter()
    thread = threading.Thread(target=come)
    thread.start()
    wait_until_waiting(gate, 1)
    gate.leave()
    with gate.pass_through():  # a mutex of the system would be had again at once
        came.append("who came again")
    thread.join()
    assert came == ["who waited", "who came again"]
