"""Many concurrent writers on one store: throughput and fairness.

Also the upper bound for group commit on this disk: 64 creates in one transaction against one each.
"""

import threading
import time
from collections.abc import Callable
from itertools import count
from typing import Any

from akidb.bench.fixtures import copied_schema, fresh_store, insert_raw, insert_rows
from akidb.bench.measure import Goal, Line, Series, Work, in_turns, rate_lines, share_of
from akidb.operations.tenants import CreateTenant

WRITERS = 64
SECONDS = 1.0
ROUNDS = 5


def run(suite: str) -> list[Line]:
    """Return the results of this suite."""
    with fresh_store() as operations:
        assert operations.directory is not None
        with copied_schema(operations.directory / "metadata.db") as raw:
            return [*_writers(suite, operations), *_group_commit(suite, raw)]


def _writers(suite: str, operations: Any) -> list[Line]:
    numbers = count()

    def create() -> None:
        operations.perform(CreateTenant(name=f"Tenant {next(numbers)}"))

    rates: dict[int, list[float]] = {WRITERS: [], 1: []}
    shares: list[float] = []
    for _ in range(ROUNDS):
        for writers, found in rates.items():
            done = _work(create, writers)
            found.append(sum(done) / SECONDS)
            if writers > 1:
                shares.append(max(done) / max(1, min(done)))
    together, alone = (Series([1 / rate for rate in found]) for found in rates.values())
    sides = {f"akidb, {WRITERS} writers": together, "one writer alone": alone}
    lines = rate_lines(
        suite, "create tenants at once, durable", sides, 1, "creates/s", share_of("one writer alone", 1)
    )
    fairness = Line(
        suite=suite,
        work="creates of the luckiest writer per one of the unluckiest",
        side=f"akidb, {WRITERS} writers",
        p50=sorted(shares)[len(shares) // 2],
        p95=max(shares),
        unit="ratio",
        goal="<= 1.5",
        reached=Goal("", 1.5).judge((sorted(shares)[len(shares) // 2], max(shares)), {}),
    )
    return [*lines, fairness]


def _work(work: Callable[[], None], workers: int) -> list[int]:
    """Return the number of calls that each of `workers` threads completes in `SECONDS`."""
    done = [0] * workers
    start = threading.Barrier(workers + 1)
    end = threading.Event()

    def go(place: int) -> None:
        start.wait()
        while not end.is_set():
            work()
            done[place] += 1

    threads = [threading.Thread(target=go, args=(place,)) for place in range(workers)]
    for thread in threads:
        thread.start()
    start.wait()
    time.sleep(SECONDS)
    end.set()
    counted = list(done)
    for thread in threads:
        thread.join()
    return counted


def _group_commit(suite: str, raw: Any) -> list[Line]:
    numbers = count()

    def in_one(_: int) -> None:
        raw.execute("BEGIN IMMEDIATE")
        for _each in range(WRITERS):
            insert_rows(raw, next(numbers))
        raw.execute("COMMIT")

    def each_in_its_own(_: int) -> None:
        for _each in range(WRITERS):
            insert_raw(raw, next(numbers))

    sides: dict[str, Work] = {
        "raw sqlite3, one transaction": in_one,
        "raw sqlite3, one each": each_in_its_own,
    }
    taken = in_turns(sides, 20)
    return rate_lines(suite, f"{WRITERS} creates, durable together", taken, WRITERS, "creates/s", None)
