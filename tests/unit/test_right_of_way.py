"""Long work stops for short requests: between which of its pieces, for how long, and that it goes on."""

import threading
from collections.abc import Iterator

import pytest

from akidb.observe.right_of_way import LEAST_WORK, SHORT_SECONDS, Traffic, begin, give_way, giving_way

TIMEOUT_SECONDS = 30


class StoppingTraffic(Traffic):
    """Traffic whose clock the test moves; instead of waiting, it notes for how long it would have waited."""

    def __init__(self) -> None:
        self.now = 100.0
        self.stops: list[float] = []
        super().__init__(lambda: self.now)

    def stop(self, seconds: float) -> None:
        self.stops.append(seconds)
        self.now += seconds


@pytest.fixture
def traffic() -> Iterator[StoppingTraffic]:
    traffic = StoppingTraffic()
    begin(traffic.work(is_long=True))
    try:
        yield traffic
    finally:
        begin(None)


def test_long_work_goes_on_while_there_is_no_short_request(traffic: StoppingTraffic) -> None:
    give_way()
    assert traffic.stops == []


def test_long_work_stops_for_a_short_request(traffic: StoppingTraffic) -> None:
    with traffic.short():
        traffic.now += SHORT_SECONDS / 4
        give_way()
    assert traffic.stops == [pytest.approx(SHORT_SECONDS * 3 / 4)]


def test_a_request_that_is_no_longer_short_has_no_right_of_way(traffic: StoppingTraffic) -> None:
    with traffic.short():
        traffic.now += SHORT_SECONDS * 2
        give_way()
    assert traffic.stops == []


def test_long_work_goes_on_however_many_short_requests_there_are(traffic: StoppingTraffic) -> None:
    stopped, began = 0.0, traffic.now
    for _ in range(1000):
        with traffic.short():
            give_way()
            traffic.now += 0.0001  # a row
    stopped = sum(traffic.stops)
    assert stopped > 0
    assert traffic.now - began - stopped >= stopped * LEAST_WORK - SHORT_SECONDS


def test_unmarked_work_gives_way_when_it_turns_out_to_be_long(traffic: StoppingTraffic) -> None:
    begin(traffic.work(is_long=False))
    with traffic.short():
        give_way()
    assert traffic.stops == []
    traffic.now += SHORT_SECONDS
    with traffic.short():
        give_way()
    assert traffic.stops == [pytest.approx(SHORT_SECONDS)]


def test_the_items_of_long_work_come_in_order(traffic: StoppingTraffic) -> None:
    with traffic.short():
        assert list(giving_way(range(3))) == [0, 1, 2]
    assert len(traffic.stops) == 1


def test_a_thread_that_serves_nothing_never_stops() -> None:
    items = [1, 2]
    assert giving_way(items) is items
    give_way()


def test_work_goes_on_as_soon_as_the_last_short_request_has_ended() -> None:
    traffic = Traffic()
    turns = [threading.Event() for _ in range(3)]

    def work(turn: threading.Event) -> None:
        traffic.stop(TIMEOUT_SECONDS)
        turn.set()

    threads = [threading.Thread(target=work, args=(turn,)) for turn in turns]
    with traffic.short():
        with traffic.short():
            for thread in threads:
                thread.start()
        assert not any(turn.is_set() for turn in turns)
    for thread, turn in zip(threads, turns, strict=True):
        assert turn.wait(TIMEOUT_SECONDS / 2)
        thread.join()
